"""Requests for the next pages of a walk, in tasks: started early, delivered in order, cancelled when it ends."""

import asyncio
from asyncio import Task
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar

from shopsdk._errors import SessionStateError, ShopError
from shopsdk._models import Page
from shopsdk._pagination.progress import Arrival

T = TypeVar("T")

Read = Callable[[int], Task[Any]]
"""Start to read one page, by its number, in a task that ends with the session."""

_TURNS_TO_THE_WIRE = 2
"""Turns of the event loop from a new task to the last byte of its request: aiohttp writes a body in another task.

Without them, streaming falls from 1.02 to 0.87 of the rate of a bare loop, and a link of 50 ms at concurrency 16 takes
1.05 of the ideal time instead of 1.03.
"""
_WINDOW = 4
"""The pages that may be in flight or held for their turn, for each that may be in flight: a stalled page, such as one
whose packet was lost, then holds up only itself. One page at a time has no window, and one page ahead."""


class Prefetcher(Generic[T]):
    """The next pages, at most ``concurrency`` of them in flight. Delivered in order, decoded in order of arrival."""

    def __init__(self, read: Read, decode: Callable[[Any], Page[T]], concurrency: int, total: int | None) -> None:
        self._read = read
        self._decode = decode
        self._concurrency = concurrency
        self._window = 1 if concurrency == 1 else _WINDOW * concurrency
        self._total = total
        self._total_deleted = 0
        self._last = 0  # the last page that is wanted
        self._tasks: deque[tuple[int, Task[Any]]] = deque()  # in order of their numbers, done or not
        self._in_flight = 0
        self._failed = False
        self._unsent = False  # whether requests were started that may not have left
        self._arrived: deque[tuple[int, Task[Any]]] = deque()  # in order of arrival, not decoded yet
        self._decoded: dict[int, Arrival[T] | Exception] = {}

    async def prefetch(self, first: int, last: int) -> None:
        """Request the next pages, up to page ``last``, and return when the requests have left."""
        self._start(first, last)
        if self._unsent:
            self._unsent = False
            for _ in range(_TURNS_TO_THE_WIRE):
                await asyncio.sleep(0)

    def _start(self, first: int, last: int) -> None:
        """Start to read what the window has room for, unless a page has failed."""
        self._last = last
        following = self._tasks[-1][0] + 1 if self._tasks else first
        end = min(last, first + self._window - 1)
        while following <= end and self._in_flight < self._concurrency and not self._failed:
            task = self._read(following)
            task.add_done_callback(partial(self._on_arrival, following))
            self._tasks.append((following, task))
            self._in_flight += 1
            self._unsent = True
            following += 1

    def _on_arrival(self, number: int, task: Task[Any]) -> None:
        """Note an answer, and request another page in its place."""
        self._arrived.append((number, task))
        self._in_flight -= 1
        self._failed = self._failed or task.cancelled() or task.exception() is not None
        if self._tasks:  # else the walk has ended or gone back
            with suppress(SessionStateError):  # the session is closing; ``get`` says so
                self._start(self._tasks[0][0], self._last)

    async def get(self, number: int, last: int) -> Arrival[T]:
        """Wait for the next page; the requests behind it, up to page ``last``, leave before it is decoded.

        Raises:
            ShopError: reading or decoding it failed; ``page`` is set.
        """
        if not self._tasks:
            self._start(number, number)
        _, task = self._tasks[0]
        if not task.done():
            await asyncio.wait([task])  # not ``await task``: the caller's cancellation must not cancel the task
        self._tasks.popleft()
        try:
            if task.cancelled():
                raise SessionStateError("the session was closed while this walk was under way")
            task.result()
            await self.prefetch(number + 1, last)
            await self._decode_up_to(number)
            decoded = self._decoded.pop(number)
            if isinstance(decoded, Exception):
                raise decoded
        except ShopError as error:
            error.page = number
            raise
        return decoded

    async def _decode_up_to(self, number: int) -> None:
        while True:
            if self._arrived:
                self._decode_one(*self._arrived.popleft())
            if number in self._decoded:
                return
            await asyncio.sleep(0)  # let other tasks run between two pages

    def _decode_one(self, number: int, task: Task[Any]) -> None:
        """Decode an answer, and add the fall of the total since the one before; keep an error for ``get``."""
        if task.cancelled() or task.exception() is not None:
            return
        try:
            page = self._decode(task.result())
        except Exception as error:  # noqa: BLE001 - ``get`` raises it
            self._decoded[number] = error
            return
        if self._total is not None:
            self._total_deleted += max(0, self._total - page.total)
        self._total = page.total
        self._decoded[number] = Arrival(number, page, self._total_deleted)

    async def rewind(self) -> None:
        """Cancel what is in flight and drop what has arrived, but count the deletions that its totals show."""
        await self.cancel()
        while self._arrived:
            self._decode_one(*self._arrived.popleft())
            await asyncio.sleep(0)
        self._decoded.clear()

    async def cancel(self) -> None:
        """Cancel all that is in flight, and wait until its connections are free."""
        tasks = [task for _, task in self._tasks]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._in_flight:  # since Python 3.12, gather returns before the callbacks of tasks that were done
            await asyncio.sleep(0)
        self._failed = False
