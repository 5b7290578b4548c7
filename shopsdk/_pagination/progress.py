"""The decisions of a walk: the pages it may take, and their new rows. Pure: no tasks; ``walk`` has the proof."""

from collections.abc import Callable, Hashable
from math import inf
from operator import gt, lt
from typing import Any, Generic, Literal, Protocol, TypeVar

import attrs

from shopsdk._errors import PaginationError
from shopsdk._models import Page

T = TypeVar("T")

_MAX_STALLED_PAGES = 50
"""Consecutive pages without a new row after which a walk ends."""
_MAX_EXPLAINED_PAGES = 1000
"""The same, where a total that grew explains them: a list may grow faster than a slow walk reads it."""

_NO_KEY = "the server ignored the page; or, if equal rows are normal here, give key= to tell them apart"
_SHORT = "the server has more rows than it shows"
_SWINGING = "the list changes faster than it is read, or the server miscounts"


def check_page_answer(page: Page[Any], asked: int, per_page: int, cause: str) -> None:
    """Check that a page is the one that was asked for; ``cause`` is the likely one if it is not.

    Raises:
        PaginationError: the server answered another page, another size of page, or more rows than that.
    """
    if page.current_page == asked and page.per_page == per_page:
        if len(page.data) <= per_page:
            return
        raise _pagination_error(
            f"page {asked} with {per_page} rows a page", f"{len(page.data)} rows", "a bug of the server", asked
        )
    raise _pagination_error(
        f"page {asked} with {per_page} rows a page",
        f"page {page.current_page} with {page.per_page} rows a page",
        cause if page.current_page != asked else "a cap on the page size, or " + cause,
        asked,
    )


@attrs.frozen(eq=False, repr=False)
class Arrival(Generic[T]):
    """A page that came, and how many rows had been deleted by then."""

    number: int
    """The page that was asked for."""
    page: Page[T]
    total_deleted: int
    """The sum of all falls of the total, from answer to answer, up to this one."""


@attrs.frozen(eq=False, repr=False)
class Frontier:
    """How many rows from the head of the list were read, and what the total was then."""

    covered: int
    """Rows from the head of the list that were read."""
    total: int
    total_deleted: int
    """See ``Arrival``."""

    def changes_until(self, arrival: Arrival[Any]) -> tuple[int, int]:
        """Count the rows deleted and inserted between it and a page; both are negative where the page is older."""
        deleted = arrival.total_deleted - self.total_deleted
        return deleted, arrival.page.total - self.total + deleted

    def surely_read(self, arrival: Arrival[Any]) -> float:
        """Count the rows from the head of the list, as it was for a page, that were surely read."""
        deleted, inserted = self.changes_until(arrival)
        return max(0, self.covered - max(0, deleted, -inserted))


class _Repeats(Protocol[T]):
    """The rule by which rows that were delivered before are dropped."""

    def new_rows(self, rows: list[T], number: int, /) -> list[T]:
        """The rows of page ``number`` that were not delivered before."""
        ...

    def mark_seen(self, rows: list[T], new_rows: list[T], /) -> None:
        """Note the rows of a page that was taken, and those of them that were delivered."""
        ...

    def moved_on(self, rows: list[T], /) -> bool:
        """Whether rows begin behind the first row of the page before, so that the server moved on."""
        ...


class _OrderedKeys(Generic[T]):
    """Drops repeats by the last key, in O(1) memory, where the keys rise or fall strictly."""

    def __init__(self, key: Callable[[T], Any], order: Literal["asc", "desc"], cause: str) -> None:
        self._key = key
        self._before = lt if order == "asc" else gt
        self._order = order
        self._cause = cause
        self._last_key: Any = None
        self._previous_first_key: Any = None

    def new_rows(self, rows: list[T], number: int, /) -> list[T]:
        before, last = self._before, self._last_key
        keys: list[Any] = list(map(self._key, rows))
        if not all(map(before, keys, keys[1:])):
            asked = f"page {number} ordered by id, {self._order}"
            raise _pagination_error(asked, "rows out of order", self._cause, number)
        if last is None or not rows or before(last, keys[0]):
            return rows
        return rows[next((i for i, key in enumerate(keys) if before(last, key)), len(keys)) :]

    def mark_seen(self, rows: list[T], new_rows: list[T], /) -> None:
        if rows:
            self._previous_first_key = self._key(rows[0])
        if new_rows:
            self._last_key = self._key(new_rows[-1])

    def moved_on(self, rows: list[T], /) -> bool:
        previous = self._previous_first_key
        return bool(rows) and previous is not None and bool(self._before(previous, self._key(rows[0])))


class _KnownKeys(Generic[T]):
    """Drops repeats by a set of all keys, where rows are in any order."""

    def __init__(self, key: Callable[[T], Hashable]) -> None:
        self._key = key
        self._keys: set[Hashable] = set()

    def new_rows(self, rows: list[T], _number: int, /) -> list[T]:
        return [row for row, key in zip(rows, map(self._key, rows), strict=True) if key not in self._keys]

    def mark_seen(self, _rows: list[T], new_rows: list[T], /) -> None:
        self._keys.update(map(self._key, new_rows))

    def moved_on(self, _rows: list[T], /) -> bool:
        return False


class _PreviousPage(Generic[T]):
    """Drops a page that equals the one before; nothing else can be known where rows have no key."""

    def __init__(self) -> None:
        self._rows: list[T] = []

    def new_rows(self, rows: list[T], _number: int, /) -> list[T]:
        return [] if rows == self._rows else rows

    def mark_seen(self, _rows: list[T], new_rows: list[T], /) -> None:
        self._rows = new_rows or self._rows

    def moved_on(self, _rows: list[T], /) -> bool:
        return False


class Progress(Generic[T]):
    """What a walk has read and delivered, and how many pages have brought nothing new."""

    def __init__(
        self,
        per_page: int,
        key: Callable[[T], Any] | None,
        order: Literal["asc", "desc"] | None,
        after: Page[T] | None,
        cause: str,
    ) -> None:
        self._per_page = per_page
        self._cause = cause
        self._has_key = key is not None
        self._repeats: _Repeats[T]
        if key is None:
            self._repeats = _PreviousPage()
        elif order is None:
            self._repeats = _KnownKeys(key)
        else:
            self._repeats = _OrderedKeys(key, order, cause)
        self._frontier: Frontier | None = None
        self._furthest = 0  # the most rows ever covered; pages before it may repeat rows
        self._min_total: float = inf
        self._stalled_pages = [0, 0]  # unexplained, explained
        self._expected_repeats = 0  # delivered rows that insertions push onto the pages ahead
        self._sent_again = False
        self.ended = False
        self.prefetch_until = 0
        if after is not None:
            self._advance(Arrival(after.current_page, after, 0))
            self._repeats.mark_seen(after.data, after.data)

    def is_clamped(self, arrival: Arrival[T]) -> bool:
        """Whether the server shows its last page again to say that there is no such page."""
        page, number = arrival.page, arrival.number
        past_the_end = self._frontier is not None and page.current_page == page.last_page == number - 1
        if not past_the_end or self._repeats.new_rows(page.data, number):
            return False
        self._check_end(page, number)
        return True

    def may_skip(self, arrival: Arrival[T]) -> bool:
        """Whether rows that no page has shown may have slipped in front of this page."""
        return (arrival.number - 1) * self._per_page > self._surely_read(arrival)

    def _surely_read(self, arrival: Arrival[T]) -> float:
        return inf if self._frontier is None else self._frontier.surely_read(arrival)

    def step_back(self, arrival: Arrival[T]) -> int:
        """Find the page to go on from, where rows may have slipped in front of this one.

        Raises:
            PaginationError: it went back too often without a new row.
        """
        total = arrival.page.total
        # A list that shrinks ends some day; one whose total swings may go on for ever.
        got, shrinks = f"totals that go up and down, now {total}", total < self._min_total
        self._count_stalled(arrival.number, got, explained=shrinks, cause=_SWINGING)
        self._min_total = min(self._min_total, total)
        return int(self._surely_read(arrival)) // self._per_page + 1

    def accept(self, arrival: Arrival[T]) -> list[T]:
        """Take a page: advance the frontier, and return the rows that were not delivered before.

        Raises:
            PaginationError: its rows are out of order, or too many pages brought nothing new, or rows are missing at
                the end.
        """
        page, number = arrival.page, arrival.number
        rows = self._repeats.new_rows(page.data, number)
        offset = (number - 1) * self._per_page
        more_expected = number <= page.last_page or offset < page.total
        if self._frontier is not None:
            deleted, inserted = self._frontier.changes_until(arrival)
            # Each pushes as many delivered rows onto the pages ahead; more repeats than that are a fault.
            self._expected_repeats += max(0, inserted, -deleted)
        if self._frontier is not None and offset >= self._furthest:
            self._expected_repeats -= len(page.data) - len(rows)
            if not rows:
                self._count_repeats(page, number, more_expected=more_expected)
        if rows:
            self._stalled_pages, self._sent_again = [0, 0], False
            self._expected_repeats = max(0, self._expected_repeats)
        self._advance(arrival)
        self._repeats.mark_seen(page.data, rows)
        full = len(page.data) == self._per_page
        at_last, all_there = number >= page.last_page, offset + self._per_page >= page.total
        self.ended = at_last and (
            not page.data or (not full and all_there) or (not more_expected and not (rows and full))
        )
        if self.ended:
            self._check_end(page, number)
        return rows

    def _count_repeats(self, page: Page[T], number: int, *, more_expected: bool) -> None:
        """Count a page without a new row, where new ones were to be expected."""
        explained = self._expected_repeats >= 0
        got = "rows that were delivered before" if page.data else "no rows"
        self._count_stalled(number, got, explained=bool(page.data) and explained)
        unexplained = more_expected and not explained and not self._repeats.moved_on(page.data)
        self._sent_again = self._sent_again or unexplained
        if not self._has_key and page.data and more_expected:
            raise _pagination_error(f"page {number}", "the same rows as on the page before", _NO_KEY, number)

    def _advance(self, arrival: Arrival[T]) -> None:
        page, covered = arrival.page, arrival.number * self._per_page
        self._frontier = Frontier(covered, page.total, arrival.total_deleted)
        self._furthest = max(self._furthest, covered)
        # After a full last page one more is read, so it is prefetched too.
        self.prefetch_until = max(page.last_page, page.total // self._per_page + 1)

    def _count_stalled(self, number: int, got: str, *, explained: bool = False, cause: str = "") -> None:
        self._stalled_pages[explained] += 1
        if self._stalled_pages[explained] > (_MAX_EXPLAINED_PAGES if explained else _MAX_STALLED_PAGES):
            raise _pagination_error(f"page {number}", f"{got}, again and again", cause or self._cause, number)

    def _check_end(self, page: Page[T], number: int) -> None:
        if self._sent_again:
            raise _pagination_error(f"page {number}", "the rows of an earlier page again", self._cause, number)
        if page.total > max(page.last_page, number - 1) * self._per_page:
            got = f"no more rows, where the total says {page.total}"
            raise _pagination_error(f"page {number}", got, _SHORT, number)


def _pagination_error(asked: str, got: str, cause: str, page: int) -> PaginationError:
    return PaginationError(f"asked for {asked}, got {got} ({cause})", asked=asked, got=got, page=page)
