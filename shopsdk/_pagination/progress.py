"""How far a walk has come, and whether a page may be taken; ``_pages`` tells the whole of it."""

from collections.abc import Callable, Hashable
from math import inf
from operator import gt, lt
from typing import Any, Generic, Literal, TypeVar

import attrs

from shopsdk._errors import PaginationError
from shopsdk._models import Page
from shopsdk._pagination.prefetch import Arrival

T = TypeVar("T")

_FRUITLESS_STEPS = 50
"""Steps without a new row that a walk puts up with."""
_EXPLAINED_STEPS = 1000
"""The same, where the total grew by as much as came again: a list may grow faster than a slow walk reads it."""
UNKNOWN_CAUSE = "the server, or something before it, ignored what was asked"
"""What stands behind an odd answer where nobody knows how questions travel."""

_NO_KEY = "the server ignored the page; or, if equal rows are normal here, give key= to tell them apart"
_SHORT = "the server has more than it shows"
_SWINGING = "the list changes faster than it is read, or the server miscounts"


def check_page_answer(page: Page[Any], asked: int, per_page: int, cause: str) -> None:
    """Check that a page is the one that was asked for; ``cause`` is the likely one where it is not.

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
        cause if page.current_page != asked else "a cap on the page size, or " + cause,
        asked,
    )


@attrs.frozen(eq=False, repr=False)
class _Frontier:
    covered: int
    """Rows from the head of the list that were read."""
    total: int
    fallen: int
    """See ``Arrival``."""


class Progress(Generic[T]):
    """What the walk knows: its frontier, what it has delivered, and how long nothing new has come."""

    def __init__(
        self,
        per_page: int,
        key: Callable[[T], Any] | None,
        order: Literal["asc", "desc"] | None,
        after: Page[T] | None,
        cause: str = UNKNOWN_CAUSE,
    ) -> None:
        self._per_page = per_page
        self._cause = cause
        self._key = key
        self._before = {"asc": lt, "desc": gt}.get(order or "")
        self._frontier: _Frontier | None = None
        self._furthest = 0  # rows covered at the most: below it, repeats are no wonder
        self._least_total: float = inf
        self._seen: set[Hashable] = set()
        self._last_key: Any = None
        self._began: Any = None  # the first key of the page before
        self._previous: list[T] = []
        self._fruitless = [0, 0]  # steps without a new row: unexplained, explained
        self._pushed = 0  # how many delivered rows insertions explain on the pages ahead
        self._repeats = False
        self.ended = False
        self.horizon = 0
        if after is not None:
            self._advance(Arrival(after.current_page, after, 0))
            self._remember(after.data)

    def is_clamped(self, arrival: Arrival[T]) -> bool:
        """Is this a server's way to say that there is no such page: its last one again?"""
        page, number = arrival.page, arrival.number
        past_the_end = self._frontier is not None and page.current_page == page.last_page == number - 1
        if not past_the_end or self._unknown(page.data, number):
            return False
        self._check_end(page, number)
        return True

    def may_skip(self, arrival: Arrival[T]) -> bool:
        """May rows have slipped in front of this page that no page has shown yet?"""
        return (arrival.number - 1) * self._per_page > self._safe(arrival)

    def _safe(self, arrival: Arrival[T]) -> float:
        """Count the rows from the head of the list, as it was for this page, that were surely read."""
        if self._frontier is None:
            return inf
        deleted, inserted = self._since(self._frontier, arrival)
        return max(0, self._frontier.covered - max(0, deleted, -inserted))

    @staticmethod
    def _since(frontier: _Frontier, arrival: Arrival[T]) -> tuple[int, int]:
        """Count the rows deleted and inserted since the frontier; both are negative where the page is the older."""
        deleted = arrival.fallen - frontier.fallen
        return deleted, arrival.page.total - frontier.total + deleted

    def step_back(self, arrival: Arrival[T]) -> int:
        """Say which page to go on from, where rows may have slipped in front of this one."""
        total = arrival.page.total
        # A list that shrinks ends some day; one that swings may go on for ever.
        got, shrinks = f"totals that go up and down, now {total}", total < self._least_total
        self._count_fruitless(arrival.number, got, explained=shrinks, cause=_SWINGING)
        self._least_total = min(self._least_total, total)
        return int(self._safe(arrival)) // self._per_page + 1

    def accept(self, arrival: Arrival[T]) -> list[T]:
        """Take a page: advance the frontier, and return the rows that were not delivered before."""
        page, number = arrival.page, arrival.number
        rows = self._unknown(page.data, number)
        offset = (number - 1) * self._per_page
        more_expected = number <= page.last_page or offset < page.total
        if self._frontier is not None:
            deleted, inserted = self._since(self._frontier, arrival)
            # Each pushes as many delivered rows onto the pages ahead; more repeats than that are odd.
            self._pushed += max(0, inserted, -deleted)
        if self._frontier is not None and offset >= self._furthest:
            self._pushed -= len(page.data) - len(rows)
            if not rows:
                self._count_repeats(page, number, more_expected=more_expected)
        if rows:
            self._fruitless, self._repeats, self._pushed = [0, 0], False, max(0, self._pushed)
        self._advance(arrival)
        self._remember(rows)
        full = len(page.data) == self._per_page
        at_last, all_there = number >= page.last_page, offset + self._per_page >= page.total
        self.ended = at_last and (
            not page.data or (not full and all_there) or (not more_expected and not (rows and full))
        )
        if self.ended:
            self._check_end(page, number)
        return rows

    def _count_repeats(self, page: Page[T], number: int, *, more_expected: bool) -> None:
        """A page without a new row, where new ones were to be expected."""
        explained = self._pushed >= 0
        got = "rows that were delivered before" if page.data else "no rows"
        self._count_fruitless(number, got, explained=bool(page.data) and explained)
        self._repeats = self._repeats or (more_expected and not explained and not self._goes_on(page.data))
        if self._key is None and page.data and more_expected:
            raise _distrust(f"page {number}", "the very rows of the page before", _NO_KEY, number)

    def _goes_on(self, rows: list[T]) -> bool:
        """Do they begin behind where the page before began? Rows pushed on do, a page sent again does not."""
        if self._key is None or self._before is None or not rows or self._began is None:
            return False
        return bool(self._before(self._began, self._key(rows[0])))

    def _advance(self, arrival: Arrival[T]) -> None:
        page, covered = arrival.page, arrival.number * self._per_page
        self._frontier = _Frontier(covered, page.total, arrival.fallen)
        self._furthest = max(self._furthest, covered)
        if self._key is not None and page.data:
            self._began = self._key(page.data[0])
        # A list whose last page is full is asked for one page more, so that may as well be on its way already.
        self.horizon = max(page.last_page, page.total // self._per_page + 1)

    def _unknown(self, rows: list[T], number: int) -> list[T]:
        """Sift out what was delivered before."""
        key, before = self._key, self._before
        if key is None:
            return [] if rows == self._previous else rows
        keys: list[Any] = list(map(key, rows))
        if before is None:
            return [row for row, k in zip(rows, keys, strict=True) if k not in self._seen]
        if not all(map(before, keys, keys[1:])):
            way = "asc" if before is lt else "desc"
            raise _distrust(f"page {number} ordered by id, {way}", "rows in another order", self._cause, number)
        last = self._last_key
        if last is None or not rows or before(last, keys[0]):
            return rows
        return rows[next((i for i, k in enumerate(keys) if before(last, k)), len(keys)) :]

    def _remember(self, rows: list[T]) -> None:
        key = self._key
        if key is None:
            self._previous = rows or self._previous
        elif self._before is None:
            self._seen.update(map(key, rows))
        elif rows:
            self._last_key = key(rows[-1])

    def _count_fruitless(self, number: int, got: str, *, explained: bool = False, cause: str = "") -> None:
        self._fruitless[explained] += 1
        if self._fruitless[explained] > (_EXPLAINED_STEPS if explained else _FRUITLESS_STEPS):
            raise _distrust(f"page {number}", f"{got}, again and again", cause or self._cause, number)

    def _check_end(self, page: Page[T], number: int) -> None:
        if self._repeats:
            raise _distrust(f"page {number}", "the rows of an earlier page again", self._cause, number)
        if page.total > max(page.last_page, number - 1) * self._per_page:
            raise _distrust(f"page {number}", f"no more rows, where the total says {page.total}", _SHORT, number)


def _distrust(asked: str, got: str, cause: str, page: int) -> PaginationError:
    error = PaginationError(f"asked for {asked}, got {got} ({cause})", asked=asked, got=got)
    error.page = page
    return error
