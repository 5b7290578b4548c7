"""What a session has while an event loop runs: connections, slots, gates, locks, tasks; and the loop that retries."""

import asyncio
import logging
import os
from asyncio import Lock, Task
from collections.abc import Coroutine, Mapping, Sequence
from itertools import count
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import attrs

from shopsdk._call import Call
from shopsdk._codec import encode, parse_or_none
from shopsdk._errors import (
    NotSentError,
    RateLimitedError,
    SessionStateError,
    ShopError,
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
from shopsdk._gate import Budget, Clock, Gates, RateLimit
from shopsdk._refusal import error_from
from shopsdk._retry import RetryPolicy, decide, repeatable, retry_after
from shopsdk._transport import Options, Transport
from shopsdk._wire import Request, Response

T = TypeVar("T")

logger = logging.getLogger("shopsdk")
logger.addHandler(logging.NullHandler())


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
        self._gates = Gates(options.max_in_flight, rate_limit, clock, self.pause, self.while_open)
        self._tasks: set[Task[Any]] = set()
        self._locks: WeakValueDictionary[str, Lock] = WeakValueDictionary()

    async def close(self) -> None:
        """Cancel and await the tasks of walks and waits, then close the connections."""
        self._closing = True  # from now on nothing is sent, and nothing waits
        me = asyncio.current_task()  # one of them, where a hook of a walk's own request closes the session
        tasks = [task for task in self._tasks if task is not me]
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            await self._transport.close()

    def abandon(self) -> None:
        """Leave behind what belonged to a closed loop or to the parent process."""
        self._transport.abandon(forked=self.pid != os.getpid())

    def spawn(self, work: Coroutine[Any, Any, T]) -> Task[T]:
        """Start a task that ends with the session, if not before."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def lock(self, name: str) -> Lock:
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
        await self.while_open(_sleep(self._clock, seconds))

    async def while_open(self, work: Coroutine[Any, Any, None]) -> None:
        """Wait for something that closing the session ends.

        Raises:
            SessionStateError: it was closed meanwhile.
        """
        me = asyncio.current_task()
        cancels = me.cancelling() if me else 0
        if self._closing:  # nobody would be there to end it
            work.close()
        else:
            wait = self.spawn(work)
            try:
                await wait
            except asyncio.CancelledError:
                if me is None or me.cancelling() > cancels:
                    raise
            else:
                return
        raise SessionStateError("the session was closed while this call waited for its turn")

    def now(self) -> float:
        """Seconds, by the session's clock."""
        return self._clock.now()

    async def send(self, request: Request, *, deadline: float | None = None) -> Response:
        """Send until it succeeds, cannot succeed, or must not be sent again.

        Args:
            request: what to send; its body is written once, and every attempt sends the same bytes.
            deadline: seconds for the whole call; None for the session's own.
        """
        call = Call(
            number=next(self._calls),
            request=request,
            body=None if request.json is None else encode(request.json),
            gate=self._gates.of(request.operation),
            budget=Budget(self._clock, self._options.timeout.deadline if deadline is None else deadline),
        )
        if not self._hooks:
            return await self._until_done(call)
        self._tell(RequestStarted(operation=request.operation, call=call.number))
        try:
            response = await self._until_done(call)
        except BaseException as error:
            self._tell(call.done(getattr(error, "status", None), 0, type(error).__name__))
            raise
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
        if isinstance(error, RateLimitedError):
            call.gate.hold(seconds)  # waited out there, with everyone else of this operation
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
        except (RateLimitedError, SessionStateError) as error:
            raise call.informed(error) from None
        outcome: Response | ShopError
        try:
            seconds = self._leave_now(call)
            response = await self._transport.send(
                call.request,
                call.body,
                seconds,
                lambda status, headers: self._hear(call, status, headers),
            )
        except ShopError as error:
            outcome = error
            logger.debug("%s: no answer after %.3f s", call.request.operation, call.budget.elapsed)
        else:
            if 200 <= response.status < 300:
                return response if call.attempts == 1 else attrs.evolve(response, attempts=call.attempts)
            outcome = self._refused(call, response)
        finally:
            self._gates.leave(call.gate)
        return call.informed(outcome)

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
        """Before the body is read: a 429 closes the gate now."""
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s: %d after %.3f s", call.request.operation, status, call.budget.elapsed)
        if status == 429:
            asked = retry_after(headers)
            call.gate.hold(min(self._retry.wait_initial, self._retry.retry_after_max) if asked is None else asked)
            if self._hooks and not call.gate.announced:
                call.gate.announced = True
                self._tell(GateClosed(operation=call.request.operation, seconds=call.gate.closed_for))

    def _refused(self, call: Call, response: Response) -> ShopError:
        said, scrub = parse_or_none(response.body), self._options.key.scrub
        error = error_from(call.request, response, said=said, attempts=call.attempts, scrub=scrub)
        error.retry_after = retry_after(response.headers)
        return error


async def _sleep(clock: Clock, seconds: float) -> None:
    await clock.sleep(seconds)
