"""Customers as Arrow: record batches and tables, for pandas, polars, DuckDB and all that reads Arrow.

```python
import pyarrow.compute

from shopsdk.arrow import read_customers

table = await read_customers(session, columns=["id", "balance"])
print(table.num_rows, pyarrow.compute.sum(table["balance"]))
```

It needs pyarrow: ``pip install 'shopsdk[parquet]'``. Money is ``decimal128(38, 6)``, times are ``timestamp[us, UTC]``,
ids are ``int64``, and Discord ids are text. The referrer is its e-mail address, since its id has a column already.

- Tables: ``read_customers``, ``read_shops``, ``ShopsTable``, ``Connect``
- Batches: ``iter_record_batches``, ``to_record_batch``, ``customers_schema``
"""

# pyright: basic
# pyarrow has no types.

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter
from typing import Any, Unpack, get_args, get_type_hints

import attrs

from shopsdk import (
    AsyncSession,
    Customer,
    CustomerFilters,
    DecodeError,
    OrderColumn,
    OrderDirection,
    iter_customer_pages,
)

try:
    import pyarrow as pa
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError("shopsdk.arrow needs pyarrow: pip install 'shopsdk[parquet]'", name="pyarrow") from _error

__all__ = [
    "Connect",
    "ShopsTable",
    "customers_schema",
    "iter_record_batches",
    "read_customers",
    "read_shops",
    "to_record_batch",
]

Connect = Callable[[int], AsyncSession]
"""A function that makes the session of a shop, where it is called: the key never travels. Let it be importable."""

_SHOP_ID = "shop_id"
_NESTED = "affiliate_referrer"
_FLAT = "affiliate_referrer_email"
_SCALE = 6
"""Decimal places of money, more than any currency has. A value with more places is refused, not rounded."""
_TYPES = {int: pa.int64(), str: pa.string(), Decimal: pa.decimal128(38, _SCALE), datetime: pa.timestamp("us", "UTC")}
_CERTAIN = frozenset({_SHOP_ID, "id", "email"})
_ROWS_AT_ONCE = 2_000
"""Rows that are converted at a time: a few milliseconds of work, and larger batches bring little."""


def _fields() -> dict[str, Any]:
    """Make the fields of all columns from the types of ``Customer``."""
    fields = {_SHOP_ID: pa.field(_SHOP_ID, pa.int64(), nullable=False)}
    for name, hint in get_type_hints(Customer).items():
        kinds = [kind for kind in (get_args(hint) or (hint,)) if kind is not type(None)]
        column = _FLAT if name == _NESTED else name
        fields[column] = pa.field(column, _TYPES.get(kinds[0], pa.string()), nullable=column not in _CERTAIN)
    return fields


_FIELDS = _fields()


def customers_schema(columns: Sequence[str] | None = None) -> pa.Schema:
    """Return the schema of customers.

    Args:
        columns: the columns, in this order; default: all, ``shop_id`` first.

    Raises:
        ValueError: an unknown column, one twice, or none at all.
        TypeError: a text in place of the names.
    """
    if isinstance(columns, str):
        raise TypeError("columns must be a sequence of names, such as ['id', 'email'], not a str")
    names = list(_FIELDS) if columns is None else list(columns)
    for name in names:
        if name not in _FIELDS:
            raise ValueError(f"columns: {name!r} is not a column; there are {', '.join(_FIELDS)}")
    if not names or len(set(names)) < len(names):
        raise ValueError("columns must name at least one column, and none twice")
    return pa.schema([_FIELDS[name] for name in names])


def to_record_batch(
    customers: Sequence[Customer], *, shop_id: int, columns: Sequence[str] | None = None
) -> pa.RecordBatch:
    """Make one record batch of customers, such as those of a page.

    Args:
        customers: the customers.
        shop_id: their shop.
        columns: as in ``customers_schema``.

    Raises:
        DecodeError: a value does not fit its column: money with more than 6 decimals, or with more than 38 digits.
        ValueError: as in ``customers_schema``.
        TypeError: as in ``customers_schema``.
    """
    names = columns if columns is None or isinstance(columns, str) else tuple(columns)
    return _converter(names, shop_id)(customers)


@lru_cache(maxsize=64)
def _converter(columns: Sequence[str] | None, shop_id: int) -> Callable[[Sequence[Customer]], Any]:
    """Make the function that turns customers into record batches."""
    schema = customers_schema(columns)
    plain = [name for name in schema.names if name not in {_SHOP_ID, _FLAT}]
    get = attrgetter(*plain, "id", "id")  # for less than two names it would return no tuple

    def convert(customers: Sequence[Customer]) -> Any:
        values: dict[str, Any] = dict(zip(plain, zip(*map(get, customers), strict=True), strict=False))
        if _SHOP_ID in schema.names:
            values[_SHOP_ID] = [shop_id] * len(customers)
        if _FLAT in schema.names:
            referrers = [customer.affiliate_referrer for customer in customers]
            values[_FLAT] = [None if referrer is None else referrer.email for referrer in referrers]
        arrays = []
        for field in schema:
            try:
                arrays.append(pa.array(values.get(field.name, ()), field.type))
            except (ValueError, OverflowError) as error:  # ArrowInvalid is a ValueError
                ids = f"customers {customers[0].id} to {customers[-1].id}"
                message = f"a value among {ids} does not fit: {field.name} is {field.type}"
                raise DecodeError(message, path=f"$.{field.name}") from error
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    return convert


def iter_record_batches(
    session: AsyncSession,
    *,
    shop_id: int | None = None,
    batch_rows: int = 16_384,
    columns: Sequence[str] | None = None,
    concurrency: int = 4,
    order_column: OrderColumn = "id",
    order_direction: OrderDirection = "asc",
    **filters: Unpack[CustomerFilters],
) -> AsyncGenerator[pa.RecordBatch, None]:
    """Stream every customer, as ``iter_customers`` does, in record batches, in flat memory.

    Leave the loop early only within ``contextlib.aclosing(...)``.

    Args:
        session: the session to ask through.
        shop_id: the shop's id, at least 1; default: the session's.
        batch_rows: rows of a batch, at least 1; the last batch has what is left. Without customers there is no batch.
        columns: as in ``customers_schema``.
        concurrency: pages in flight at most, at least 1.
        order_column: as in ``iter_customers``.
        order_direction: as in ``iter_customers``.
        filters: as in ``get_customers``.

    Raises:
        DecodeError: as in ``to_record_batch``.
        ShopError: any other failure, as in ``iter_customers``.
        ValueError: an argument out of its bounds; raised at the call.
        TypeError: an argument of the wrong type; raised at the call.
    """
    pages = iter_customer_pages(
        session,
        shop_id=shop_id,
        concurrency=concurrency,
        order_column=order_column,
        order_direction=order_direction,
        **filters,
    )
    _check_count("batch_rows", batch_rows)
    schema = customers_schema(columns)
    names = None if columns is None else tuple(columns)
    shop = session.shop_id if shop_id is None else shop_id
    assert shop is not None  # noqa: S101 - the walk has refused it
    return _batches(pages, schema, _converter(names, shop), batch_rows)


async def _batches(
    pages: AsyncGenerator[Any, None], schema: Any, convert: Callable[[Sequence[Customer]], Any], batch_rows: int
) -> AsyncGenerator[Any, None]:
    rows: list[Customer] = []
    batches: list[Any] = []
    held = 0
    async with aclosing(pages):
        async for page in pages:
            rows += page.data
            if len(rows) >= min(_ROWS_AT_ONCE, batch_rows):
                batches.append(convert(rows))
                held, rows = held + len(rows), []
            while held >= batch_rows:
                whole, batches = _cut(batches, schema, batch_rows)
                held -= batch_rows
                yield whole
    if rows:
        batches.append(convert(rows))
        held += len(rows)
    while held > 0:
        whole, batches = _cut(batches, schema, batch_rows)
        held -= batch_rows
        yield whole


def _cut(batches: list[Any], schema: Any, rows: int) -> tuple[Any, list[Any]]:
    """Cut a batch of so many rows, or of all there are, off the front; return it and the rest."""
    table = pa.Table.from_batches(batches, schema)
    (whole,) = table.slice(0, rows).combine_chunks().to_batches()
    return whole, table.slice(rows).to_batches()


async def read_customers(
    session: AsyncSession,
    *,
    shop_id: int | None = None,
    columns: Sequence[str] | None = None,
    concurrency: int = 4,
    order_column: OrderColumn = "id",
    order_direction: OrderDirection = "asc",
    **filters: Unpack[CustomerFilters],
) -> pa.Table:
    """Read every customer into a table, in memory. Without customers it is an empty table of the same types.

    For a frame: ``polars.from_arrow(table)``, or ``table.to_pandas(types_mapper=pandas.ArrowDtype)``. DuckDB reads it
    by the name of its variable, other than ``table``, which is a word of SQL.

    Args:
        session: the session to ask through.
        shop_id: the shop's id, at least 1; default: the session's.
        columns: as in ``customers_schema``.
        concurrency: pages in flight at most, at least 1.
        order_column: as in ``iter_customers``.
        order_direction: as in ``iter_customers``.
        filters: as in ``get_customers``.

    Raises:
        DecodeError: as in ``to_record_batch``.
        ShopError: any other failure, as in ``iter_customers``.
        ValueError: an argument out of its bounds; nothing was sent.
        TypeError: an argument of the wrong type; nothing was sent.
    """
    batches = iter_record_batches(
        session,
        shop_id=shop_id,
        columns=columns,
        concurrency=concurrency,
        order_column=order_column,
        order_direction=order_direction,
        **filters,
    )
    async with aclosing(batches):
        return pa.Table.from_batches([batch async for batch in batches], customers_schema(columns))


@attrs.frozen(kw_only=True, eq=False)
class ShopsTable:
    """The customers of many shops, and the shops that failed."""

    table: pa.Table
    """The customers of every shop that was read whole, shop after shop in the order given."""
    failed: Mapping[int, Exception]
    """The errors of the other shops, by their ids; the table has none of their customers."""


async def read_shops(
    connect: Connect,
    shop_ids: Iterable[int],
    *,
    shops_at_once: int = 8,
    columns: Sequence[str] | None = None,
    concurrency: int = 4,
    order_column: OrderColumn = "id",
    order_direction: OrderDirection = "asc",
    **filters: Unpack[CustomerFilters],
) -> ShopsTable:
    """Read the customers of many shops into one table, in memory. A shop comes whole or not at all.

    ```python
    import os

    def connect(shop_id: int) -> AsyncSession:
        return AsyncSession(os.environ["SHOPSDK_API_KEY"], shop_id=shop_id)

    made = await read_shops(connect, [38])
    print(made.table.num_rows, dict(made.failed))
    ```

    A shop that fails does not stop the others: its error is in ``failed``, that of ``connect`` included.

    Args:
        connect: makes the session of a shop; it is called when the shop's turn comes, and what it returns is closed.
        shop_ids: the shops, none twice.
        shops_at_once: the most shops under way at a time, at least 1.
        columns: as in ``customers_schema``.
        concurrency: the most pages of one shop in flight, at least 1.
        order_column: as in ``iter_customers``.
        order_direction: as in ``iter_customers``.
        filters: as in ``get_customers``.

    Raises:
        ValueError: an argument out of its bounds; nothing was sent.
        TypeError: an argument of the wrong type; nothing was sent.
    """
    schema, shops = customers_schema(columns), _check_shops(shop_ids)
    _check_count("shops_at_once", shops_at_once)
    if not callable(connect):
        raise TypeError(f"connect must be a function of a shop's id, not {type(connect).__name__}")
    # Checked once, on a session that is never opened: an argument is wrong for all shops, and so not in ``failed``.
    never_opened = AsyncSession("unused", shop_id=1, base_url="http://127.0.0.1")
    options: dict[str, Any] = {
        "columns": columns,
        "concurrency": concurrency,
        "order_column": order_column,
        "order_direction": order_direction,
        **filters,
    }
    iter_record_batches(never_opened, **options)
    places, tables, failed = asyncio.Semaphore(shops_at_once), dict[int, Any](), dict[int, Exception]()

    async def read(shop_id: int) -> None:
        async with places:
            try:
                async with _check_session(connect(shop_id)) as session:
                    tables[shop_id] = await read_customers(session, shop_id=shop_id, **options)
            except Exception as error:  # noqa: BLE001 - kept for the caller
                failed[shop_id] = error

    async with asyncio.TaskGroup() as group:
        for shop_id in shops:
            group.create_task(read(shop_id))
    whole = [tables[shop_id] for shop_id in shops if shop_id in tables]
    return ShopsTable(table=pa.concat_tables([schema.empty_table(), *whole]), failed=failed)


def _check_session(session: object) -> AsyncSession:
    if not isinstance(session, AsyncSession):
        raise TypeError(f"connect must return an AsyncSession, not {type(session).__name__}")
    return session


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")


def _check_shops(shop_ids: Iterable[int]) -> list[int]:
    shops = list(shop_ids)
    for shop_id in shops:
        _check_count("each of shop_ids", shop_id)
    if len(set(shops)) < len(shops):
        raise ValueError("shop_ids must name no shop twice")
    return shops
