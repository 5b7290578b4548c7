"""Laravel's validation rules, as far as the Customers API uses them, in Laravel's own words."""

import re
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import cast

import attrs

from shopsdk.sandbox._message import Call, HTTPError, without_surrogates
from shopsdk.sandbox._rows import ORDER_COLUMNS, TEXT_FILTERS

_WHOLE = re.compile(r"[+-]?(?:0|[1-9][0-9]*)")
_NUMERIC = re.compile(r"[+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]{1,9})?")
_LARGEST_INT = 2**63 - 1


@attrs.frozen
class Listing:
    """What Get Customers was asked for."""

    page: int
    per_page: int
    column: str
    direction: str
    filters: Mapping[str, str]
    subscribed: bool | None


@attrs.frozen
class Edit:
    """What Edit Customer Balance was asked for."""

    amount: Decimal
    description: str | None


def check_listing(call: Call, given: Mapping[str, object]) -> Listing:
    """The parameters of Get Customers.

    Raises:
        Refusal: Some are not valid (422).
    """
    check = _Check(given)
    listing = Listing(
        page=max(check.whole("page", None, absent=1), 1),
        per_page=check.whole("perPage", (1, 100), absent=10),
        column=check.choice("orderColumn", ORDER_COLUMNS, absent="id"),
        direction=check.choice("orderDirection", ("asc", "desc"), absent="desc"),
        filters={name: text for name in ("id", *TEXT_FILTERS) if (text := check.plain(name)) is not None},
        subscribed=None if (text := check.plain("subscribed")) is None else text in {"1", "true"},
    )
    check.done(call)
    return listing


def check_edit(call: Call, given: Mapping[str, object]) -> Edit:
    """The parameters of Edit Customer Balance.

    Raises:
        Refusal: Some are not valid (422).
    """
    check = _Check(given)
    edit = Edit(check.amount("amount", -1000, 1000), check.text("description", 255))
    check.done(call)
    return edit


def check_affiliate_code(call: Call, given: Mapping[str, object]) -> str | None:
    """The parameter of Edit Customer Affiliate Code; None clears.

    Raises:
        Refusal: It is not valid (422).
    """
    check = _Check(given)
    code = check.text("affiliate_code", 50)
    check.done(call)
    return code


class _Check:
    """Goes through the parameters and keeps what is wrong with each; null counts as absent everywhere."""

    def __init__(self, given: Mapping[str, object]) -> None:
        self._given = given
        self._errors: dict[str, list[str]] = {}

    def whole(self, name: str, bounds: tuple[int, int] | None, *, absent: int) -> int:
        value = self._given.get(name)
        if value is None:
            return absent
        number = _as_whole(value)
        if number is None:
            self._wrong(name, "The {} must be an integer.")
        if bounds is not None:
            self._bounds(name, value, *bounds)
        return absent if number is None else number

    def amount(self, name: str, least: int, most: int) -> Decimal:
        value = self._given.get(name)
        if value is None or value in ([], {}):
            self._wrong(name, "The {} field is required.")
            return Decimal(0)
        number = _as_number(value)
        if number is None:
            self._wrong(name, "The {} must be a number.")
        self._bounds(name, value, least, most)
        return Decimal(0) if number is None else number

    def text(self, name: str, most: int) -> str | None:
        value = self._given.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            self._wrong(name, "The {} must be a string.")
        if _length(value) > most:
            self._wrong(name, f"The {{}} must not be greater than {most} characters.")
        return value if isinstance(value, str) else None

    def choice(self, name: str, among: Collection[str], *, absent: str) -> str:
        value = self._given.get(name)
        if value is None:
            return absent
        if not isinstance(value, str) or value not in among:
            self._wrong(name, "The selected {} is invalid.")
            return absent
        return value

    def plain(self, name: str) -> str | None:
        """A filter's value as text: a number or a boolean is read as PHP writes it."""
        value = self._given.get(name)
        if isinstance(value, (list, dict)):
            self._wrong(name, "The {} must be a string.")
            return None
        return None if value is None else _as_text(value)

    def done(self, call: Call) -> None:
        if self._errors:
            back = without_surrogates(call.headers.get("Referer", "/"))
            raise HTTPError(422, "The given data was invalid.", errors=self._errors, redirect=back)

    def _bounds(self, name: str, value: object, least: int, most: int) -> None:
        number = _as_number(value)
        size = _length(value) if number is None else number
        if size < least:
            self._wrong(name, f"The {{}} must be at least {least}.")
        if size > most:
            self._wrong(name, f"The {{}} must not be greater than {most}.")

    def _wrong(self, name: str, message: str) -> None:
        label = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", name).lower()
        self._errors.setdefault(name, []).append(message.format(label))


def _as_whole(value: object) -> int | None:
    """PHP's FILTER_VALIDATE_INT: text that is an integer counts, true is 1, and 1.0 is written 1."""
    if not isinstance(value, (str, int, Decimal)) or not _WHOLE.fullmatch(text := _as_text(value)):
        return None
    return number if len(text) <= 20 and abs(number := int(text)) <= _LARGEST_INT else None


def _as_number(value: object) -> Decimal | None:
    """PHP's is_numeric: a number, or text that is one; a boolean is not."""
    if isinstance(value, str):
        return Decimal(value) if _NUMERIC.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        return None
    return Decimal(value)


def _as_text(value: object) -> str:
    """A scalar as PHP writes it."""
    if isinstance(value, bool):
        return "1" if value else ""
    # Compared, not computed with: abs() overflows on 1e999999999, which JSON may hold.
    if isinstance(value, Decimal) and -(10**15) < value < 10**15 and value == value.to_integral_value():
        return str(int(value))
    return str(value)


def _length(value: object) -> int:
    """What the bounds of a rule count where the value is no number: characters, or entries."""
    return len(cast("list[object]", value)) if isinstance(value, (list, dict)) else len(_as_text(value))
