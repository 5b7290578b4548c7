"""The exact road in: parsed JSON to attrs classes by cattrs, leniently where PHP is loose, silently nowhere.

cattrs by itself reads null as ``'None'``, ``"false"`` as True and 1.9 as 1. Every hook here either reads a value
exactly or refuses it, and a refusal knows its path. Values stay out of messages: they are customers' data.
"""

import re
from collections import abc
from collections.abc import Callable
from datetime import datetime
from functools import cache
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs
import cattrs
import msgspec
from cattrs import AttributeValidationNote, IterableValidationNote
from cattrs.cols import (
    list_structure_factory,
    mapping_structure_factory,  # pyright: ignore[reportUnknownVariableType]
)
from cattrs.errors import BaseValidationError, StructureHandlerNotFoundError
from cattrs.gen import make_dict_structure_fn

from shopsdk._json import as_list, as_object
from shopsdk._models import Ledger, Page
from shopsdk._scalars import (
    WHOLE,
    RefusedError,
    kind_of,
    read_boolean,
    read_money,
    read_real,
    read_text,
    read_time,
    read_time_or_none,
    read_whole,
)

T = TypeVar("T")

UNREADABLE = (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError)
"""All that parsers and converters raise on hostile input; UnicodeDecodeError and DecimalException are among them."""


class UnreadableError(Exception):
    """A value that cannot be read: where it stands, and what was expected. Leaves the codec as a DecodeError."""

    def __init__(self, expected: str, path: str, row: str) -> None:
        super().__init__(expected)
        self.path = path
        self.row = row


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
    except RefusedError as error:
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
                # A mapping's key is the server's own text, and may be anything: an e-mail address, an echo of the key.
                path += f"[{note.index}]" if isinstance(note.index, int) else "[?]"
    if isinstance(error, KeyError):
        return path, "it is missing"
    return path, str(error) if isinstance(error, RefusedError) else f"cannot be read ({type(error).__name__})"


def _row(document: object, path: str) -> str:
    """Name the row's id, so that one bad row can be found in the shop."""
    match = re.match(r"\$(\.data)?\[(\d+)\]", path)
    if match is None:
        return ""
    rows = (as_object(document) or {}).get("data") if match[1] else document
    listed = as_list(rows) or list((as_object(rows) or {}).values())
    number = next(((as_object(row) or {}).get("id") for row in listed[int(match[2]) :]), None)
    return f" (id {number})" if WHOLE.fullmatch(str(number)) else ""


def _list_of(kind: Any) -> Callable[[object, Any], Any]:
    """Read a list, or another collection by way of one: by itself, cattrs would read text as its letters."""
    make = _COLLECTIONS[get_origin(kind) or kind]
    args = get_args(kind)
    of_places = make is tuple and bool(args) and args[-1] is not Ellipsis
    listed: Any = list[args[0] if args else Any]  # type: ignore[misc]  # made at run time, from the caller's type
    inner: Any = _places(args) if of_places else list_structure_factory(listed, _converter())

    def read(value: object, into: Any) -> Any:
        by_index = as_object(value)
        if by_index is not None and all(WHOLE.fullmatch(key) for key in by_index):
            value = list(by_index.values())  # a PHP array with a gap in it
        if as_list(value) is None:
            raise RefusedError(f"expected a list, got {kind_of(value)}")
        rows: Any = inner(value, into)
        return rows if make is list else make(rows)

    return read


def _places(kinds: tuple[Any, ...]) -> Callable[[list[object], Any], list[Any]]:
    """Read a tuple of this many, each of its own type."""
    return lambda values, _: [_converter().structure(value, kind) for value, kind in zip(values, kinds, strict=True)]


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
    inner = make_dict_structure_fn(kind, _converter(), _cattrs_detailed_validation=True)

    def read(value: object, into: Any) -> Any:
        fields = as_object(value)
        if fields is None:
            raise RefusedError(f"expected an object, got {kind_of(value)}")
        return inner(fields, into)

    return read


def _map_of(kind: Any) -> Callable[[object, Any], dict[Any, Any]]:
    inner: Any = mapping_structure_factory(kind, _converter())

    def read(value: object, into: Any) -> dict[Any, Any]:
        if as_list(value) == []:
            return {}  # PHP writes an empty map as an empty list
        if as_object(value) is None:
            raise RefusedError(f"expected an object, got {kind_of(value)}")
        rows: dict[Any, Any] = inner(value, into)
        return rows

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
    converter = cattrs.Converter(detailed_validation=True)
    for hook in (read_text, read_whole, read_real, read_boolean, read_money, read_time):
        converter.register_structure_hook(get_type_hints(hook)["return"], hook)
    converter.register_structure_hook_func(_optional_time, read_time_or_none)
    converter.register_structure_hook_factory(_is_list, _list_of)
    converter.register_structure_hook_factory(_is_map, _map_of)
    converter.register_structure_hook_factory(is_attrs, _object)
    return converter
