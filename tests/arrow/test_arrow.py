"""Customers as Arrow: schema, batches, tables of one shop and of many."""

import asyncio
import traceback
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import attrs
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shopsdk import (
    AffiliateReferrer,
    AsyncSession,
    AuthenticationError,
    Customer,
    DecodeError,
    NotFoundError,
    RetryPolicy,
    SessionStateError,
    iter_customers,
)
from shopsdk.arrow import (
    ShopsTable,
    customers_schema,
    iter_record_batches,
    read_customers,
    read_shops,
    to_record_batch,
)
from shopsdk.sandbox import Fault, Sandbox

ALL = [
    "shop_id",
    "id",
    "email",
    "discord_id",
    "discord_username",
    "balance",
    "total_completed",
    "total_spent_usd",
    "last_completed_at",
    "newsletter_at",
    "affiliate_code",
    "affiliate_referrer_id",
    "affiliate_referrer_email",
]
TYPES = {
    "shop_id": pa.int64(),
    "id": pa.int64(),
    "discord_id": pa.string(),
    "balance": pa.decimal128(38, 6),
    "total_completed": pa.int64(),
    "total_spent_usd": pa.decimal128(38, 6),
    "last_completed_at": pa.timestamp("us", tz="UTC"),
    "newsletter_at": pa.timestamp("us", tz="UTC"),
    "affiliate_referrer_id": pa.int64(),
    "affiliate_referrer_email": pa.string(),
}


def test_the_schema_has_every_column_with_its_type() -> None:
    """The schema is every column, the shop first, with exact money, aware times, and ids as what they are."""
    schema = customers_schema()
    assert schema.names == ALL
    assert {name: schema.field(name).type for name in TYPES} == TYPES
    assert [field.name for field in schema if not field.nullable] == ["shop_id", "id", "email"]
    assert customers_schema(["balance", "id"]).names == ["balance", "id"]
    assert customers_schema(("email",)) == pa.schema([schema.field("email")])


@pytest.mark.parametrize(
    ("columns", "error", "says"),
    [
        (["id", "x"], ValueError, "^columns: 'x' is not a column; there are shop_id, id, email"),
        (["affiliate_referrer"], ValueError, "is not a column"),
        ([], ValueError, "^columns must name at least one column"),
        (["id", "id"], ValueError, "and none twice$"),
        ("id", TypeError, "^columns must be a sequence of names"),
    ],
)
async def test_wrong_columns_are_refused(columns: Any, error: type[Exception], says: str, shop: Sandbox) -> None:
    """Unknown columns, one twice, and none at all are refused everywhere, before anything is sent."""
    async with shop.session() as session:
        for call in (
            lambda: customers_schema(columns),
            lambda: to_record_batch([], shop_id=1, columns=columns),
            lambda: iter_record_batches(session, columns=columns),
        ):
            with pytest.raises(error, match=says):
                call()
        with pytest.raises(error, match=says):
            await read_customers(session, columns=columns)
    with pytest.raises(error, match=says):
        await read_shops(lambda _: session, [38], columns=columns)
    assert not shop.requests


CUSTOMERS = st.lists(
    st.builds(
        Customer,
        id=st.integers(-(2**63), 2**63 - 1),
        email=st.text(st.characters(exclude_categories=["Cs"])),
        discord_id=st.none() | st.just("841705932814012345678901234567890"),
        balance=st.none() | st.decimals(-(10**12), 10**12, places=6),
        total_spent_usd=st.none() | st.decimals(0, 10**12, places=2),
        total_completed=st.none() | st.integers(0, 2**63 - 1),
        last_completed_at=st.none() | st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),  # noqa: DTZ001
        affiliate_referrer=st.none() | st.builds(AffiliateReferrer, id=st.integers(1, 9), email=st.just("a@b")),
    ),
    max_size=5,
)


def as_rows(customers: list[Customer], shop_id: int) -> list[dict[str, object]]:
    rows = []
    for customer in customers:
        row: dict[str, object] = {"shop_id": shop_id, **attrs.asdict(customer, recurse=False)}
        referrer = customer.affiliate_referrer
        row.pop("affiliate_referrer")
        rows.append(row | {"affiliate_referrer_email": None if referrer is None else referrer.email})
    return rows


@given(CUSTOMERS, st.lists(st.sampled_from(ALL), min_size=1, unique=True))
def test_every_value_arrives_intact(customers: list[Customer], columns: list[str]) -> None:
    """A record batch holds the very values of the customers, in the columns and the order asked for."""
    batch = to_record_batch(customers, shop_id=38, columns=columns)
    batch.validate(full=True)
    assert batch.schema == customers_schema(columns)
    assert batch.to_pylist() == [{name: row[name] for name in columns} for row in as_rows(customers, 38)]


@pytest.mark.parametrize("value", [Decimal("0.0000001"), Decimal(10) ** 33])
def test_money_that_does_not_fit_is_refused(value: Decimal) -> None:
    """Money with more than 6 decimals or 38 digits is an error that names customers and column; nothing is rounded."""
    rows = [Customer(id=7, email="a@b"), Customer(id=9, email="c@d", balance=value)]
    with pytest.raises(
        DecodeError, match=r"^a value among customers 7 to 9 does not fit: balance is decimal"
    ) as caught:
        to_record_batch(rows, shop_id=1)
    assert caught.value.path == "$.balance"


@pytest.mark.parametrize("batch_rows", [1, 7, 100, 249, 250, 251, 16_384])
@pytest.mark.parametrize("concurrency", [1, 4])
async def test_the_batches_are_the_walk(
    batch_rows: int, concurrency: int, session: AsyncSession, shop: Sandbox
) -> None:
    """The batches together are every customer, once and in order; each but the last has the rows asked for."""
    batches = iter_record_batches(session, batch_rows=batch_rows, concurrency=concurrency)
    async with aclosing(batches):
        made = [batch async for batch in batches]
    sizes = [batch.num_rows for batch in made]
    assert sizes == [batch_rows] * (250 // batch_rows) + [250 % batch_rows] * (250 % batch_rows > 0)
    rows = [row for batch in made for row in batch.to_pylist()]
    assert rows == as_rows([customer async for customer in iter_customers(session)], shop.shop_id)


async def test_more_rows_than_are_converted_at_once_are_whole() -> None:
    """Batches that are made of several conversions have all rows, in order."""
    with Sandbox(4_321) as shop:
        async with shop.session() as session:
            batches = iter_record_batches(session, batch_rows=3_000, columns=["id"], order_direction="desc")
            async with aclosing(batches):
                made = [batch async for batch in batches]
        ids = [customer.id for customer in shop.customers()]
    assert [batch.num_rows for batch in made] == [3_000, 1_321]
    assert [number for batch in made for number in batch["id"].to_pylist()] == ids[::-1]


async def test_filters_and_order_are_the_walk_s(session: AsyncSession) -> None:
    """Filters and order are those of the walk, and a table is what its batches are."""
    table = await read_customers(session, subscribed=True, order_column="balance", order_direction="desc")
    walk = iter_customers(session, subscribed=True, order_column="balance", order_direction="desc")
    assert table["id"].to_pylist() == [customer.id async for customer in walk]
    assert 0 < table.num_rows < 250


async def test_a_shop_without_customers_is_an_empty_table_of_the_same_types() -> None:
    """Without customers there is no batch, and a table without rows that has every type."""
    with Sandbox(0) as shop:
        async with shop.session() as session:
            assert [batch async for batch in iter_record_batches(session)] == []
            table = await read_customers(session)
    assert (table.num_rows, table.schema) == (0, customers_schema())


async def test_leaving_the_batches_early_leaves_no_task(session: AsyncSession) -> None:
    """Leaving the loop cancels the pages that are on their way."""
    before = asyncio.all_tasks()
    async with aclosing(iter_record_batches(session, batch_rows=100, concurrency=4)) as batches:
        async for _ in batches:
            break
    assert before == asyncio.all_tasks()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"batch_rows": 0}, ValueError),
        ({"batch_rows": True}, TypeError),
        ({"batch_rows": 1.5}, TypeError),
        ({"concurrency": 0}, ValueError),
        ({"emial": "x"}, TypeError),
        ({"order_column": "x"}, ValueError),
        ({"shop_id": 0}, ValueError),
    ],
)
async def test_wrong_arguments_are_refused_at_the_call(
    options: Any, error: type[Exception], session: AsyncSession, shop: Sandbox
) -> None:
    """Wrong arguments are refused before anything is sent, at the call and not at the first batch."""
    with pytest.raises(error):
        iter_record_batches(session, **options)
    assert not shop.requests


KEY = "canary-key-canary-key"


class Shops:
    """Sandboxes by their shop's id, each with a key of its own."""

    def __init__(self, *shops: Sandbox) -> None:
        self.by_id = {shop.shop_id: shop for shop in shops}
        self.made: list[AsyncSession] = []
        self.wrong_key: set[int] = set()

    def connect(self, shop_id: int) -> AsyncSession:
        shop = self.by_id[shop_id]
        key = "wrong" + KEY if shop_id in self.wrong_key else shop.api_key
        self.made.append(AsyncSession(key, base_url=shop.base_url, retry=RetryPolicy(attempts=1)))
        return self.made[-1]


@pytest.fixture
async def shops() -> AsyncGenerator[Shops, None]:
    """Three shops of 30, 20 and no customers."""
    async with AsyncExitStack() as stack:
        yield Shops(
            *[
                await stack.enter_async_context(Sandbox(size, shop_id=shop_id, api_key=f"{KEY}-{shop_id}"))
                for shop_id, size in ((38, 30), (39, 20), (40, 0))
            ]
        )


async def closed(session: AsyncSession) -> bool:
    try:
        await session.request("GET", ["x"])
    except SessionStateError:
        return True
    return False


@pytest.mark.parametrize("shops_at_once", [1, 2, 8])
async def test_shops_come_whole_in_the_order_given(shops_at_once: int, shops: Shops) -> None:
    """Each shop is read by a session of its own, which is closed, and stands in the table in the order given."""
    made = await read_shops(shops.connect, [39, 40, 38], shops_at_once=shops_at_once)
    assert made.failed == {}
    assert made.table["shop_id"].to_pylist() == [39] * 20 + [38] * 30
    assert made.table["id"].to_pylist() == [
        customer.id for shop_id in (39, 38) for customer in shops.by_id[shop_id].customers()
    ]
    assert len(shops.made) == 3
    assert all([await closed(session) for session in shops.made])


async def test_a_shop_that_fails_leaves_the_others_whole(shops: Shops) -> None:
    """A wrong key, a shop that is not there, and whatever connect raises stand in failed; no row of theirs is there."""
    shops.wrong_key.add(39)
    shops.by_id[41] = shops.by_id[38]  # where there is no shop 41

    def connect(shop_id: int) -> AsyncSession:
        if shop_id == 43:
            return None  # type: ignore[return-value]
        return shops.connect(shop_id)

    made = await read_shops(connect, [38, 39, 41, 42, 43, 40], columns=["shop_id", "id"])
    assert made.table["shop_id"].to_pylist() == [38] * 30
    assert {shop_id: type(error) for shop_id, error in made.failed.items()} == {
        39: AuthenticationError,
        41: NotFoundError,
        42: KeyError,
        43: TypeError,
    }
    assert str(made.failed[43]) == "connect must return an AsyncSession, not NoneType"
    assert all([await closed(session) for session in shops.made])
    for error in made.failed.values():
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
        frames = [frame for frame in shown.stack if "/tests/" not in frame.filename]
        assert KEY not in str(error) + "".join(str(frame.locals) for frame in frames)


async def test_a_shop_that_fails_in_the_middle_leaves_no_row(shops: Shops) -> None:
    """A shop whose second page fails has no row in the table."""
    with Sandbox(250, shop_id=50, faults=[Fault("error_500", every=2)]) as large:
        shops.by_id[50] = large
        made = await read_shops(shops.connect, [50, 38], concurrency=1)
    assert list(made.failed) == [50]
    assert set(made.table["shop_id"].to_pylist()) == {38}


async def test_no_shops_are_an_empty_table() -> None:
    """Without shops the table is empty, has every type, and connect is not called."""
    made = await read_shops(lambda _: pytest.fail("called"), [])
    assert isinstance(made, ShopsTable)
    assert (made.table.num_rows, made.table.schema, dict(made.failed)) == (0, customers_schema(), {})


read_any_shops: Any = read_shops  # with arguments that no type checker would take


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda c: read_any_shops(c, [38, 38]), ValueError, "^shop_ids must name no shop twice$"),
        (lambda c: read_any_shops(c, [0]), ValueError, "^each of shop_ids must be at least 1, not 0$"),
        (lambda c: read_any_shops(c, ["38"]), TypeError, "^each of shop_ids must be an int, not str$"),
        (lambda c: read_any_shops(c, [38], shops_at_once=0), ValueError, "^shops_at_once must be at least 1"),
        (lambda c: read_any_shops(c, [38], concurrency=0), ValueError, "^concurrency must be at least 1"),
        (lambda c: read_any_shops(c, [38], emial="x"), TypeError, "emial"),
        (lambda _: read_any_shops("connect", [38]), TypeError, "^connect must be a function of a shop's id, not str$"),
    ],
)
async def test_wrong_arguments_for_shops_are_refused(
    make: Callable[[Any], Any], error: type[Exception], says: str
) -> None:
    """An argument that is wrong for all shops is refused before connect is called."""
    with pytest.raises(error, match=says):
        await make(lambda _: pytest.fail("called"))


async def test_cancelling_closes_every_session(shops: Shops) -> None:
    """A cancelled read is a cancellation, and leaves no session open and no task behind."""
    before = asyncio.all_tasks()
    shops.by_id[38].fail_next("slow", seconds=60)
    task = asyncio.create_task(read_shops(shops.connect, [38, 39]))
    while not shops.by_id[38].requests:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert before == asyncio.all_tasks()
    assert all([await closed(session) for session in shops.made])
