"""Servers that answer oddly: a walk delivers the right rows, or raises a PaginationError with what it asked and got."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from itertools import count
from typing import Any, Literal

import attrs
import pytest

from shopsdk import (
    AsyncSession,
    Page,
    PaginationError,
    RetryPolicy,
    ServerError,
    get_customers,
    iter_customer_pages,
    iter_customers,
    paginate,
)
from shopsdk._pagination.walk import Walk, walk
from shopsdk.sandbox import Fault, Sandbox
from tests.pagination.test_walk import Row, ids_of, plan_of
from tests.support.servers import CUSTOMER, RawServer, ReceivedRequest, Wire, answer, page_of, raw_server

Server = Callable[[int], Page[Row]]


def page(ids: list[int], number: int, *, last: int = 3, per_page: int = 5, total: int = 15) -> Page[Row]:
    return Page(data=[Row(i) for i in ids], current_page=number, last_page=last, per_page=per_page, total=total)


def honest(number: int, size: int = 15) -> list[int]:
    return list(range(1, size + 1))[(number - 1) * 5 : number * 5]


def plan_over(
    server: Server, reads: list[int], *, keyed: bool = True, order: Literal["asc", "desc"] | None = "asc"
) -> Walk[Row]:
    async def fetch(number: int) -> Page[Row]:
        reads.append(number)
        await asyncio.sleep(0)
        return server(number)

    return plan_of(fetch, key=(lambda row: row.id) if keyed else None, order=order if keyed else None)


async def walked(
    server: Server, *, keyed: bool = True, order: Literal["asc", "desc"] | None = "asc", reads: list[int] | None = None
) -> list[int]:
    return await ids_of(walk(plan_over(server, [] if reads is None else reads, keyed=keyed, order=order)))


TURNS = count()
WRONG: dict[str, Server] = {
    "answers page 1 to every question, and says so": lambda n: page(honest(1), 1),
    "answers page 1 to every question, and claims otherwise": lambda n: page(honest(1), n),
    "answers a short page 1 for ever": lambda n: page([1, 2, 3], n),
    "never ends and repeats": lambda n: page(honest(1), n, last=n + 1, total=5 * (n + 1)),
    "never ends and is empty": lambda n: page(honest(n) if n < 3 else [], n, last=n + 1),
    "clamps the page size": lambda n: page(honest(n)[:2], n, per_page=2, last=8),
    "changes the page size midway": lambda n: page(honest(n), n, per_page=5 if n < 2 else 4),
    "sends more rows than asked": lambda n: page(list(range(9 * n, 9 * n + 9)), n),
    "alternates its totals": lambda n: page(honest(n), n, total=15 if next(TURNS) % 2 else 2),
    "counts more than it shows": lambda n: page(honest(n), n, last=3, total=1000),
    "counts more than it shows, and clamps": lambda n: page(honest(min(n, 3)), min(n, 3), last=3, total=1000),
    "sorts the other way": lambda n: page(sorted(honest(4 - n), reverse=True), n),
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_server_that_cannot_be_trusted_is_named(name: str) -> None:
    """Answers that contradict what was asked end the walk with an error that names the contradiction."""
    with pytest.raises(PaginationError) as caught:
        await walked(WRONG[name])
    assert caught.value.asked
    assert caught.value.got
    assert caught.value.page is not None


RIGHT: dict[str, Server] = {
    "lags with last_page": lambda n: page(honest(n), n, last=1, total=5),
    "knows of a page too many": lambda n: page(honest(n), n, last=4, total=20),
    "repeats its last page past the end": lambda n: page(honest(min(n, 3)), n),
    "clamps to its last page past the end": lambda n: page(honest(min(n, 3)), min(n, 3)),
    "sends a short page in the middle": lambda n: page(honest(n)[: 2 if n == 2 else 5], n),
    "sends an empty page in the middle": lambda n: page([] if n == 2 else honest(n), n),
}


@pytest.mark.parametrize("name", RIGHT)
async def test_a_server_that_is_merely_odd_gives_its_rows(name: str) -> None:
    """Odd answers end no walk: every row that the pages show is delivered."""
    lost = {8, 9, 10} if "short page" in name else {6, 7, 8, 9, 10} if "empty page" in name else set[int]()
    assert sorted(set(range(1, 16)) - lost) == await walked(RIGHT[name])


async def test_oddities_with_new_rows_in_between_do_not_add_up() -> None:
    """A new row resets the count of pages without new rows."""
    got = await walked(lambda n: page([] if n % 2 else honest(n, 700), n, last=140, total=700))
    assert got == [i for i in range(1, 701) if (i - 1) // 5 % 2]


async def test_without_keys_a_page_that_comes_twice_is_noticed() -> None:
    """A page that equals the one before is an error where rows have no key."""
    with pytest.raises(PaginationError):
        await walked(WRONG["answers page 1 to every question, and claims otherwise"], keyed=False)


async def test_without_keys_no_page_is_dropped_in_silence() -> None:
    """Equal pages of rows without a key are an error that names ``key=``; none is dropped silently."""
    equal = [Row(1)] * 5

    def server(number: int) -> Page[Row]:
        return attrs.evolve(page([], number), data=equal)

    with pytest.raises(PaginationError, match="key="):
        await walked(server, keyed=False)


async def test_a_list_that_shrinks_all_the_while_is_read_to_its_end() -> None:
    """A list from which rows are deleted at every request is read to its end."""
    left = list(range(1, 401))

    def server(number: int) -> Page[Row]:
        if len(left) > 100:
            del left[-1:]
            del left[:1]
        rows = left[(number - 1) * 5 : number * 5]
        return page(rows, number, last=-(-len(left) // 5), total=len(left))

    got = await walked(server)
    assert sorted(set(got)) == got
    assert set(left) <= set(got)


async def test_a_list_that_shrinks_at_every_answer_is_walked_meanwhile() -> None:
    """A walk makes progress while every answer has a smaller total."""
    reads: list[int] = []

    def server(number: int) -> Page[Row]:
        left = 10**6 - len(reads)
        return page(honest(number, min(left, 1000)), number, last=-(-left // 5), total=left)

    got: list[int] = []
    async with aclosing(walk(plan_over(server, reads))) as pages:
        async for each in pages:
            got += [row.id for row in each.data]
            if each.current_page == 99:
                break
    assert got == list(range(1, 496))
    assert len(reads) < 3 * 100


async def test_totals_that_fall_for_ever_end_the_walk() -> None:
    """Totals that fall for ever, without a new row, end the walk with an error."""
    with pytest.raises(PaginationError):
        await walked(lambda n: page(honest(min(n, 3)), n, last=n + 1, total=10**9 - next(TURNS)))


async def test_a_row_that_an_unseen_insertion_moved_is_accepted() -> None:
    """A repeated row is accepted if it can come from an insertion that a deletion hides."""
    ids = {1: [6, 5, 4, 3, 2], 2: [2]}
    got = await walked(lambda n: page(ids.get(n, []), n, last=2, total=6), order="desc")
    assert got == [6, 5, 4, 3, 2]


async def test_a_walk_that_begins_past_the_end_is_empty() -> None:
    """A walk that begins behind the last page delivers nothing."""
    reads: list[int] = []

    async def fetch(number: int) -> Page[Row]:
        reads.append(number)
        return page([], number)

    assert await ids_of(walk(plan_of(fetch, start_page=9))) == []
    assert reads == [9]


async def test_a_proxy_that_drops_bodies_is_noticed() -> None:
    """A dropped body is an error that names the setting to use, and parameters in the query arrive."""
    with Sandbox(faults=[Fault("ignore_body")]) as shop:
        async with shop.session(list_params="body") as session:
            with pytest.raises(PaginationError, match="list_params='both'"):
                await get_customers(session, page=2, per_page=50)
            with pytest.raises(PaginationError, match="list_params='both'"):
                [c async for c in iter_customers(session)]
            with pytest.raises(PaginationError, match="list_params='both'"):
                [p async for p in paginate(session, ["shops", 38, "customers"], dict[str, Any])]
        for mode in ("both", "query"):
            async with shop.session(list_params=mode) as session:
                assert len([c async for c in iter_customers(session)]) == 250


async def test_the_default_page_size_does_not_excuse_a_dropped_body() -> None:
    """Page 1 is accepted if its size is the one that was asked for, and refused otherwise."""
    with Sandbox(faults=[Fault("ignore_body")]) as shop:
        async with shop.session(list_params="body") as session:
            assert len((await get_customers(session, per_page=10)).data) == 10
            with pytest.raises(PaginationError):
                await get_customers(session, per_page=100)


def in_pages(
    size: int, per_page: int, shape: Callable[[dict[str, Any]], object]
) -> Callable[[ReceivedRequest, Wire], None]:
    def behave(heard: ReceivedRequest, wire: Wire) -> None:
        number = heard.json["page"]
        rows = [{"id": i, "email": f"c{i}@example.com"} for i in range(1, size + 1)]
        mine = rows[(number - 1) * per_page : number * per_page]
        envelope = page_of(mine, number, last=-(-size // per_page), per_page=per_page, total=size)
        wire.send(answer(shape(envelope)))

    return behave


def as_object(envelope: dict[str, Any]) -> object:
    return envelope | {"data": {str(i): row for i, row in enumerate(envelope["data"])}}


def under_meta(envelope: dict[str, Any]) -> object:
    return {"data": envelope.pop("data"), "links": {}, "meta": envelope}


def as_text(envelope: dict[str, Any]) -> object:
    return {name: str(value) if isinstance(value, int) else value for name, value in envelope.items()}


@pytest.mark.parametrize("shape", [as_object, under_meta, as_text])
async def test_every_shape_of_the_envelope_is_walked(shape: Callable[[dict[str, Any]], object]) -> None:
    """Both envelopes of Laravel are walked, with rows as a list or as an object."""
    async with raw_server(in_pages(25, 10, shape)) as server, server.session() as session:
        assert list(range(1, 26)) == [c.id async for c in iter_customers(session, per_page=10)]


async def test_a_failing_page_names_where_to_go_on(shop: Sandbox) -> None:
    """The error of a page has its number, and a walk can go on from there."""
    async with shop.session(retry=RetryPolicy(attempts=1)) as session:
        got: list[int] = []
        last: Page[Any] | None = None
        with pytest.raises(ServerError) as caught:
            async with aclosing(iter_customer_pages(session, per_page=20)) as pages:
                async for customers in pages:
                    got += [c.id for c in customers.data]
                    last = customers
                    if len(got) == 60:
                        shop.fail_next("error_500")
        first = next(iter(shop.customers()))
        shop.remove_customer(first.id)
        assert caught.value.page is not None
        async for customers in iter_customer_pages(session, per_page=20, after=last):
            got += [c.id for c in customers.data]
    assert [first.id, *(c.id for c in shop.customers())] == got


async def test_after_wants_the_same_page_size(session: AsyncSession) -> None:
    """``after`` with another page size is refused."""
    first = await get_customers(session, per_page=20, order_column="id", order_direction="asc")
    with pytest.raises(ValueError, match="after"):
        iter_customer_pages(session, per_page=50, after=first)
    with pytest.raises(ValueError, match="after"):
        iter_customer_pages(session, per_page=20, start_page=2, after=first)


async def test_get_customers_refuses_another_page() -> None:
    """``get_customers`` raises an error if the server answers another page."""
    async with raw_server(answer(page_of([CUSTOMER], 1))) as server, server.session() as session:
        with pytest.raises(PaginationError) as caught:
            await get_customers(session, page=2)
    assert (caught.value.asked, caught.value.got) == ("page 2 with 100 rows a page", "page 1 with 100 rows a page")


def test_raw_server_is_what_it_says() -> None:
    """The base URL of the raw server answers."""
    assert RawServer([], port=5).base_url.endswith(":5/v1")
