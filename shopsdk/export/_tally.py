"""Counting requests, retries and waits of one export, by listening to what the session logs.

Many exports share a session, so the count must follow the tasks of one of them: a context variable does, since the
tasks of a walk inherit the context of whoever started it. The logger is opened for DEBUG while somebody counts; a
filter on it passes on only what it would have passed on before, so nobody's log grows.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakSet

import attrs

_logger = logging.getLogger("shopsdk")


@attrs.define(eq=False)
class Tally:
    """What one export has cost so far."""

    on_wait: Callable[[float, bool], None]
    """Told of every wait: the seconds, and whether the shop's rate limit asked for it."""
    requests: int = 0
    retries: int = 0
    waited: float = 0.0
    _waits_until: float = 0.0
    _answered: "WeakSet[asyncio.Task[Any]]" = attrs.Factory(WeakSet["asyncio.Task[Any]"])

    def answer(self) -> None:
        """An attempt was answered, with whatever."""
        self.requests += 1
        if (task := asyncio.current_task()) is not None:
            self._answered.add(task)

    def retry(self, reason: str, seconds: float) -> None:
        """An attempt failed and will be repeated; if nothing was answered, this is the first that is heard of it."""
        task = asyncio.current_task()
        if task is not None and task in self._answered:
            self._answered.discard(task)
        else:
            self.requests += 1
        self.retries += 1
        now = time.monotonic()
        begins, self._waits_until = max(now, self._waits_until), max(now + seconds, self._waits_until)
        self.waited += self._waits_until - begins if self._waits_until > begins else 0.0
        self.on_wait(seconds, reason == "RateLimitedError")


_current: ContextVar[Tally | None] = ContextVar("shopsdk_export_tally", default=None)


class _Listener(logging.Filter):
    """Counts, and keeps from the handlers what they would not have seen before."""

    def __init__(self) -> None:
        super().__init__()
        self.listening = 0
        self.lock = threading.Lock()
        self.level_before = logging.NOTSET
        self.passes = logging.WARNING

    def filter(self, record: logging.LogRecord) -> bool:
        tally = _current.get()
        if tally is not None and isinstance(record.args, tuple) and len(record.args) == 3:
            _, second, third = record.args
            if record.levelno == logging.DEBUG and isinstance(second, int):
                tally.answer()
            elif record.levelno == logging.INFO and isinstance(second, str) and isinstance(third, float):
                tally.retry(second, third)
        return record.levelno >= self.passes


_listener = _Listener()


@contextmanager
def counting(on_wait: Callable[[float, bool], None]) -> Generator[Tally]:
    """Count what the tasks started within send and wait."""
    tally = Tally(on_wait)
    _listen()
    token = _current.set(tally)
    try:
        yield tally
    finally:
        _current.reset(token)
        _leave()


def _listen() -> None:
    with _listener.lock:
        _listener.listening += 1
        if _listener.listening == 1:
            _listener.level_before, _listener.passes = _logger.level, _logger.getEffectiveLevel()
            _logger.addFilter(_listener)
            _logger.setLevel(logging.DEBUG)


def _leave() -> None:
    with _listener.lock:
        _listener.listening -= 1
        if _listener.listening == 0:
            _logger.removeFilter(_listener)
            _logger.setLevel(_listener.level_before)
