"""What a session may be told, checked when it is made. Nothing is ever echoed, not even by a traceback's locals."""

import json
import os
import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from math import isfinite
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

import attrs

_ESCAPE = re.compile("%[0-9A-F]{2}")
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#039;"})
"""As PHP writes it; the module ``html`` would cost an import one part in a hundred."""


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


class Secret:
    """A string that nothing prints."""

    __slots__ = ("reveal",)

    reveal: Callable[[], str]

    def __init__(self, value: str) -> None:
        self.reveal = lambda: value

    def scrub(self, text: str) -> str:
        """Blot it out of what a server echoed, in the ways that JSON, URLs and HTML may write it."""
        value = self.reveal()
        written, quoted = json.dumps(value)[1:-1], quote(value, safe="")
        lowered = _ESCAPE.sub(lambda found: found[0].lower(), quoted)
        for form in (value, written, written.replace("/", "\\/"), quoted, lowered, value.translate(_HTML)):
            text = text.replace(form, "[secret]")
        return text

    def __repr__(self) -> str:
        return "<secret>"

    def __reduce__(self) -> str:
        # Of every pickler: cloudpickle would take the function apart that holds the value.
        raise TypeError("a key cannot be pickled or copied: make the session where it is used")


def check_base_url(url: Secret) -> str:
    """Normalise a base URL; refuse one that would leak the key or lose the path. The URL itself is never echoed."""
    if not isinstance(url.reveal(), str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError("base_url must be a str")
    text = Secret(str.__str__(url.reveal()).strip().rstrip("/"))
    if not text.reveal().isprintable() or not set(" \\@?#").isdisjoint(text.reveal()):
        raise ValueError("base_url must hold no userinfo, query, fragment, backslash, space or control character")
    if not text.reveal().isascii():
        raise ValueError("base_url must be ASCII: write the host in Punycode, and percent-encode the path")
    parts = _split_url("base_url", text, "https://api.sellauth.com/v1")
    if any(segment in {".", ".."} for segment in parts.path.split("/")):
        raise ValueError("base_url must not hold '.' or '..' segments")
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        raise ValueError("base_url must be https: plain http would show the key to the network (loopback excepted)")
    return text.reveal()


def check_proxy(proxy: Secret, base_url: str) -> Secret:
    """Check a proxy's URL, which may hold a password, and that the proxy will not see the key."""
    if not isinstance(proxy.reveal(), str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError("proxy must be a str")
    plain = Secret(str.__str__(proxy.reveal()))
    parts = _split_url("proxy", plain, "http://proxy.example:3128")
    if "\\" in plain.reveal() or ":" in unquote(parts.username or ""):  # aiohttp refuses them, at each call
        raise ValueError("proxy must hold no backslash, and no colon in the user's name")
    if urlsplit(base_url).scheme == "http":
        raise ValueError("proxy goes with an https base_url: over plain http the proxy would see the key")
    return plain


def _split_url(name: str, url: Secret, example: str) -> SplitResult:
    try:
        parts = urlsplit(url.reveal())
        if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0:
            parts.hostname.encode("idna")  # the resolver will, and refuses an empty label or one of 64 letters
            return parts
    except ValueError:  # it quotes what it was given, so it must not hang on ours
        pass
    raise ValueError(f"{name} must be like {example}")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_api_key(key: Secret, *, missing: bool) -> Secret:
    """Strip a key and refuse one that no header can carry."""
    if missing:
        raise ValueError("api_key is missing: give api_key= or set SHOPSDK_API_KEY")
    if not isinstance(key.reveal(), str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError("api_key must be a str")
    stripped = Secret(str.__str__(key.reveal()).strip())
    if not stripped.reveal():
        raise ValueError("api_key is empty: give api_key= or set SHOPSDK_API_KEY")
    if not stripped.reveal().isascii() or not stripped.reveal().isprintable() or " " in stripped.reveal():
        raise ValueError("api_key must be printable ASCII without spaces or control characters")
    return stripped


def check_kinds(named: Mapping[str, tuple[object, type[object]]], on_event: object) -> None:
    """Check the types of what is an object of ours or of aiohttp's, by name; what hears of events must be callable."""
    for name, (value, kind) in named.items():
        if not isinstance(value, kind):
            raise TypeError(f"{name} must be a {kind.__name__}, not {type(value).__name__}")
    if on_event is not None and not callable(on_event):
        raise TypeError(f"on_event must be callable, not {type(on_event).__name__}")


def shop_id_from_environment() -> int | None:
    """Read the shop that a session speaks of unless it is told."""
    text = os.environ.get("SHOPSDK_SHOP_ID", "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise ValueError("SHOPSDK_SHOP_ID must be a whole number")
    return int(text)
