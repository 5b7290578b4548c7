"""Customers as rows: their columns, and models as plain data.

Plain data is what JSON can hold: money as exact text, times as ISO 8601 text with a Z, the rest unchanged.
"""

import difflib
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, Literal, TypeVar, cast, get_args

import attrs
import cattrs
from cattrs.fns import identity

from shopsdk import Customer

Format = Literal["ndjson", "csv", "parquet"]
"""The formats of files."""
FORMATS: tuple[Format, ...] = get_args(Format)

Row = dict[str, Any]
V = TypeVar("V")

FIELDS: tuple[str, ...] = tuple(field.name for field in attrs.fields(Customer))
_NESTED = "affiliate_referrer"
_FLAT = "affiliate_referrer_email"
COLUMNS: tuple[str, ...] = tuple(_FLAT if name == _NESTED else name for name in FIELDS)
"""The columns of CSV and Parquet: the referrer becomes its e-mail address, since its id has a column already."""
SHOP_ID = "shop_id"
TEXT_COLUMNS = frozenset({"email", "discord_id", "discord_username", "affiliate_code", _FLAT})
MONEY_COLUMNS = frozenset({"balance", "total_spent_usd"})
TIME_COLUMNS = frozenset({"last_completed_at", "newsletter_at"})


def money_text(value: Decimal | None) -> str | None:
    """Write money exactly, never with an exponent."""
    if value is None:
        return None
    text = str(value)
    return text if "E" not in text else format(value, "f")


def time_text(value: datetime | None) -> str | None:
    """Write a time, which is UTC in every model, as ``2025-07-27T18:04:28Z``."""
    return None if value is None else value.isoformat()[:-6] + "Z"


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    for kind in (str | None, int | None):
        converter.register_unstructure_hook(kind, identity)  # cattrs generates no call for identity
    converter.register_unstructure_hook(Decimal | None, money_text)
    converter.register_unstructure_hook(Decimal, money_text)
    converter.register_unstructure_hook(datetime | None, time_text)
    converter.register_unstructure_hook(datetime, time_text)
    return converter


_plain = _converter()
_plain_customer: Callable[[Any], Row] = _plain.get_unstructure_hook(Customer)


def to_plain(value: object) -> Any:
    """Turn a model, or a list of models, into plain data: dicts, lists, text, numbers, None.

    Args:
        value: any of the package's models.
    """
    return _plain.unstructure(value)


def customer_rows(customers: Sequence[Customer]) -> list[Row]:
    """Turn customers into plain dicts, the referrer as a dict within."""
    return [_plain_customer(customer) for customer in customers]


def plain_value(value: V) -> V:
    """Reduce a subclass of str or int, such as an Enum, to its plain value: it may print as something else."""
    reduced: object = value
    if isinstance(value, str):
        reduced = str.__str__(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        reduced = int.__int__(value)
    return cast("V", reduced)


def check_columns(columns: Sequence[str] | None, format: Format, *, with_shop: bool) -> tuple[str, ...]:
    """Check the columns of a file; None: all of the format.

    Raises:
        ValueError: an unknown column, one twice, none at all, or the nested one in a flat format.
        TypeError: a text, whose letters would be taken for names.
    """
    if isinstance(columns, str):
        raise TypeError("columns must be a sequence of names, such as ['id', 'email'], not a str")
    known = FIELDS if format == "ndjson" else COLUMNS
    if columns is None:
        return (SHOP_ID, *known) if with_shop else known
    every = dict.fromkeys((*known, _FLAT, SHOP_ID))
    columns = [plain_value(name) for name in columns]
    for name in columns:
        if name not in every:
            near = difflib.get_close_matches(str(name), every, 1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise ValueError(f"columns: {name!r} is not a column of {format}{hint}; there are {', '.join(every)}")
    if not columns or len(set(columns)) < len(columns):
        raise ValueError("columns must name at least one column, and none twice")
    return tuple(columns)


def column_reader(name: str, shop_id: int | None) -> Callable[[Sequence[Customer]], list[Any]]:
    """Make a function that reads one column from models, as Python values."""
    if name == SHOP_ID:
        return lambda customers: [shop_id] * len(customers)
    if name == _FLAT:
        return lambda customers: [None if (r := c.affiliate_referrer) is None else r.email for c in customers]
    get = attrgetter(name)
    return lambda customers: list(map(get, customers))
