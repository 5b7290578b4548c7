"""The exact road in: parsed JSON to attrs classes by cattrs, leniently where PHP is loose, silently nowhere.

cattrs by itself reads null as ``'None'``, ``"false"`` as True and 1.9 as 1. Every hook here either reads a value
exactly or refuses it, and a refusal knows its path. Values stay out of messages: they are customers' data.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from math import isfinite
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs
import cattrs
import msgspec
from cattrs import AttributeValidationNote, IterableValidationNote
from cattrs.cols import list_structure_factory
from cattrs.errors import BaseValidationError, StructureHandlerNotFoundError
from cattrs.gen import make_dict_structure_fn

from shopsdk._json import as_list, as_object
from shopsdk._models import Ledger, Page

T = TypeVar("T")

UNREADABLE = (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError)
"""All that parsers and converters raise on hostile input; UnicodeDecodeError and DecimalException are among them."""

_PLAIN = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?")
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_MYSQL_ZERO = re.compile(r"0000-00-00([ T]00:00:00(\.0+)?Z?)?")


class UnreadableError(Exception):
    """A value that cannot be read: where it stands, and what was expected. Leaves the codec as a DecodeError."""

    def __init__(self, expected: str, path: str, row: str) -> None:
        super().__init__(expected)
        self.path = path
        self.row = row


class _RefusedError(ValueError):
    """What a hook raises; its text is ours, so it may be shown."""


def exact(document: object, as_type: type[T]) -> T:
    """Read parsed JSON into a type, or raise UnreadableError with the path of the first value that cannot be read."""
    failure: UnreadableError
    try:
        if (get_origin(as_type) or as_type) in {Page, Ledger}:
            document = _flat(document)
        return _converter().structure(document, as_type)
    except BaseValidationError as error:
        path, reason = _first(error)
        failure = UnreadableError(reason, path, _row(document, path))
    except _RefusedError as error:
        failure = UnreadableError(str(error), "$", "")
    except (*UNREADABLE, TypeError, AttributeError, StructureHandlerNotFoundError) as error:
        failure = UnreadableError(f"cannot be read ({type(error).__name__})", "$", "")
    raise failure


def _flat(document: object) -> object:
    """An API resource collection puts the paginator's numbers under ``meta``; bring them up."""
    envelope = as_object(document) or {}
    meta = as_object(envelope.get("meta"))
    if meta is None or "current_page" in envelope:
        return document
    following = (as_object(envelope.get("links")) or {}).get("next")
    return {"next_page_url": following, **meta, "data": envelope.get("data")}


def _first(error: BaseException) -> tuple[str, str]:
    """Follow the first failure down to its cause, collecting the path."""
    path = "$"
    while isinstance(error, BaseValidationError):
        error = error.exceptions[0]
        for note in getattr(error, "__notes__", ()):
            if isinstance(note, AttributeValidationNote):
                path += f".{note.name}"
            elif isinstance(note, IterableValidationNote):
                path += f"[{note.index}]"
    if isinstance(error, KeyError):
        return path, "it is missing"
    return path, str(error) if isinstance(error, _RefusedError) else f"cannot be read ({type(error).__name__})"


def _row(document: object, path: str) -> str:
    """Name the row's id, so that one bad row can be found in the shop."""
    match = re.match(r"\$(\.data)?\[(\d+)\]", path)
    if match is None:
        return ""
    rows = (as_object(document) or {}).get("data") if match[1] else document
    listed = as_list(rows) or list((as_object(rows) or {}).values())
    number = (as_object(listed[int(match[2])]) or {}).get("id")
    return f" (id {number})" if _WHOLE.fullmatch(str(number)) else ""


def _text(value: object, _type: object) -> str:
    if isinstance(value, str):
        return value
    raise _RefusedError(f"expected text, got {_kind(value)}")


def _whole(value: object, _type: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    raise _RefusedError(f"expected a whole number, got {_kind(value)}")


def _real(value: object, _type: object) -> float:
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return float(value)
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool) and isfinite(value):
        return float(value)
    raise _RefusedError(f"expected a finite number, got {_kind(value)}")


def _boolean(value: object, _type: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and value in {0, 1}:  # MySQL's tinyint
        return bool(value)
    raise _RefusedError(f"expected true or false, got {_kind(value)}")


def _money(value: object, _type: object) -> Decimal:
    text = value
    if isinstance(value, int) and not isinstance(value, bool):
        text = str(value)
    elif isinstance(value, Decimal) and value.is_finite() and abs(value.adjusted()) <= 30:
        text = format(value, "f")  # 1e2 is 100
    if isinstance(text, str) and _PLAIN.fullmatch(text):
        return Decimal(text)
    raise _RefusedError(f"expected a finite plain decimal, got {_kind(value)}")


def _time(value: object, _type: object) -> datetime:
    if isinstance(value, str):
        moment = msgspec.convert(value, datetime)  # the fast road's own parser, so that both read alike
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    raise _RefusedError(f"expected a time, got {_kind(value)}")


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names = {str: "text", bool: "a boolean", dict: "an object", list: "a list"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), "a number")


def _list_of(kind: Any) -> Callable[[object, Any], list[Any]]:
    inner = list_structure_factory(kind, _converter())

    def read(value: object, into: Any) -> list[Any]:
        by_index = as_object(value)
        if by_index is not None and all(_WHOLE.fullmatch(key) for key in by_index):
            value = list(by_index.values())  # a PHP array with a gap in it
        if as_list(value) is None:
            raise _RefusedError(f"expected a list, got {_kind(value)}")
        rows: list[Any] = inner(value, into)
        return rows

    return read


def _optional_time(kind: Any) -> bool:
    return get_origin(kind) in {Union, UnionType} and set(get_args(kind)) == {datetime, type(None)}


def _time_or_none(value: object, _type: object) -> datetime | None:
    if value is None or (isinstance(value, str) and _MYSQL_ZERO.fullmatch(value)):
        return None
    return _time(value, _type)


def _object(kind: Any) -> Callable[[object, Any], Any]:
    inner = make_dict_structure_fn(kind, _converter(), _cattrs_detailed_validation=True)

    def read(value: object, into: Any) -> Any:
        fields = as_object(value)
        if fields is None:
            raise _RefusedError(f"expected an object, got {_kind(value)}")
        return inner(fields, into)

    return read


def _is_list(kind: Any) -> bool:
    return get_origin(kind) is list


def is_attrs(kind: Any) -> bool:
    """Is this an attrs class, or one with its parameters filled in, such as ``Page[Customer]``?"""
    cls: Any = get_origin(kind) or kind
    return isinstance(cls, type) and attrs.has(cls)


@cache
def _converter() -> cattrs.Converter:
    """Make the converter on first use: most programs never meet what only it can read."""
    converter = cattrs.Converter(detailed_validation=True)
    for hook in (_text, _whole, _real, _boolean, _money, _time):
        converter.register_structure_hook(get_type_hints(hook)["return"], hook)
    converter.register_structure_hook_func(_optional_time, _time_or_none)
    converter.register_structure_hook_factory(_is_list, _list_of)
    converter.register_structure_hook_factory(is_attrs, _object)
    return converter
