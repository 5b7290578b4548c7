"""The arguments of the operations, checked before anything is sent.

An empty filter is refused, and so is None: Laravel drops an empty parameter, and a list without its filter holds
everybody. A program might then credit them all.
"""

import re
from collections.abc import Mapping
from decimal import Context, Decimal
from typing import Literal, TypedDict, cast, get_args

import attrs

from shopsdk._checks import check_choice, check_int, check_page, path_segment, plain_text, unicode_text
from shopsdk._models import OrderColumn, OrderDirection

_NUMBER = re.compile(r"[1-9][0-9]{0,18}")
_BEGINS_LIKE_A_NUMBER = re.compile(r"\s*[+-]?\.?[0-9]", re.ASCII)
"""Text that MySQL reads as a number when it compares it with one: ``'1312x'`` finds customer 1312."""
_AMOUNT = re.compile(r"[+-]?[0-9]{1,30}(\.[0-9]{1,30})?")
_REFERENCE = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_INVISIBLE = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
"""Letters, marks and symbols (by Unicode's classes) that show nothing."""
MAX_ROWS = 100
"""Rows of a page at most, whatever was asked for."""
_CENT = Decimal("0.01")
_EXACT = Context(prec=50, traps=[])
"""Used in place of the caller's context, which may round."""
_MAX_AMOUNT = 1000
_DESCRIPTION_CHARS = 255
_AFFILIATE_CODE_CHARS = 50


class CustomerFilters(TypedDict, total=False):
    """The filters of Get Customers; the server combines them with "and".

    All but ``id`` and ``subscribed`` match anywhere in the text, without regard to the case of ASCII letters, and ``%``
    and ``_`` are wildcards: to find one person use ``find_customer``, which compares the whole text. Filters stand in
    the URL (unless ``AsyncSession(list_params="body")``), and so in access logs of servers and proxies and in traces.

    Args:
        id: exactly this customer id.
        email: this text within the e-mail address.
        discord_id: this text within the Discord id.
        discord_username: this text within the Discord name.
        subscribed: whether the customer takes the newsletter; True and False travel as "1" and "0".
        affiliate_code: this text within the affiliate code.
        affiliate_referrer_email: this text within the referring customer's e-mail address.
    """

    id: int | str
    """Exactly this customer id."""
    email: str
    """This text within the e-mail address."""
    discord_id: str
    """This text within the Discord id."""
    discord_username: str
    """This text within the Discord name."""
    subscribed: bool | str
    """Whether the customer takes the newsletter; True and False travel as "1" and "0"."""
    affiliate_code: str
    """This text within the affiliate code."""
    affiliate_referrer_email: str
    """This text within the referring customer's e-mail address."""


def customer_filters(filters: Mapping[str, object]) -> dict[str, object]:
    """Check the filters and put them as the API takes them."""
    checked: dict[str, object] = {}
    for given, value in filters.items():
        name = str.__str__(given)
        if name not in CustomerFilters.__annotations__:
            raise TypeError(f"{name!r} is not a filter; the filters are {', '.join(CustomerFilters.__annotations__)}")
        if name == "subscribed" and isinstance(value, bool):
            checked[name] = "1" if value else "0"
        elif name == "id" and isinstance(value, int) and not isinstance(value, bool):
            checked[name] = str(check_int("id", value, 1))
        elif isinstance(value, str):
            text = unicode_text(name, value)
            if _is_blank(text):
                raise ValueError(f"{name} must not be empty: the server would ignore it and list everybody")
            checked[name] = text
        else:
            kinds = {"id": "an int or a str", "subscribed": "a bool or a str"}.get(name, "a str")
            raise TypeError(f"{name} must be {kinds}, not {type(value).__name__}; leave it out to ask for all")
    return checked


def _is_blank(text: str) -> bool:
    """Whether Laravel's trimming leaves nothing of it. Newer versions of Laravel trim invisible characters too."""
    return not any(char.isprintable() and not char.isspace() and char not in _INVISIBLE for char in text)


@attrs.frozen(eq=False, repr=False)
class CustomerList:
    """The checked arguments of Get Customers."""

    page: int
    per_page: int
    column: str | None
    direction: Literal["asc", "desc"] | None
    parameters: dict[str, object]
    """All parameters but the page, as the API takes them."""


def customer_list(
    page: object, per_page: object, column: object, direction: object, filters: Mapping[str, object]
) -> CustomerList:
    """Check all parameters of Get Customers."""
    number, size = check_page(page, per_page)
    parameters: dict[str, object] = {"perPage": size}
    if column is not None:
        parameters["orderColumn"] = column = check_choice("order_column", column, get_args(OrderColumn))
    if direction is not None:
        parameters["orderDirection"] = direction = check_choice("order_direction", direction, get_args(OrderDirection))
    return CustomerList(
        number,
        size,
        column,
        cast("OrderDirection | None", direction),
        parameters | customer_filters(filters),
    )


def one_criterion(**given: object) -> tuple[str, str]:
    """Check that exactly one criterion is given; return its name, and its text without outer white space."""
    named = {name: value for name, value in given.items() if value is not None}
    if len(named) != 1:
        got = ", ".join(named) or "none of them"
        raise TypeError(f"give exactly one of {', '.join(given)}, not {got}")
    ((name, value),) = named.items()
    if name == "discord_id" and isinstance(value, int) and not isinstance(value, bool):
        return name, str(check_int(name, value, 1))
    if name == "discord_id" and not isinstance(value, str):
        raise TypeError(f"{name} must be a str or an int, not {type(value).__name__}")
    text = unicode_text(name, value).strip()
    if _is_blank(text):
        raise ValueError(f"{name} must not be empty")
    return name, text


def server_filter(name: str, text: str) -> CustomerFilters:
    """Make a filter that finds this text. ``_``, which matches any character, stands for what databases treat apart.

    MySQL takes a backslash for an escape, and SQLite does not fold the case of letters beyond ASCII.
    """
    wide = ("_" if char == "\\" or (not char.isascii() and char.lower() != char.upper()) else char for char in text)
    return cast("CustomerFilters", {name: "".join(wide)})


def check_customer_id(customer_id: object) -> str:
    """Check a customer id where the API documents a string; the same customer is always the same text."""
    if isinstance(customer_id, int):
        return str(check_int("customer_id", customer_id, 1))
    path_segment(customer_id, "customer_id")
    text = plain_text("customer_id", customer_id)
    if _BEGINS_LIKE_A_NUMBER.match(text) and not _NUMBER.fullmatch(text):
        raise ValueError("customer_id must be an id as it stands, such as '1312', not text that only begins like one")
    return text


def balance_amount(amount: object) -> Decimal:
    """Check an amount of money: exact, -1000 to 1000, at most two decimals."""
    if isinstance(amount, bool) or not isinstance(amount, Decimal | int | str):
        kind = type(amount).__name__
        why = ": floats are not exact" if kind == "float" else ""
        raise TypeError(f"amount must be a Decimal, an int or a str, not {kind}{why}")
    if isinstance(amount, str) and not _AMOUNT.fullmatch(amount):
        raise ValueError("amount must be a plain decimal number, such as '-12.50'")
    value = Decimal(amount)
    if not value.is_finite() or not -_MAX_AMOUNT <= value <= _MAX_AMOUNT:
        raise ValueError(f"amount must be -{_MAX_AMOUNT} to {_MAX_AMOUNT}")
    if value != value.quantize(_CENT, context=_EXACT):
        raise ValueError("amount must have at most two decimals")
    return Decimal(format(value, "f")) if value else Decimal(0)


def balance_description(description: object, reference: str | None) -> str | None:
    """Check a description, and end it with a checked reference's marker where there is one."""
    text = None if description is None else unicode_text("description", description)
    if reference is not None:
        text = f"{(text or '').strip()} {reference_marker(reference)}".lstrip()
    if text is not None and len(text) > _DESCRIPTION_CHARS:
        with_marker = "" if reference is None else f", the {len(reference_marker(reference))} of the reference's marker"
        raise ValueError(
            f"description must be at most {_DESCRIPTION_CHARS} characters{with_marker and with_marker + ' included'};"
            f" this makes {len(text)}"
        )
    return text


def edit_reference(reference: object) -> str:
    """Check the reference of an edit."""
    text = plain_text("reference", reference)
    if not _REFERENCE.fullmatch(text):
        raise ValueError("reference must be 1 to 64 characters of A-Z a-z 0-9 . _ : -")
    return text


def reference_marker(reference: str) -> str:
    """Make the marker of a checked reference, by which the ledger shows it."""
    return f"[ref:{reference}]"


def check_affiliate_code(code: object) -> str | None:
    """Check an affiliate code; None clears."""
    if code is None:
        return None
    if not isinstance(code, str):
        raise TypeError(f"affiliate_code must be a str or None, not {type(code).__name__}")
    text = unicode_text("affiliate_code", code)
    if _is_blank(text):
        raise ValueError("affiliate_code must not be empty: None clears it")
    if len(text) > _AFFILIATE_CODE_CHARS:
        raise ValueError(f"affiliate_code must be at most {_AFFILIATE_CODE_CHARS} characters, not {len(text)}")
    return text
