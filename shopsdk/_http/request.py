"""Requests and responses as plain values, and the rules that make one. No socket is needed here.

The path is built segment by segment, because a server reads structure into it: an empty segment turns "get one" into
"list all", ``..`` climbs out of the resource, and a slash inside an id names another route.

*A GET with a body.* The vendor documents the parameters of its lists as the JSON body of the GET. HTTP gives such a
body no meaning of its own, so proxies differ: some refuse the request (400, 403, 411, 413 or 501, most with a page of
their own), some drop the body in silence, and a cache that goes by the URL mixes up pages and filters. Laravel reads
the query string just as well, and where both say something the body wins. So both carry all parameters: the query
survives a proxy that drops the body, and it tells a cache which page and which filters are asked for. A proxy that
refuses a GET with a body lets ``AsyncSession(list_params="query")`` pass. The page and the page size are sent every
time, and an answer that does not echo both is refused.

*What a query cannot say* (a list, an object, null, a float: only ``paginate(params=...)`` takes them) travels in the
body alone. The parameters of this library's own are text and whole numbers, so each is in both places or in neither:
were the page in one place and a filter in the other, a dropped body would leave an echo that matches and no filter.

*Plain values.* A ``(str, Enum)``, an ``IntEnum`` and other subclasses may print as anything: since Python 3.11 the
first prints as ``Class.MEMBER``. So each check returns the plain value of what it was given, and that is sent.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from math import isfinite
from typing import Literal, cast, get_args
from urllib.parse import quote, urlencode

import attrs

from shopsdk._codec.narrow import as_object

ListParams = Literal["both", "body", "query"]
"""Where the parameters of a list travel: in the GET's JSON body, as documented, in its query string, or in both."""

_LIKELY_CAUSES: dict[ListParams, str] = {
    "both": "likely a cache, or a server that ignores the parameters in body and query alike",
    "body": "likely a proxy that drops the body of a GET: try AsyncSession(list_params='both')",
    "query": "likely a server or a proxy that ignores the query: try AsyncSession(list_params='both')",
}

_READS = frozenset({"GET", "HEAD"})
_METHODS = _READS | {"POST", "PUT", "PATCH", "DELETE"}
_AT = re.compile("%(?:25)*+40|&(?:amp;)*+#(?:0*+64|[xX]0*+40);|&(?:amp;)*+commat;")
_EMAIL = re.compile(r"(?<![^\s@\"'<>(),;:])[^\s@\"'<>(),;:]++@[^\s@\"'<>(),;:]++")
"""Begins only where a run of such characters does, and so reads each of them once."""
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
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)
    """Beside those of every request."""

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
        return f"{self.method} {'/'.join(map(redact_emails, self.path.split('/')))}"


@attrs.frozen(kw_only=True)
class Response:
    """One answer, body read whole."""

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    attempts: int = 1
    """How many times the request was tried."""


def make_request(
    method: object,
    path: object,
    *,
    json: object = None,
    params: object = None,
    idempotent: bool | None = None,
    route: str | None = None,
) -> Request:
    """Check and quote; ``idempotent=None`` means that reads may be repeated and nothing else."""
    verb = plain_text("method", method).upper()
    if verb not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(sorted(_METHODS))}, not {method!r}")
    if isinstance(path, str | bytes) or not isinstance(path, Sequence):
        raise TypeError("path must be a sequence of segments, such as ['shops', 38, 'customers'], not one string")
    segments = [path_segment(segment) for segment in cast("Sequence[object]", path)]
    if not segments:
        raise ValueError("path must have at least one segment")
    return Request(
        method=verb,
        route=route or "/" + "/".join("{id}" if part.isdecimal() or "%40" in part else part for part in segments),
        path="/" + "/".join(segments),
        query="" if params is None else _query(check_params(params)),
        json=plain_json(json),
        idempotent=verb in _READS if idempotent is None else idempotent,
    )


def _query(params: Mapping[str, object]) -> str:
    return urlencode([(name, query_value(name, value)) for name, value in params.items()], quote_via=quote)


def make_list_request(
    path: object, params: Mapping[str, object], *, list_params: ListParams, route: str | None = None
) -> Request:
    """Make a GET that carries its parameters where the session says; without any it has no body, as proxies like it."""
    if list_params == "query":
        return make_request("GET", path, params=params, route=route)
    in_query = {name: value for name, value in params.items() if list_params == "both" and fits_query(value)}
    return make_request("GET", path, json=params or None, params=in_query, route=route)


def make_list_requests(
    path: object, params: Mapping[str, object], *, list_params: ListParams, route: str | None = None
) -> Callable[[int], Request]:
    """Make the GETs of a list, by page. What all pages share (at least the page size) is checked and quoted once."""
    shared = make_list_request(path, params, list_params=list_params, route=route)
    body = None if list_params == "query" else as_object(shared.json)

    def request_of(page: int) -> Request:
        return Request(
            method=shared.method,
            route=shared.route,
            path=shared.path,
            query=f"page={page}&{shared.query}" if shared.query else "",
            json=None if body is None else {"page": page, **body},
            idempotent=shared.idempotent,
        )

    return request_of


def uncached(request: Request) -> Request:
    """Ask so that no cache on the way has an answer, whether it reads headers or goes by the URL alone."""
    nonce = f"_={os.urandom(8).hex()}"
    query = f"{request.query}&{nonce}" if request.query else nonce
    return attrs.evolve(request, query=query, headers={"Cache-Control": "no-cache"})


def likely_cause(list_params: ListParams) -> str:
    """Say what most likely stands behind an answer that is not what was asked for."""
    return _LIKELY_CAUSES[list_params]


def path_segment(segment: object, name: str = "a path segment") -> str:
    """Quote one path segment; refuse what a server would read as structure."""
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
    """Check the names of parameters; their values are for whoever writes them."""
    if not isinstance(params, Mapping):
        raise TypeError(f"params must be a mapping, not {type(params).__name__}")
    given = cast("Mapping[object, object]", params)
    named = {unicode_text("a name in params", name): value for name, value in given.items()}
    if len(named) < len(given):
        raise ValueError("params must not hold a name twice")
    return named


def query_value(name: str, value: object) -> str:
    """Make the text of a query parameter ourselves: yarl would turn ``Decimal("1.5")`` into ``1``."""
    if not fits_query(value):
        raise TypeError(f"params[{name!r}] must be a str, int, bool or finite Decimal, not {type(value).__name__}")
    if isinstance(value, bool):
        return "1" if value else "0"  # Laravel's rule `boolean` refuses "true"
    if isinstance(value, int):
        return str(int.__int__(value))
    if isinstance(value, Decimal):
        return format(Decimal(value), "f")
    return unicode_text(f"params[{name!r}]", value)


def fits_query(value: object) -> bool:
    """Tell whether a query can say this exactly."""
    return isinstance(value, str | int) or (isinstance(value, Decimal) and Decimal(value).is_finite())


def plain_json(value: object) -> object:
    """Reduce a body to plain values, names included; what has another form in JSON is left for the encoder.

    Raises:
        ValueError: a number that is not finite, an object that names something twice, or a value that holds itself.
    """
    try:
        return _plain(value)
    except RecursionError:
        pass  # raised anew below, without the many frames
    raise ValueError("json is nested too deeply")


def _plain(value: object) -> object:
    match value:
        case str():
            return str.__str__(value)
        case int() | float() | Decimal():
            return _plain_number(value)
        case list() | tuple() | set() | frozenset():
            return [_plain(item) for item in cast("Iterable[object]", value)]
        case dict():
            return _plain_object(cast("Mapping[object, object]", value))
        case Enum():
            return _plain(value.value)
        case _:
            names = _field_names(type(value))
            return value if names is None else {name: _plain(getattr(value, name)) for name in names}


def _plain_number(value: float | Decimal) -> float | Decimal:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int.__int__(value)
    number = Decimal(value) if isinstance(value, Decimal) else float.__float__(value)
    if not (number.is_finite() if isinstance(number, Decimal) else isfinite(number)):
        raise ValueError("json must hold finite numbers only")
    return number


def _plain_object(value: Mapping[object, object]) -> dict[object, object]:
    named = {_plain(name): _plain(inner) for name, inner in value.items()}
    named = {str(name) if type(name) is int else name: inner for name, inner in named.items()}
    if len(named) < len(value):
        raise ValueError("json must not hold a name twice in one object")
    return named


def _field_names(kind: type[object]) -> list[str] | None:
    """Name what the encoder writes of an attrs class or a dataclass; None for anything else."""
    if attrs.has(kind):
        return [field.name for field in attrs.fields(kind) if not field.name.startswith("_")]
    return [field.name for field in fields(kind)] if is_dataclass(kind) else None


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


def check_choice(name: str, value: object, choices: Sequence[str]) -> str:
    """Check that it is one of the texts that there are."""
    text = str.__str__(value) if isinstance(value, str) else None
    if text is None or text not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return text


def check_list_params(value: object) -> ListParams:
    """Check where a session's lists carry their parameters."""
    return cast("ListParams", check_choice("list_params", value, get_args(ListParams)))


def check_page(page: object, per_page: object) -> tuple[int, int]:
    """Check what every list takes: pages from 1, and 1 to 100 rows a page."""
    number, size = check_int("page", page, 1), check_int("per_page", per_page, 1)
    if size > 100:
        raise ValueError(f"per_page must be 1 to 100, not {size}")
    return number, size


def check_int(name: str, value: object, least: int) -> int:
    """Check a whole number against its lower bound, and reduce it to a plain int."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    number = int.__int__(value)
    if number < least:
        raise ValueError(f"{name} must be at least {least}, not {number}")
    return number


def maybe_applied(status: int) -> bool:
    """Does this status leave open whether the request was carried out? A 4xx refuses it; 408 is a proxy giving up."""
    return not 400 <= status < 500 or status == 408


def redact_emails(text: str) -> str:
    """Keep personal data out of messages and logs, however the ``@`` of an address is quoted."""
    return _EMAIL.sub("[e-mail]", _AT.sub("@", text)) if "@" in text or _AT.search(text) else text
