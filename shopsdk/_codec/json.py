"""JSON to attrs classes and back: the way in and out of the codec, which alone knows cattrs and msgspec.

There are two paths in. The fast one is msgspec, which decodes JSON straight into the attrs classes. It is strict, and
takes what the API is documented to send. What it refuses, and the few things that it would take but should not, go the
strict path: JSON with exact numbers, then cattrs, with hooks that read PHP's habits and convert nothing silently. A
value that both take is read alike by both. Only the strict path raises, so every error has its path in the document.
"""

from collections.abc import Iterable
from decimal import Decimal
from math import isfinite
from typing import Any, TypeVar, cast

import msgspec

from shopsdk._codec.fast import count_rows_unread, fast_path
from shopsdk._codec.strict import DECODE_ERRORS, UnreadableError, as_object, count_rows, structure
from shopsdk._errors import DecodeError, PaginationError, ShopError

T = TypeVar("T")

_LARGE_BODY = 128 * 2**10
"""Bytes; a page of 100 customers has 35,000. A smaller body cannot hold enough rows to do harm."""

_MAX_CONTAINERS = 1_000_000
"""Lists and objects in one document of unknown type: each takes some 80 bytes of memory, though ``[]`` has two."""
_LARGE_ERROR = 256 * 2**10
"""Bytes of an error beyond which its JSON is not read."""

_encoder = msgspec.json.Encoder(decimal_format="number")
_parser = msgspec.json.Decoder(float_hook=Decimal)


def encode(value: object) -> bytes:
    """Write JSON, a Decimal as an exact number. Numbers that are not finite are refused: msgspec would write null.

    Raises:
        ValueError: a number that is not finite, a text that is not Unicode, or a value that holds itself.
        TypeError: an object that has no form in JSON.
    """
    try:
        plain = msgspec.to_builtins(value, builtin_types=(Decimal,), str_keys=True)
        _check_finite(plain)
        return _encoder.encode(plain)
    except RecursionError:
        reason = "json is nested too deeply"
    except UnicodeEncodeError:
        reason = "json holds text that is not Unicode (a lone surrogate)"
    raise ValueError(reason)


def _check_finite(value: object) -> None:
    infinite = not value.is_finite() if isinstance(value, Decimal) else isinstance(value, float) and not isfinite(value)
    if infinite:
        raise ValueError("json must hold finite numbers only")
    within = cast("Iterable[object]", value) if isinstance(value, list | tuple) else (as_object(value) or {}).values()
    for inner in within:
        _check_finite(inner)


def parse(body: bytes, *, label: str = "", changes: bool = False) -> Any:
    """Read JSON; a number with a fraction or an exponent becomes a Decimal.

    Args:
        body: the answer.
        label: the request it answers, for the message of an error.
        changes: whether that request was a change, for ``maybe_applied``.

    Raises:
        DecodeError: the body is not JSON, or holds more than a million lists and objects.
    """
    try:
        if len(body) <= _MAX_CONTAINERS or body.count(b"[") + body.count(b"{") <= _MAX_CONTAINERS:
            return _parser.decode(body)
        reason = f"it holds more than {_MAX_CONTAINERS} lists and objects"
    except DECODE_ERRORS:
        reason = "it is not JSON, or cut short" if body.strip() else "it is empty"
    body = b""  # a traceback with its locals would show it
    raise DecodeError(f"cannot read the answer to {label}: {reason}", maybe_applied=changes)


def incomplete(body: bytes, *, label: str, changes: bool) -> DecodeError | None:
    """Make the error of a body that is not whole JSON (empty, cut short, a page of a proxy); None if it is whole.

    A body is parsed only where its first and last byte are no pair of brackets.
    """
    text = body.strip()
    if text[:1] + text[-1:] in {b"{}", b"[]"}:
        return None
    try:
        parse(text, label=label, changes=changes)
    except DecodeError as error:
        error.repeatable = True
        return error.with_traceback(None)  # this frame holds the body
    return None


def parse_or_none(body: bytes) -> object:
    """Read JSON where there may be none: the body of an error."""
    try:
        return parse(body) if len(body) <= _LARGE_ERROR else None
    except DecodeError:
        return None


def check_type(as_type: Any) -> None:
    """Refuse a type that nothing can be decoded into, such as a value, or a class with annotations that do not resolve.

    Raises:
        TypeError: it is no type that can be decoded into.
    """
    try:
        fast_path(as_type)
    except (TypeError, NameError) as error:
        reason = str(error)
    else:
        return
    raise TypeError(f"cannot decode into {as_type!r}: {reason}")


def decode(body: bytes, as_type: type[T], *, label: str = "", changes: bool = False, max_rows: int | None = None) -> T:
    """Read JSON into a type: an attrs class, ``Page[...]``, or a list of either; the rest as for ``parse``.

    Args:
        body: the answer.
        as_type: what to read it into.
        label: the request it answers, for the message of an error.
        changes: whether that request was a change, for ``maybe_applied``.
        max_rows: the most rows that may have been asked for. More are refused before the strict path reads any, and,
            in a large body, before the fast one does.

    Raises:
        DecodeError: the body is not JSON, or a value in it cannot be read as what the type says.
        PaginationError: it holds more rows than ``max_rows``.
    """
    kind: Any = as_type
    document: object = None
    problem: ShopError | None = None
    if max_rows is not None and len(body) > _LARGE_BODY:
        problem = _miscounted(count_rows_unread(body), max_rows)
    path = fast_path(kind) if problem is None else None
    if path is not None and not path.needs_strict(body):
        try:
            value: T = path.decoder.decode(body)
            if path.postprocess is not None:
                path.postprocess([value])
        except DECODE_ERRORS:
            pass  # the strict path decides, and says where
        else:
            return value
    try:
        if problem is None:
            document = parse(body, label=label, changes=changes)
            problem = None if max_rows is None else _miscounted(count_rows(document), max_rows)
        if problem is None:
            return structure(document, as_type)
    except UnreadableError as error:
        message = f"cannot read the answer to {label} at {error.path}{error.row}: {error}"
        problem = DecodeError(message, path=error.path, maybe_applied=changes)
    except DecodeError as error:
        problem = error
    body, document = b"", None  # a traceback with its locals would show them
    raise problem


def _miscounted(count: int, most: int) -> PaginationError | None:
    if count <= most:
        return None
    asked, got = f"at most {most} rows", f"{count} rows"
    return PaginationError(f"asked for {asked}, got {got} (a bug of the server)", asked=asked, got=got)
