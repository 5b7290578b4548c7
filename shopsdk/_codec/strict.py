"""The exact road in: parsed JSON to attrs classes by cattrs, leniently where PHP is loose, silently nowhere.

cattrs by itself reads null as ``'None'``, ``"false"`` as True and 1.9 as 1. Every hook here either reads a value
exactly or refuses it, and a refusal knows its path. Values stay out of messages: they are customers' data.

The first value that cannot be read ends it. cattrs would go on and keep an error with its traceback for each of them:
160,000 empty rows, 717 bytes of gzip, took 647 MiB.
"""

from collections import abc
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cache
from itertools import islice, repeat
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs
import cattrs
import msgspec
from cattrs.gen import make_dict_structure_fn, override

from shopsdk._codec.narrow import as_list, as_object
from shopsdk._codec.scalars import (
    WHOLE,
    RefusedError,
    kind_of,
    read_boolean,
    read_int64,
    read_money,
    read_real,
    read_text,
    read_time,
    read_time_or_none,
    read_whole,
)
from shopsdk._models import Int64, Ledger, Page

T = TypeVar("T")

UNREADABLE = (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError)
"""All that parsers and converters raise on hostile input; UnicodeDecodeError and DecimalException are among them."""


_MOST_ALIKE = 1000
"""Values that may share the hash of another one, in a set or among the keys of a mapping."""


class UnreadableError(Exception):
    """A value that cannot be read: where it stands, and what was expected. Leaves the codec as a DecodeError."""

    def __init__(self, expected: str, path: str, row: str) -> None:
        super().__init__(expected)
        self.path = path
        self.row = row


class _FailedError(Exception):
    """What could not be read, on its way out: each level adds its place."""

    def __init__(self, expected: str, place: str | int) -> None:
        super().__init__(expected)
        self.places = [place]
        """From the inside out: a field by ``.name``, a row by its number."""


def exact(document: object, as_type: type[T]) -> T:
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
    """Add to a failure the place that it comes from. cattrs, and the caller's own classes, raise what they like."""
    if isinstance(error, _FailedError):
        error.places.append(place)
        return error
    if isinstance(error, RecursionError):
        return error  # its path would be as long as the stack is deep
    return _FailedError(str(error) if isinstance(error, RefusedError) else _unreadable(error), place)


def _flat(document: object) -> object:
    """An API resource collection puts the paginator's numbers under ``meta``; bring them up."""
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
    """Name the row's id, so that one bad row can be found in the shop."""
    rows = document
    if places[1:2] == [".data"]:
        rows, places = (as_object(document) or {}).get("data"), places[1:]
    index = places[1] if len(places) > 1 else None
    if not isinstance(index, int):
        return ""
    listed: Iterable[object] = as_list(rows) or (as_object(rows) or {}).values()
    number = (as_object(next(islice(listed, index, None), None)) or {}).get("id")
    return f" (id {number})" if isinstance(number, int | str) and WHOLE.fullmatch(str(number)) else ""


def _list_of(kind: Any) -> Callable[[object, Any], Any]:
    """Read a list, or another collection by way of one: by itself, cattrs would read text as its letters."""
    make = _COLLECTIONS[get_origin(kind) or kind]
    args = get_args(kind)
    of_places = make is tuple and bool(args) and args[-1] is not Ellipsis
    kinds: Iterable[Any] = args if of_places else repeat(args[0] if args else Any)

    def read(value: object, _: object) -> Any:
        by_index = as_object(value)
        if by_index is not None and all(map(WHOLE.fullmatch, by_index)):
            value = list(by_index.values())  # a PHP array with a gap in it
        listed = as_list(value)
        if listed is None:
            raise RefusedError(f"expected a list, got {kind_of(value)}")
        if of_places and len(args) != len(listed):
            raise RefusedError(f"expected a list of {len(args)}, got one of {len(listed)}")
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
    """Find what reads a type. On first use, since a class may hold itself."""
    return _converter().get_structure_hook(kind)


def _spread(values: list[Any]) -> list[Any]:
    """Refuse what was made to share a hash: a set of it would take time by the square of its length."""
    first: dict[int, Any] = {}
    if sum(first.setdefault(hash(value), value) != value for value in values) > _MOST_ALIKE:
        raise RefusedError("expected values with hashes of their own, got too many that share one")
    return values


_COLLECTIONS: dict[Any, Callable[[list[Any]], Any]] = {
    **dict.fromkeys((list, abc.Sequence, abc.MutableSequence, abc.Collection), list),
    **dict.fromkeys((set, abc.Set, abc.MutableSet), set),
    frozenset: frozenset,
    tuple: tuple,
}
"""What to make of a list for a type that is read as one; the same as on the fast road."""


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
            raise RefusedError(f"expected an object, got {kind_of(value)}")
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
            raise RefusedError(f"expected an object, got {kind_of(value)}")
        keys: list[Any] = []
        values: list[Any] = []
        try:
            read_key, read_value = _hook(key_kind), _hook(value_kind)
            for key, each in given.items():
                keys.append(read_key(key, key_kind))
                values.append(read_value(each, value_kind))
            _spread(keys)
        except Exception as error:  # noqa: BLE001 - see _located
            # Which one stays unsaid: a key may be anything, such as an e-mail address, or an echo of the API key.
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
    """Is this an attrs class, or one with its parameters filled in, such as ``Page[Customer]``?"""
    cls: Any = get_origin(kind) or kind
    return isinstance(cls, type) and attrs.has(cls)


@cache
def _converter() -> cattrs.Converter:
    """Make the converter on first use: most programs never meet what only it can read."""
    converter = cattrs.Converter(detailed_validation=False)
    for hook in (read_text, read_whole, read_real, read_boolean, read_money, read_time):
        converter.register_structure_hook(get_type_hints(hook)["return"], hook)
    converter.register_structure_hook_func(lambda kind: kind == Int64, read_int64)
    converter.register_structure_hook_func(_optional_time, read_time_or_none)
    converter.register_structure_hook_factory(_is_list, _list_of)
    converter.register_structure_hook_factory(_is_map, _map_of)
    converter.register_structure_hook_factory(is_attrs, _object)
    return converter
