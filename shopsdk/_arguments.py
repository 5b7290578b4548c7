"""What callers may pass, checked before anything is sent.

Laravel drops an empty parameter as if it had not been given, and a filter that is dropped lists everybody; the next
step of a program might credit them. So an empty filter is refused, and so is one that is None.
"""

import re
from decimal import Context, Decimal
from typing import TypedDict, get_args

from shopsdk._models import OrderColumn, OrderDirection
from shopsdk._wire import check_int, check_page, path_segment, unicode_text

_NUMBER = re.compile(r"[1-9][0-9]{0,18}")
_BEGINS_LIKE_A_NUMBER = re.compile(r"\s*[+-]?\.?[0-9]", re.ASCII)
"""What MySQL takes for a number when it compares it with one: ``'1312x'`` finds customer 1312."""
_AMOUNT = re.compile(r"[+-]?[0-9]{1,30}(\.[0-9]{1,30})?")
_REFERENCE = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_INVISIBLE = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
"""What looks like nothing though Unicode counts it as letters, marks and symbols."""
_CENT = Decimal("0.01")
_EXACT = Context(prec=50, traps=[])
"""Not the caller's context, which may round to less than an amount holds."""
_MOST = 1000
_DESCRIPTION_CHARS = 255
_AFFILIATE_CODE_CHARS = 50


class CustomerFilters(TypedDict, total=False):
    """The filters of Get Customers; the server combines them with "and".

    All but ``id`` and ``subscribed`` match anywhere in the text, without regard to the case of ASCII letters, and ``%``
    and ``_`` are wildcards: compare what comes back before you move money on the strength of it.
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


def customer_filters(filters: CustomerFilters) -> dict[str, object]:
    """Check the filters and put them as the API takes them."""
    checked: dict[str, object] = {}
    for name, value in filters.items():
        if name not in CustomerFilters.__annotations__:
            raise TypeError(f"{name!r} is not a filter; the filters are {', '.join(CustomerFilters.__annotations__)}")
        if name == "subscribed" and isinstance(value, bool):
            checked[name] = "1" if value else "0"
        elif name == "id" and isinstance(value, int) and not isinstance(value, bool):
            checked[name] = str(check_int("id", value, 1))
        elif isinstance(value, str):
            if _is_blank(value):
                raise ValueError(f"{name} must not be empty: the server would ignore it and list everybody")
            checked[name] = unicode_text(name, value)
        else:
            kinds = {"id": "an int or a str", "subscribed": "a bool or a str"}.get(name, "a str")
            raise TypeError(f"{name} must be {kinds}, not {type(value).__name__}; leave it out to ask for all")
    return checked


def _is_blank(text: str) -> bool:
    """Is there nothing left of it when Laravel has trimmed it? Newer ones trim invisible characters as well."""
    return not any(char.isprintable() and not char.isspace() and char not in _INVISIBLE for char in text)


def customer_list(
    page: int, per_page: int, column: OrderColumn | None, direction: OrderDirection | None, filters: CustomerFilters
) -> dict[str, object]:
    """Check all parameters of Get Customers and put them as the API takes them."""
    check_page(page, per_page)
    parameters: dict[str, object] = {"page": page, "perPage": per_page}
    for name, wire_name, value, known in (
        ("order_column", "orderColumn", column, get_args(OrderColumn)),
        ("order_direction", "orderDirection", direction, get_args(OrderDirection)),
    ):
        if value is None:
            continue
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")
        parameters[wire_name] = value
    return parameters | customer_filters(filters)


def customer_number(customer_id: int) -> int:
    """Check a customer id where the API documents an integer."""
    check_int("customer_id", customer_id, 1)
    return customer_id


def customer_name(customer_id: int | str) -> int | str:
    """Check a customer id where the API documents a string."""
    if isinstance(customer_id, int):
        return customer_number(customer_id)
    path_segment(customer_id, "customer_id")
    if _BEGINS_LIKE_A_NUMBER.match(customer_id) and not _NUMBER.fullmatch(customer_id):
        raise ValueError("customer_id must be an id as it stands, such as '1312', not text that only begins like one")
    return customer_id


def balance_amount(amount: Decimal | int | str) -> Decimal:
    """Check an amount of money: exact, -1000 to 1000, at most two decimals."""
    if isinstance(amount, bool) or not isinstance(amount, Decimal | int | str):  # pyright: ignore[reportUnnecessaryIsInstance]
        kind = type(amount).__name__
        why = ": floats are not exact" if kind == "float" else ""
        raise TypeError(f"amount must be a Decimal, an int or a str, not {kind}{why}")
    if isinstance(amount, str) and not _AMOUNT.fullmatch(amount):
        raise ValueError("amount must be a plain decimal number, such as '-12.50'")
    value = Decimal(amount)
    if not value.is_finite() or not -_MOST <= value <= _MOST:
        raise ValueError(f"amount must be -{_MOST} to {_MOST}")
    if value != value.quantize(_CENT, context=_EXACT):
        raise ValueError("amount must have at most two decimals")
    return Decimal(format(value, "f")) if value else Decimal(0)


def balance_description(description: str | None, reference: str | None) -> str | None:
    """Check a description, and end it with the reference's marker where there is one."""
    if description is not None and not isinstance(description, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"description must be a str, not {type(description).__name__}")
    text = None if description is None else unicode_text("description", description)
    if reference is not None:
        text = f"{(description or '').strip()} {reference_marker(reference)}".lstrip()
    if text is not None and len(text) > _DESCRIPTION_CHARS:
        with_marker = "" if reference is None else f", the {len(reference_marker(reference))} of the reference's marker"
        raise ValueError(
            f"description must be at most {_DESCRIPTION_CHARS} characters{with_marker and with_marker + ' included'};"
            f" this makes {len(text)}"
        )
    return text


def reference_marker(reference: str) -> str:
    """Check a reference and make what stands for it in the ledger."""
    if not isinstance(reference, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"reference must be a str, not {type(reference).__name__}")
    if not _REFERENCE.fullmatch(reference):
        raise ValueError("reference must be 1 to 64 characters of A-Z a-z 0-9 . _ : -")
    return f"[ref:{reference}]"


def checked_affiliate_code(code: str | None) -> str | None:
    """Check an affiliate code; None clears."""
    if code is None:
        return None
    if not isinstance(code, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"affiliate_code must be a str or None, not {type(code).__name__}")
    if _is_blank(unicode_text("affiliate_code", code)):
        raise ValueError("affiliate_code must not be empty: None clears it")
    if len(code) > _AFFILIATE_CODE_CHARS:
        raise ValueError(f"affiliate_code must be at most {_AFFILIATE_CODE_CHARS} characters, not {len(code)}")
    return code
