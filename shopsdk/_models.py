"""The API's answers, as frozen attrs classes.

Money is ``Decimal``, times are aware UTC ``datetime``, and what the server left out or sent as null is None. Unknown
fields are ignored.

No ``from __future__ import annotations`` here, and no import under ``TYPE_CHECKING``: cattrs and msgspec resolve these
annotations at run time. No converters and no aliases either: msgspec would pass them by.
"""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar

import attrs
from msgspec import Meta

T = TypeVar("T")

Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""A whole number as databases have them. Larger ones could be chosen to share a hash (multiples of 2**61 - 1 do), and
sets of them would take time by the square of their length. msgspec checks it at no cost; the strict path knows it."""

OrderColumn = Literal[
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
]
"""The columns that Get Customers can order by."""

OrderDirection = Literal["asc", "desc"]
"""Ascending or descending."""


@attrs.frozen(kw_only=True)
class AffiliateReferrer:
    """The customer who referred another one.

    Args:
        id: the referring customer's id.
        email: the referring customer's e-mail address.
    """

    id: Int64
    """The referring customer's id."""
    email: str
    """The referring customer's e-mail address."""


@attrs.frozen(kw_only=True)
class Customer:
    """One customer of a shop, as Get Customers and Get Customer answer.

    Only ``id`` and ``email`` are certain; anything else may be None.

    Args:
        id: the customer's id, unique within the shop.
        email: the customer's e-mail address.
        discord_id: the linked Discord account's id.
        discord_username: the linked Discord account's name.
        balance: store credit, in the shop's currency; may be negative.
        total_completed: the number of orders that the customer has completed.
        total_spent_usd: the sum of those orders, in US dollars.
        last_completed_at: the time (UTC) of the last of those orders.
        newsletter_at: the time (UTC) of the subscription to the newsletter; None if not subscribed.
        affiliate_code: the customer's own affiliate code.
        affiliate_referrer_id: the id of the customer who referred this one.
        affiliate_referrer: the customer who referred this one.
    """

    id: Int64
    """The customer's id, unique within the shop."""
    email: str
    """The customer's e-mail address."""
    discord_id: str | None = None
    """The linked Discord account's id."""
    discord_username: str | None = None
    """The linked Discord account's name."""
    balance: Decimal | None = None
    """Store credit, in the shop's currency; may be negative."""
    total_completed: Int64 | None = None
    """The number of orders that the customer has completed."""
    total_spent_usd: Decimal | None = None
    """The sum of those orders, in US dollars."""
    last_completed_at: datetime | None = None
    """The time (UTC) of the last of those orders."""
    newsletter_at: datetime | None = None
    """The time (UTC) of the subscription to the newsletter; None if not subscribed."""
    affiliate_code: str | None = None
    """The customer's own affiliate code."""
    affiliate_referrer_id: Int64 | None = None
    """The id of the customer who referred this one."""
    affiliate_referrer: AffiliateReferrer | None = None
    """The customer who referred this one."""


@attrs.frozen(kw_only=True)
class BalanceTransaction:
    """One line of a customer's balance ledger, as Get Customer Balance Transactions answers."""

    id: Int64
    """The transaction's id."""
    amount: Decimal
    """The amount added (positive) or deducted (negative), in the shop's currency."""
    description: str | None = None
    """The editor's text; the server trims white space at both ends."""
    created_at: datetime | None = None
    """The time (UTC) of the booking."""


@attrs.frozen(kw_only=True)
class Ledger:
    """One answer to Get Customer Balance Transactions, whichever shape it came in; not public."""

    data: list[BalanceTransaction]
    """The lines."""
    current_page: Int64 | None = None
    """This page's number, where the ledger has pages."""
    last_page: Int64 | None = None
    """The last page's number, where the ledger has pages and counts them."""
    total: Any = None
    """The number of lines, if it is a number; without a last page it might be anything, even a sum."""
    next_page_url: str | None = None
    """The address of more lines; never followed, but a sign that there are more."""
    next_cursor: str | None = None
    """The same, of a paginator that goes by cursors."""


@attrs.frozen(kw_only=True)
class Page(Generic[T]):
    """One page of a list, as the server counted it.

    Args:
        data: the rows.
        current_page: this page's number, from 1.
        last_page: the number of the last page, as of this answer; at least 1.
        per_page: rows to a full page, 1 to 100.
        total: rows in the whole list, as of this answer.
    """

    data: list[T]
    """The rows."""
    current_page: Int64
    """This page's number, from 1."""
    last_page: Int64
    """The number of the last page, as of this answer; at least 1."""
    per_page: Int64
    """Rows to a full page, 1 to 100."""
    total: Int64
    """Rows in the whole list, as of this answer."""


@attrs.frozen(kw_only=True)
class BalanceEdit:
    """The outcome of a balance edit (Edit Customer Balance) that is known to have been made."""

    message: str | None
    """The server's message; None if it sent none, or if the edit was found in the ledger instead."""
    transaction: BalanceTransaction | None = None
    """The ledger's line for this edit, where it was looked up: by reference, before sending or after a loss."""
    replayed: bool = False
    """True if nothing was sent, because the ledger already held this reference with this amount."""
    duplicated: bool = False
    """True if the ledger, where it was looked up, holds this reference more than once with this amount: the edit was
    made more than once. A proxy may have repeated the request; correct the balance by hand."""


@attrs.frozen(kw_only=True)
class AffiliateCodeEdit:
    """The outcome of setting or clearing an affiliate code (Edit Customer Affiliate Code)."""

    message: str | None
    """The server's message; None if it sent none."""
