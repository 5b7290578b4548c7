"""Requests as plain values, and the rules by which they are made.

**The path** is built from segments, each of them quoted, because a server reads structure into it: an empty segment
turns "get one" into "list all", ``..`` leaves the resource, and a slash inside an id names another route.

**A GET with a body.** The vendor documents the parameters of its lists as the JSON body of the GET. HTTP gives such a
body no meaning of its own (https://www.rfc-editor.org/rfc/rfc9110#section-9.3.1), so proxies differ: some refuse the
request (400, 403, 411, 413 or 501, mostly with a page of their own), some drop the body, and a cache that goes by the
URL mixes up pages and filters. Laravel reads the query too; the body wins if both name a parameter. Both therefore
carry all parameters. The query survives a proxy that drops the body, and tells a cache pages and filters apart.
``AsyncSession(list_params="query")`` passes a proxy that refuses a GET with a body. The page and the page size are sent
every time, and an answer that does not echo both is refused.

**Values that a query cannot hold** (a list, an object, null, a float; only ``paginate(params=...)`` takes them) travel
in the body alone. The library's own parameters are text and whole numbers, so each is in both places. If the page were
in the query and a filter only in the body, a dropped body would leave an echo that matches, and no filter.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from math import isfinite
from typing import cast
from urllib.parse import quote, urlencode

import attrs

from shopsdk._checks import check_params, path_segment, plain_text, unicode_text
from shopsdk._codec.strict import as_object
from shopsdk._config import ListParams

_LIKELY_CAUSES: dict[ListParams, str] = {
    "both": "likely a cache, or a server that ignores the parameters in body and query alike",
    "body": "likely a proxy that drops the body of a GET: try AsyncSession(list_params='both')",
    "query": "likely a server or a proxy that ignores the query: try AsyncSession(list_params='both')",
}

_READS = frozenset({"GET", "HEAD"})
_METHODS = _READS | {"POST", "PUT", "PATCH", "DELETE"}
_AT = re.compile("%(?:25)*+40|&(?:amp;)*+#(?:0*+64|[xX]0*+40);|&(?:amp;)*+commat;")
_EMAIL = re.compile(r"(?<![^\s@\"'<>(),;:])[^\s@\"'<>(),;:]++@[^\s@\"'<>(),;:]++")
"""It begins only where a run of such characters does, so that each character is read once."""


@attrs.frozen(kw_only=True)
class Request:
    """One call of the API, complete before anything is sent; every attempt sends the same."""

    method: str
    route: str
    """The path's template."""
    path: str
    """The path below the base URL, quoted."""
    query: str = ""
    json: object = attrs.field(default=None, repr=False)
    idempotent: bool
    """Whether it may be sent again though an earlier attempt may have been carried out."""
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)
    """Headers in addition to those of every request."""
    params_in_body: bool = False
    """Whether the body holds the parameters of a list, which ``list_params`` can put elsewhere."""

    @property
    def changes(self) -> bool:
        """Whether it may change the server's data; a GET that must not be repeated counts as a change."""
        return self.method not in _READS or not self.idempotent

    @property
    def operation(self) -> str:
        """Verb and route template, by which limits, logs and events name the operation."""
        return f"{self.method} {self.route}"

    @property
    def label(self) -> str:
        """Verb and path for messages, without e-mail addresses."""
        if "%40" not in self.path:
            return f"{self.method} {self.path}"
        return f"{self.method} {'/'.join(map(redact_emails, self.path.split('/')))}"


def make_request(
    method: object,
    path: object,
    *,
    json: object = None,
    params: object = None,
    idempotent: bool | None = None,
    route: str | None = None,
) -> Request:
    """Check and quote a request; with ``idempotent=None``, only reads may be repeated."""
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
    """Make a GET with its parameters where ``list_params`` puts them; without any it has no body."""
    if list_params == "query":
        return make_request("GET", path, params=params, route=route)
    in_query = {name: value for name, value in params.items() if list_params == "both" and fits_query(value)}
    request = make_request("GET", path, json=params or None, params=in_query, route=route)
    return attrs.evolve(request, params_in_body=request.json is not None)


def make_list_requests(
    path: object, params: Mapping[str, object], *, list_params: ListParams, route: str | None = None
) -> Callable[[int], Request]:
    """Make the GETs of a list, by page. The parameters that all pages share are checked and quoted once."""
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
            params_in_body=shared.params_in_body,
        )

    return request_of


def uncached(request: Request) -> Request:
    """Make a request that no cache answers, whether the cache reads headers or goes by the URL alone."""
    nonce = f"_={os.urandom(8).hex()}"
    query = f"{request.query}&{nonce}" if request.query else nonce
    return attrs.evolve(request, query=query, headers={"Cache-Control": "no-cache"})


def likely_cause(list_params: ListParams) -> str:
    """The most likely cause of an answer to another question."""
    return _LIKELY_CAUSES[list_params]


def query_value(name: str, value: object) -> str:
    """Make the exact text of a query parameter."""
    if not fits_query(value):
        raise TypeError(f"params[{name!r}] must be a str, int, bool or finite Decimal, not {type(value).__name__}")
    if isinstance(value, bool):
        return "1" if value else "0"  # Laravel's rule `boolean` refuses "true"
    if isinstance(value, int):
        return str(int.__int__(value))
    if isinstance(value, Decimal):
        # yarl would take its int(): https://github.com/aio-libs/yarl/issues/1458
        return format(Decimal(value), "f")
    return unicode_text(f"params[{name!r}]", value)


def fits_query(value: object) -> bool:
    """Whether a query can hold this value exactly."""
    return isinstance(value, str | int) or (isinstance(value, Decimal) and Decimal(value).is_finite())


def plain_json(value: object) -> object:
    """Reduce a body to plain values, names included; values that JSON writes otherwise are left to the encoder.

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
    """The fields of an attrs class or a dataclass that the encoder writes; None for anything else."""
    if attrs.has(kind):
        return [field.name for field in attrs.fields(kind) if not field.name.startswith("_")]
    return [field.name for field in fields(kind)] if is_dataclass(kind) else None


def redact_emails(text: str) -> str:
    """Redact e-mail addresses, however their ``@`` is quoted."""
    return _EMAIL.sub("[e-mail]", _AT.sub("@", text)) if "@" in text or _AT.search(text) else text
