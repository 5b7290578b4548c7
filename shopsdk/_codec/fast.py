"""The fast path in: msgspec straight into the attrs classes, and what has to be checked around it.

msgspec is strict, and fast because it makes no objects in between. But it takes money in forms that are no plain
decimals, and leaves times naive. So the money of all rows is checked after it, and their times are made aware UTC in
place, past the frozen class. A body that fails goes the strict path.
"""

import re
from collections import abc
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Clamped, Context, Decimal, Rounded
from functools import cache
from operator import attrgetter
from types import MemberDescriptorType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import attrs
import msgspec

from shopsdk._codec.strict import DECODE_ERRORS, InvalidValueError, is_attrs
from shopsdk._models import Ledger, Page

_Postprocess = Callable[[list[Any]], None]


class _Row(msgspec.Struct, gc=False):
    """Any row; nothing of it is kept."""


class _Rows(msgspec.Struct):
    data: list[_Row] | dict[str, _Row] = []


_bare_rows = msgspec.json.Decoder(list[_Row])
_rows_within = msgspec.json.Decoder(_Rows)


def count_rows_unread(body: bytes) -> int:
    """Count the rows of a list, bare or under ``data``, at 24 bytes for each; 0 where this is no list of objects."""
    try:
        return len(_bare_rows.decode(body) if body.lstrip()[:1] == b"[" else _rows_within.decode(body).data)
    except DECODE_ERRORS:
        return 0


@attrs.frozen(eq=False, repr=False)
class FastPath:
    """A decoder, what rules it out, and what to check and convert after it."""

    decoder: msgspec.json.Decoder[Any]
    needs_strict: Callable[[bytes], bool]
    """Whether the strict path must read this body, because msgspec might read it differently."""
    postprocess: _Postprocess | None
    """Checks and converts decoded values in place; raises InvalidValueError where the strict path must decide."""


@cache
def fast_path(as_type: Any) -> FastPath | None:
    """Make the fast path into a type; None if only the strict path will do."""
    fields = [kind for cls in _classes(as_type) for _, kind in _fields(cls)]
    if not (_plain(as_type) and all(_plain(part) for kind in fields for part in _parts(kind) if part not in _GUARDED)):
        return None
    try:
        decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(as_type, float_hook=Decimal)
    except TypeError:  # such as a union of two classes
        return None
    # No field of a ledger's envelope is required, so numbers under ``meta`` would be overlooked.
    return FastPath(decoder, _may_have_meta if as_type is Ledger else _never, _postprocess_of(as_type))


_GUARDED = (Decimal, datetime)
"""Types that msgspec reads too freely. ``_postprocess_of`` guards them where they are a field's own type."""


def _plain(kind: Any) -> bool:
    """Whether all of this is guarded, and nothing in it needs the strict path."""
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
    """Whether there is a set of numbers, or a mapping by numbers: the strict path refuses many that share a hash."""
    origin: Any = get_origin(kind) or kind
    args = get_args(kind)
    hashed = args or (Any,) if origin in _SETS else args[:1] if origin in _MAPPINGS else ()
    return any(leaf in _NUMBERS for each in hashed for leaf in _leaves(each)) or any(map(_hashes_numbers, args))


def _leaves(kind: Any) -> list[Any]:
    return [leaf for arg in get_args(kind) for leaf in _leaves(arg)] or [kind]


def _is_known(leaf: Any) -> bool:
    """Whether this is a class without fields, a type variable or a literal's value, and no alias of another type."""
    return not any(getattr(leaf, name, None) for name in ("__supertype__", "__value__", "__annotations__"))


_ESCAPED_LETTER = re.compile(rb"\\u00[3-7]").search
"""A letter or digit that is written as an escape, as no encoder does: it could hide the name of a field."""


def _may_have_meta(body: bytes) -> bool:
    return b'"meta"' in body or _ESCAPED_LETTER(body) is not None


def _never(_: bytes) -> bool:
    return False


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


def _postprocess_of(as_type: Any, within: frozenset[Any] = frozenset()) -> _Postprocess | None:
    """Make the function that checks all money in decoded values, and turns all times into aware UTC.

    It takes all values of a kind at once, and goes through them field by field: half the cost of going row by row.
    """
    origin: Any = get_origin(as_type)
    cls: Any = origin or as_type
    args = get_args(as_type)
    if cls is list and args:
        of_items = _postprocess_of(args[0], within)
        return None if of_items is None else lambda lists: of_items([item for items in lists for item in items])
    if cls is Page and args:
        of_rows = _postprocess_of(args[0], within)
        return None if of_rows is None else lambda pages: of_rows([row for page in pages for row in page.data])
    if not is_attrs(cls):
        return None
    if cls in within:  # a class that holds itself: looked up once it is made
        return lambda values: _postprocess_later(cls, values)
    steps = _steps(cls, within | {cls})
    if len(steps) < 2:
        return steps[0] if steps else None

    def run_steps(values: list[Any]) -> None:
        for step in steps:
            step(values)

    return run_steps


def _steps(cls: Any, within: frozenset[Any]) -> list[_Postprocess]:
    fields = _fields(cls)
    steps = [_check_money(name) for name, kind in fields if Decimal in _parts(kind)]
    steps += [_convert_times(cls, name) for name, kind in fields if datetime in _parts(kind)]
    for name, kind in fields:
        for part in _parts(kind):
            if inner := _postprocess_of(part, within):
                steps.append(_postprocess_within(name, part, inner))
    return steps


def _postprocess_later(cls: Any, values: list[Any]) -> None:
    path = fast_path(cls)
    if values and path is not None and path.postprocess is not None:
        path.postprocess(values)


_PLAIN_DECIMALS = Context(prec=21, Emax=20, Emin=0, clamp=1, traps=[Rounded, Clamped])
"""A context that holds plain decimals of at most 21 digits and 20 decimals, and raises for any other finite number."""


def _check_money(name: str) -> _Postprocess:
    """Make the check of one field: msgspec takes "NaN" and 1e999999999 for money.

    The context is our own. Under the caller's, a comparison may raise, and ``min`` and ``max`` may hide a NaN.
    """
    get = attrgetter(name)

    def check(values: list[Any]) -> None:
        amounts = [value for value in map(get, values) if isinstance(value, Decimal)]
        if not all(map(Decimal.is_finite, map(_PLAIN_DECIMALS.plus, amounts))):
            raise InvalidValueError("expected a finite plain decimal")

    return check


def _convert_times(cls: Any, name: str) -> _Postprocess:
    get, put = attrgetter(name), _setter(cls, name)

    def convert(values: list[Any]) -> None:
        for value, moment in zip(values, map(get, values), strict=True):
            if moment is None or moment.tzinfo is UTC:
                continue
            # An eighth of the cost of replace(tzinfo=UTC), and the same: the day and time that it says, but in UTC.
            put(value, _AWARE + (moment - _NAIVE) if moment.tzinfo is None else moment.astimezone(UTC))

    return convert


_NAIVE = datetime(2000, 1, 1)  # noqa: DTZ001 - what naive times are measured from
_AWARE = _NAIVE.replace(tzinfo=UTC)


def _setter(cls: Any, name: str) -> Callable[[Any, object], None]:
    """Find the way past a frozen class: the slot itself where there is one."""
    slot: object = getattr(cls, name, None)
    if isinstance(slot, MemberDescriptorType):
        return slot.__set__
    return lambda value, new: object.__setattr__(value, name, new)


def _postprocess_within(name: str, kind: Any, inner: _Postprocess) -> _Postprocess:
    get = attrgetter(name)
    cls: Any = get_origin(kind) or kind
    return lambda values: inner([part for part in map(get, values) if isinstance(part, cls)])
