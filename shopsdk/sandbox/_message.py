"""Requests and answers as plain values, read as Laravel reads them; the shop itself knows no sockets."""

import html
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TypeVar, cast

import attrs

V = TypeVar("V")


def plain_value(value: V) -> V:
    """Reduce a subclass of str or int, such as an Enum, to its plain value; a subclass may print as anything."""
    reduced: object = value
    if isinstance(value, str):
        reduced = str.__str__(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        reduced = int.__int__(value)
    return cast("V", reduced)


def replace_surrogates(text: str) -> str:
    """Replace the lone surrogates that stand for bytes which are not UTF-8; SQLite and JSON take none."""
    return text.encode(errors="replace").decode()


@attrs.frozen
class Request:
    """One request, read whole."""

    method: str
    path: str
    """Decoded, without the query."""
    url: str
    """As the caller wrote it, without the query."""
    query: Mapping[str, object]
    headers: Mapping[str, str]
    """Looked up without regard to case."""
    document: object = None
    """The body as JSON; None where there is none, or none that can be read."""

    def wants_json(self) -> bool:
        """Whether the caller gets JSON for an error; Laravel looks at the first acceptable type alone."""
        first = _preferred_type(self.headers.get("Accept", ""))
        if "/json" in first or "+json" in first:
            return True
        ajax = self.headers.get("X-Requested-With") == "XMLHttpRequest" and "X-PJAX" not in self.headers
        return ajax and first in {"", "*", "*/*"}

    def carries_json(self) -> bool:
        """Whether the body counts; Laravel reads it, on any method, only under a JSON content type."""
        kind = self.headers.get("Content-Type", "")
        return "/json" in kind or "+json" in kind


@attrs.frozen
class Response:
    """One answer, ready to send."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])


class HTTPError(Exception):
    """An error for an answer; handlers raise it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        errors: Mapping[str, Sequence[str]] | None = None,
        headers: Mapping[str, str] | None = None,
        redirect: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.errors = errors
        self.headers: Mapping[str, str] = {} if headers is None else headers
        self.redirect = redirect
        """The URL that a caller is sent to who did not put JSON first."""


def json_response(document: object, status: int = 200) -> Response:
    """Make an answer with a JSON body."""
    return Response(status, json.dumps(document).encode())


def error_response(request: Request, error: HTTPError) -> Response:
    """Make the answer of an error: JSON, or a page or redirect for a browser."""
    if request.wants_json():
        document: dict[str, object] = {"message": error.message}
        if error.errors is not None:
            document["errors"] = error.errors
        return attrs.evolve(json_response(document, error.status), headers=error.headers)
    if error.redirect is not None:
        page = _html_page(f"Redirecting to {error.redirect}")
        return Response(302, page, "text/html", {"Location": error.redirect, **error.headers})
    return Response(error.status, _html_page(f"{error.status} {error.message}"), "text/html", error.headers)


def bad_gateway() -> Response:
    """Make the page that a CDN shows if the shop behind it does not answer."""
    page = _html_page("502 Bad Gateway", "<center><h1>502 Bad Gateway</h1></center><hr><center>cloudflare</center>")
    return Response(502, page, "text/html", {"Server": "cloudflare", "CF-Ray": "8f5a1c0d2b3e4a69-SBX"})


def _html_page(title: str, body: str = "") -> bytes:
    title = html.escape(title.strip())
    return f"<!DOCTYPE html>\n<html><head><title>{title}</title></head><body>{body or title}</body></html>\n".encode()


def _preferred_type(accept: str) -> str:
    """The type with the highest quality, the first of them where several share it."""
    best, best_quality = "", 0.0
    for part in accept.split(","):
        kind, *options = (piece.strip() for piece in part.split(";"))
        quality = next((_quality(option[2:]) for option in options if option.startswith("q=")), 1.0)
        if quality > best_quality:
            best, best_quality = kind, quality
    return best


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


TRIMMED = (
    "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
"""The characters that Laravel trims strings of: white space, and the byte order mark."""


def read_json(body: bytes) -> object:
    """Read a body as JSON with exact numbers; None where it is no JSON, which Laravel treats as no body."""
    try:
        return json.loads(body.decode(), parse_float=_parse_decimal, parse_constant=_reject_constant)
    except (ValueError, RecursionError):
        return None


def parameters(request: Request) -> dict[str, object]:
    """All parameters of a request: those of its query, overridden by those of its JSON body."""
    given = dict(request.query)
    document = request.document
    if request.carries_json() and isinstance(document, dict):
        given |= cast("dict[str, object]", document)
    try:
        return {name: _trim(value) for name, value in given.items()}
    except (UnicodeEncodeError, RecursionError):  # a lone surrogate, or too deep: PHP refuses the whole document
        return {name: _trim(value) for name, value in request.query.items()}


def query_parameters(pairs: Mapping[str, str]) -> dict[str, object]:
    """Read a query as PHP does: the last of several wins, and ``name[]`` makes a list."""
    given: dict[str, object] = {}
    for name, value in pairs.items():
        plain, bracket, _ = name.partition("[")
        given[plain] = [value] if bracket else value
    return given


def _trim(value: object) -> object:
    """Laravel's TrimStrings and ConvertEmptyStringsToNull, which reach into lists and objects too."""
    if isinstance(value, str):
        value.encode()
        return value.strip(TRIMMED) or None
    if isinstance(value, list):
        return [_trim(item) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        return {name: _trim(item) for name, item in cast("dict[str, object]", value).items()}
    return value


def _parse_decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError:  # an exponent beyond what Decimal holds
        return Decimal(0) if "e-" in text.lower() else Decimal("Infinity")


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
