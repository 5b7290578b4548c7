"""Checks of arguments. Each takes any object, and returns the plain value of the type that it must have.

Subclasses of ``str`` and ``int``, enums among them, may print as anything: since Python 3.11 a ``(str, Enum)`` prints
as ``Class.MEMBER``. Each check therefore returns the plain value, which is what is sent.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, TypeVar, cast
from urllib.parse import quote

import attrs

T = TypeVar("T")

_PLAIN_SEGMENT = re.compile(r"[A-Za-z0-9_-]+")
"""A segment that needs no quoting, as nearly all do."""


def plain_text(name: str, value: object) -> str:
    """Check text, and reduce it to a plain str."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    return str.__str__(value)


def unicode_text(name: str, value: object) -> str:
    """Check text, and refuse a lone surrogate, which neither JSON nor a URL can carry."""
    text = plain_text(name, value)
    if not text.isprintable() and any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError(f"{name} must be Unicode text, without lone surrogates")
    return text


def check_int(name: str, value: object, minimum: int) -> int:
    """Check a whole number against its lower bound, and reduce it to a plain int."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    number = int.__int__(value)
    if number < minimum:
        raise ValueError(f"{name} must be at least {minimum}, not {number}")
    return number


def check_choice(name: str, value: object, choices: Sequence[str]) -> str:
    """Check that a text is one of the choices."""
    text = str.__str__(value) if isinstance(value, str) else None
    if text is None or text not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return text


def check_page(page: object, per_page: object) -> tuple[int, int]:
    """Check the page of a list, from 1, and its size, from 1 to 100 rows."""
    number, size = check_int("page", page, 1), check_int("per_page", per_page, 1)
    if size > 100:
        raise ValueError(f"per_page must be 1 to 100, not {size}")
    return number, size


def path_segment(segment: object, name: str = "a path segment") -> str:
    """Quote a path segment; refuse one that a server would read as structure."""
    if isinstance(segment, bool) or not isinstance(segment, int | str):
        raise TypeError(f"{name} must be a str or an int, not {type(segment).__name__}")
    if isinstance(segment, int):
        return str(int.__int__(segment))
    text = str.__str__(segment)
    if _PLAIN_SEGMENT.fullmatch(text):
        return text
    if not text.strip():
        raise ValueError(f"{name} must not be empty: it would name the whole list")
    if text.strip() in {".", ".."}:
        raise ValueError(f"{name} must not be '.' or '..'")
    if not text.isprintable():
        raise ValueError(f"{name} must not hold control characters")
    return quote(text, safe="")


def check_params(params: object) -> dict[str, object]:
    """Check the names of parameters; ``query_value`` and ``plain_json`` check the values."""
    if not isinstance(params, Mapping):
        raise TypeError(f"params must be a mapping, not {type(params).__name__}")
    given = cast("Mapping[object, object]", params)
    named = {unicode_text("a name in params", name): value for name, value in given.items()}
    if len(named) < len(given):
        raise ValueError("params must not hold a name twice")
    return named


def validate_int(_instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    """Validate an attrs field: an int, and no boolean."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{attribute.name} must be an int, not {type(value).__name__}")


def validate_seconds(_instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    """Validate an attrs field: a finite number of seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{attribute.name} must be a number of seconds, not {type(value).__name__}")
    if not isfinite(value):
        raise ValueError(f"{attribute.name} must be finite, not {value}")


def check_instance(name: str, value: object, kind: type[T]) -> T:
    """Check that an object is of a type."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, not {type(value).__name__}")
    return value


def check_callable(name: str, value: object) -> Callable[..., object]:
    """Check that an object can be called."""
    if not callable(value):
        raise TypeError(f"{name} must be callable, not {type(value).__name__}")
    return value
