"""The walk: every row of a paginated list, once, in order, though rows vanish while it reads. Knows no HTTP.

The README has the proof ("Why deletions lose nobody"). ``Progress`` keeps the frontier and decides which pages may be
taken. A page that begins behind the frontier is held. What is in flight is cancelled, and the walk goes on from the
page that holds the frontier. When it comes back to the held page, that one can mostly be taken as it is, so a list that
shrinks all the while is read to its end.

Several pages in flight come back in any order, so a page may be older than the frontier. Then deletions in between only
make it repeat rows. Insertions in front may hide some, and they are counted in the same way.
"""

from collections.abc import AsyncGenerator, Callable, Hashable
from typing import Any, Generic, Literal, TypeVar

import attrs

from shopsdk._models import Page
from shopsdk._pagination.prefetch import Prefetcher, Read
from shopsdk._pagination.progress import Arrival, Progress, check_page_answer

T = TypeVar("T")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Walk(Generic[T]):
    """What to walk, and how."""

    read: Read
    decode: Callable[[Any], Page[T]]
    """Make a page of what was read; called once the requests for the next pages have left."""
    per_page: int
    start_page: int
    concurrency: int
    key: Callable[[T], Hashable] | None
    """The key of a row; None if rows have none, and then repeats are not dropped."""
    order: Literal["asc", "desc"] | None
    """The order of the keys, which then are ints; None for any order."""
    after: Page[T] | None
    """Go on behind this page."""
    cause: str
    """The likely cause of an answer to another question, for messages."""


class Walker(Generic[T]):
    """A walk under way, as a plain object, so that each generator that users hold is the only one over it.

    When a loop shuts down, asyncio ends every generator by itself: one inside another would be ended twice.
    """

    def __init__(self, plan: Walk[T]) -> None:
        after = plan.after
        self._per_page, self._cause = plan.per_page, plan.cause
        self._progress = Progress(plan.per_page, plan.key, plan.order, after, plan.cause)
        self._prefetcher = Prefetcher(plan.read, plan.decode, plan.concurrency, None if after is None else after.total)
        self._number = plan.start_page if after is None else after.current_page + 1
        self._held_pages: list[Arrival[T]] = []  # until the pages before them have been read again

    async def next_page(self) -> Page[T] | None:
        """Find the next page with a new row, with its new rows only; None at the end, and then it is not called again.

        Raises:
            PaginationError: rows may be missing: the server ignored what was asked, or contradicts itself.
            ShopError: reading it failed; ``page`` is set, and every page before it was delivered.
        """
        while not self._progress.ended:
            arrival = await self._next_arrival()
            if arrival is None:
                return None
            rows = self._progress.accept(arrival)
            self._number += 1
            if not self._progress.ended:
                await self._prefetcher.prefetch(self._number, self._last_wanted())
            if rows:
                page = arrival.page
                return page if len(rows) == len(page.data) else attrs.evolve(page, data=rows)
        return None

    async def close(self) -> None:
        """Cancel the pages that are on their way."""
        await self._prefetcher.cancel()

    async def _next_arrival(self) -> Arrival[T] | None:
        """Find the next page that may be taken; None if the server says that there is none."""
        progress, held = self._progress, self._held_pages
        while True:
            arrival = held.pop() if held and held[-1].number == self._number else None
            if arrival is not None and not progress.may_skip(arrival):
                return arrival
            arrival = await self._prefetcher.get(self._number, self._last_wanted())
            if progress.is_clamped(arrival):
                return None
            check_page_answer(arrival.page, self._number, self._per_page, self._cause)
            if not progress.may_skip(arrival):
                return arrival
            held.append(arrival)
            await self._prefetcher.rewind()
            self._number = progress.step_back(arrival)

    def _last_wanted(self) -> int:
        return self._held_pages[-1].number - 1 if self._held_pages else self._progress.prefetch_until


async def walk(plan: Walk[T]) -> AsyncGenerator[Page[T], None]:
    """Deliver the pages in order, each with its new rows only; pages without a new row are not delivered.

    Raises:
        ShopError: as ``Walker.next_page``.
    """
    walker = Walker(plan)
    try:
        while (page := await walker.next_page()) is not None:
            yield page
    finally:
        await walker.close()


async def walk_rows(plan: Walk[T]) -> AsyncGenerator[T, None]:
    """Deliver the rows one by one.

    Raises:
        ShopError: as ``Walker.next_page``.
    """
    walker = Walker(plan)
    try:
        while (page := await walker.next_page()) is not None:
            for row in page.data:
                yield row
    finally:
        await walker.close()
