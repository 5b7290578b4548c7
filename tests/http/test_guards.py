"""Promises that each needed a test of its own: lists that end too soon, operations by template, tasks let go, forks."""

import asyncio
import inspect
import logging
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import attrs
import pytest

import shopsdk
from shopsdk import (
    AsyncSession,
    AttemptStarted,
    Clock,
    Customer,
    Event,
    PaginationError,
    RateLimitPaused,
    RateLimitResumed,
    RequestStarted,
    edit_customer_affiliate_code,
    edit_customer_balance,
    find_balance_edit,
    find_customer,
    get_customer,
    get_customer_balance_transactions,
    get_customers,
    iter_customer_pages,
    iter_customers,
    paginate,
)
from shopsdk._http.session import core_of
from shopsdk.testing import InstantClock
from tests.support.servers import CUSTOMER, Heard, Wire, answer, page_of, raw_server

Stream = Callable[..., AsyncGenerator[Any, None]]


def paginate_customers(session: AsyncSession, **options: Any) -> AsyncGenerator[Any, None]:
    return paginate(session, ["shops", options.pop("shop_id", 38), "customers"], Customer, **options)


STREAMS: list[Stream] = [iter_customers, iter_customer_pages, paginate_customers]


def list_of(shown: int, total: int, *, last: int, clamps: bool) -> Callable[[Heard, Wire], None]:
    """A list of pages of five that shows so many rows and counts others; past the end: nothing, or its last page."""

    def behave(heard: Heard, wire: Wire) -> None:
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


async def drained(rows: AsyncGenerator[Any, None]) -> None:
    async for _ in rows:
        pass


LIST = "GET /shops/{shop_id}/customers"
ONE = "/shops/{shop_id}/customers/{customer_id}"
OTHER_LIST = "GET /shops/{id}/customers"


@attrs.frozen
class Operation:
    """A public function, as a call for a shop and a customer, and the operations that it may name."""

    call: Callable[[AsyncSession, int, int], Awaitable[object]]
    told: tuple[str, ...]


OPERATIONS = {
    "get_customers": Operation(lambda session, shop, _: get_customers(session, shop_id=shop), (LIST,)),
    "get_customer": Operation(lambda session, shop, one: get_customer(session, one, shop_id=shop), (f"GET {ONE}",)),
    "find_customer": Operation(
        lambda session, shop, _: find_customer(session, email="seven@example.com", shop_id=shop), (LIST,)
    ),
    "get_customer_balance_transactions": Operation(
        lambda session, shop, one: get_customer_balance_transactions(session, one, shop_id=shop),
        (f"GET {ONE}/balance-transactions",),
    ),
    "find_balance_edit": Operation(
        lambda session, shop, one: find_balance_edit(session, one, "order-1", shop_id=shop),
        (f"GET {ONE}/balance-transactions",),
    ),
    "edit_customer_balance": Operation(
        lambda session, shop, one: edit_customer_balance(session, one, 5, shop_id=shop), (f"POST {ONE}/balance",)
    ),
    "edit_customer_balance, PUT": Operation(
        lambda session, shop, one: edit_customer_balance(session, one, 5, method="PUT", shop_id=shop),
        (f"PUT {ONE}/balance",),
    ),
    "edit_customer_balance, by reference": Operation(
        lambda session, shop, one: edit_customer_balance(session, one, 5, reference="order-1", shop_id=shop),
        (f"GET {ONE}/balance-transactions", f"POST {ONE}/balance"),
    ),
    "edit_customer_affiliate_code": Operation(
        lambda session, shop, one: edit_customer_affiliate_code(session, one, "A", shop_id=shop),
        (f"PUT {ONE}/affiliate-code",),
    ),
    "iter_customers": Operation(
        lambda session, shop, _: drained(iter_customers(session, shop_id=shop, per_page=1)), (LIST,)
    ),
    "iter_customer_pages": Operation(
        lambda session, shop, _: drained(iter_customer_pages(session, shop_id=shop, per_page=1, concurrency=2)), (LIST,)
    ),
    "paginate": Operation(
        lambda session, shop, _: drained(paginate_customers(session, shop_id=shop, per_page=1, concurrency=2)),
        (OTHER_LIST,),
    ),
    "request": Operation(
        lambda session, shop, one: session.request("DELETE", ["shops", shop, "customers", one, "notes"]),
        ("DELETE /shops/{id}/customers/{id}/notes",),
    ),
}


def test_every_operation_is_looked_at() -> None:
    """A function that is added to the public face is added to the table here."""
    functions = {name for name in shopsdk.__all__ if inspect.isfunction(getattr(shopsdk, name))}
    assert functions == {name.partition(",")[0] for name in OPERATIONS} - {"request"}


def busy_once(heard: Heard, wire: Wire) -> None:
    """A shop of three customers whose first answer is a 429."""
    path, _, _ = heard.target.partition("?")
    if heard.connection == 1:
        wire.send(answer({"message": "Too Many Attempts."}, 429, headers={"Retry-After": "60", "Connection": "close"}))
        wire.writer.close()
    elif path.endswith("/customers"):
        page, per_page = heard.json["page"], heard.json["perPage"]
        rows = [CUSTOMER | {"id": number} for number in (7, 8, 9)][(page - 1) * per_page : page * per_page]
        wire.send(answer(page_of(rows[:1] if per_page > 1 else rows, page, last=3, per_page=per_page, total=3)))
    elif path.endswith("/balance-transactions"):
        wire.send(answer([]))
    else:
        wire.send(
            answer(CUSTOMER | {"id": int(path.rpartition("/")[2])} if path[-1].isdigit() else {"message": "done"})
        )


@pytest.mark.parametrize("name", OPERATIONS)
async def test_an_operation_is_told_by_its_template(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Events and log name an operation by verb and route template, never by an id."""
    caplog.set_level(logging.DEBUG, "shopsdk")
    told: list[Any] = []
    async with raw_server(busy_once) as server:
        async with server.session(on_event=told.append, clock=InstantClock()) as session:
            await OPERATIONS[name].call(session, 4711, 7)
    assert any(isinstance(event, RateLimitPaused) for event in told)
    assert set(OPERATIONS[name].told) == {event.operation for event in told}
    logged = [record.getMessage() for record in caplog.records if record.name == "shopsdk"]
    assert logged
    assert set(OPERATIONS[name].told) == {line.partition(": ")[0] for line in logged}


@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_rate_limit_blocks_the_operation_for_every_id(name: str) -> None:
    """A 429 for one customer of one shop pauses the same operation for every customer and shop."""
    call, operation = OPERATIONS[name].call, OPERATIONS[name].told[0]
    told: list[Event] = []
    both_came = asyncio.Event()
    tasks: list[asyncio.Task[object]] = []
    time = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal time
        await both_came.wait()
        time += seconds

    async def other() -> object:
        return await call(session, 39, 8)

    def hear(event: Event) -> None:
        told.append(event)
        if isinstance(event, RateLimitPaused):
            tasks.append(asyncio.create_task(other()))
        elif tasks and isinstance(event, RequestStarted):
            both_came.set()

    clock = Clock(now=lambda: time, sleep=sleep, random=lambda: 0.5)
    async with raw_server(busy_once) as server, server.session(on_event=hear, clock=clock) as session:
        await call(session, 38, 7)
        await tasks[0]
    closed = next(place for place, event in enumerate(told) if isinstance(event, RateLimitPaused))
    opened = next(place for place, event in enumerate(told) if isinstance(event, RateLimitResumed))
    held = told[closed:opened]
    assert operation in {event.operation for event in held if isinstance(event, RequestStarted)}
    assert [] == [event for event in held if isinstance(event, AttemptStarted)]


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


FORKED = """
import asyncio, os, sys
from shopsdk import AsyncSession, get_customer

session = AsyncSession("raw-key", shop_id=38, base_url=sys.argv[1])
loop = asyncio.new_event_loop()


async def use():
    assert 7 == (await get_customer(session, 7)).id


def watched():
    with open(f"/proc/self/fdinfo/{loop._selector.fileno()}") as kernel:
        return sorted(line for line in kernel if line.startswith("tfd"))


loop.run_until_complete(use())
before = watched()
child = os.fork()
if child == 0:
    asyncio.run(use())
    sys.exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), len(before), before == watched())
loop.run_until_complete(use())
loop.run_until_complete(session.close())
loop.close()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's list of what a selector watches")
async def test_a_forked_child_leaves_its_parent_s_connection_and_selector_alone() -> None:
    """A child that uses the session and exits leaves its parent's selector and kept connection as they were."""
    async with raw_server(answer(CUSTOMER)) as server:
        program = await asyncio.create_subprocess_exec(
            sys.executable, "-c", FORKED, server.base_url, stdout=PIPE, stderr=PIPE
        )
        out, err = await program.communicate()
    assert (b"0 2 True\n", b"") == (out, err)
    assert [1, 2, 1] == [heard.connection for heard in server.heard]
