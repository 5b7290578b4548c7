"""Laravel's validation rules, as far as the Customers API uses them, in Laravel's own words."""

import re
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import cast

import attrs

from shopsdk.sandbox._message import HTTPError, Request, replace_surrogates
from shopsdk.sandbox._rows import ORDER_COLUMNS, TEXT_FILTERS

_INTEGER = re.compile(r"[+-]?(?:0|[1-9][0-9]*)")
_NUMERIC = re.compile(r"[+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]{1,9})?")
_MAX_INT = 2**63 - 1


@attrs.frozen
class Listing:
    """The parameters of Get Customers."""

    page: int
    per_page: int
    column: str
    direction: str
    filters: Mapping[str, str]
    subscribed: bool | None


@attrs.frozen
class Edit:
    """The parameters of Edit Customer Balance."""

    amount: Decimal
    description: str | None


def check_listing(request: Request, given: Mapping[str, object]) -> Listing:
    """Check the parameters of Get Customers.

    Raises:
        HTTPError: Some are not valid (422).
    """
    check = _Validator(given)
    listing = Listing(
        page=max(check.integer("page", None, default=1), 1),
        per_page=check.integer("perPage", (1, 100), default=10),
        column=check.one_of("orderColumn", ORDER_COLUMNS, default="id"),
        direction=check.one_of("orderDirection", ("asc", "desc"), default="desc"),
        filters={name: text for name in ("id", *TEXT_FILTERS) if (text := check.filter_text(name)) is not None},
        subscribed=None if (text := check.filter_text("subscribed")) is None else text in {"1", "true"},
    )
    check.raise_errors(request)
    return listing


def check_edit(request: Request, given: Mapping[str, object]) -> Edit:
    """Check the parameters of Edit Customer Balance.

    Raises:
        HTTPError: Some are not valid (422).
    """
    check = _Validator(given)
    edit = Edit(check.number("amount", -1000, 1000), check.text("description", 255))
    check.raise_errors(request)
    return edit


def check_affiliate_code(request: Request, given: Mapping[str, object]) -> str | None:
    """Check the parameter of Edit Customer Affiliate Code; None clears the code.

    Raises:
        HTTPError: It is not valid (422).
    """
    check = _Validator(given)
    code = check.text("affiliate_code", 50)
    check.raise_errors(request)
    return code


class _Validator:
    """Checks parameters one by one, and collects the errors of each; null counts as absent."""

    def __init__(self, given: Mapping[str, object]) -> None:
        self._given = given
        self._errors: dict[str, list[str]] = {}

    def integer(self, name: str, bounds: tuple[int, int] | None, *, default: int) -> int:
        value = self._given.get(name)
        if value is None:
            return default
        number = _to_integer(value)
        if number is None:
            self._add_error(name, "The {} must be an integer.")
        if bounds is not None:
            self._check_bounds(name, value, *bounds)
        return default if number is None else number

    def number(self, name: str, minimum: int, maximum: int) -> Decimal:
        value = self._given.get(name)
        if value is None or value in ([], {}):
            self._add_error(name, "The {} field is required.")
            return Decimal(0)
        number = _to_number(value)
        if number is None:
            self._add_error(name, "The {} must be a number.")
        self._check_bounds(name, value, minimum, maximum)
        return Decimal(0) if number is None else number

    def text(self, name: str, maximum: int) -> str | None:
        value = self._given.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            self._add_error(name, "The {} must be a string.")
        if _length(value) > maximum:
            self._add_error(name, f"The {{}} must not be greater than {maximum} characters.")
        return value if isinstance(value, str) else None

    def one_of(self, name: str, among: Collection[str], *, default: str) -> str:
        value = self._given.get(name)
        if value is None:
            return default
        if not isinstance(value, str) or value not in among:
            self._add_error(name, "The selected {} is invalid.")
            return default
        return value

    def filter_text(self, name: str) -> str | None:
        """A filter's value as text: a number or a boolean is read as PHP writes it."""
        value = self._given.get(name)
        if isinstance(value, (list, dict)):
            self._add_error(name, "The {} must be a string.")
            return None
        return None if value is None else _to_text(value)

    def raise_errors(self, request: Request) -> None:
        if self._errors:
            back = replace_surrogates(request.headers.get("Referer", "/"))
            raise HTTPError(422, "The given data was invalid.", errors=self._errors, redirect=back)

    def _check_bounds(self, name: str, value: object, minimum: int, maximum: int) -> None:
        number = _to_number(value)
        size = _length(value) if number is None else number
        if size < minimum:
            self._add_error(name, f"The {{}} must be at least {minimum}.")
        if size > maximum:
            self._add_error(name, f"The {{}} must not be greater than {maximum}.")

    def _add_error(self, name: str, message: str) -> None:
        label = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", name).lower()
        self._errors.setdefault(name, []).append(message.format(label))


def _to_integer(value: object) -> int | None:
    """PHP's FILTER_VALIDATE_INT: text that is an integer counts, true is 1, and 1.0 is written 1."""
    if not isinstance(value, (str, int, Decimal)) or not _INTEGER.fullmatch(text := _to_text(value)):
        return None
    return number if len(text) <= 20 and abs(number := int(text)) <= _MAX_INT else None


def _to_number(value: object) -> Decimal | None:
    """PHP's is_numeric: a number, or text that is one; a boolean is not."""
    if isinstance(value, str):
        return Decimal(value) if _NUMERIC.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        return None
    return Decimal(value)


def _to_text(value: object) -> str:
    """A scalar as PHP writes it."""
    if isinstance(value, bool):
        return "1" if value else ""
    # Compared, not computed with: abs() overflows on 1e999999999, which JSON may hold.
    if isinstance(value, Decimal) and -(10**15) < value < 10**15 and value == value.to_integral_value():
        return str(int(value))
    return str(value)


def _length(value: object) -> int:
    """The size that the bounds of a rule count where the value is no number: characters, or entries."""
    return len(cast("list[object]", value)) if isinstance(value, (list, dict)) else len(_to_text(value))
