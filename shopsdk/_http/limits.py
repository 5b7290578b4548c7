"""Limits on sending: slots for requests in flight, the session's own rate limit, and a limiter for each operation.

A 429 blocks its operation for all calls, and so does a 503 whose wait the policy allows. No call of it starts
until the server's wait is over; then they start one after the other. Other operations go on, since limits vary by
endpoint. A call asks the operation's limiter last, and again on waking, since it may have been blocked meanwhile.
"""

import asyncio
from collections.abc import Callable
from math import inf

import attrs

from shopsdk._config import Clock, Pause, RateLimit
from shopsdk._errors import NotSentError, RateLimitedError, ResponseError, ServerError

_MAX_BLOCK = 3600.0
"""The longest block, in seconds, even if the server asks for more."""
_MAX_LIMITERS = 1000
"""Limiters that a session keeps before it forgets the free ones."""
_EPSILON = 0.001
"""Seconds within which two times count as equal."""
_SPACING = 0.05
"""Seconds on average between two calls that leave an operation's queue."""


@attrs.define(eq=False, repr=False)
class OperationLimiter:
    """The limiter of one operation, which is free, or blocked until a moment."""

    clock: Clock
    pause: Pause
    blocked_until: float = 0.0
    announced: bool = False
    """Whether an event has told of the block, and none yet of its end."""
    _next_leave: float = 0.0
    _status: int = 429

    def block_for(self, seconds: float, status: int) -> None:
        """Block it for at least so many seconds, because of an answer of this status; a longer block stays."""
        until = self.clock.now() + min(seconds, _MAX_BLOCK)
        if until > self.blocked_until:
            self.blocked_until = self._next_leave = until
            self._status = status

    @property
    def blocked_for(self) -> float:
        """Seconds until it is free; 0 or less if it is."""
        return self.blocked_until - self.clock.now()

    async def wait(self, longest: float, remaining: Callable[[], float]) -> None:
        """Wait until it is free; each call leaves a little after the one before.

        Raises:
            RateLimitedError: it is blocked for more than ``longest`` seconds, or the turn comes after ``remaining()``.
            ServerError: the same, where a 503 blocked it.
        """
        while self.blocked_for > 0:
            turn = self._next_leave - self.clock.now()
            if self.blocked_for > longest + _EPSILON or turn > remaining() + _EPSILON:
                raise _too_long(turn, self._status)
            until, step = self.blocked_until, 2 * _SPACING * self.clock.random()
            self._next_leave += step
            try:
                await self.pause(turn)
                while self.blocked_until == until and self.blocked_for > 0:  # a timer may ring early; the turn is kept
                    await self.pause(self.blocked_for)
            except BaseException:
                if self.blocked_until == until:  # give the place in the queue back
                    self._next_leave -= step
                raise


@attrs.define(eq=False, repr=False)
class Deadline:
    """The time that one call may take, from its first slot on; queues for a slot do not count."""

    clock: Clock
    seconds: float
    within: "Deadline | None" = None
    """The deadline of the search that the call is a part of."""
    started: float | None = None
    _queue_time: float = 0.0

    def exclude_queue_time(self, seconds: float) -> None:
        """Exclude a wait for a slot that has just been taken; the first slot starts the time."""
        if self.within is not None:
            self.within.exclude_queue_time(seconds)
        if self.started is None:
            self.started = self.clock.now()
        else:
            self._queue_time += seconds

    @property
    def elapsed(self) -> float:
        """Seconds since the first slot, queues included."""
        return 0.0 if self.started is None else self.clock.now() - self.started

    @property
    def remaining(self) -> float:
        """Seconds left."""
        remaining = self.seconds + self._queue_time - self.elapsed
        return remaining if self.within is None else min(remaining, self.within.remaining)


class Limiter:
    """All limits of one session on one event loop."""

    def __init__(
        self,
        max_in_flight: int,
        rate_limit: RateLimit | None,
        clock: Clock,
        pause: Pause,
    ) -> None:
        self._slots = asyncio.Semaphore(max_in_flight)
        self._spacing = 0.0 if rate_limit is None else rate_limit.per_seconds / rate_limit.max_requests
        self._next_turn = -inf
        self._clock = clock
        self._pause = pause
        self._operations: dict[str, OperationLimiter] = {}

    def of(self, operation: str) -> OperationLimiter:
        """Find the limiter of an operation (verb and route template). Ask each time: a free one may be forgotten."""
        limiter = self._operations.get(operation)
        if limiter is None:
            if len(self._operations) >= _MAX_LIMITERS:  # routes may hold names
                self._operations = {name: kept for name, kept in self._operations.items() if kept.blocked_for > 0}
            limiter = self._operations[operation] = OperationLimiter(self._clock, self._pause)
        return limiter

    async def acquire(self, operation: str, deadline: Deadline, longest: float) -> None:
        """Wait for a slot, a turn by the session's own rate limit, and the operation; ``release`` gives the slot back.

        The slot is given back while the operation is blocked, so that others can use it. A block of more than
        ``longest`` seconds, or than the deadline leaves, raises at once.

        Raises:
            RateLimitedError: nothing was sent; the operation is blocked for longer than this call may wait.
            ServerError: the same, where a 503 asked for the wait.
            NotSentError: nothing was sent; the turn by the session's own rate limit comes after the deadline.
        """
        while True:
            asked_at = self._clock.now()
            await self._slots.acquire()
            deadline.exclude_queue_time(self._clock.now() - asked_at)
            try:
                if self.of(operation).blocked_for <= 0:
                    await self._take_turn(deadline)
                limiter = self.of(operation)
                if limiter.blocked_for <= 0:
                    return
            except BaseException:
                self._slots.release()
                raise
            self._slots.release()  # for other operations
            await limiter.wait(longest, lambda: deadline.remaining)

    async def _take_turn(self, deadline: Deadline) -> None:
        """Wait for a turn by the session's own rate limit. Turns are ``_spacing`` apart, also after a lull."""
        if not self._spacing:
            return
        turn = max(self._clock.now(), self._next_turn)
        if turn - self._clock.now() > deadline.remaining:
            raise NotSentError("not sent: the session's own rate limit takes longer than the deadline")
        self._next_turn = following = turn + self._spacing
        try:
            while (wait := turn - self._clock.now()) > 0:
                await self._pause(wait)
        except BaseException:
            if self._next_turn == following:  # the last in the queue: give the turn back
                self._next_turn = turn
            raise

    def release(self) -> None:
        """Give the slot back."""
        self._slots.release()


def _too_long(seconds: float, status: int) -> ResponseError:
    kind = RateLimitedError if status == 429 else ServerError
    message = f"not sent: an earlier answer to this operation asks to wait {seconds:.1f} s more"
    return kind(message, status=status, retry_after=seconds)
