"""Conversion of customers to rows of the database and back: money as integer cents, times as the API's text."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any, TypeGuard

from shopsdk import AffiliateReferrer, Customer

ORDER_COLUMNS = (
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
)
TEXT_FILTERS = ("email", "discord_id", "discord_username", "affiliate_code", "affiliate_referrer_email")

TABLE = """CREATE TABLE customers (
    key INTEGER PRIMARY KEY, shop_id INTEGER NOT NULL, id INTEGER NOT NULL, email TEXT NOT NULL, discord_id TEXT,
    discord_username TEXT, balance INTEGER, total_completed INTEGER, total_spent_usd INTEGER, last_completed_at TEXT,
    newsletter_at TEXT, affiliate_code TEXT, affiliate_referrer_id INTEGER, referrer_id INTEGER,
    affiliate_referrer_email TEXT, UNIQUE (shop_id, id))"""
"""A referrer is kept with the customer that it referred, since it need not be a customer of this shop."""
INSERT = "INSERT OR REPLACE INTO customers VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
"""Its values come from ``to_row``."""
LEDGER = """CREATE TABLE transactions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, shop_id INTEGER NOT NULL, customer_id INTEGER NOT NULL,
    amount INTEGER NOT NULL, description TEXT, created_at TEXT NOT NULL)"""
INSERT_LINE = "INSERT INTO transactions (shop_id, customer_id, amount, description, created_at) VALUES (?, ?, ?, ?, ?)"
"""Its values are the ids of the shop and of the customer, and a ``Line``."""

Line = tuple[int, str | None, str]
"""A line of a ledger: the amount in cents, the description, and the time as the API writes it."""
Entry = tuple[int, Customer, Iterable[Line]]
"""A customer to enter: the shop's id, the customer, and the lines of its ledger, oldest first."""

MAX_ID = 2**63 - 1
_MONEY = Context(prec=40, rounding=ROUND_HALF_UP)
_CENT = Decimal("0.01")
_MAX_EXPONENT = 14


def _sql_money(column: str) -> str:
    sign = f"CASE WHEN {column} < 0 THEN '-' ELSE '' END"
    text = f"printf('%s%d.%02d', {sign}, abs({column}) / 100, abs({column}) % 100)"
    return f"CASE WHEN {column} IS NULL THEN NULL ELSE {text} END"


def _sql_documents() -> str:
    money = {column: _sql_money(column) for column in ("balance", "total_spent_usd")}
    fields = [f"'{column}', {money.get(column, column)}" for column in (*ORDER_COLUMNS, "affiliate_referrer_id")]
    referrer = "json_object('id', referrer_id, 'email', affiliate_referrer_email)"
    fields.append(f"'affiliate_referrer', json(CASE WHEN referrer_id IS NULL THEN NULL ELSE {referrer} END)")
    document = f"json_object({', '.join(fields)})"
    return f"CREATE TEMP VIEW documents AS SELECT key, shop_id, id, {document} AS document FROM customers"  # noqa: S608 - our own text


DOCUMENTS = _sql_documents()
"""A view of each row as JSON. SQLite writes it in half the time, and leaves the interpreter to the tested client."""


def is_id(value: object) -> TypeGuard[int]:
    """Whether this is a whole number that the database keeps as an id. 38.0 and True are none, whatever they equal."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_ID


def to_row(shop_id: int, customer: Customer) -> tuple[object, ...]:
    """Convert a customer to a row of the table, in the order of its columns.

    Raises:
        ValueError: Its id is no whole number above 0, its money is not finite, either is too large to keep, or a time
            has no offset.
    """
    if not is_id(customer.id):
        raise ValueError(f"the shop cannot keep {customer.id!r} as an id")
    referrer = customer.affiliate_referrer
    return (
        shop_id,
        customer.id,
        customer.email,
        customer.discord_id,
        customer.discord_username,
        None if customer.balance is None else to_cents(customer.balance),
        customer.total_completed,
        None if customer.total_spent_usd is None else to_cents(customer.total_spent_usd),
        _to_text(customer.last_completed_at),
        _to_text(customer.newsletter_at),
        customer.affiliate_code,
        customer.affiliate_referrer_id,
        None if referrer is None else referrer.id,
        None if referrer is None else referrer.email,
    )


def to_customer(row: Sequence[Any]) -> Customer:
    """Convert a row of the table to a customer."""
    (
        *start,
        balance,
        total_completed,
        total_spent_usd,
        last_completed_at,
        newsletter_at,
        affiliate_code,
        affiliate_referrer_id,
        referrer_id,
        referrer_email,
    ) = row
    _, _, customer_id, email, discord_id, discord_username = start
    return Customer(
        id=customer_id,
        email=email,
        discord_id=discord_id,
        discord_username=discord_username,
        balance=None if balance is None else to_money(balance),
        total_completed=total_completed,
        total_spent_usd=None if total_spent_usd is None else to_money(total_spent_usd),
        last_completed_at=_to_time(last_completed_at),
        newsletter_at=_to_time(newsletter_at),
        affiliate_code=affiliate_code,
        affiliate_referrer_id=affiliate_referrer_id,
        affiliate_referrer=None if referrer_id is None else AffiliateReferrer(id=referrer_id, email=referrer_email),
    )


def to_cents(amount: Decimal) -> int:
    """Convert money to cents, rounded half away from zero, as a column of two decimals does.

    Raises:
        ValueError: It is not finite, or too large to keep.
    """
    if not amount.is_finite() or amount.adjusted() > _MAX_EXPONENT:
        raise ValueError(f"the shop cannot keep {amount!r} as money")
    return int(amount.quantize(_CENT, context=_MONEY).scaleb(2, _MONEY))


def balance_line(balance: Decimal | None, description: str, *, before: Decimal | None = None) -> list[Line]:
    """Make the line of now by which a ledger follows a balance that is set; none if the balance stays."""
    cents = to_cents(balance or Decimal(0)) - to_cents(before or Decimal(0))
    return [(cents, description, line_time(datetime.now(UTC)))] if cents else []


def line_time(moment: datetime) -> str:
    """Write the time of a ledger's line as the API does, from a time in UTC."""
    return f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def to_money(cents: int) -> Decimal:
    """Convert cents to money with two decimals."""
    return Decimal(cents).scaleb(-2, _MONEY)


def _to_text(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    if moment.tzinfo is not UTC:
        if moment.utcoffset() is None:
            raise ValueError(f"{moment!r} has no offset")
        moment = moment.astimezone(UTC)
    return moment.isoformat(" ", "seconds")[:19]


def _to_time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).replace(tzinfo=UTC)
