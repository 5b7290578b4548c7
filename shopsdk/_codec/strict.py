"""The strict path in: parsed JSON to attrs classes by cattrs, with hooks that read the forms that PHP writes.

cattrs by itself reads null as ``'None'``, ``"false"`` as True and 1.9 as 1. Every hook here reads a value exactly or
refuses it, and a refusal knows its path. Values stay out of messages: they are customers' data.

Decoding stops at the first value that cannot be read. cattrs would go on, and keep an error with its traceback for each
one: 160,000 empty rows, 717 bytes of gzip, took 647 MiB.
"""

import re
from collections import abc
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from itertools import islice, repeat
from math import isfinite
from types import UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import attrs
import cattrs
import msgspec
from cattrs.gen import make_dict_structure_fn, override

from shopsdk._models import Int64, Ledger, Page

T = TypeVar("T")

DECODE_ERRORS = (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError)
"""All errors of parsers and converters on hostile input; UnicodeDecodeError and DecimalException are among them."""


_MAX_SAME_HASH = 1000
"""Values in a set, or keys of a mapping, that may share the hash of another one."""
_PLAIN = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?")
_MAX_DIGITS = 30
INTEGER = re.compile(r"-?[0-9]{1,18}")
_MYSQL_ZERO = re.compile(r"0000-00-00([ T]00:00:00(\.0+)?Z?)?")


def as_object(value: object) -> dict[str, object] | None:
    """Narrow to a JSON object; None for anything else."""
    return cast(dict[str, object], value) if isinstance(value, dict) else None


def as_list(value: object) -> list[object] | None:
    """Narrow to a JSON list; None for anything else."""
    return cast(list[object], value) if isinstance(value, list) else None


class UnreadableError(Exception):
    """A value that cannot be read: where it stands, and what was expected. The codec raises it as a DecodeError."""

    def __init__(self, expected: str, path: str, row: str) -> None:
        super().__init__(expected)
        self.path = path
        self.row = row


class _FailedError(Exception):
    """A value that could not be read, on its way out: each level adds its place."""

    def __init__(self, expected: str, place: str | int) -> None:
        super().__init__(expected)
        self.places = [place]
        """From the inside out: a field by ``.name``, a row by its number."""


def structure(document: object, as_type: type[T]) -> T:
    """Read parsed JSON into a type, or raise UnreadableError with the path of the first value that cannot be read."""
    failure: Exception
    try:
        if (get_origin(as_type) or as_type) in {Page, Ledger}:
            document = _flat(document)
        return _converter().structure(document, as_type)
    except Exception as error:  # noqa: BLE001 - see _located
        failure = _located(error, "$")
    if isinstance(failure, _FailedError):
        places = failure.places[::-1]
        path = "".join(f"[{place}]" if isinstance(place, int) else place for place in places)
        raise UnreadableError(str(failure), path, _row(document, places))
    raise UnreadableError(_unreadable(failure), "$", "")


def _unreadable(error: Exception) -> str:
    return f"cannot be read ({type(error).__name__})"


def _located(error: Exception, place: str | int) -> Exception:
    """Add its place to a failure. cattrs, and the caller's own classes, may raise anything."""
    if isinstance(error, _FailedError):
        error.places.append(place)
        return error
    if isinstance(error, RecursionError):
        return error  # its path would be as long as the stack is deep
    return _FailedError(str(error) if isinstance(error, InvalidValueError) else _unreadable(error), place)


def _flat(document: object) -> object:
    """Bring up the paginator's numbers, which an API resource collection has under ``meta``."""
    envelope = as_object(document) or {}
    meta = as_object(envelope.get("meta"))
    if meta is None or "current_page" in envelope:
        return document
    following = (as_object(envelope.get("links")) or {}).get("next")
    return {"next_page_url": following, **meta, "data": envelope.get("data")}


def count_rows(document: object) -> int:
    """Count the rows of a parsed list, bare or under ``data``, whether PHP wrote it as a list or as an object."""
    rows = (as_object(document) or {}).get("data") if as_list(document) is None else document
    return len(as_list(rows) or as_object(rows) or ())


def _row(document: object, places: Sequence[str | int]) -> str:
    """The id of a bad row, so that it can be found in the shop."""
    rows = document
    if places[1:2] == [".data"]:
        rows, places = (as_object(document) or {}).get("data"), places[1:]
    index = places[1] if len(places) > 1 else None
    if not isinstance(index, int):
        return ""
    listed: Iterable[object] = as_list(rows) or (as_object(rows) or {}).values()
    number = (as_object(next(islice(listed, index, None), None)) or {}).get("id")
    return f" (id {number})" if isinstance(number, int | str) and INTEGER.fullmatch(str(number)) else ""


def _list_of(kind: Any) -> Callable[[object, Any], Any]:
    """Read a list, or another collection through one; cattrs by itself would read text as its letters."""
    make = _COLLECTIONS[get_origin(kind) or kind]
    args = get_args(kind)
    of_places = make is tuple and bool(args) and args[-1] is not Ellipsis
    kinds: Iterable[Any] = args if of_places else repeat(args[0] if args else Any)

    def read(value: object, _: object) -> Any:
        by_index = as_object(value)
        if by_index is not None and all(map(INTEGER.fullmatch, by_index)):
            value = list(by_index.values())  # a PHP array with a gap in it
        listed = as_list(value)
        if listed is None:
            raise InvalidValueError(f"expected a list, got {kind_of(value)}")
        if of_places and len(args) != len(listed):
            raise InvalidValueError(f"expected a list of {len(args)}, got one of {len(listed)}")
        rows: list[Any] = []
        try:
            for each, item in zip(listed, kinds, strict=False):
                rows.append(_hook(item)(each, item))
        except Exception as error:  # noqa: BLE001 - see _located
            failure = _located(error, len(rows))
        else:
            return rows if make is list else make(_spread(rows) if make in {set, frozenset} else rows)
        raise failure

    return read


@cache
def _hook(kind: Any) -> Callable[[object, Any], Any]:
    """Find the hook of a type; on first use, since a class may hold itself."""
    return _converter().get_structure_hook(kind)


def _spread(values: list[Any]) -> list[Any]:
    """Refuse values that share a hash: a set of them takes time by the square of its length."""
    first: dict[int, Any] = {}
    if sum(first.setdefault(hash(value), value) != value for value in values) > _MAX_SAME_HASH:
        raise InvalidValueError("expected values with hashes of their own, got too many that share one")
    return values


_COLLECTIONS: dict[Any, Callable[[list[Any]], Any]] = {
    **dict.fromkeys((list, abc.Sequence, abc.MutableSequence, abc.Collection), list),
    **dict.fromkeys((set, abc.Set, abc.MutableSet), set),
    frozenset: frozenset,
    tuple: tuple,
}
"""What to make of a list for a type that is read as one; the same as on the fast path."""


def _optional_time(kind: Any) -> bool:
    return get_origin(kind) in {Union, UnionType} and set(get_args(kind)) == {datetime, type(None)}


def _object(kind: Any) -> Callable[[object, Any], Any]:
    fields = attrs.fields(attrs.resolve_types(get_origin(kind) or kind))  # a class may name itself: list["Tree"]
    required = [field.name for field in fields if field.init and field.default is attrs.NOTHING]
    readers: Any = {field.name: override(struct_hook=_field(field.name)) for field in fields if field.converter is None}
    inner = make_dict_structure_fn(kind, _converter(), _cattrs_detailed_validation=False, **readers)

    def read(value: object, into: Any) -> Any:
        given = as_object(value)
        if given is None:
            raise InvalidValueError(f"expected an object, got {kind_of(value)}")
        for name in required:
            if name not in given:
                raise _FailedError("it is missing", f".{name}")
        return inner(given, into)

    return read


def _field(name: str) -> Callable[[object, Any], Any]:
    hook: Callable[[object, Any], Any] | None = None

    def read(value: object, kind: Any) -> Any:
        nonlocal hook
        try:
            if hook is None:
                hook = _hook(kind)  # the kind is the same each time
            return hook(value, kind)
        except Exception as error:  # noqa: BLE001 - see _located
            failure = _located(error, f".{name}")
        raise failure

    return read


def _map_of(kind: Any) -> Callable[[object, Any], dict[Any, Any]]:
    key_kind, value_kind = get_args(kind)

    def read(value: object, _: object) -> dict[Any, Any]:
        given = {} if as_list(value) == [] else as_object(value)  # PHP writes an empty map as an empty list
        if given is None:
            raise InvalidValueError(f"expected an object, got {kind_of(value)}")
        keys: list[Any] = []
        values: list[Any] = []
        try:
            read_key, read_value = _hook(key_kind), _hook(value_kind)
            for key, each in given.items():
                keys.append(read_key(key, key_kind))
                values.append(read_value(each, value_kind))
            _spread(keys)
        except Exception as error:  # noqa: BLE001 - see _located
            # The path does not show the key, which may be an e-mail address, or an echo of the API key.
            failure = _located(error, "[?]")
        else:
            return dict(zip(keys, values, strict=True))
        raise failure

    return read


def _is_map(kind: Any) -> bool:
    return get_origin(kind) in {dict, abc.Mapping, abc.MutableMapping}


def _is_list(kind: Any) -> bool:
    return (get_origin(kind) or kind) in _COLLECTIONS


def is_attrs(kind: Any) -> bool:
    """Whether this is an attrs class, or one with its parameters filled in, such as ``Page[Customer]``."""
    cls: Any = get_origin(kind) or kind
    return isinstance(cls, type) and attrs.has(cls)


@cache
def _converter() -> cattrs.Converter:
    """Make the converter on first use; most programs never need it."""
    converter = cattrs.Converter(detailed_validation=False)
    for hook in (structure_str, structure_int, structure_float, structure_bool, structure_decimal, structure_datetime):
        converter.register_structure_hook(get_type_hints(hook)["return"], hook)
    converter.register_structure_hook_func(lambda kind: kind == Int64, structure_int64)
    converter.register_structure_hook_func(_optional_time, structure_datetime_or_none)
    converter.register_structure_hook_factory(_is_list, _list_of)
    converter.register_structure_hook_factory(_is_map, _map_of)
    converter.register_structure_hook_factory(is_attrs, _object)
    return converter


class InvalidValueError(ValueError):
    """A value that a hook refuses; the text shows nothing of the value, so it may be part of a message."""


def structure_str(value: object, _type: object) -> str:
    if isinstance(value, str):
        return value
    raise InvalidValueError(f"expected text, got {kind_of(value)}")


def structure_int(value: object, _type: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and INTEGER.fullmatch(value):
        return int(value)
    raise InvalidValueError(f"expected a whole number, got {kind_of(value)}")


def structure_int64(value: object, _type: object) -> int:
    number = structure_int(value, _type)
    if -(2**63) <= number < 2**63:
        return number
    raise InvalidValueError("expected a whole number of at most 64 bits, got a larger one")


def structure_float(value: object, _type: object) -> float:
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return float(value)
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool) and isfinite(value):
        return float(value)
    raise InvalidValueError(f"expected a finite number, got {kind_of(value)}")


def structure_bool(value: object, _type: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and value in {0, 1}:  # MySQL's tinyint
        return bool(value)
    raise InvalidValueError(f"expected true or false, got {kind_of(value)}")


def structure_decimal(value: object, _type: object) -> Decimal:
    number: object = value
    if isinstance(value, int) and not isinstance(value, bool):
        number = Decimal(value)
    elif isinstance(value, str):
        with suppress(ArithmeticError):
            number = Decimal(value)  # as msgspec does: " 1.5 " and "1_000" are taken for what they say
    if isinstance(number, Decimal) and number.is_finite() and abs(number.adjusted()) <= _MAX_DIGITS:
        text = format(number, "f")  # 1e2 is 100
        if _PLAIN.fullmatch(text):
            return Decimal(text)
    raise InvalidValueError(f"expected a finite plain decimal, got {kind_of(value)}")


def structure_datetime(value: object, _type: object) -> datetime:
    if isinstance(value, str):
        moment = msgspec.convert(value, datetime)  # the fast path's own parser, so that both read alike
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    raise InvalidValueError(f"expected a time, got {kind_of(value)}")


def kind_of(value: object) -> str:
    if value is None:
        return "null"
    names = {str: "text", bool: "a boolean", dict: "an object", list: "a list"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), "a number")


def structure_datetime_or_none(value: object, _type: object) -> datetime | None:
    if value is None or (isinstance(value, str) and _MYSQL_ZERO.fullmatch(value)):
        return None
    return structure_datetime(value, _type)
