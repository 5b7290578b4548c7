"""The settings of a session, and their checks. No message and no local variable in a traceback shows a secret."""

import asyncio
import os
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from ipaddress import ip_address
from itertools import groupby, repeat
from operator import itemgetter
from random import random
from typing import Literal, cast, get_args
from urllib.request import getproxies_environment, proxy_bypass

import aiohttp
import attrs
from attrs.validators import ge, gt
from yarl import URL

from shopsdk._checks import check_choice, check_instance, validate_int, validate_seconds

_SEPARATORS = re.compile(
    r"%(?:(?:25)++(?:[0-9A-Fa-f]{2})?|u[0-9A-Fa-f]{4}|[0-9A-Fa-f]{2})"  # of a URL, quoted once or more
    r"|&(?:amp;)*+(?:#[0-9]{1,10};|#[xX][0-9A-Fa-f]{1,8};|[A-Za-z]{2,31};|(?<=;))"  # of HTML
    r"|\\++(?:u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|u?[0-9A-Fa-f]{0,3}\Z)?"  # of JSON, cut short or not
    r"|(?:%(?:25)*+[0-9A-Fa-f]?|&(?:amp;)*+#?[A-Za-z0-9]{0,8})\Z"  # of the others, cut short
    r"|[^A-Za-z0-9%&\\]+|[%&]"
)
"""Everything but letters and digits, escapes included. Escaping leaves letters and digits as they are."""
_NO_LETTERS = re.compile("[^A-Za-z0-9]+")
_HOST_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_REDACTED = "[secret]"
_PIECE_CHARS = 16
"""The length of a piece of a key, in letters and digits, that is redacted wherever it stands."""
_MIN_CHARS = 8
"""The shortest key, or beginning of a key at the end of a text, that is redacted."""

ListParams = Literal["both", "body", "query"]
"""Where the parameters of a list travel: in the GET's JSON body, as documented, in its query string, or in both."""

Pause = Callable[[float], Awaitable[object]]
"""A function that waits so many seconds; its exception ends the call."""


@attrs.frozen
class Timeout:
    """Times to wait for the server, in seconds, each above 0.

    Args:
        connect: seconds for a connection: DNS, TCP, TLS and a proxy's tunnel; default: 10.
        total: seconds for one attempt, from its start to the last byte of the answer; default: 30.
        deadline: seconds for one call, with all its attempts and waits, from its first slot on; default: 180.
    """

    connect: float = attrs.field(default=10, validator=[validate_seconds, gt(0)])
    """Seconds for a connection: DNS, TCP, TLS and a proxy's tunnel; default: 10."""
    total: float = attrs.field(default=30, validator=[validate_seconds, gt(0)])
    """Seconds for one attempt, from its start to the last byte of the answer; default: 30."""
    deadline: float = attrs.field(default=180, validator=[validate_seconds, gt(0)])
    """Seconds for one call, with all its attempts and waits, from its first slot on; default: 180."""


@attrs.frozen
class RetryPolicy:
    """Number of tries, and the waits between them in seconds.

    Args:
        attempts: requests of one call, the first included, at least 1; default: 4.
        wait_initial: the longest wait after the first failure, in seconds; it doubles with each, and the actual wait is
            random below it; default: 0.5.
        wait_max: the longest wait that the doubling leads to, in seconds; default: 8.
        retry_after_max: the longest wait that a server may ask for, in seconds; if it asks for more, the error is
            raised at once, with its ``retry_after``; default: 90.
    """

    attempts: int = attrs.field(default=4, validator=[validate_int, ge(1)])
    """Requests of one call, the first included, at least 1; default: 4."""
    wait_initial: float = attrs.field(default=0.5, validator=[validate_seconds, ge(0)])
    """The longest wait after the first failure, in seconds; it doubles with each, and the actual wait is random below
    it; default: 0.5."""
    wait_max: float = attrs.field(default=8, validator=[validate_seconds, ge(0)])
    """The longest wait that the doubling leads to, in seconds; default: 8."""
    retry_after_max: float = attrs.field(default=90, validator=[validate_seconds, ge(0)])
    """The longest wait that a server may ask for, in seconds; if it asks for more, the error is raised at once, with
    its ``retry_after``; default: 90."""


@attrs.frozen
class RateLimit:
    """At most so many requests in so many seconds, spaced evenly, without bursts.

    Args:
        max_requests: the most requests that are sent within ``per_seconds``, at least 1.
        per_seconds: the time for them, in seconds, above 0; default: 1.
    """

    max_requests: int = attrs.field(validator=[validate_int, ge(1)])
    """The most requests that are sent within ``per_seconds``, at least 1."""
    per_seconds: float = attrs.field(default=1.0, validator=[validate_seconds, gt(0)])
    """The time for them, in seconds, above 0; default: 1."""


@attrs.define(eq=False, repr=False)
class Clock:
    """The time and the randomness of a session, which a test can replace.

    They decide the waits: backoff, Retry-After, the session's own rate limit, deadlines. The timeouts of requests go by
    the event loop's time.

    Args:
        now: returns the seconds since any moment, which never decrease; default: ``time.monotonic``.
        sleep: waits so many seconds; its exception ends the call; default: ``asyncio.sleep``.
        random: returns a number from 0 up to, but not including, 1; default: ``random.random``.
    """

    now: Callable[[], float] = time.monotonic
    """Returns the seconds since any moment, which never decrease; default: ``time.monotonic``."""
    sleep: Pause = asyncio.sleep
    """Waits so many seconds; its exception ends the call; default: ``asyncio.sleep``."""
    random: Callable[[], float] = random
    """Returns a number from 0 up to, but not including, 1; default: ``random.random``."""


class Secret:
    """A string that no repr, traceback or pickle shows."""

    __slots__ = ("reveal",)

    reveal: Callable[[], str]

    def __init__(self, value: str) -> None:
        # ``__next__`` is C and has no frame; the frame of a Python function would show the value in a traceback.
        self.reveal = repeat(value).__next__

    def redact(self, text: str) -> str:
        """Redact the secret in text from a server: whole, in pieces, and escaped as in JSON, URLs and HTML.

        Other encodings, such as base64, are not recognised.
        """
        try:
            return _redact(self.reveal(), text)
        except BaseException as error:  # noqa: BLE001 - a signal handler's, say; the inner frame holds the secret
            raise error.with_traceback(None) from None

    def __repr__(self) -> str:
        return "<secret>"

    def __reduce__(self) -> str:
        # For every pickler: cloudpickle would pickle the function that holds the value.
        raise TypeError("a key cannot be pickled or copied: make the session where it is used")


def _redact(secret: str, text: str) -> str:
    text = text.replace(secret, _REDACTED)
    # Two forms of a secret that holds what looks like an escape: the text may have escaped that once more, or not. The
    # space keeps the end of the secret from being read as an escape that is cut short.
    forms = {_NO_LETTERS.sub("", secret).lower(), _SEPARATORS.sub("", f"{secret} ").lower()}
    letters = _SEPARATORS.sub("", text).lower()
    size = min(_PIECE_CHARS, *map(len, forms))
    pieces = {wanted[at : at + size] for wanted in forms for at in range(len(wanted) - size + 1)}
    ends = {wanted[:end] for wanted in forms for end in range(_MIN_CHARS, len(wanted) + 1)}
    tail = max((len(end) for end in ends if letters.endswith(end)), default=0)
    if size < _MIN_CHARS or not (tail or any(piece in letters for piece in pieces)):
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
            shown += text[behind : stretch[0]] + _REDACTED
            behind = stretch[-1] + 1
    return shown + text[behind:]


def check_base_url(url: Secret) -> str:
    """Normalise a base URL; refuse one that would leak the key or lose the path. No message quotes it."""
    text = Secret(_text("base_url", url.reveal).reveal().strip().rstrip("/"))
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
    """Check a proxy's URL, which may hold a password; refuse a proxy that would see the key."""
    socks = "for SOCKS give connector=aiohttp_socks.ProxyConnector.from_url(...)"
    checked = _http_proxy("proxy", _text("proxy", proxy.reveal), socks)
    if base_url.lower().startswith("http:"):
        raise ValueError("proxy goes with an https base_url: over plain http the proxy would see the key")
    return checked


def proxy_from_environment(base_url: str) -> Secret | None:
    """Find the proxy for a base URL by the standard library's rules; None for a host on this machine.

    Raises:
        ValueError: the variable holds no URL of an HTTP proxy.
    """
    url = URL(base_url, encoded=True)
    if _is_loopback((url.raw_host or "").lower()):
        return None
    try:
        if proxy_bypass(url.raw_authority):
            return None
        kind = next((kind for kind in ("https", "all") if kind in getproxies_environment()), None)
        if kind is None:
            return None
        given = Secret(getproxies_environment()[kind].strip())
    except BaseException as error:  # noqa: BLE001 - a signal handler's; the inner frames hold the whole environment
        raise error.with_traceback(None) from None
    named = given if "://" in given.reveal() else Secret(f"http://{given.reveal()}")  # as curl reads it
    return _http_proxy(f"{kind.upper()}_PROXY", named, "set HTTPS_PROXY to one, or name the host in NO_PROXY")


def _http_proxy(name: str, proxy: Secret, socks: str) -> Secret:
    """Check the URL of an HTTP proxy; ``socks`` says what to do with one that is for SOCKS."""
    if proxy.reveal().lower().startswith("socks"):
        raise ValueError(f"{name} must be an HTTP proxy: {socks}")
    if not proxy.reveal().isprintable() or "\\" in proxy.reveal():
        raise ValueError(f"{name} must hold no backslash and no control character")
    if ":" in (_parsed(name, proxy, "http://proxy.example:3128").user or ""):
        # aiohttp would refuse it too, but at each call.
        raise ValueError(f"{name} must hold no colon in the user's name")
    if not _is_origin(proxy):
        raise ValueError(f"{name} must end with the port: percent-encode / ? # and what is not ASCII in a password")
    return proxy


def _is_origin(proxy: Secret) -> bool:
    """Whether a URL has nothing behind its port, and a user and password that a header can carry."""
    try:
        url = URL(proxy.reveal())
        f"{url.user}:{url.password}".encode("latin-1")
    except UnicodeEncodeError:
        return False
    except BaseException as error:  # noqa: BLE001 - a signal handler's; this frame holds the password
        raise error.with_traceback(None) from None
    return url.path in {"", "/"} and not url.raw_query_string and not url.raw_fragment


def check_tls(context: object, *, borrowed: bool) -> ssl.SSLContext:
    """Check a TLS context of the caller's, which must verify the shop.

    Args:
        context: the context.
        borrowed: whether a connector is given too, which has a context of its own.
    """
    checked = check_instance("ssl", context, ssl.SSLContext)
    if borrowed:
        raise ValueError("ssl goes without connector: give the context to the connector")
    anonymous = any(cipher.get("auth") == "auth-null" for cipher in checked.get_ciphers())
    if not checked.check_hostname or checked.protocol == ssl.PROTOCOL_TLS_SERVER or anonymous:
        raise ValueError(
            "ssl must be a client's context that verifies the certificate and the host's name, by ciphers that have"
            " one: else anyone could take the key"
        )
    return checked


def tls_from_environment() -> ssl.SSLContext | None:
    """Make the context that SSL_CERT_FILE and SSL_CERT_DIR ask for; None without them.

    aiohttp makes its context when it is imported, and would miss what was set since.

    Raises:
        ValueError: SSL_CERT_FILE cannot be read, which OpenSSL would pass over.
    """
    file, folder = os.environ.get("SSL_CERT_FILE", ""), os.environ.get("SSL_CERT_DIR", "")
    if not file and not folder:
        return None
    try:
        state = os.stat(file) if file else None
        return _default_tls(file, folder, state and (state.st_mtime_ns, state.st_size))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "it holds none"
    raise ValueError(f"SSL_CERT_FILE must name a file of certificates (PEM): {reason}")


@lru_cache(maxsize=8)
def _default_tls(file: str, _folder: str, _state: object) -> ssl.SSLContext:
    """Make Python's context for what the variables hold; to read a usual file takes 40 ms."""
    if file:
        with open(file, "rb"):  # OpenSSL would pass over one that cannot be read
            pass
    context = ssl.create_default_context()
    if file and not context.cert_store_stats()["x509"]:
        raise OSError("it holds none")
    context.set_alpn_protocols(["http/1.1"])  # as aiohttp's
    return context


def _text(name: str, reveal: Callable[[], object]) -> Secret:
    """Check that a secret is text, and reduce it to a plain str that no local variable holds."""
    if not isinstance(reveal(), str):
        raise TypeError(f"{name} must be a str")
    return Secret(str.__str__(cast("str", reveal())))


def _parsed(name: str, text: Secret, example: str, *, encoded: bool = False) -> URL:
    """Parse a URL with yarl, as aiohttp does: another parser may see another host in it."""
    url = _http_url(text, encoded=encoded)
    if url is None:
        raise ValueError(f"{name} must be like {example}")
    return url


def _http_url(text: Secret, *, encoded: bool) -> URL | None:
    """Parse an http(s) URL with a host; None if it is none. The error of another, which quotes it, ends here."""
    try:
        url = URL(text.reveal(), encoded=encoded)
        host = url.raw_host or ""
        is_name = _HOST_NAME.fullmatch(host) and "[" not in url.raw_authority
        if url.scheme in {"http", "https"} and url.port != 0 and (is_name or _is_address(host)):
            host.encode("idna")  # as the resolver does, which refuses an empty label or one of 64 letters
            return url
    except ValueError:
        return None
    except BaseException as error:  # noqa: BLE001 - a signal handler's; this frame holds the password
        raise error.with_traceback(None) from None
    return None


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
    stripped = Secret(_text("api_key", key.reveal).reveal().strip())
    if not stripped.reveal():
        raise ValueError("api_key is empty: give api_key= or set SHOPSDK_API_KEY")
    if not stripped.reveal().isascii() or not stripped.reveal().isprintable() or " " in stripped.reveal():
        raise ValueError("api_key must be printable ASCII without spaces or control characters")
    return stripped


def shop_id_from_environment() -> int | None:
    """Read the default shop of a session."""
    text = os.environ.get("SHOPSDK_SHOP_ID", "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise ValueError("SHOPSDK_SHOP_ID must be a whole number")
    return int(text)


def check_list_params(value: object) -> ListParams:
    """Check where a session's lists carry their parameters."""
    return cast("ListParams", check_choice("list_params", value, get_args(ListParams)))


@attrs.frozen(eq=False, repr=False)
class Options:
    """The settings of connections and requests."""

    base_url: str
    key: Secret
    timeout: Timeout
    max_in_flight: int
    max_response_bytes: int
    proxy: Secret | None
    tls: ssl.SSLContext | None
    """None for aiohttp's own."""
    connector: aiohttp.BaseConnector | None
    trace_configs: Sequence[aiohttp.TraceConfig]
