"""One call: its attempts, the waits between them, and what is known so far."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count

import attrs

from shopsdk._codec.json import encode, incomplete, parse_or_none
from shopsdk._config import Clock, Options, Pause, RetryPolicy
from shopsdk._errors import (
    NotSentError,
    RateLimitedError,
    ResponseError,
    ServerError,
    SessionStateError,
    ShopError,
    TransportError,
    UnknownOutcomeError,
)
from shopsdk._events import (
    AttemptStarted,
    Event,
    Hook,
    RateLimitPaused,
    RateLimitResumed,
    RequestFinished,
    RequestStarted,
    RetryScheduled,
)
from shopsdk._http.limits import Deadline, Limiter
from shopsdk._http.request import Request
from shopsdk._http.response import Response, foreign_error, response_error
from shopsdk._http.retry import blocks_operation, decide, repeatable, retry_after
from shopsdk._http.transport import Transport

logger = logging.getLogger("shopsdk")
logger.addHandler(logging.NullHandler())

_DIGITS_KEY = " (the key is digits alone: a shell may have cut it at a |; quote it)"


@attrs.define(eq=False, repr=False)
class Call:
    """A request with all its attempts."""

    number: int
    request: Request
    body: bytes | None
    deadline: Deadline
    attempts: int = 0
    last_error: ShopError | None = None
    began: float = 0.0
    """When the newest attempt began."""
    maybe_applied: bool = False
    """Whether an earlier attempt may have been carried out; no later failure can undo that."""

    def with_context(self, error: ShopError) -> ShopError:
        """Add the call's attempts and time to an error, and whether any attempt may have been carried out."""
        self.maybe_applied = self.maybe_applied or error.maybe_applied
        if self.maybe_applied and isinstance(error, NotSentError):
            error = UnknownOutcomeError(f"{error}, after an attempt that may have been carried out")
        error.maybe_applied = self.maybe_applied
        if isinstance(error, TransportError):
            error.elapsed = self.deadline.elapsed
        if isinstance(error, TransportError | ResponseError):
            error.method, error.path, error.attempts = self.request.method, self.request.path, self.attempts
        return error

    def finished(self, status: int | None, received: int, error: str | None) -> RequestFinished:
        """Make the event of the call's end."""
        return RequestFinished(
            operation=self.request.operation,
            call=self.number,
            attempts=self.attempts,
            elapsed=self.deadline.elapsed,
            status=status,
            received=received,
            error=error,
        )


@attrs.define(eq=False, repr=False)
class Caller:
    """The calls of one session on one event loop."""

    options: Options
    retry: RetryPolicy
    clock: Clock
    hooks: Sequence[Hook]
    limiter: Limiter
    transport: Transport
    pause: Pause
    """Waits by the session's clock; raises when the session is closed."""
    is_closing: Callable[[], bool]
    _numbers: "count[int]" = attrs.field(factory=lambda: count(1), init=False)

    async def send(self, request: Request, *, within: Deadline | None = None, doubt: str = "") -> Response:
        """Send until it succeeds, cannot succeed, or must not be sent again.

        Args:
            request: what to send; its body is written once, and every attempt sends the same bytes.
            within: the deadline of the search that this is a part of.
            doubt: the note on a cancellation of a change that may have been made; default: a note that says so.
        """
        call = Call(
            number=next(self._numbers),
            request=request,
            body=None if request.json is None else encode(request.json),
            deadline=Deadline(self.clock, self.options.timeout.deadline if within is None else within.seconds, within),
        )
        if self.hooks:
            self._tell(RequestStarted(operation=request.operation, call=call.number))
        try:
            response = await self._until_done(call)
        except BaseException as error:
            if call.maybe_applied and not isinstance(error, ShopError):
                error.add_note(doubt or f"shopsdk: {request.label} was under way and may have been carried out")
            if self.hooks:
                self._tell(call.finished(getattr(error, "status", None), 0, type(error).__name__))
            raise
        if self.hooks:
            self._tell(call.finished(response.status, len(response.body), None))
        return response

    def _tell(self, event: Event) -> None:
        for hook in tuple(self.hooks):
            hook(event)

    async def _until_done(self, call: Call) -> Response:
        while True:
            outcome = await self._attempt(call)
            if isinstance(outcome, Response):
                return outcome
            call.last_error = outcome
            idempotent = call.request.idempotent
            wait = decide(outcome, call.attempts, idempotent=idempotent, policy=self.retry, random=self.clock.random)
            if wait is None or wait >= call.deadline.remaining:
                if outcome.maybe_applied or repeatable(outcome, idempotent=idempotent):
                    reason, doubt = type(outcome).__name__, ", maybe applied" if outcome.maybe_applied else ""
                    operation = call.request.operation
                    logger.warning(
                        "%s: not tried again after attempt %d: %s%s", operation, call.attempts, reason, doubt
                    )
                raise outcome
            await self._wait(call, outcome, wait)

    async def _wait(self, call: Call, error: ShopError, seconds: float) -> None:
        operation, reason = call.request.operation, type(error).__name__
        status = error.status if isinstance(error, ResponseError) else None
        logger.info("%s: %s, again in %.2f s", operation, reason, seconds)
        if self.hooks:
            self._tell(
                RetryScheduled(
                    operation=operation,
                    call=call.number,
                    attempt=call.attempts,
                    reason=reason,
                    wait=seconds,
                    status=status,
                )
            )
        if isinstance(error, ResponseError) and blocks_operation(error.status, error.retry_after, self.retry):
            # The next attempt waits it out with all other calls of the operation.
            self.limiter.of(operation).block_for(seconds, error.status)
            return
        try:
            await self.pause(seconds)
        except SessionStateError as closed:
            raise call.with_context(closed) from None

    async def _attempt(self, call: Call) -> Response | ShopError:
        """Make one attempt; return the answer of a success, else the error with the call's context."""
        try:
            await self.limiter.acquire(call.request.operation, call.deadline, self.retry.retry_after_max)
        except NotSentError as error:
            raise call.with_context(call.last_error or error) from None
        except (RateLimitedError, ServerError, SessionStateError) as error:
            raise call.with_context(error) from None
        try:
            outcome = await self._try_once(call)
        except ShopError as error:
            outcome = error
            logger.debug("%s: no answer after %.3f s", call.request.operation, self.clock.now() - call.began)
        finally:
            self.limiter.release()
        return outcome if isinstance(outcome, Response) else call.with_context(outcome)

    async def _try_once(self, call: Call) -> Response | ShopError:
        seconds = self._begin_attempt(call)
        # Where one connection was lost, other kept ones may be dead too.
        attempt = self.transport.attempt(call.request, call.body, fresh=isinstance(call.last_error, TransportError))
        try:
            response = await attempt.send(seconds, partial(self._on_response_headers, call))
        except ShopError:
            raise
        except BaseException:  # a cancellation
            call.maybe_applied = call.maybe_applied or attempt.maybe_applied
            raise
        if not 200 <= response.status < 300:
            return self._error_of(call, response)
        return self._read(call, response if call.attempts == 1 else attrs.evolve(response, attempts=call.attempts))

    def _read(self, call: Call, response: Response) -> Response | ShopError:
        """Read a success; one without whole JSON is an error if the request may be repeated."""
        request = call.request
        if not request.idempotent or request.method == "HEAD" or response.status in {204, 205}:
            return response
        foreign = foreign_error(request, response, self.options.key.redact)
        return foreign or incomplete(response.body, label=request.label, changes=request.changes) or response

    def _begin_attempt(self, call: Call) -> float:
        """Count an attempt, and return the seconds it may take: more than 0, which would be no limit to aiohttp."""
        if self.is_closing():
            raise SessionStateError("the session was closed while this call was under way")
        remaining = call.deadline.remaining
        if remaining <= 0:
            raise call.last_error or NotSentError("not sent: the deadline passed before its turn came")
        call.attempts, call.began = call.attempts + 1, self.clock.now()
        if self.hooks:
            operation = call.request.operation
            limiter = self.limiter.of(operation)
            if limiter.announced:
                limiter.announced = False
                self._tell(RateLimitResumed(operation=operation))
            self._tell(AttemptStarted(operation=operation, call=call.number, attempt=call.attempts))
        return min(self.options.timeout.total, remaining)

    def _on_response_headers(self, call: Call, status: int, headers: Mapping[str, str]) -> None:
        """Block the operation, if the answer asks for it, before the body is read."""
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s: %d after %.3f s", call.request.operation, status, self.clock.now() - call.began)
        asked = retry_after(headers) if status in {429, 503} else None
        if blocks_operation(status, asked, self.retry):
            minimum = min(self.retry.wait_initial, self.retry.retry_after_max)
            operation = call.request.operation
            limiter = self.limiter.of(operation)
            limiter.block_for(minimum if asked is None else asked, status)
            if self.hooks and not limiter.announced:
                limiter.announced = True
                self._tell(RateLimitPaused(operation=operation, seconds=limiter.blocked_for, status=status))

    def _error_of(self, call: Call, response: Response) -> ShopError:
        key = self.options.key
        return response_error(
            call.request,
            response,
            payload=parse_or_none(response.body),
            attempts=call.attempts,
            redact=key.redact,
            hints={401: _DIGITS_KEY} if key.reveal().isdecimal() else {},
        )
