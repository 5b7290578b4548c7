"""The walk: every row of a paginated list, once, in order, though rows vanish while it reads. Knows no HTTP.

Pages are counted by offset, so a row deleted elsewhere pulls every later row forward: what stood first on page 5 now
stands last on page 4, which was read already, and a plain loop never sees it. But the pages' ``total`` tells.
The walk keeps a frontier: how many rows of the list the pages taken so far cover, and the total at that time. Since
then at most ``shrunk`` rows can have moved, so every row that was not yet read still stands at, or behind, the
frontier less ``shrunk``. A page that begins at or before that place cannot have skipped anything and is taken. One
that begins behind it is dropped, with everything in flight, and the walk goes on from the page that holds that place.
What was delivered already is dropped there: by its place in the order, in O(1) memory, where rows are ordered by
their ids, else by a set of keys. A deletion that an insertion hides from ``total``, or one between the server's count
and its select, can still hide a row; no client can see those.

Pages may come back in any order while several are in flight. A page read early only shows rows further back than they
are now, which is a repeat and never a gap; the frontier compares totals in the order of delivery, and is safe for the
same reason.

A server is believed only as far as it answers what was asked: ``current_page`` and ``per_page`` must echo, rows must
be in order and no more than asked, what repeats an earlier page must be explained by a total that grew, an end must
leave nothing that the total counts, and 50 steps without a new row end the walk with an error.
"""

from collections.abc import AsyncGenerator, Callable, Hashable
from math import inf
from operator import gt, lt
from typing import Any, Generic, Literal, TypeVar

import attrs

from shopsdk._errors import PaginationError
from shopsdk._models import Page
from shopsdk._readahead import Read, ReadAhead

T = TypeVar("T")

_FRUITLESS_STEPS = 50
"""Steps without a new row that a walk puts up with."""
_EXPLAINED_STEPS = 1000
"""The same, where the total grew by as much as came again: a list may grow faster than a slow walk reads it."""
_LIKELY_CAUSE = "likely a proxy that drops the body of a GET: try AsyncSession(list_params='query')"


_NO_KEY = "the server ignored the page; or, if equal rows are normal here, give key= to tell them apart"
_SHORT = "the server has more than it shows"
_SWINGING = "the list changes faster than it is read, or the server miscounts"


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


def check_page_answer(page: Page[Any], asked: int, per_page: int) -> None:
    """Check that a page is the one that was asked for.

    Raises:
        PaginationError: the server answered another page, another size of page, or more rows than that.
    """
    if page.current_page == asked and page.per_page == per_page:
        if len(page.data) <= per_page:
            return
        raise _distrust(f"page {asked} with {per_page} rows a page", f"{len(page.data)} rows", "a bug there", asked)
    raise _distrust(
        f"page {asked} with {per_page} rows a page",
        f"page {page.current_page} with {page.per_page} rows a page",
        _LIKELY_CAUSE if page.current_page != asked else "a cap on the page size, or " + _LIKELY_CAUSE,
        asked,
    )


async def walk(plan: Walk[T]) -> AsyncGenerator[Page[T], None]:
    """Deliver the pages in order, each with its new rows only; pages without a new row are not delivered.

    Raises:
        PaginationError: the server cannot be trusted to have told everything.
        ShopError: whatever reading it raised, with ``page`` set, after every page before it was delivered.
    """
    state = _State(plan)
    reader = ReadAhead(plan.read, plan.decode, plan.concurrency)
    number = plan.start_page if plan.after is None else plan.after.current_page + 1
    try:
        while True:
            page = await reader.take(number, state.horizon)
            if state.is_clamped(page, number):
                return
            check_page_answer(page, number, plan.per_page)
            back = state.step_back(page, number)
            if back is not None:
                await reader.drop()
                number = back
                continue
            rows = state.accept(page, number)
            if not state.ended:
                await reader.send_off(number + 1, state.horizon)
            if rows:
                yield page if len(rows) == len(page.data) else attrs.evolve(page, data=rows)
            if state.ended:
                return
            number += 1
    finally:
        await reader.drop()


class _State(Generic[T]):
    """What the walk knows: its frontier, what it has delivered, and how long nothing new has come."""

    def __init__(self, plan: Walk[T]) -> None:
        self._plan = plan
        self._frontier: tuple[int, int] | None = None  # rows covered, and the total when they were
        self._furthest = 0  # rows covered at the most: below it, repeats are no wonder
        self._least_total: float = inf
        self._seen: set[Hashable] = set()
        self._last_key: Any = None
        self._previous: list[T] = []
        self._fruitless = [0, 0]  # steps without a new row: unexplained, explained
        self._pushed = 0  # how many delivered rows insertions explain on the pages ahead
        self._repeats = False
        self.ended = False
        self.horizon = 0
        if plan.after is not None:
            self._advance(plan.after, plan.after.current_page)
            self._remember(plan.after.data)

    def is_clamped(self, page: Page[T], number: int) -> bool:
        """Is this a server's way to say that there is no such page: its last one again?"""
        past_the_end = self._frontier is not None and page.current_page == page.last_page == number - 1
        if not past_the_end or self._unknown(page.data, number):
            return False
        self._check_end(page, number)
        return True

    def step_back(self, page: Page[T], number: int) -> int | None:
        """Say which page to go on from, where rows may have slipped in front of this one; None: take it."""
        if self._frontier is None:
            return None
        covered, total = self._frontier
        safe = max(0, covered - max(0, total - page.total))
        if (number - 1) * self._plan.per_page <= safe:
            return None
        if page.total >= self._least_total:  # a list that only shrinks ends by itself; totals that swing do not
            self._count_fruitless(number, f"totals that go up and down, now {page.total}", cause=_SWINGING)
        self._least_total = min(self._least_total, page.total)
        return safe // self._plan.per_page + 1

    def accept(self, page: Page[T], number: int) -> list[T]:
        """Take a page: advance the frontier, and return the rows that were not delivered before."""
        rows = self._unknown(page.data, number)
        offset = (number - 1) * self._plan.per_page
        more_expected = number <= page.last_page or offset < page.total
        if self._frontier is not None:
            # Rows inserted in front push as many delivered ones onto the pages ahead; more repeats than that are odd.
            self._pushed += max(0, page.total - self._frontier[1])
        if self._frontier is not None and offset >= self._furthest:
            self._pushed -= len(page.data) - len(rows)
            if not rows:
                got = "rows that were delivered before" if page.data else "no rows"
                self._count_fruitless(number, got, explained=bool(page.data) and self._pushed >= 0)
                self._repeats = self._repeats or (more_expected and self._pushed < 0)
                if self._plan.key is None and page.data and more_expected:
                    raise _distrust(f"page {number}", "the very rows of the page before", _NO_KEY, number)
        if rows:
            self._fruitless, self._repeats, self._pushed = [0, 0], False, max(0, self._pushed)
        self._advance(page, number)
        self._remember(rows)
        full = len(page.data) == self._plan.per_page
        at_last, all_there = number >= page.last_page, offset + self._plan.per_page >= page.total
        self.ended = at_last and (
            not page.data or (not full and all_there) or (not more_expected and not (rows and full))
        )
        if self.ended:
            self._check_end(page, number)
        return rows

    def _advance(self, page: Page[T], number: int) -> None:
        covered = number * self._plan.per_page
        self._frontier = (covered, page.total)
        self._furthest = max(self._furthest, covered)
        # A list whose last page is full is asked for one page more, so that may as well be on its way already.
        self.horizon = max(page.last_page, page.total // self._plan.per_page + 1)

    def _unknown(self, rows: list[T], number: int) -> list[T]:
        """Sift out what was delivered before."""
        key, order = self._plan.key, self._plan.order
        if key is None:
            return [] if rows == self._previous else rows
        keys: list[Any] = list(map(key, rows))
        if order is None:
            return [row for row, k in zip(rows, keys, strict=True) if k not in self._seen]
        before = lt if order == "asc" else gt
        if not all(map(before, keys, keys[1:])):
            raise _distrust(f"page {number} ordered by id, {order}", "rows in another order", _LIKELY_CAUSE, number)
        last = self._last_key
        if last is None or not rows or before(last, keys[0]):
            return rows
        return rows[next((i for i, k in enumerate(keys) if before(last, k)), len(keys)) :]

    def _remember(self, rows: list[T]) -> None:
        key = self._plan.key
        if key is None:
            self._previous = rows or self._previous
        elif self._plan.order is None:
            self._seen.update(map(key, rows))
        elif rows:
            self._last_key = key(rows[-1])

    def _count_fruitless(self, number: int, got: str, *, explained: bool = False, cause: str = _LIKELY_CAUSE) -> None:
        self._fruitless[explained] += 1
        if self._fruitless[explained] > (_EXPLAINED_STEPS if explained else _FRUITLESS_STEPS):
            raise _distrust(f"page {number}", f"{got}, again and again", cause, number)

    def _check_end(self, page: Page[T], number: int) -> None:
        if self._repeats:
            raise _distrust(f"page {number}", "the rows of an earlier page again", _LIKELY_CAUSE, number)
        if page.total > max(page.last_page, number - 1) * self._plan.per_page:
            raise _distrust(f"page {number}", f"no more rows, where the total says {page.total}", _SHORT, number)


def _distrust(asked: str, got: str, cause: str, page: int) -> PaginationError:
    error = PaginationError(f"asked for {asked}, got {got} ({cause})", asked=asked, got=got)
    error.page = page
    return error
