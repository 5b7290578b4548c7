"""Operations: each is named by its route template in events and the log, and limited by it."""

import asyncio
import inspect
import logging
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
from shopsdk.testing import InstantClock
from tests.support.servers import CUSTOMER, ReceivedRequest, Wire, answer, page_of, raw_server


def paginate_customers(session: AsyncSession, **options: Any) -> AsyncGenerator[Any, None]:
    return paginate(session, ["shops", options.pop("shop_id", 38), "customers"], Customer, **options)


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
    named = {name.partition(",")[0] for name in OPERATIONS} - {"request"}
    assert functions == named, "add it to OPERATIONS here, and its answer to busy_once"


def busy_once(heard: ReceivedRequest, wire: Wire) -> None:
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
