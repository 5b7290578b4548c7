"""One value of parsed JSON, read exactly or refused: never a silent ``'None'``, nor a number cut short.

Values stay out of messages: they are customers' data.
"""

import re
from datetime import UTC, datetime
from decimal import Decimal
from math import isfinite

import msgspec

_PLAIN = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?")
WHOLE = re.compile(r"-?[0-9]{1,18}")
_MYSQL_ZERO = re.compile(r"0000-00-00([ T]00:00:00(\.0+)?Z?)?")


class RefusedError(ValueError):
    """What a hook raises; its text is ours, so it may be shown."""


def read_text(value: object, _type: object) -> str:
    if isinstance(value, str):
        return value
    raise RefusedError(f"expected text, got {kind_of(value)}")


def read_whole(value: object, _type: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and WHOLE.fullmatch(value):
        return int(value)
    raise RefusedError(f"expected a whole number, got {kind_of(value)}")


def read_int64(value: object, _type: object) -> int:
    number = read_whole(value, _type)
    if -(2**63) <= number < 2**63:
        return number
    raise RefusedError("expected a whole number of at most 64 bits, got a larger one")


def read_real(value: object, _type: object) -> float:
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return float(value)
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool) and isfinite(value):
        return float(value)
    raise RefusedError(f"expected a finite number, got {kind_of(value)}")


def read_boolean(value: object, _type: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and value in {0, 1}:  # MySQL's tinyint
        return bool(value)
    raise RefusedError(f"expected true or false, got {kind_of(value)}")


def read_money(value: object, _type: object) -> Decimal:
    text = value
    if isinstance(value, int) and not isinstance(value, bool):
        text = str(value)
    elif isinstance(value, Decimal) and value.is_finite() and abs(value.adjusted()) <= 30:
        text = format(value, "f")  # 1e2 is 100
    if isinstance(text, str) and _PLAIN.fullmatch(text):
        return Decimal(text)
    raise RefusedError(f"expected a finite plain decimal, got {kind_of(value)}")


def read_time(value: object, _type: object) -> datetime:
    if isinstance(value, str):
        moment = msgspec.convert(value, datetime)  # the fast road's own parser, so that both read alike
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    raise RefusedError(f"expected a time, got {kind_of(value)}")


def kind_of(value: object) -> str:
    if value is None:
        return "null"
    names = {str: "text", bool: "a boolean", dict: "an object", list: "a list"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), "a number")


def read_time_or_none(value: object, _type: object) -> datetime | None:
    if value is None or (isinstance(value, str) and _MYSQL_ZERO.fullmatch(value)):
        return None
    return read_time(value, _type)
