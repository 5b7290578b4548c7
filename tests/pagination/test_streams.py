"""The public streams over a server of pages: the end of a list, and the tasks of a walk."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from shopsdk import (
    AsyncSession,
    Customer,
    PaginationError,
    iter_customer_pages,
    iter_customers,
    paginate,
)
from shopsdk._http.session import core_of
from tests.support.servers import ReceivedRequest, Wire, answer, page_of, raw_server

Stream = Callable[..., AsyncGenerator[Any, None]]


def paginate_customers(session: AsyncSession, **options: Any) -> AsyncGenerator[Any, None]:
    return paginate(session, ["shops", options.pop("shop_id", 38), "customers"], Customer, **options)


STREAMS: list[Stream] = [iter_customers, iter_customer_pages, paginate_customers]


def list_of(shown: int, total: int, *, last: int, clamps: bool) -> Callable[[ReceivedRequest, Wire], None]:
    """A list of pages of five that shows so many rows and counts others; past the end: nothing, or its last page."""

    def behave(heard: ReceivedRequest, wire: Wire) -> None:
        page = min(heard.json["page"], last) if clamps else heard.json["page"]
        ids = range(1, shown + 1)[(page - 1) * 5 : page * 5]
        rows = [{"id": number, "email": f"c{number}@example.com"} for number in ids]
        wire.send(answer(page_of(rows, page, last=last, per_page=5, total=total)))

    return behave


@pytest.mark.parametrize("clamps", [False, True], ids=["nothing behind it", "its last page again"])
@pytest.mark.parametrize(("shown", "total"), [(15, 20), (15, 16), (13, 20), (13, 16)])
@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("stream", STREAMS)
async def test_a_list_that_ends_short_of_its_total_is_an_error(
    stream: Stream, concurrency: int, shown: int, total: int, clamps: bool
) -> None:
    """A list that ends a page, or a row, short of its total is a PaginationError; one that shows all of it is read."""
    options: dict[str, Any] = {"per_page": 5, "concurrency": concurrency}
    async with raw_server(list_of(shown, total, last=3, clamps=clamps)) as server, server.session() as session:
        with pytest.raises(PaginationError, match=f"total says {total}") as caught:
            [row async for row in stream(session, **options)]
        assert caught.value.page == 4
    async with raw_server(list_of(shown, shown, last=3, clamps=clamps)) as server, server.session() as session:
        read = [row async for row in stream(session, **options)]
        assert shown == sum(1 if isinstance(row, Customer) else len(row.data) for row in read)


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("stream", STREAMS)
async def test_a_walk_s_finished_tasks_are_let_go(stream: Stream, concurrency: int) -> None:
    """A stream of fifty pages leaves none of its tasks on the session, neither under way nor at its end."""
    async with raw_server(list_of(248, 248, last=50, clamps=False)) as server, server.session() as session:
        tasks = core_of(session).runtime()._tasks
        most = 0
        async for _ in stream(session, per_page=5, concurrency=concurrency):
            await asyncio.sleep(0)  # what has just finished is let go by the loop
            most = max(most, len(tasks))
        await asyncio.sleep(0)
        assert 0 < most <= concurrency
        assert set() == tasks
