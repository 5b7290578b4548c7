"""Counting requests, retries and waits of one export, by listening to what the session tells.

Many exports share a session, so the count must follow the tasks of one of them: a context variable does, since the
tasks of a walk inherit the context of whoever started it. Only a closed gate concerns all that wait at it.
"""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar

import attrs

from shopsdk import AsyncSession, AttemptStarted, Event, RateLimitPaused, RequestStarted, RetryScheduled


@attrs.define(eq=False)
class Tally:
    """What one export has cost so far."""

    on_wait: Callable[[float, bool], None]
    """Told of every wait: the seconds, and whether the shop's rate limit asked for it."""
    requests: int = 0
    retries: int = 0
    waited: float = 0.0
    _waits_until: float = 0.0
    _operations: set[str] = attrs.Factory(set[str])
    """What this export has asked for."""
    _closed_until: dict[str, tuple[float, bool]] = attrs.Factory(dict[str, tuple[float, bool]])
    """When the gates open that somebody closed, and whether the shop's rate limit closed them."""

    def hear(self, event: Event) -> None:
        """Count what is this export's."""
        mine = _current.get() is self
        if isinstance(event, RateLimitPaused):
            rate_limited = event.status == 429
            self._closed_until[event.operation] = time.monotonic() + event.seconds, rate_limited
            if not mine and event.operation in self._operations:
                self._wait(event.seconds, rate_limited=rate_limited)
        elif not mine:
            return
        elif isinstance(event, RequestStarted):
            self._operations.add(event.operation)
            closed_until, rate_limited = self._closed_until.get(event.operation, (0.0, False))
            if closed_until > max(time.monotonic(), self._waits_until):
                self._wait(closed_until - time.monotonic(), rate_limited=rate_limited)
        elif isinstance(event, AttemptStarted):
            self.requests += 1
        elif isinstance(event, RetryScheduled):
            self.retries += 1
            self._wait(event.wait, rate_limited=event.reason == "RateLimitedError")

    def _wait(self, seconds: float, *, rate_limited: bool) -> None:
        """Pages wait side by side: only what a wait adds to those before it has taken time."""
        now = time.monotonic()
        begins, self._waits_until = max(now, self._waits_until), max(now + seconds, self._waits_until)
        self.waited += self._waits_until - begins if self._waits_until > begins else 0.0
        self.on_wait(seconds, rate_limited)


_current: ContextVar[Tally | None] = ContextVar("shopsdk_export_tally", default=None)


@contextmanager
def counting(session: AsyncSession, on_wait: Callable[[float, bool], None]) -> Generator[Tally]:
    """Count what the tasks started within send and wait."""
    tally = Tally(on_wait)
    token = _current.set(tally)
    try:
        with session.subscribe(tally.hear):
            yield tally
    finally:
        _current.reset(token)
