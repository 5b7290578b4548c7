"""Checks of arguments. Each takes any object, and returns the plain value of the type that it must have.

A ``(str, Enum)``, an ``IntEnum`` and other subclasses may print as anything: since Python 3.11 the first prints as
``Class.MEMBER``. So each check returns the plain value, and that is sent.
"""

import re
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, cast
from urllib.parse import quote

import attrs

_PLAIN_SEGMENT = re.compile(r"[A-Za-z0-9_-]+")
"""Segments that need no quoting and have no structure: nearly all."""


def plain_text(name: str, value: object) -> str:
    """Check that it is text, and reduce it to a plain str."""
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
    """Check that it is one of the choices."""
    text = str.__str__(value) if isinstance(value, str) else None
    if text is None or text not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return text


def check_page(page: object, per_page: object) -> tuple[int, int]:
    """Check what every list takes: pages from 1, and 1 to 100 rows a page."""
    number, size = check_int("page", page, 1), check_int("per_page", per_page, 1)
    if size > 100:
        raise ValueError(f"per_page must be 1 to 100, not {size}")
    return number, size


def path_segment(segment: object, name: str = "a path segment") -> str:
    """Quote one path segment; refuse one that a server would read as structure."""
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
    """Check the names of parameters; their values are checked where they are written."""
    if not isinstance(params, Mapping):
        raise TypeError(f"params must be a mapping, not {type(params).__name__}")
    given = cast("Mapping[object, object]", params)
    named = {unicode_text("a name in params", name): value for name, value in given.items()}
    if len(named) < len(given):
        raise ValueError("params must not hold a name twice")
    return named


def whole_number(_instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    """Validate an attrs field: an int, and no boolean."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{attribute.name} must be an int, not {type(value).__name__}")


def finite_number(_instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    """Validate an attrs field: a finite number of seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{attribute.name} must be a number of seconds, not {type(value).__name__}")
    if not isfinite(value):
        raise ValueError(f"{attribute.name} must be finite, not {value}")


def check_kinds(named: Mapping[str, tuple[object, type[object]]], on_event: object) -> None:
    """Check the types of objects by their names, and that the callback for events can be called."""
    for name, (value, kind) in named.items():
        if not isinstance(value, kind):
            raise TypeError(f"{name} must be a {kind.__name__}, not {type(value).__name__}")
    if on_event is not None and not callable(on_event):
        raise TypeError(f"on_event must be callable, not {type(on_event).__name__}")
