"""What a request says, as Laravel hears it: body before query, strings trimmed, empty ones null."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import cast

from shopsdk.sandbox._message import Call

EDGES = (
    "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
"""What strings are trimmed of: white space, and the byte order mark."""


def read_json(body: bytes) -> object:
    """The body as JSON with exact numbers; None where it is not JSON, which Laravel treats as no body at all."""
    try:
        return json.loads(body.decode(), parse_float=_exact, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def parameters(call: Call) -> dict[str, object]:
    """All parameters of a call: those of its query, and over them those of its JSON body."""
    given = dict(call.query)
    document = call.document
    if call.carries_json() and isinstance(document, dict):
        given |= cast("dict[str, object]", document)
    try:
        return {name: _clean(value) for name, value in given.items()}
    except (UnicodeEncodeError, RecursionError):  # a lone surrogate, or too deep: PHP refuses the whole document
        return {name: _clean(value) for name, value in call.query.items()}


def query_parameters(pairs: Mapping[str, str]) -> dict[str, object]:
    """The query as PHP reads it: the last of several wins, and ``name[]`` makes a list."""
    given: dict[str, object] = {}
    for name, value in pairs.items():
        plain, bracket, _ = name.partition("[")
        given[plain] = [value] if bracket else value
    return given


def _clean(value: object) -> object:
    """Laravel's TrimStrings and ConvertEmptyStringsToNull, which reach into lists and objects too."""
    if isinstance(value, str):
        value.encode()
        return value.strip(EDGES) or None
    if isinstance(value, list):
        return [_clean(item) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        return {name: _clean(item) for name, item in cast("dict[str, object]", value).items()}
    return value


def _exact(text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError:  # an exponent beyond what Decimal holds
        return Decimal(0) if "e-" in text.lower() else Decimal("Infinity")


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
