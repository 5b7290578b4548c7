"""Right uses of every public name, and the types that type checkers see there. Checked, never run."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, assert_type

import aiohttp
import attrs

import shopsdk
from shopsdk import (
    AffiliateCodeEdit,
    AffiliateReferrer,
    AsyncSession,
    BalanceEdit,
    BalanceTransaction,
    Clock,
    Customer,
    CustomerFilters,
    OrderColumn,
    OrderDirection,
    Page,
    RateLimit,
    RetryPolicy,
    Timeout,
)
from shopsdk.sandbox import Fault, RecordedRequest, Sandbox
from shopsdk.testing import InstantClock


@attrs.frozen(kw_only=True)
class Invoice:
    """A type of the user's own."""

    id: int
    price: Decimal


async def sessions(connector: aiohttp.BaseConnector, trace: aiohttp.TraceConfig) -> None:
    """Every argument of a session, and what ``async with`` gives."""
    assert_type(shopsdk.__version__, str)
    session = AsyncSession(
        "key",
        shop_id=38,
        base_url="https://api.example.com/v1",
        timeout=Timeout(connect=10, total=30.5, deadline=180),
        retry=RetryPolicy(attempts=4, wait_initial=0.5, wait_max=8, retry_after_max=90),
        rate_limit=RateLimit(5, per_seconds=1),
        max_in_flight=16,
        list_params="both",
        max_response_bytes=2**20,
        proxy=None,
        connector=connector,
        trace_configs=[trace],
        clock=Clock(now=lambda: 1.0),
    )
    async with session as entered:
        assert_type(entered, AsyncSession)
    assert_type(await session.close(), None)


async def customers(session: AsyncSession) -> None:
    """The operations, with every filter and order."""
    column: OrderColumn = "total_spent_usd"
    direction: OrderDirection = "desc"
    filters: CustomerFilters = {"email": "@example.com", "subscribed": True, "id": 7}
    page = await shopsdk.get_customers(session, page=2, per_page=50, order_column=column, order_direction=direction)
    assert_type(page, Page[Customer])
    assert_type(page.data, list[Customer])
    assert_type(page.total, int)
    assert_type(await shopsdk.get_customers(session, shop_id=38, **filters), Page[Customer])
    customer = await shopsdk.get_customer(session, 42)
    assert_type(customer, Customer)
    assert_type(customer.id, int)
    assert_type(customer.email, str)
    assert_type(customer.balance, Decimal | None)
    assert_type(customer.last_completed_at, datetime | None)
    assert_type(customer.affiliate_referrer, AffiliateReferrer | None)
    assert_type(attrs.evolve(customer, balance=Decimal(1)), Customer)
    assert_type(await shopsdk.find_customer(session, email="ada@example.com"), Customer | None)
    assert_type(await shopsdk.find_customer(session, discord_id=8035, shop_id=38), Customer | None)
    assert_type(await shopsdk.find_customer(session, discord_username="ada", affiliate_code=None), Customer | None)


async def money(session: AsyncSession) -> None:
    """Edits, and the ledger."""
    edit = await shopsdk.edit_customer_balance(session, 42, Decimal("5.00"), description="x", reference="order-1")
    assert_type(edit, BalanceEdit)
    assert_type(edit.transaction, BalanceTransaction | None)
    assert_type(edit.replayed, bool)
    assert_type(edit.duplicated, bool)
    assert_type(await shopsdk.find_balance_edit(session, "42", "order-1", shop_id=38), BalanceTransaction | None)
    assert_type(await shopsdk.edit_customer_balance(session, "42", "-12.50", method="PUT"), BalanceEdit)
    assert_type(await shopsdk.edit_customer_balance(session, 42, 5), BalanceEdit)
    lines = await shopsdk.get_customer_balance_transactions(session, 42)
    assert_type(lines, list[BalanceTransaction])
    assert_type(lines[0].amount, Decimal)
    assert_type(await shopsdk.edit_customer_affiliate_code(session, 42, None), AffiliateCodeEdit)


async def walks(session: AsyncSession) -> None:
    """Streams are async generators, so that ``aclosing`` takes them."""
    assert_type(shopsdk.iter_customers(session), AsyncGenerator[Customer, None])
    async with aclosing(shopsdk.iter_customers(session, concurrency=4, subscribed=True)) as rows:
        async for row in rows:
            assert_type(row, Customer)
    async with aclosing(shopsdk.iter_customer_pages(session, after=None)) as pages:
        async for page in pages:
            assert_type(page, Page[Customer])
    async for invoices in shopsdk.paginate(session, ["shops", 38, "invoices"], Invoice, key=lambda row: row.id):
        assert_type(invoices, Page[Invoice])


async def requests(session: AsyncSession) -> None:
    """A request returns the type that was asked for, and ``Any`` without one."""
    path = ("shops", 38, "invoices", 7)
    assert_type(await session.request("GET", path, as_type=Invoice), Invoice)
    assert_type(await session.request("GET", path[:-1], as_type=Page[Invoice]), Page[Invoice])
    assert_type(await session.request("GET", path, as_type=list[Invoice]), list[Invoice])
    assert_type(await session.request("POST", path, json={"a": Decimal(1)}, params={"b": 1}, idempotent=True), Any)


def errors(error: shopsdk.ShopError) -> None:
    """The fields of each error."""
    assert_type(error.maybe_applied, bool)
    assert_type(error.page, int | None)
    match error:
        case shopsdk.RateLimitedError():
            assert_type(error.retry_after, float | None)
        case shopsdk.ResponseError():
            assert_type(error.status, int)
            assert_type(error.errors, Mapping[str, Sequence[str]])
        case shopsdk.UnknownOutcomeError():
            assert_type(error.reference, str | None)
        case shopsdk.TransportError():
            assert_type(error.elapsed, float)
        case shopsdk.DecodeError():
            assert_type(error.path, str)
        case shopsdk.PaginationError():
            assert_type((error.asked, error.got), tuple[str, str])
        case shopsdk.MultipleCustomersError():
            assert_type(error.customer_ids, tuple[int, ...])
        case shopsdk.ReferenceConflictError():
            assert_type(error.reference, str)
        case _:
            assert_type(error, shopsdk.ShopError)


async def shops() -> None:
    """The sandbox and the clock of the tests."""
    with Sandbox(customers=50, seed=1, faults=[Fault("slow", every=3, seconds=0.1)]) as shop:
        assert_type(shop.base_url, str)
        assert_type(shop.customers(), list[Customer])
        assert_type(shop.transactions(1001), list[BalanceTransaction])
        assert_type(shop.requests, list[RecordedRequest])
        for request in shop.requests:
            assert_type(request.received_at, datetime)
            assert_type(request.elapsed, float | None)
        assert_type(shop.add_customer(email="x@example.com"), Customer)
        assert_type(shop.update_customer(1001, balance=Decimal(5), discord_id=None), Customer)
        shop.fail_next("rate_limit", times=2, retry_after=3)
    with Sandbox(shop_id=[38, 39]) as shop:
        assert_type(shop.shop_id, int)
        assert_type(shop.shop_ids, tuple[int, ...])
        assert_type(shop.session(shop_id=39, max_in_flight=2), AsyncSession)
        assert_type(shop.customers(shop_id=39), list[Customer])
        assert_type(shop.transactions(1001, shop_id=39), list[BalanceTransaction])
        assert_type(shop.add_customer(shop_id=39, email="x@example.com"), Customer)
        assert_type(shop.update_customer(1001, shop_id=39, discord_id=None), Customer)
        shop.remove_customer(1001, shop_id=39)
        clock = InstantClock(chance=0)
        assert_type(clock.slept, list[float])
        async with shop.session(clock=clock, max_in_flight=2) as session:
            assert_type(session, AsyncSession)


WAYS: Literal["both", "body", "query"] = "both"
SLEEP: Callable[[float], object] = Clock().sleep
