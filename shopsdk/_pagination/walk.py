"""The walk: every row of a paginated list, once, in order, though rows vanish while it reads. Knows no HTTP.

Pages are counted by offset, so a row deleted elsewhere pulls every later row forward: what stood first on page 5 now
stands last on page 4, which was read already, and a plain loop never sees it. But the pages' ``total`` tells.
The walk keeps a frontier: how many rows of the list the pages taken so far cover, and when that was. Its clock is the
total: every answer's is compared with that of the answer before, so the walk knows how many rows were deleted, and how
many inserted, between any two answers. Rows move forward by no more than the deletions since the frontier, so every row
that was not yet read still stands at, or behind, the frontier less their number. A page that begins at or before that
place cannot have skipped anything and is taken. One that begins behind it came too early: it is put aside, what is in
flight is let go, and the walk goes on from the page that holds that place. When it comes back to the page put aside,
that one is mostly good as it is, so a list that shrinks all the while is read to its end. What was delivered already is
dropped there: by its place in the order, in O(1) memory, where rows are ordered by their ids, else by a set of keys.

Several pages in flight come back in any order, so a page may be older than the frontier. Then deletions in between only
make it repeat rows; what may hide some is insertions in front, and those are counted just so.

What no client can see: a deletion that an insertion hides from the total between two answers, or one between the
server's count and its select; and answers that overtake one another on their way may swap what their totals tell.

A server is believed only as far as it answers what was asked: ``current_page`` and ``per_page`` must echo, rows must
be in order and no more than asked, what repeats an earlier page must be explained by a total that grew, an end must
leave nothing that the total counts, and 50 steps without a new row end the walk with an error.
"""

from collections.abc import AsyncGenerator, Callable, Hashable
from typing import Any, Generic, Literal, TypeVar

import attrs

from shopsdk._models import Page
from shopsdk._pagination.prefetch import Arrival, Read, ReadAhead
from shopsdk._pagination.progress import UNKNOWN_CAUSE, Progress, check_page_answer

T = TypeVar("T")


def _as_it_came(page: Any) -> Any:
    return page


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Walk(Generic[T]):
    """What to walk, and how."""

    read: Read
    decode: Callable[[Any], Page[T]] = _as_it_came
    """Make a page of what was read; it is done once the requests behind it have left."""
    per_page: int
    start_page: int = 1
    concurrency: int = 1
    key: Callable[[T], Hashable] | None = None
    """What tells rows apart; None: nothing does, and repeats are not dropped."""
    order: Literal["asc", "desc"] | None = None
    """How the keys, which then are ints, must run; None: any way."""
    after: Page[T] | None = None
    """Go on behind this page."""
    cause: str = UNKNOWN_CAUSE
    """What an answer to another question most likely comes from."""


class Walker(Generic[T]):
    """A walk under way, as a plain object: each generator that users hold is the only one over it.

    asyncio ends every generator by itself when its loop shuts down, so one inside another would be ended twice.
    """

    def __init__(self, plan: Walk[T]) -> None:
        after = plan.after
        self._per_page, self._cause = plan.per_page, plan.cause
        self._state = Progress(plan.per_page, plan.key, plan.order, after, plan.cause)
        self._reader = ReadAhead(plan.read, plan.decode, plan.concurrency, None if after is None else after.total)
        self._number = plan.start_page if after is None else after.current_page + 1
        self._early: list[Arrival[T]] = []  # put aside until the pages before them have been read again
        self._ended = False

    async def next_page(self) -> Page[T] | None:
        """Find the next page with a new row, with its new rows only; None at the end.

        Raises:
            PaginationError: the server cannot be trusted to have told everything.
            ShopError: whatever reading it raised, with ``page`` set, after every page before it was delivered.
        """
        while not self._ended:
            arrival = await self._next_arrival()
            if arrival is None:
                break
            rows = self._state.accept(arrival)
            self._number += 1
            self._ended = self._state.ended
            if not self._ended:
                await self._reader.send_off(self._number, self._last_wanted())
            if rows:
                page = arrival.page
                return page if len(rows) == len(page.data) else attrs.evolve(page, data=rows)
        self._ended = True
        return None

    async def close(self) -> None:
        """Let go of the pages that are on their way."""
        await self._reader.drop()

    async def _next_arrival(self) -> Arrival[T] | None:
        """Find the page that comes next and may be taken; None where the server says that there is none."""
        state, early = self._state, self._early
        while True:
            arrival = early.pop() if early and early[-1].number == self._number else None
            if arrival is not None and not state.may_skip(arrival):
                return arrival
            arrival = await self._reader.take(self._number, self._last_wanted())
            if state.is_clamped(arrival):
                return None
            check_page_answer(arrival.page, self._number, self._per_page, self._cause)
            if not state.may_skip(arrival):
                return arrival
            early.append(arrival)
            await self._reader.turn_back()
            self._number = state.step_back(arrival)

    def _last_wanted(self) -> int:
        return self._early[-1].number - 1 if self._early else self._state.horizon


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
