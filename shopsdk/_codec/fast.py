"""The fast road in: msgspec straight into the attrs classes, and what has to be minded around it.

msgspec is strict, and quick because it makes no detour; but it takes money in forms that are no plain decimals, and
leaves times naive. A body that might hold such money is not sent down this road at all, and times are made aware UTC in
place, past the frozen class, all rows of a page at once.
"""

import re
from collections import abc
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from operator import attrgetter
from types import MemberDescriptorType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import attrs
import msgspec

from shopsdk._codec.strict import UNREADABLE, is_attrs
from shopsdk._models import Ledger, Page

_Fix = Callable[[list[Any]], None]


class _Row(msgspec.Struct, gc=False):
    """Any row, of which nothing is kept."""


class _Rows(msgspec.Struct):
    data: list[_Row] | dict[str, _Row] = []


_bare_rows = msgspec.json.Decoder(list[_Row])
_rows_within = msgspec.json.Decoder(_Rows)


def count_rows_unread(body: bytes) -> int:
    """Count the rows of a list, bare or under ``data``, at 24 bytes for each; 0 where this is no list of objects."""
    try:
        return len(_bare_rows.decode(body) if body.lstrip()[:1] == b"[" else _rows_within.decode(body).data)
    except UNREADABLE:
        return 0


@attrs.frozen(eq=False, repr=False)
class FastRoad:
    """A decoder, what to look out for before it, and what to set right after it."""

    decoder: msgspec.json.Decoder[Any]
    unsure: Callable[[bytes], bool]
    """Does this body hold what msgspec might read otherwise than the exact road?"""
    fix: _Fix | None


@cache
def fast_road(as_type: Any) -> FastRoad | None:
    """Make the fast road into a type; None where only the exact road will do."""
    fields = [kind for cls in _classes(as_type) for _, kind in _fields(cls)]
    if not (_plain(as_type) and all(_plain(part) for kind in fields for part in _parts(kind) if part not in _GUARDED)):
        return None
    try:
        decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(as_type, float_hook=Decimal)
    except TypeError:  # such as a union of two classes
        return None
    return FastRoad(decoder, _unsure(as_type), _times(as_type))


_GUARDED = (Decimal, datetime)
"""What the fast road reads too freely; guarded where it is a field's own type, by ``_unsure`` and ``_times``."""


def _plain(kind: Any) -> bool:
    """Is all of this guarded, and nothing of it that only the exact road minds?"""
    origin: Any = get_origin(kind)
    if origin is list or origin is Page or origin in {Union, UnionType}:
        return all(map(_plain, get_args(kind)))
    if is_attrs(kind) and origin is None:
        return True  # its fields are looked at by themselves
    if _hashes_numbers(kind):
        return False
    within = _leaves(kind)
    return not any(is_attrs(leaf) or leaf in _GUARDED or not _is_known(leaf) for leaf in within)


_SETS = (set, frozenset, abc.Set, abc.MutableSet)
_MAPPINGS = (dict, abc.Mapping, abc.MutableMapping)
_NUMBERS = (int, float, Decimal, UUID, Any, object)


def _hashes_numbers(kind: Any) -> bool:
    """Is there a set of numbers in this, or a mapping by numbers? Only the exact road minds those that share a hash."""
    origin: Any = get_origin(kind) or kind
    args = get_args(kind)
    hashed = args or (Any,) if origin in _SETS else args[:1] if origin in _MAPPINGS else ()
    return any(leaf in _NUMBERS for each in hashed for leaf in _leaves(each)) or any(map(_hashes_numbers, args))


def _leaves(kind: Any) -> list[Any]:
    return [leaf for arg in get_args(kind) for leaf in _leaves(arg)] or [kind]


def _is_known(leaf: Any) -> bool:
    """Is this a class without fields of its own, a type variable or a literal's value, and no alias of another type?"""
    return not any(getattr(leaf, name, None) for name in ("__supertype__", "__value__", "__annotations__"))


_WRITTEN_OTHERWISE = re.compile(rb"\\u00[3-7]").search
"""A letter or digit that is written as an escape, which no encoder does: it could hide a field's name."""


def _unsure(as_type: Any) -> Callable[[bytes], bool]:
    """Search for a Decimal field that is not plain: msgspec reads "NaN", "1_000", " 1.5 " and 1e999999999 as well."""
    names = sorted({name for cls in _classes(as_type) for name, kind in _fields(cls) if Decimal in _parts(kind)})
    not_money = [_not_money(name) for name in names]
    by_meta = as_type is Ledger  # nothing of its envelope is certain, so one under ``meta`` would be overlooked

    def unsure(body: bytes) -> bool:
        for search in not_money:
            if search(body):
                return True
        escape = body.find(b"\\") if not_money else -1
        return (escape >= 0 and bool(_WRITTEN_OTHERWISE(body, escape))) or (by_meta and b'"meta"' in body)

    return unsure


def _not_money(name: str) -> Callable[[bytes], object]:
    """Search for one field: the pattern begins with its name, which is found faster than a quote is."""
    key, number = re.escape(name), r"-?[0-9]{1,30}(?:\.[0-9]{1,30})?"
    usual = r':"-?[0-9]{1,30}\.[0-9]{1,30}"'
    plain = rf'"{number}"|{number}\s*[,}}]|null\b'
    return re.compile(rf'{key}"(?!{usual})(?<="{key}")\s*+:\s*+(?!{plain})'.encode()).search


def _classes(as_type: Any) -> set[Any]:
    """Every attrs class that a type is made of."""
    found: set[Any] = set()
    todo = [as_type]
    while todo:
        kind = todo.pop()
        todo.extend(get_args(kind))
        cls: Any = get_origin(kind) or kind
        if is_attrs(cls) and cls not in found:
            found.add(cls)
            todo.extend(hint for _, hint in _fields(cls))
    return found


def _fields(cls: Any) -> list[tuple[str, Any]]:
    hints = get_type_hints(cls)
    return [(field.name, hints[field.name]) for field in attrs.fields(cls)]


def _parts(kind: Any) -> tuple[Any, ...]:
    """The members of a union, or the type itself."""
    return get_args(kind) if get_origin(kind) in {Union, UnionType} else (kind,)


def _times(as_type: Any, within: frozenset[Any] = frozenset()) -> _Fix | None:
    """Make a function that turns every time in decoded values into aware UTC, in place, past the frozen class.

    It takes all values of a kind at once, and goes through them field by field: half the cost of going row by row.
    """
    origin: Any = get_origin(as_type)
    cls: Any = origin or as_type
    args = get_args(as_type)
    if cls is list and args:
        fix_items = _times(args[0], within)
        return None if fix_items is None else lambda lists: fix_items([item for items in lists for item in items])
    if cls is Page and args:
        fix_rows = _times(args[0], within)
        return None if fix_rows is None else lambda pages: fix_rows([row for page in pages for row in page.data])
    if not is_attrs(cls):
        return None
    if cls in within:  # a class that holds itself: its own fixer, once that is made
        return lambda values: _fix_times(cls, values)
    within |= {cls}
    fields = _fields(cls)
    fixes = [_fix_field(cls, name) for name, kind in fields if datetime in _parts(kind)]
    fixes += [
        _fix_within(name, part, fix) for name, kind in fields for part in _parts(kind) if (fix := _times(part, within))
    ]
    if len(fixes) < 2:
        return fixes[0] if fixes else None

    def fix_all(values: list[Any]) -> None:
        for fix in fixes:
            fix(values)

    return fix_all


def _fix_times(cls: Any, values: list[Any]) -> None:
    road = fast_road(cls)
    if values and road is not None and road.fix is not None:
        road.fix(values)


def _fix_field(cls: Any, name: str) -> _Fix:
    get, put = attrgetter(name), _setter(cls, name)

    def fix(values: list[Any]) -> None:
        for value, moment in zip(values, map(get, values), strict=True):
            if moment is None or moment.tzinfo is UTC:
                continue
            # An eighth of the cost of replace(tzinfo=UTC), and the same: the day and time that it says, but in UTC.
            put(value, _AWARE + (moment - _NAIVE) if moment.tzinfo is None else moment.astimezone(UTC))

    return fix


_NAIVE = datetime(2000, 1, 1)  # noqa: DTZ001 - what naive times are measured from
_AWARE = _NAIVE.replace(tzinfo=UTC)


def _setter(cls: Any, name: str) -> Callable[[Any, object], None]:
    """Find the way past a frozen class: the slot itself where there is one."""
    slot: object = getattr(cls, name, None)
    if isinstance(slot, MemberDescriptorType):
        return slot.__set__
    return lambda value, new: object.__setattr__(value, name, new)


def _fix_within(name: str, kind: Any, fix: _Fix) -> _Fix:
    get = attrgetter(name)
    cls: Any = get_origin(kind) or kind
    return lambda values: fix([part for part in map(get, values) if isinstance(part, cls)])
