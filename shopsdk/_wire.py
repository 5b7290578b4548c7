"""Requests and responses as plain values, and the rules that make one. No socket is needed here.

The path is built segment by segment, because a server reads structure into it: an empty segment turns "get one" into
"list all", ``..`` climbs out of the resource, and a slash inside an id names another route.

*A GET with a body.* The vendor documents the parameters of its lists as the JSON body of the GET, and so they are
sent. HTTP gives such a body no meaning of its own, so proxies differ: some refuse the request (400, 403, 411, 413 or
501, most with a page of their own), some drop the body in silence, and a cache may answer every page with the first.
Laravel reads a query string just as well, which passes everywhere: ``AsyncSession(list_params="query")``. A body that
was dropped cannot go unnoticed: the page and the page size are sent every time, and an answer that does not echo both
is refused.
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Literal
from urllib.parse import quote, urlencode

import attrs

ListParams = Literal["body", "query"]
"""Where the parameters of a list travel: in the GET's JSON body, as documented, or in its query string."""

_READS = frozenset({"GET", "HEAD"})
_METHODS = _READS | {"POST", "PUT", "PATCH", "DELETE"}
_EMAIL = re.compile(r"[^\s@\"'<>(),;:]+@[^\s@\"'<>(),;:]+")
_PLAIN_SEGMENT = re.compile(r"[A-Za-z0-9_-]+")
"""What needs no quoting and is no structure: nearly every segment there is."""


@attrs.frozen(kw_only=True)
class Request:
    """One call of the API, whole before anything is sent; every attempt sends the same."""

    method: str
    route: str
    """The path's template: what the gate, the log and the events know the operation by."""
    path: str
    """The path below the base URL, quoted."""
    query: str = ""
    json: object = attrs.field(default=None, repr=False)
    idempotent: bool
    """May it be sent again though an earlier attempt may have been carried out?"""

    @property
    def changes(self) -> bool:
        """Could the server's data differ after it? A GET that must not be repeated is taken for one that changes."""
        return self.method not in _READS or not self.idempotent

    @property
    def operation(self) -> str:
        """Verb and route template: what the gate, the log and the events know it by."""
        return f"{self.method} {self.route}"

    @property
    def label(self) -> str:
        """Verb and path for messages; a segment that looks like an e-mail address stays out of them."""
        if "%40" not in self.path:
            return f"{self.method} {self.path}"
        return f"{self.method} {'/'.join(map(without_emails, self.path.split('/')))}"


@attrs.frozen(kw_only=True)
class Response:
    """One answer, body read whole."""

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    attempts: int = 1
    """How many times the request was tried."""


def make_request(
    method: str,
    path: Sequence[str | int],
    *,
    json: object = None,
    params: Mapping[str, object] | None = None,
    idempotent: bool | None = None,
    route: str | None = None,
) -> Request:
    """Check and quote; ``idempotent=None`` means that reads may be repeated and nothing else."""
    if not isinstance(method, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"method must be a str, not {type(method).__name__}")
    if params is not None and not isinstance(params, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"params must be a mapping, not {type(params).__name__}")
    verb = method.upper()
    if verb not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(sorted(_METHODS))}, not {method!r}")
    if isinstance(path, str | bytes) or not isinstance(path, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError("path must be a sequence of segments, such as ['shops', 38, 'customers'], not one string")
    segments = [path_segment(segment) for segment in path]
    if not segments:
        raise ValueError("path must have at least one segment")
    return Request(
        method=verb,
        route=route or "/" + "/".join("{id}" if part.isdecimal() or "%40" in part else part for part in segments),
        path="/" + "/".join(segments),
        query=_query(params) if params else "",
        json=json,
        idempotent=verb in _READS if idempotent is None else idempotent,
    )


def _query(params: Mapping[str, object]) -> str:
    return urlencode([(key, query_value(key, value)) for key, value in params.items()], quote_via=quote)


def make_list_request(
    path: Sequence[str | int], params: Mapping[str, object], *, list_params: ListParams, route: str | None = None
) -> Request:
    """Make a GET that carries its parameters where the session says; without any it has no body, as proxies like it."""
    if list_params == "body":
        return make_request("GET", path, json=params or None, route=route)
    return make_request("GET", path, params=params, route=route)


def path_segment(segment: str | int, name: str = "a path segment") -> str:
    """Quote one path segment; refuse what a server would read as structure."""
    if type(segment) is int:
        return str(segment)
    if type(segment) is str and _PLAIN_SEGMENT.fullmatch(segment):
        return segment
    if isinstance(segment, bool) or not isinstance(segment, int | str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"{name} must be a str or an int, not {type(segment).__name__}")
    text = str(segment)
    if not text.strip():
        raise ValueError(f"{name} must not be empty: it would name the whole list")
    if text.strip() in {".", ".."}:
        raise ValueError(f"{name} must not be '.' or '..'")
    if not text.isprintable():
        raise ValueError(f"{name} must not hold control characters")
    return quote(text, safe="")


def query_value(name: str, value: object) -> str:
    """Make the text of a query parameter ourselves: yarl would turn ``Decimal("1.5")`` into ``1``."""
    match value:
        case bool():
            return "1" if value else "0"  # Laravel's rule `boolean` refuses "true"
        case str():
            return unicode_text(f"params[{name!r}]", value)
        case int():
            return str(value)
        case Decimal() if value.is_finite():
            return format(value, "f")
        case _:
            raise TypeError(f"params[{name!r}] must be a str, int, bool or finite Decimal, not {type(value).__name__}")


def unicode_text(name: str, text: str) -> str:
    """Refuse a lone surrogate, which neither JSON nor a URL can carry."""
    if not text.isprintable() and any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError(f"{name} must be Unicode text, without lone surrogates")
    return text


def check_page(page: int, per_page: int) -> None:
    """Check what every list takes: pages from 1, and 1 to 100 rows a page."""
    for name, value in (("page", page), ("per_page", per_page)):
        check_int(name, value, 1)
    if per_page > 100:
        raise ValueError(f"per_page must be 1 to 100, not {per_page}")


def check_int(name: str, value: int, least: int) -> int:
    """Check a whole number against its lower bound, and give it back."""
    if isinstance(value, bool) or not isinstance(value, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value}")
    return value


def without_emails(text: str) -> str:
    """Keep personal data out of messages and logs, quoted (``%40``) or not."""
    return _EMAIL.sub("[e-mail]", text.replace("%40", "@")) if "@" in text or "%40" in text else text
