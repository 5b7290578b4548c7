"""Who may send, and when: slots for requests in flight, the optional rate limit, and one gate per operation.

A 429 to one task is news for all that do the same, and so is a 503 that says for how long: the gate of that operation
closes, nobody passes until the server's wait is over, and then they leave one after the other. Limits vary by endpoint,
so other operations go on. The gate is asked last and again on waking, since it may have closed, or moved, in the
meantime.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from math import inf
from random import random
from weakref import WeakValueDictionary

import attrs
from attrs.validators import ge, gt

from shopsdk._config import finite_number, whole_number
from shopsdk._errors import NotSentError, RateLimitedError, ResponseError, ServerError

_LONGEST_HOLD = 3600.0
"""Seconds; a server that asks for more is believed, but asked again after this long."""
_MANY = 1000
"""Gates that a session remembers before it forgets the open ones."""
_A_MOMENT = 0.001
"""Seconds that no comparison of times is about."""
_SPACING = 0.05
"""Seconds between two tasks that leave a gate, on the average."""

Pause = Callable[[float], Awaitable[object]]
"""Waits so many seconds; what it raises ends the call."""


@attrs.frozen
class RateLimit:
    """At most this many requests in that many seconds, spaced evenly, without bursts."""

    max_requests: int = attrs.field(validator=[whole_number, ge(1)])
    """Requests, at least 1."""
    per_seconds: float = attrs.field(default=1.0, validator=[finite_number, gt(0)])
    """Seconds, above 0."""


@attrs.define(eq=False, repr=False)
class Clock:
    """Time and chance, one for each session, so that a test can put its own in their place.

    It rules the waits: backoff, Retry-After, the session's own rate limit, deadlines. Timeouts of requests are the
    event loop's own.
    """

    now: Callable[[], float] = time.monotonic
    """Seconds since any moment, never running back."""
    sleep: Pause = asyncio.sleep
    """Waits so many seconds; what it raises ends the call."""
    random: Callable[[], float] = random
    """A number from 0 up to, but not including, 1."""


@attrs.define(eq=False, repr=False)
class Gate:
    """One operation's gate: open, or closed until a moment."""

    clock: Clock
    pause: Pause
    opens_at: float = 0.0
    announced: bool = False
    """Has somebody been told that it is closed, and not yet that it is open?"""
    name: str = ""
    """Of the operation, by verb and route template."""
    _leaves_at: float = 0.0
    _status: int = 429

    def hold(self, seconds: float, status: int = 429) -> None:
        """Close for at least this long, by an answer of this status; it never opens earlier than it was told before."""
        until = self.clock.now() + min(seconds, _LONGEST_HOLD)
        if until > self.opens_at:
            self.opens_at = self._leaves_at = until
            self._status = status

    @property
    def closed_for(self) -> float:
        """Seconds until it opens; 0 or less while it is open."""
        return self.opens_at - self.clock.now()

    async def wait(self, longest: float = inf, left: Callable[[], float] = lambda: inf) -> None:
        """Wait until it is open; who waited leaves a little after who came before.

        Raises:
            RateLimitedError: it stays closed for more than ``longest`` seconds, or the turn comes after ``left()``.
            ServerError: the same, where a 503 closed it.
        """
        while self.closed_for > 0:
            turn = self._leaves_at - self.clock.now()
            if self.closed_for > longest + _A_MOMENT or turn > left() + _A_MOMENT:
                raise _refusal(turn, self._status)
            opens_at, step = self.opens_at, 2 * _SPACING * self.clock.random()
            self._leaves_at += step
            try:
                await self.pause(turn)
                while self.opens_at == opens_at and self.closed_for > 0:  # a timer may ring early: the turn is kept
                    await self.pause(self.closed_for)
            except BaseException:
                if self.opens_at == opens_at:  # who comes later need not wait for somebody who has left the queue
                    self._leaves_at -= step
                raise


@attrs.define(eq=False, repr=False)
class Budget:
    """The time that one call may take, counted from the moment it has its first slot; queues for a slot are free."""

    clock: Clock
    seconds: float
    within: "Budget | None" = None
    """That of a search, of which the call is a part."""
    started: float | None = None
    _excused: float = 0.0

    def resume(self, queued: float) -> None:
        """A slot was taken after so many seconds in the queue."""
        if self.within is not None:
            self.within.resume(queued)
        if self.started is None:
            self.started = self.clock.now()
        else:
            self._excused += queued

    @property
    def elapsed(self) -> float:
        """Seconds since the first slot, queues included."""
        return 0.0 if self.started is None else self.clock.now() - self.started

    @property
    def left(self) -> float:
        """Seconds left."""
        left = self.seconds + self._excused - self.elapsed
        return left if self.within is None else min(left, self.within.left)


class Gates:
    """What one session, on one event loop, sends through."""

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
        self._gates: WeakValueDictionary[str, Gate] = WeakValueDictionary()
        self._kept: dict[str, Gate] = {}

    def of(self, operation: str) -> Gate:
        """Find the gate of an operation (verb and route template)."""
        gate = self._gates.get(operation)
        if gate is None:
            if len(self._kept) >= _MANY:  # routes with names in them: what stands open lives while a call is under way
                self._kept = {name: gate for name, gate in self._kept.items() if gate.closed_for > 0}
            gate = self._gates[operation] = self._kept[operation] = Gate(self._clock, self._pause, name=operation)
        return gate

    async def enter(self, gate: Gate, budget: Budget, longest: float) -> None:
        """Take a slot, then pass the rate limit and the gate; who entered must ``leave`` it.

        The slot is given back while the gate is closed, so that a held operation starves no other. A gate that stays
        closed for longer than ``longest`` seconds, or than the budget lasts, raises at once.

        Raises:
            RateLimitedError: nothing was sent; the operation has to wait for longer than this call may.
            ServerError: the same, where a 503 asked for the wait.
            NotSentError: nothing was sent; the turn by the session's own rate limit comes later than this call may.
        """
        while True:
            asked_at = self._clock.now()
            await self._slots.acquire()
            budget.resume(self._clock.now() - asked_at)
            try:
                if gate.closed_for <= 0:
                    await self._take_turn(budget)
                if gate.closed_for <= 0:
                    return
            except BaseException:
                self._slots.release()
                raise
            self._slots.release()
            await gate.wait(longest, lambda: budget.left)

    async def _take_turn(self, budget: Budget) -> None:
        """Wait for a turn by the session's own rate limit; turns are ``_spacing`` apart, with no burst after a lull."""
        if not self._spacing:
            return
        turn = max(self._clock.now(), self._next_turn)
        if turn - self._clock.now() > budget.left:
            raise NotSentError("not sent: the session's own rate limit takes longer than the deadline")
        self._next_turn = following = turn + self._spacing
        try:
            while (wait := turn - self._clock.now()) > 0:
                await self._pause(wait)
        except BaseException:
            if self._next_turn == following:  # nobody has queued behind: the turn can be given back
                self._next_turn = turn
            raise

    def leave(self, gate: Gate) -> None:
        """Give the slot back."""
        self._slots.release()
        if gate.closed_for > 0:
            self._kept[gate.name] = gate  # it may have been forgotten while this call was under way


def _refusal(seconds: float, status: int) -> ResponseError:
    kind = RateLimitedError if status == 429 else ServerError
    error = kind(
        f"not sent: an earlier answer to this operation asks for {seconds:.1f} s more of waiting", status=status
    )
    error.retry_after = seconds
    return error
