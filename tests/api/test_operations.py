"""Each operation against the sandbox, with list parameters in the body or in the query, and edits by either verb."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from operator import attrgetter
from typing import Any, Literal, cast, get_args

import attrs
import pytest

from shopsdk import (
    AffiliateCodeEdit,
    AffiliateReferrer,
    AsyncSession,
    BalanceTransaction,
    Customer,
    InvalidRequestError,
    NotFoundError,
    OrderColumn,
    Page,
    RateLimit,
    RetryPolicy,
    ServerError,
    Timeout,
    edit_customer_affiliate_code,
    edit_customer_balance,
    get_customer,
    get_customer_balance_transactions,
    get_customers,
    iter_customer_pages,
    iter_customers,
    paginate,
)
from shopsdk.sandbox import Sandbox
from tests.support.servers import answer, page_of, raw_server

ANNA = Customer(
    id=11,
    email="anna@example.com",
    discord_id="80351110224678912",
    discord_username="anna",
    balance=Decimal("12.50"),
    total_completed=3,
    total_spent_usd=Decimal("99.99"),
    last_completed_at=datetime(2025, 7, 27, 18, 4, 28, tzinfo=UTC),
    newsletter_at=datetime(2025, 7, 1, tzinfo=UTC),
    affiliate_code="ANNA10",
    affiliate_referrer_id=12,
    affiliate_referrer=AffiliateReferrer(id=12, email="bob@example.com"),
)
BOB = Customer(
    id=12, email="bob@example.com", balance=Decimal("-3.00"), total_completed=0, total_spent_usd=Decimal("0.00")
)


@pytest.fixture(params=["both", "body", "query"])
async def small(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Sandbox, AsyncSession]]:
    """A shop of two customers, and a session that sends list parameters one way or the other."""
    async with Sandbox([ANNA, BOB]) as shop, shop.session(list_params=request.param) as session:
        yield shop, session


async def test_a_page_is_read_whole(small: tuple[Sandbox, AsyncSession]) -> None:
    """Every field of a page comes back as it stands in the shop, in its type."""
    page = await get_customers(small[1], order_column="id", order_direction="asc")
    assert Page(data=[ANNA, BOB], current_page=1, last_page=1, per_page=100, total=2) == page


FILTERS: list[tuple[dict[str, Any], list[Customer]]] = [
    ({"id": 11}, [ANNA]),
    ({"id": "12"}, [BOB]),
    ({"email": "BOB"}, [BOB]),
    ({"email": "example"}, [BOB, ANNA]),
    ({"discord_id": "8035"}, [ANNA]),
    ({"discord_username": "ann"}, [ANNA]),
    ({"subscribed": True}, [ANNA]),
    ({"subscribed": False}, [BOB]),
    ({"subscribed": "1"}, [ANNA]),
    ({"affiliate_code": "anna"}, [ANNA]),
    ({"affiliate_referrer_email": "bob"}, [ANNA]),
    ({"email": "anna", "subscribed": False}, []),
]


@pytest.mark.parametrize(("filters", "expected"), FILTERS)
async def test_every_filter_filters(
    small: tuple[Sandbox, AsyncSession], filters: dict[str, Any], expected: list[Customer]
) -> None:
    """Every filter reaches the shop, which applies it."""
    assert expected == (await get_customers(small[1], **filters)).data
    assert sorted(expected, key=attrgetter("id")) == [c async for c in iter_customers(small[1], **filters)]


@pytest.mark.parametrize("column", get_args(OrderColumn))
@pytest.mark.parametrize("direction", ["asc", "desc"])
async def test_every_order_is_asked_for(
    small: tuple[Sandbox, AsyncSession], column: OrderColumn, direction: Literal["asc", "desc"]
) -> None:
    """Every order reaches the shop, which sorts by it."""
    page = await get_customers(small[1], order_column=column, order_direction=direction)
    heard = small[0].requests[-1]
    sent = heard.json or dict(heard.query)
    assert {"page": "1", "perPage": "100", "orderColumn": column, "orderDirection": direction} == {
        name: str(value) for name, value in cast(dict[str, object], sent).items()
    }
    walked = [c.id async for c in iter_customers(small[1], order_column=column, order_direction=direction)]
    assert [c.id for c in page.data] == walked


async def test_pages_are_numbered_from_one(session: AsyncSession) -> None:
    """Page 1 is the first, and a page past the last is empty."""
    pages = [await get_customers(session, page=n, per_page=60, order_direction="asc") for n in range(1, 7)]
    assert [len(page.data) for page in pages] == [60, 60, 60, 60, 10, 0]
    ids = [c.id for page in pages for c in page.data]
    assert sorted(set(ids)) == ids


async def test_one_customer(small: tuple[Sandbox, AsyncSession]) -> None:
    """Get Customer returns the customer that was asked for, with every field."""
    assert await get_customer(small[1], 11) == ANNA
    with pytest.raises(NotFoundError):
        await get_customer(small[1], 999)


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("customer_id", [11, "11"])
async def test_a_balance_is_edited_once(
    small: tuple[Sandbox, AsyncSession], method: Literal["POST", "PUT"], customer_id: int | str
) -> None:
    """An edit changes the balance by its amount, once."""
    shop, session = small
    edit = await edit_customer_balance(session, customer_id, "5.25", description="thanks", method=method)
    assert (edit.message, edit.transaction, edit.replayed) == ("Customer balance updated successfully.", None, False)
    await edit_customer_balance(session, customer_id, Decimal("-0.05"), method=method)
    await edit_customer_balance(session, customer_id, 1, method=method)
    assert Decimal("18.70") == (await get_customer(session, 11)).balance
    assert [method] * 3 == [r.method for r in shop.requests if r.method != "GET"]
    lines = [(line.amount, line.description) for line in shop.transactions(11)]
    opening = (Decimal("12.50"), "Opening balance")
    assert [(1, None), (Decimal("-0.05"), None), (Decimal("5.25"), "thanks"), opening] == lines


async def test_the_ledger_is_read(small: tuple[Sandbox, AsyncSession]) -> None:
    """The ledger comes back whole, newest first, with aware times."""
    shop, session = small
    (opening,) = await get_customer_balance_transactions(session, 11)
    assert opening.amount == ANNA.balance
    await edit_customer_balance(session, 11, 1, description="first")
    await edit_customer_balance(session, 11, 2, description="second")
    lines = await get_customer_balance_transactions(session, 11)
    assert shop.transactions(11) == lines
    assert [line.description for line in lines] == ["second", "first", opening.description]
    assert {timedelta(0)} == {cast(datetime, line.created_at).utcoffset() for line in lines}
    with pytest.raises(NotFoundError):
        await get_customer_balance_transactions(session, 999)


ROWS = [{"id": 2, "amount": "1.00", "description": None, "created_at": "2025-07-27 18:04:28"}, {"id": 1, "amount": 2}]
LINES = [
    BalanceTransaction(id=2, amount=Decimal("1.00"), created_at=datetime(2025, 7, 27, 18, 4, 28, tzinfo=UTC)),
    BalanceTransaction(id=1, amount=Decimal(2)),
]


@pytest.mark.parametrize(
    "body",
    [
        ROWS,
        {"data": ROWS},
        page_of(ROWS),
        {"data": ROWS, "meta": page_of([])},
        dict(enumerate(ROWS)),
        {"data": dict(enumerate(ROWS))},
    ],
)
async def test_every_shape_of_the_ledger_is_read(body: object) -> None:
    """A ledger is read as a list, under data, and in pages."""
    async with raw_server(answer(body)) as server, server.session() as session:
        assert await get_customer_balance_transactions(session, 7) == LINES


async def test_a_code_is_set_and_cleared(small: tuple[Sandbox, AsyncSession]) -> None:
    """A code is set, and None clears it."""
    _, session = small
    assert AffiliateCodeEdit(message="Affiliate code updated successfully.") == await edit_customer_affiliate_code(
        session, 12, "BOB5"
    )
    assert (await get_customer(session, 12)).affiliate_code == "BOB5"
    await edit_customer_affiliate_code(session, "12", None)
    assert None is (await get_customer(session, 12)).affiliate_code


async def test_a_code_is_set_again_after_a_failure(shop: Sandbox, session: AsyncSession) -> None:
    """Setting a code is repeated after a failure, since it sets a value."""
    customer = shop.customers()[0]
    for kind in ("drop_before", "drop_after", "error_500"):
        shop.fail_next(kind, method="PUT")
        await edit_customer_affiliate_code(session, customer.id, kind)
        assert kind == (await get_customer(session, customer.id)).affiliate_code


async def test_the_shop_can_be_given_with_the_call(shop: Sandbox) -> None:
    """The shop_id of a call goes before that of its session."""
    async with AsyncSession(shop.api_key, base_url=shop.base_url) as session:
        customer = (await get_customers(session, shop_id=38)).data[0]
        assert customer == await get_customer(session, customer.id, shop_id=38)
        await edit_customer_balance(session, customer.id, 1, description="for 38", shop_id=38)
        newest, *_ = await get_customer_balance_transactions(session, customer.id, shop_id=38)
        assert newest.description == "for 38"
        await edit_customer_affiliate_code(session, customer.id, "X", shop_id=38)
        assert len([c async for c in iter_customers(session, shop_id=38)]) == 250
        with pytest.raises(NotFoundError):
            await get_customer(session, customer.id, shop_id=39)


@pytest.mark.slow
@pytest.mark.parametrize("concurrency", [1, 8])
async def test_a_hundred_thousand_customers(concurrency: int, big_shop: Sandbox) -> None:
    """A walk over a thousand pages delivers every customer once, in order."""
    async with big_shop.session() as session, aclosing(iter_customers(session, concurrency=concurrency)) as customers:
        ids = [customer.id async for customer in customers]
    assert len(ids) == 100_000
    assert sorted(set(ids)) == ids


@pytest.fixture(scope="module")
def big_shop() -> Any:
    with Sandbox(100_000) as shop:
        yield shop


async def test_pages_come_whole(session: AsyncSession) -> None:
    """A walk by pages delivers whole pages, and no empty one."""
    pages = [page async for page in iter_customer_pages(session, per_page=100, order_direction="desc", concurrency=2)]
    assert [len(page.data) for page in pages] == [100, 100, 50]
    assert [page.current_page for page in pages] == [1, 2, 3]
    assert {250} == {page.total for page in pages}


async def test_a_walk_can_begin_in_the_middle(session: AsyncSession) -> None:
    """A walk begins at start_page."""
    ids = [c.id async for c in iter_customers(session, per_page=100)]
    assert ids[200:] == [c.id async for c in iter_customers(session, per_page=100, start_page=3)]


@attrs.frozen(kw_only=True)
class Slim:
    id: int
    email: str


@pytest.mark.parametrize("list_params", ["both", "body", "query"])
async def test_any_list_can_be_walked(shop: Sandbox, list_params: Literal["both", "body", "query"]) -> None:
    """Any list of the API is walked with the same promises."""
    async with shop.session(list_params=list_params) as session:
        pages = paginate(
            session,
            ["shops", 38, "customers"],
            Slim,
            per_page=70,
            concurrency=3,
            params={"subscribed": True},
            key=attrgetter("id"),
        )
        slim = [(row.id, row.email) async for page in pages for row in page.data]
    expected = [(c.id, c.email) for c in shop.customers() if c.newsletter_at]
    assert sorted(expected) == sorted(slim)


async def test_any_operation_can_be_called(shop: Sandbox, session: AsyncSession) -> None:
    """``request`` reaches any operation, and keeps numbers exact both ways."""
    customer = shop.customers()[0]
    path = ("shops", 38, "customers", customer.id)
    raw = await session.request("GET", path)
    assert (customer.id, customer.email) == (raw["id"], raw["email"])
    assert customer == await session.request("GET", path, as_type=Customer)
    answer = await session.request("POST", (*path, "balance"), json={"amount": Decimal("0.10")})
    assert answer == {"message": "Customer balance updated successfully."}
    with pytest.raises(InvalidRequestError) as caught:
        await session.request("GET", ["shops", 38, "customers"], params={"perPage": 500})
    assert caught.value.errors["perPage"] == ["The per page must not be greater than 100."]


async def test_a_write_is_repeated_only_where_the_caller_says_so(shop: Sandbox, session: AsyncSession) -> None:
    """``request`` repeats reads, and writes only with idempotent=True."""
    path = ("shops", 38, "customers", shop.customers()[0].id, "affiliate-code")
    shop.fail_next("error_500", method="PUT")
    with pytest.raises(ServerError) as caught:
        await session.request("PUT", path, json={"affiliate_code": "A"})
    assert caught.value.maybe_applied
    shop.fail_next("error_500", method="PUT")
    await session.request("PUT", path, json={"affiliate_code": "A"}, idempotent=True)


@attrs.frozen
class Lost:
    at: "Nowhere"  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize("as_type", [[Customer], Lost])
async def test_a_type_that_is_none_is_refused_before_anything_is_sent(as_type: Any) -> None:
    """A wrong ``as_type`` is refused before anything is sent."""
    async with raw_server(answer({})) as server, server.session() as session:
        with pytest.raises(TypeError, match="decode into"):
            await session.request("POST", ["x"], as_type=as_type)
    assert [] == server.heard


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (RateLimit, {"max_requests": True}),
        (RateLimit, {"max_requests": 1, "per_seconds": "1"}),
        (RetryPolicy, {"attempts": True}),
        (Timeout, {"total": "30"}),
    ],
)
def test_a_number_that_is_none_is_refused(kind: Any, wrong: dict[str, Any]) -> None:
    """A setting that must be a number is refused as text."""
    with pytest.raises(TypeError, match=list(wrong)[-1]):
        kind(**wrong)


def test_a_rate_without_end_is_refused() -> None:
    """A rate limit over endless seconds is refused."""
    with pytest.raises(ValueError, match="per_seconds"):
        RateLimit(1, float("inf"))
