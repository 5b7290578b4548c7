"""Pages on their way to a walk: started early, delivered in order, let go when the walk ends. Knows no HTTP."""

import asyncio
from asyncio import Task
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

import attrs

from shopsdk._errors import SessionStateError, ShopError
from shopsdk._models import Page

T = TypeVar("T")

Read = Callable[[int], Task[Any]]
"""Start to read one page, by its number, in a task that ends with the session."""

_TURNS_TO_THE_WIRE = 2
"""Turns of the event loop from a new task to its request's last byte: aiohttp writes a body in a task of its own."""


@attrs.frozen(eq=False, repr=False)
class Arrival(Generic[T]):
    """A page that came, and when."""

    number: int
    """The page that was asked for."""
    page: Page[T]
    fallen: int
    """By how much the total had fallen in all, from one answer to the next, when this one came: the walk's clock."""


class ReadAhead(Generic[T]):
    """Pages on their way: at most ``concurrency`` of them, delivered in order, but looked at in the order they came."""

    def __init__(
        self, read: Read, decode: Callable[[Any], Page[T]], concurrency: int, total: int | None = None
    ) -> None:
        self._read = read
        self._decode = decode
        self._concurrency = concurrency
        self._total = total
        self._fallen = 0
        self._tasks: deque[tuple[int, Task[Any]]] = deque()
        self._came: deque[tuple[int, Task[Any]]] = deque()  # as they came, not looked at yet
        self._opened: dict[int, Arrival[T] | Exception] = {}

    async def send_off(self, first: int, last: int) -> None:
        """Ask for what comes next, up to page ``last``, and see the requests off before anything else is done."""
        if self._fill(first, last):
            for _ in range(_TURNS_TO_THE_WIRE):
                await asyncio.sleep(0)

    def _fill(self, first: int, last: int) -> bool:
        """Start reading, unless a page has failed; says whether there was anything to start."""
        following = self._tasks[-1][0] + 1 if self._tasks else first
        end = min(last, first + self._concurrency - 1) + 1
        if following >= end or any(task.done() and (task.cancelled() or task.exception()) for _, task in self._tasks):
            return False
        for number in range(following, end):
            task = self._read(number)
            task.add_done_callback(partial(self._note, number))
            self._tasks.append((number, task))
        return True

    def _note(self, number: int, task: Task[Any]) -> None:
        self._came.append((number, task))

    async def take(self, number: int, last: int) -> Arrival[T]:
        """Wait for the next page; the requests behind it, up to page ``last``, leave before it is decoded."""
        if not self._tasks:
            self._fill(number, number)
        _, task = self._tasks[0]
        if not task.done():
            await _ended(task)
        self._tasks.popleft()
        try:
            if task.cancelled():
                raise SessionStateError("the session was closed while this walk was under way")
            task.result()
            await self.send_off(number + 1, last)
            await self._open_up_to(number)
            opened = self._opened.pop(number)
            if isinstance(opened, Exception):
                raise opened
        except ShopError as error:
            error.page = number
            raise
        return opened

    async def _open_up_to(self, number: int) -> None:
        while True:
            if self._came:
                self._open(*self._came.popleft())
            if number in self._opened:
                return
            await asyncio.sleep(0)  # between two pages others have their turn

    def _open(self, number: int, task: Task[Any]) -> None:
        """Decode an answer, and see whether the list has shrunk since the one before; errors wait for their turn."""
        if task.cancelled() or task.exception() is not None:
            return
        try:
            page = self._decode(task.result())
        except Exception as error:  # noqa: BLE001 - raised in its turn
            self._opened[number] = error
            return
        if self._total is not None:
            self._fallen += max(0, self._total - page.total)
        self._total = page.total
        self._opened[number] = Arrival(number, page, self._fallen)

    async def turn_back(self) -> None:
        """Let go of all that is in flight or waits, but not of what its totals tell."""
        await self.drop()
        while self._came:
            self._open(*self._came.popleft())
            await asyncio.sleep(0)
        self._opened.clear()

    async def drop(self) -> None:
        """Cancel what is in flight and wait until it has let go of its connections."""
        tasks = [task for _, task in self._tasks]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _ended(task: Task[Any]) -> None:
    """Wait for a task. Not with ``await task``: our caller's cancellation and the task's must stay apart."""
    waiter = task.get_loop().create_future()

    def wake(_: object) -> None:
        if not waiter.done():
            waiter.set_result(None)

    task.add_done_callback(wake)
    try:
        await waiter
    finally:
        task.remove_done_callback(wake)
