"""What a session may be told, checked when it is made. Nothing is ever echoed, not even by a traceback's locals."""

import os
import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from itertools import groupby, repeat
from math import isfinite
from operator import itemgetter
from typing import Any

import attrs
from yarl import URL

_SEPARATORS = re.compile(
    r"%(?:(?:25)++(?:[0-9A-Fa-f]{2})?|u[0-9A-Fa-f]{4}|[0-9A-Fa-f]{2})"  # of a URL, quoted once or more
    r"|&(?:amp;)*+(?:#[0-9]{1,10};|#[xX][0-9A-Fa-f]{1,8};|[A-Za-z]{2,31};|(?<=;))"  # of HTML
    r"|\\++(?:u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|u?[0-9A-Fa-f]{0,3}\Z)?"  # of JSON, cut short or not
    r"|(?:%(?:25)*+[0-9A-Fa-f]?|&(?:amp;)*+#?[A-Za-z0-9]{0,8})\Z"  # of the others, cut short
    r"|[^A-Za-z0-9%&\\]+|[%&]"
)
"""All that is no letter or digit, also as an escape. What writes text otherwise leaves letters and digits alone."""
_NO_LETTERS = re.compile("[^A-Za-z0-9]+")
_HOST_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_BLOT = "[secret]"
_RUN = 16
"""So many letters and digits of a key, one after the other, are blotted out wherever they stand."""
_SHORTEST = 8
"""So many are too few to be blotted out but as a whole, and at the end of a text that was cut within the key."""


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
        # In C, and so without a frame in which a signal handler's exception would leave the value for a traceback.
        self.reveal = repeat(value).__next__

    def redact(self, text: str) -> str:
        """Blot it out of what a server echoed, in pieces too, and as JSON, URLs and HTML may write it.

        Encodings on purpose, such as base64, are beyond this.
        """
        try:
            return _redact(self.reveal(), text)
        except BaseException as error:  # noqa: BLE001 - a signal handler's, say: the frame within holds the secret
            raise error.with_traceback(None) from None

    def __repr__(self) -> str:
        return "<secret>"

    def __reduce__(self) -> str:
        # Of every pickler: cloudpickle would take the function apart that holds the value.
        raise TypeError("a key cannot be pickled or copied: make the session where it is used")


def _redact(secret: str, text: str) -> str:
    text = text.replace(secret, _BLOT)
    # The first for a key that holds what looks like an escape, quoted once more. A space: it is not cut short.
    forms = {_NO_LETTERS.sub("", secret).lower(), _SEPARATORS.sub("", f"{secret} ").lower()}
    letters = _SEPARATORS.sub("", text).lower()
    size = min(_RUN, *map(len, forms))
    pieces = {wanted[at : at + size] for wanted in forms for at in range(len(wanted) - size + 1)}
    ends = {wanted[:end] for wanted in forms for end in range(_SHORTEST, len(wanted) + 1)}
    tail = max((len(end) for end in ends if letters.endswith(end)), default=0)
    if size < _SHORTEST or not (tail or any(piece in letters for piece in pieces)):
        return text
    secret_at = bytearray(len(letters))
    secret_at[len(letters) - tail :] = bytes([1]) * tail
    for at in range(len(letters) - size + 1):
        if letters[at : at + size] in pieces:
            secret_at[at : at + size] = bytes([1]) * size
    gaps = [found.span() for found in _SEPARATORS.finditer(text)]
    words = zip([0, *(end for _, end in gaps)], [*(start for start, _ in gaps), len(text)], strict=True)
    places = [place for start, end in words for place in range(start, end)]
    shown, behind = "", 0
    for hidden, run in groupby(zip(secret_at, places, strict=True), key=itemgetter(0)):
        if hidden:
            stretch = [place for _, place in run]
            shown += text[behind : stretch[0]] + _BLOT
            behind = stretch[-1] + 1
    return shown + text[behind:]


def check_base_url(url: Secret) -> str:
    """Normalise a base URL; refuse one that would leak the key or lose the path. The URL itself is never echoed."""
    if not isinstance(url.reveal(), str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError("base_url must be a str")
    text = Secret(str.__str__(url.reveal()).strip().rstrip("/"))
    if not text.reveal().isprintable() or not set(" \\@?#").isdisjoint(text.reveal()):
        raise ValueError("base_url must hold no userinfo, query, fragment, backslash, space or control character")
    if not text.reveal().isascii():
        raise ValueError("base_url must be ASCII: write the host in Punycode, and percent-encode the path")
    parts = _parsed("base_url", text, "https://api.sellauth.com/v1", encoded=True)
    if any(segment in {".", ".."} for segment in parts.path.split("/")):
        raise ValueError("base_url must not hold '.' or '..' segments")
    if parts.scheme == "http" and not _is_loopback((parts.raw_host or "").lower()):
        raise ValueError("base_url must be https: plain http would show the key to the network (loopback excepted)")
    return text.reveal()


def check_proxy(proxy: Secret, base_url: str) -> Secret:
    """Check a proxy's URL, which may hold a password, and that the proxy will not see the key."""
    if not isinstance(proxy.reveal(), str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError("proxy must be a str")
    plain = Secret(str.__str__(proxy.reveal()))
    if "\\" in plain.reveal() or ":" in (_parsed("proxy", plain, "http://proxy.example:3128").user or ""):
        raise ValueError("proxy must hold no backslash, and no colon in the user's name")  # aiohttp would, at each call
    if base_url.lower().startswith("http:"):
        raise ValueError("proxy goes with an https base_url: over plain http the proxy would see the key")
    return plain


def _parsed(name: str, text: Secret, example: str, *, encoded: bool = False) -> URL:
    """Parse a URL by the parser that will use it, as it will be used: another may take another host for the host."""
    try:
        url = URL(text.reveal(), encoded=encoded)
        host = url.raw_host or ""
        is_name = _HOST_NAME.fullmatch(host) and "[" not in url.raw_authority
        if url.scheme in {"http", "https"} and url.port != 0 and (is_name or _is_address(host)):
            host.encode("idna")  # the resolver will, and refuses an empty label or one of 64 letters
            return url
    except ValueError:  # it quotes what it was given, so it must not hang on ours
        pass
    raise ValueError(f"{name} must be like {example}")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


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
