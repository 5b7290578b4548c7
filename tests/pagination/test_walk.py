"""The walk, by properties: rows move while pages are read, and each is delivered once, in order."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from operator import attrgetter
from typing import Any, Literal

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shopsdk import DecodeError, Page, PaginationError, ServerError
from shopsdk._pagination.walk import Walk, walk


@attrs.frozen
class Row:
    id: int


Change = Callable[["Shelf"], None]


@attrs.define
class Shelf:
    """A list of ids that a server would page through, changed by a script between the reads."""

    ids: list[int]
    per_page: int
    falling: bool = False
    script: list[tuple[int, Change]] = attrs.Factory(list)
    """For each read: after how many turns of the loop it is served, and what changes just before."""
    always: set[int] = attrs.field(init=False)
    highest: int = attrs.field(init=False)
    reads: list[int] = attrs.Factory(list)
    in_flight: int = 0
    most_in_flight: int = 0

    def __attrs_post_init__(self) -> None:
        self.always = set(self.ids)
        self.highest = max(self.ids, default=0)

    async def read(self, number: int) -> Page[Row]:
        turns, change = self.script[len(self.reads)] if len(self.reads) < len(self.script) else (0, lambda _shelf: None)
        self.reads.append(number)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            for _ in range(turns + 1):
                await asyncio.sleep(0)
        finally:
            self.in_flight -= 1
        change(self)
        self.always &= set(self.ids)
        return self.page(number)

    def page(self, number: int) -> Page[Row]:
        ordered = sorted(self.ids, reverse=self.falling)
        start = (number - 1) * self.per_page
        return Page(
            data=[Row(i) for i in ordered[start : start + self.per_page]],
            current_page=number,
            last_page=max(1, -(-len(ordered) // self.per_page)),
            per_page=self.per_page,
            total=len(ordered),
        )

    def plan(
        self,
        *,
        fetch: Callable[[int], Coroutine[Any, Any, Page[Row]]] | None = None,
        concurrency: int = 1,
        order: bool = True,
        after: Page[Row] | None = None,
    ) -> Walk[Row]:
        direction: Literal["asc", "desc"] = "desc" if self.falling else "asc"
        return plan_of(
            fetch or self.read,
            per_page=self.per_page,
            concurrency=concurrency,
            key=attrgetter("id"),
            order=direction if order else None,
            after=after,
        )


def plan_of(
    fetch: Callable[[int], Coroutine[Any, Any, Page[Row]]],
    *,
    per_page: int = 5,
    start_page: int = 1,
    concurrency: int = 1,
    key: Callable[[Row], int] | None = None,
    order: Literal["asc", "desc"] | None = None,
    after: Page[Row] | None = None,
) -> Walk[Row]:
    """Plan a walk over pages that need no decoding."""
    return Walk(
        read=started(fetch),
        decode=lambda page: page,
        per_page=per_page,
        start_page=start_page,
        concurrency=concurrency,
        key=key,
        order=order,
        after=after,
        cause="a proxy dropped what was asked",
    )


def started(fetch: Callable[[int], Coroutine[Any, Any, Page[Any]]]) -> Callable[[int], "asyncio.Task[Page[Any]]"]:
    return lambda number: asyncio.get_running_loop().create_task(fetch(number))


async def ids_of(pages: AsyncGenerator[Page[Row], None]) -> list[int]:
    async with aclosing(pages):
        return [row.id async for page in pages for row in page.data]


def delete(numbers: list[int]) -> Change:
    """Delete the rows at these positions, modulo the length that the list has then."""

    def change(shelf: Shelf) -> None:
        for number in numbers:
            if shelf.ids:
                shelf.ids.remove(sorted(shelf.ids)[number % len(shelf.ids)])

    return change


def insert(count: int) -> Change:
    """Insert rows with ids that were never used, as a shop does that gains customers."""

    def change(shelf: Shelf) -> None:
        for _ in range(count):
            shelf.highest += 1
            shelf.ids.append(shelf.highest)

    return change


deletions = st.lists(st.integers(0, 60), max_size=12).map(delete)
insertions = st.integers(0, 9).map(insert)
turns = st.integers(0, 4)


def scripts(changes: st.SearchStrategy[Change]) -> st.SearchStrategy[list[tuple[int, Change]]]:
    return st.lists(st.tuples(turns, changes), max_size=25)


def check(shelf: Shelf, got: list[int]) -> None:
    assert sorted(set(got), reverse=shelf.falling) == got
    assert set() == shelf.always - set(got)


@settings(max_examples=400)
@given(st.integers(0, 60), st.integers(1, 7), st.integers(1, 8), st.booleans(), scripts(deletions))
def test_deletions_lose_nobody(
    size: int, per_page: int, concurrency: int, falling: bool, script: list[tuple[int, Change]]
) -> None:
    """Rows that slip onto pages already read are delivered."""
    shelf = Shelf(list(range(1, size + 1)), per_page, falling, script)
    check(shelf, asyncio.run(ids_of(walk(shelf.plan(concurrency=concurrency)))))


@settings(max_examples=200)
@given(st.integers(0, 60), st.integers(1, 7), st.integers(1, 8), st.booleans(), scripts(insertions))
def test_insertions_repeat_nobody(
    size: int, per_page: int, concurrency: int, falling: bool, script: list[tuple[int, Change]]
) -> None:
    """Rows that are pushed onto the next page are delivered once."""
    shelf = Shelf(list(range(1, size + 1)), per_page, falling, script)
    check(shelf, asyncio.run(ids_of(walk(shelf.plan(concurrency=concurrency)))))


@settings(max_examples=400)
@given(
    st.integers(0, 60),
    st.integers(1, 7),
    st.integers(1, 8),
    st.booleans(),
    st.booleans(),
    scripts(st.one_of(deletions, insertions)),
)
def test_deletions_and_insertions_together_lose_and_repeat_nobody(
    size: int, per_page: int, concurrency: int, falling: bool, ordered: bool, script: list[tuple[int, Change]]
) -> None:
    """Deletions and insertions in any sequence lose and repeat no row.

    Between two answers rows are deleted or inserted, never both: that is what a total can show.
    """
    shelf = Shelf(list(range(1, size + 1)), per_page, falling, script)
    got = asyncio.run(ids_of(walk(shelf.plan(concurrency=concurrency, order=ordered))))
    assert len(set(got)) == len(got)
    assert set() == shelf.always - set(got)
    assert not ordered or sorted(got, reverse=falling) == got


async def test_a_deletion_that_only_a_later_page_shows_is_noticed() -> None:
    """A deletion that an insertion hides from the pages in order is seen in the total of a page that came early."""
    nothing = delete([])
    shelf = Shelf(list(range(1, 21)), 5, script=[(0, nothing), (9, delete([0, 1])), (0, insert(2))])
    got = await ids_of(walk(shelf.plan(concurrency=2)))
    check(shelf, got)


@settings(max_examples=200)
@given(st.integers(0, 60), st.integers(1, 7), st.integers(1, 8), scripts(deletions))
def test_without_an_order_by_key_nobody_is_repeated_or_lost(
    size: int, per_page: int, concurrency: int, script: list[tuple[int, Change]]
) -> None:
    """A set of keys drops repeats where rows are not ordered by id."""
    shelf = Shelf(list(range(1, size + 1)), per_page, False, script)
    got = asyncio.run(ids_of(walk(shelf.plan(concurrency=concurrency, order=False))))
    assert len(set(got)) == len(got)
    assert set() == shelf.always - set(got)


@settings(max_examples=200)
@given(st.integers(1, 60), st.integers(1, 7), st.integers(1, 4), st.booleans(), scripts(deletions), st.integers(0, 8))
def test_a_walk_taken_up_again_loses_nobody(
    size: int, per_page: int, concurrency: int, falling: bool, script: list[tuple[int, Change]], stop: int
) -> None:
    """A walk that goes on after its last page delivers the rows that slipped back while it was stopped."""
    shelf = Shelf(list(range(1, size + 1)), per_page, falling, script)

    async def both() -> list[int]:
        got: list[int] = []
        last: Page[Row] | None = None
        async with aclosing(walk(shelf.plan(concurrency=concurrency))) as pages:
            async for page in pages:
                got += [row.id for row in page.data]
                last = page
                if len(got) >= stop:
                    break
        return got + await ids_of(walk(shelf.plan(concurrency=concurrency, after=last)))

    check(shelf, asyncio.run(both()))


@pytest.mark.parametrize("turns", range(10))
async def test_the_totals_of_dropped_answers_count(turns: int) -> None:
    """Totals of answers that are dropped on a step back count as deletions."""
    script = [(0, delete([])), (0, delete([])), (4, delete([0])), (turns, insert(6)), (0, delete([0] * 6))]
    shelf = Shelf(list(range(1, 41)), 5, script=script)
    check(shelf, await ids_of(walk(shelf.plan(concurrency=2))))


async def test_a_walk_taken_up_again_counts_from_where_it_stopped() -> None:
    """The first deletions after a stop are counted, though the walk steps back for them."""
    shelf = Shelf(list(range(1, 41)), 5, script=[(0, delete([0] * 3)), (0, delete([0] * 3))])
    got = await ids_of(walk(shelf.plan(after=shelf.page(2))))
    assert got == list(range(11, 41))


async def test_a_burst_larger_than_several_pages_is_found_again() -> None:
    """A mass deletion ends no walk before its end: every row that stays is delivered."""
    shelf = Shelf(list(range(1, 1001)), 10, script=[(0, lambda _shelf: None)] * 30 + [(0, delete([0] * 250))])
    got = await ids_of(walk(shelf.plan()))
    check(shelf, got)
    assert set(range(301, 1001)) <= set(got)


async def test_deletions_at_the_far_end_only_cost_a_second_look() -> None:
    """Pages that are read again after deletions do not count as a server that repeats itself."""
    shelf = Shelf(list(range(1, 1001)), 5, script=[(0, lambda _shelf: None)] * 100 + [(0, delete([-1] * 400))])
    got = await ids_of(walk(shelf.plan()))
    check(shelf, got)


async def test_a_purge_faster_than_the_walk_is_waited_out() -> None:
    """A walk may step back as often as a falling total explains."""
    shelf = Shelf(list(range(1, 10_001)), 5, script=[(0, delete([]))] * 300 + [(0, delete([-1] * 20))] * 400)
    check(shelf, await ids_of(walk(shelf.plan())))


async def test_a_list_that_grows_as_fast_as_it_is_read_is_read_to_its_end() -> None:
    """Pages that repeat the one before are accepted where a growing total explains them."""
    shelf = Shelf(list(range(1, 31)), 5, falling=True, script=[(0, insert(5))] * 80)
    check(shelf, await ids_of(walk(shelf.plan())))


@pytest.mark.parametrize("concurrency", [1, 2, 8])
async def test_no_more_pages_are_in_flight_than_asked(concurrency: int) -> None:
    """Exactly ``concurrency`` pages are in flight."""
    shelf = Shelf(list(range(1, 200)), 5, script=[(3, lambda _shelf: None)] * 50)
    assert len(await ids_of(walk(shelf.plan(concurrency=concurrency)))) == 199
    assert concurrency == shelf.most_in_flight


async def test_the_next_page_is_on_its_way_while_the_caller_works() -> None:
    """At concurrency 1, the next page is requested before the caller works on this one."""
    shelf = Shelf(list(range(1, 31)), 10)
    async with aclosing(walk(shelf.plan())) as pages:
        await anext(pages)
        for _ in range(3):
            await asyncio.sleep(0)
        assert shelf.reads == [1, 2]


async def test_leaving_early_leaves_no_task() -> None:
    """Leaving the block cancels every prefetch and frees its connection."""
    before = asyncio.all_tasks()
    shelf = Shelf(list(range(1, 100)), 5, script=[(9, lambda _shelf: None)] * 20)
    async with aclosing(walk(shelf.plan(concurrency=8))) as pages:
        async for _ in pages:
            break
    assert before == asyncio.all_tasks()
    assert shelf.in_flight == 0


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_a_failing_page_is_raised_in_its_turn(concurrency: int) -> None:
    """Every page before a failed one is delivered, and the error carries the number of its page."""
    shelf = Shelf(list(range(1, 51)), 10)

    async def failing(number: int) -> Page[Row]:
        if number == 3:
            raise ServerError("down", status=500)
        return await shelf.read(number)

    got: list[int] = []
    with pytest.raises(ServerError) as caught:
        async with aclosing(walk(shelf.plan(concurrency=concurrency, fetch=failing))) as pages:
            async for page in pages:
                got += [row.id for row in page.data]
    assert list(range(1, 21)) == got
    assert caught.value.page == 3


@pytest.mark.parametrize("error", [DecodeError("cut"), RuntimeError("a converter of the caller's")], ids=repr)
async def test_a_page_that_cannot_be_read_is_raised_in_its_turn(error: Exception) -> None:
    """Every page before an unreadable one is delivered, though it came later."""
    shelf = Shelf(list(range(1, 51)), 10, script=[(0, delete([])), (9, delete([]))])

    def decode(page: Page[Row]) -> Page[Row]:
        if page.current_page == 3:
            raise error
        return page

    got: list[int] = []
    with pytest.raises(type(error)) as caught:
        async with aclosing(walk(attrs.evolve(shelf.plan(concurrency=4), decode=decode))) as pages:
            async for page in pages:
                got += [row.id for row in page.data]
    assert list(range(1, 21)) == got
    assert getattr(caught.value, "page", 3) == 3


async def test_nothing_more_is_asked_once_a_page_has_failed() -> None:
    """No page is requested after one has failed."""
    asked: list[int] = []
    shelf = Shelf(list(range(1, 1001)), 10)

    async def failing(number: int) -> Page[Row]:
        asked.append(number)
        await asyncio.sleep(0)
        if number >= 3:
            raise ServerError("down", status=500)
        return shelf.page(number)

    with pytest.raises(ServerError):
        await ids_of(walk(shelf.plan(concurrency=4, fetch=failing)))
    assert max(asked) <= 6


async def test_a_cancelled_walk_leaves_no_task() -> None:
    """Cancelling the consumer cancels the pages in flight."""
    before = asyncio.all_tasks()
    shelf = Shelf(list(range(1, 100)), 5, script=[(50, lambda _shelf: None)] * 20)
    task = asyncio.create_task(ids_of(walk(shelf.plan(concurrency=3))))
    for _ in range(60):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert before == asyncio.all_tasks()
    assert shelf.in_flight == 0


@pytest.mark.parametrize(("size", "reads"), [(0, [1]), (9, [1]), (10, [1, 2]), (25, [1, 2, 3]), (30, [1, 2, 3, 4])])
async def test_a_full_last_page_is_followed_by_one_more_read(size: int, reads: list[int]) -> None:
    """A full last page is followed by exactly one more read."""
    shelf = Shelf(list(range(1, size + 1)), 10)
    assert size == len(await ids_of(walk(shelf.plan())))
    assert reads == shelf.reads


async def test_rows_out_of_order_are_refused() -> None:
    """Rows out of order within a page are an error."""
    shelf = Shelf(list(range(1, 30)), 10, falling=True)
    plan = attrs.evolve(shelf.plan(), order="asc")
    with pytest.raises(PaginationError, match="order"):
        await ids_of(walk(plan))


async def test_rows_out_of_order_are_refused_one_row_a_page() -> None:
    """Rows out of order are an error where each page has one row."""
    shelf = Shelf(list(range(1, 30)), 1, falling=True)
    plan = attrs.evolve(shelf.plan(), order="asc")
    with pytest.raises(PaginationError):
        await ids_of(walk(plan))
