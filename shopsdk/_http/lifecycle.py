"""What a session has while an event loop runs: connections, slots, gates, locks, tasks; and the loop that retries."""

import asyncio
import logging
import os
from asyncio import Lock, Task
from collections.abc import AsyncGenerator, Coroutine, Hashable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar, copy_context
from functools import partial
from itertools import count
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import attrs

from shopsdk._codec.json import encode, incomplete, parse_or_none
from shopsdk._errors import (
    NotSentError,
    RateLimitedError,
    ResponseError,
    ServerError,
    SessionStateError,
    ShopError,
    TransportError,
)
from shopsdk._events import (
    AttemptStarted,
    Event,
    GateClosed,
    GateOpened,
    Hook,
    RequestStarted,
    RetryScheduled,
)
from shopsdk._http.call import Call
from shopsdk._http.limits import Budget, Clock, Gates, RateLimit
from shopsdk._http.request import Request, Response
from shopsdk._http.response import error_from
from shopsdk._http.retry import RetryPolicy, decide, holds_operation, repeatable, retry_after
from shopsdk._http.transport import Options, Transport

T = TypeVar("T")

logger = logging.getLogger("shopsdk")
logger.addHandler(logging.NullHandler())

_DIGITS_KEY = " (the key is digits alone: a shell may have cut it at a |; quote it)"

_inherited: list[object] = []
"""What a parent process had, kept from being collected in its child: their sockets and selectors are the same."""
_within: ContextVar["Runtime | None"] = ContextVar("_within", default=None)
"""Whose task is running, or a task that such a one has started."""


class Runtime:
    """All that belongs to one event loop in one process. Make it inside that loop."""

    def __init__(
        self,
        options: Options,
        retry: RetryPolicy,
        rate_limit: RateLimit | None,
        clock: Clock,
        hooks: Sequence[Hook],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.pid = os.getpid()
        self._options = options
        self._retry = retry
        self._clock = clock
        self._hooks = hooks
        self._calls = count(1)
        self._transport = Transport(options)
        self._closing = False
        self._closed = asyncio.Event()
        self._gates = Gates(options.max_in_flight, rate_limit, clock, self.pause)
        self._tasks: set[Task[Any]] = set()
        self._locks: WeakValueDictionary[Hashable, Lock] = WeakValueDictionary()
        self._end = self._end_with_the_loop()
        with suppress(StopIteration):  # it stands at its yield now, and the loop knows of it
            self._end.__anext__().send(None)

    @property
    def ended(self) -> bool:
        """Is nothing of it left: by ``close``, or by the end of its loop?"""
        return self._closed.is_set()

    async def close(self) -> None:
        """Cancel and await the tasks of walks and waits, then close the connections; a second call waits for the first.

        Except where the first waits for the second: in such a task, or in one that it has started.
        """
        if self._closing:
            if _within.get() is not self:
                await self._closed.wait()
            return
        self._closing = True  # from now on nothing is sent, and nothing waits
        me = asyncio.current_task()  # one of them, where a hook of a walk's own request closes the session
        tasks = [task for task in self._tasks if task is not me]
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            try:
                await self._transport.close()
            finally:
                self._closed.set()
                with suppress(RuntimeError):  # the loop ends it already
                    await self._end.aclose()

    async def _end_with_the_loop(self) -> AsyncGenerator[None, None]:
        """Close when the loop shuts down its generators, as ``asyncio.run`` does at its end."""
        try:
            yield
        finally:
            await self.close()

    def abandon(self) -> None:
        """Leave behind what belonged to a loop that was closed by hand, or to the parent process."""
        if self.pid != os.getpid():
            _inherited.append(self)
        self._transport.detach()

    def spawn(self, work: Coroutine[Any, Any, T]) -> Task[T]:
        """Start a task that ends with the session, if not before."""
        context = copy_context()
        context.run(_within.set, self)
        task = self.loop.create_task(work, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def lock(self, name: Hashable) -> Lock:
        """Find the lock of a name; it exists for as long as somebody holds on to it."""
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = Lock()
        return lock

    async def pause(self, seconds: float) -> None:
        """Sleep, by the session's clock; closing the session ends it.

        Raises:
            SessionStateError: it was closed meanwhile.
        """
        me = asyncio.current_task()
        cancels = me.cancelling() if me else 0
        if not self._closing:  # else nobody would be there to end it
            wait = self.spawn(_sleep(self._clock, seconds))
            try:
                await wait
            except asyncio.CancelledError:
                if me is None or me.cancelling() > cancels or not self._closing:
                    raise
            else:
                return
        raise SessionStateError("the session was closed while this call waited for its turn")

    def now(self) -> float:
        """Seconds, by the session's clock."""
        return self._clock.now()

    def budget(self, seconds: float | None = None) -> Budget:
        """Make the budget of a search, which its calls share; default: the session's deadline of one call."""
        return Budget(self._clock, self._options.timeout.deadline if seconds is None else seconds)

    async def send(self, request: Request, *, within: Budget | None = None, doubt: str = "") -> Response:
        """Send until it succeeds, cannot succeed, or must not be sent again.

        Args:
            request: what to send; its body is written once, and every attempt sends the same bytes.
            within: the budget of the search that this is a part of.
            doubt: what a cancellation notes where a change may have been made; default: that it may have been.
        """
        call = Call(
            number=next(self._calls),
            request=request,
            body=None if request.json is None else encode(request.json),
            gate=self._gates.of(request.operation),
            budget=Budget(self._clock, self._options.timeout.deadline if within is None else within.seconds, within),
        )
        if self._hooks:
            self._tell(RequestStarted(operation=request.operation, call=call.number))
        try:
            response = await self._until_done(call)
        except BaseException as error:
            if call.maybe_applied and not isinstance(error, ShopError):
                error.add_note(doubt or f"shopsdk: {request.label} was under way and may have been carried out")
            if self._hooks:
                self._tell(call.done(getattr(error, "status", None), 0, type(error).__name__))
            raise
        if self._hooks:
            self._tell(call.done(response.status, len(response.body), None))
        return response

    def _tell(self, event: Event) -> None:
        for hook in tuple(self._hooks):
            hook(event)

    async def _until_done(self, call: Call) -> Response:
        while True:
            outcome = await self._attempt(call)
            if isinstance(outcome, Response):
                return outcome
            call.last = outcome
            idempotent = call.request.idempotent
            wait = decide(outcome, call.attempts, idempotent=idempotent, policy=self._retry, random=self._clock.random)
            if wait is None or wait >= call.budget.left:
                if outcome.maybe_applied or repeatable(outcome, idempotent=idempotent):
                    reason, doubt = type(outcome).__name__, ", maybe applied" if outcome.maybe_applied else ""
                    operation = call.request.operation
                    logger.warning("%s: giving up after %d attempts: %s%s", operation, call.attempts, reason, doubt)
                raise outcome
            await self._wait(call, outcome, wait)

    async def _wait(self, call: Call, error: ShopError, seconds: float) -> None:
        operation, reason = call.request.operation, type(error).__name__
        logger.info("%s: %s, again in %.2f s", operation, reason, seconds)
        if self._hooks:
            self._tell(
                RetryScheduled(
                    operation=operation, call=call.number, attempt=call.attempts, reason=reason, wait=seconds
                )
            )
        if isinstance(error, ResponseError) and holds_operation(error.status, error.retry_after, self._retry):
            call.gate.hold(seconds, error.status)  # waited out there, with everyone else of this operation
            return
        try:
            await self.pause(seconds)
        except SessionStateError as closed:
            raise call.informed(closed) from None

    async def _attempt(self, call: Call) -> Response | ShopError:
        """Try once: the answer if it is a success, else the error, with all that is known of the call."""
        try:
            await self._gates.enter(call.gate, call.budget, self._retry.retry_after_max)
        except NotSentError as error:
            raise call.informed(call.last or error) from None
        except (RateLimitedError, ServerError, SessionStateError) as error:
            raise call.informed(error) from None
        try:
            outcome = await self._try_once(call)
        except ShopError as error:
            outcome = error
            logger.debug("%s: no answer after %.3f s", call.request.operation, call.budget.elapsed)
        finally:
            self._gates.leave(call.gate)
        return outcome if isinstance(outcome, Response) else call.informed(outcome)

    async def _try_once(self, call: Call) -> Response | ShopError:
        seconds = self._leave_now(call)
        attempt = self._transport.attempt(call.request, call.body, fresh=isinstance(call.last, TransportError))
        try:
            response = await attempt.send(seconds, partial(self._hear, call))
        except ShopError:
            raise
        except BaseException:  # a cancellation
            call.maybe_applied = call.maybe_applied or attempt.maybe_applied
            raise
        if not 200 <= response.status < 300:
            return self._refused(call, response)
        return self._read(call, attrs.evolve(response, attempts=call.attempts))

    @staticmethod
    def _read(call: Call, response: Response) -> Response | ShopError:
        """Take a success, unless it is to be asked for again: what may be repeated is, where no whole JSON came."""
        request = call.request
        if not request.idempotent or request.method == "HEAD" or response.status in {204, 205}:
            return response
        return incomplete(response.body, label=request.label, changes=request.changes) or response

    def _leave_now(self, call: Call) -> float:
        """Count an attempt, and say how long it may take: never no time at all, which aiohttp reads as no limit."""
        if self._closing:
            raise SessionStateError("the session was closed while this call was under way")
        left = call.budget.left
        if left <= 0:
            raise call.last or NotSentError("not sent: the deadline passed before there was a turn for it")
        call.attempts += 1
        if self._hooks:
            operation = call.request.operation
            if call.gate.announced:
                call.gate.announced = False
                self._tell(GateOpened(operation=operation))
            self._tell(AttemptStarted(operation=operation, call=call.number, attempt=call.attempts))
        return min(self._options.timeout.total, left)

    def _hear(self, call: Call, status: int, headers: Mapping[str, str]) -> None:
        """Before the body is read: what speaks for the whole operation closes its gate now."""
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s: %d after %.3f s", call.request.operation, status, call.budget.elapsed)
        asked = retry_after(headers) if status in {429, 503} else None
        if holds_operation(status, asked, self._retry):
            least = min(self._retry.wait_initial, self._retry.retry_after_max)
            call.gate.hold(least if asked is None else asked, status)
            if self._hooks and not call.gate.announced:
                call.gate.announced = True
                self._tell(GateClosed(operation=call.request.operation, seconds=call.gate.closed_for, status=status))

    def _refused(self, call: Call, response: Response) -> ShopError:
        key = self._options.key
        error = error_from(
            call.request,
            response,
            said=parse_or_none(response.body),
            attempts=call.attempts,
            redact=key.redact,
            hints={401: _DIGITS_KEY} if key.reveal().isdecimal() else None,
        )
        error.retry_after = retry_after(response.headers)
        return error


async def _sleep(clock: Clock, seconds: float) -> None:
    await clock.sleep(seconds)
