"""An answer as a plain value, and the error that an answer other than a success becomes."""

import html
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from itertools import islice

import attrs

from shopsdk._codec.strict import as_list, as_object, kind_of
from shopsdk._errors import (
    AuthenticationError,
    DecodeError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    ResponseError,
    ServerError,
)
from shopsdk._http.request import Request, redact_emails
from shopsdk._http.retry import retry_after

_COUNT = re.compile(r"[0-9]{1,18}")
_MESSAGE_CHARS = 500
_BODY_CHARS = 2_000
_ERRORS_CHARS = 32_000
"""Characters that are read of the messages of all fields."""
_READ_FACTOR = 8
"""Characters that are read for each that is shown: many may be white space, or be redacted."""
_MAX_ADDRESS = 320
_TITLE = re.compile(r"<title[^>]{0,200}>([^<]{0,400})", re.IGNORECASE)
_TITLE_CHARS = 100
_PAGE_BYTES = 2**16
"""Bytes of a page in which its title is looked for."""
_ENCODINGS = frozenset({"", "identity", "gzip", "deflate", "br", "zstd"})
"""The content encodings that aiohttp undoes, or fails to undo; it takes a body in any other as it is."""
_ABOUT_THE_REQUEST = frozenset({407, 411, 413, 414, 415, 417, 421, 426, 429, 431})
_REFUSES_BODIES = frozenset({400, 403, 405, 411, 413, 415, 501})
"""The statuses by which proxies refuse a GET with a body."""
_FIELDS = 50
"""The most fields, and the most messages of one field."""

_ERRORS: dict[int, type[ResponseError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    422: InvalidRequestError,
    429: RateLimitedError,
}


@attrs.frozen(kw_only=True)
class Response:
    """One answer with its whole body."""

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    attempts: int = 1
    """The number of attempts."""


def sanitize(text: str, redact: Callable[[str], str]) -> str:
    """Make text from a server fit for a message: one line, printable, short, without e-mail addresses.

    Args:
        text: the text.
        redact: removes secrets from it.
    """
    limit = _READ_FACTOR * _MESSAGE_CHARS
    printable = "".join(char if char.isprintable() else " " for char in redact(text[:limit]))
    line = redact_emails(" ".join(printable.split()))
    if len(text) > limit:
        # An e-mail address that was cut before its @ is not recognised, so drop the last word.
        line = line[:-_MAX_ADDRESS] + line[-_MAX_ADDRESS:].rpartition(" ")[0]
    return line[:_MESSAGE_CHARS]


def foreign_error(request: Request, response: Response, redact: Callable[[str], str]) -> DecodeError | None:
    """Make the error of a success that is not the API's: a page of a proxy or a login, or an unknown encoding."""
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if _is_page(response.body):
        reason = f"it is not JSON, but {_describe_page(response, redact)}: of a proxy, or of the network's login?"
    elif encoding not in _ENCODINGS and response.body.lstrip()[:1] not in {b"{", b"["}:
        reason = f"its encoding was not asked for: {sanitize(encoding, redact)[:_TITLE_CHARS]}"
    else:
        return None
    return DecodeError(
        f"cannot read the answer to {request.label}: {reason}",
        maybe_applied=request.changes,
        repeatable=True,
    )


def _is_page(body: bytes) -> bool:
    return body.lstrip()[:1] == b"<"


def _describe_page(response: Response, redact: Callable[[str], str]) -> str:
    found = _TITLE.search(response.body[:_PAGE_BYTES].decode("utf-8", "replace"))
    title = sanitize(html.unescape(found[1]), redact)[:_TITLE_CHARS] if found else ""
    titled = f', titled "{title}"' if title else ""
    ray = _ray(response, redact)
    if not ray:
        return f"a web page{titled}"
    challenge = " of a CDN, maybe a challenge" if response.status in {403, 503} else ""
    return f"a web page{challenge}{titled} (cf-ray {ray})"


def _ray(response: Response, redact: Callable[[str], str]) -> str:
    return sanitize(response.headers.get("cf-ray") or "", redact)


def response_error(
    request: Request,
    response: Response,
    *,
    payload: object,
    attempts: int,
    redact: Callable[[str], str],
    hints: Mapping[int, str],
) -> ResponseError:
    """Make the error of an answer that is no success.

    Args:
        request: the request.
        response: the answer.
        payload: the body's JSON, or None.
        attempts: the number of attempts.
        redact: removes secrets from the server's text.
        hints: additions to the message, by status.
    """
    status = response.status
    kind = _ERRORS.get(status) or (ServerError if 500 <= status < 600 else ResponseError)
    fields = as_object(payload) or {}
    message_text = fields.get("message")
    message = sanitize(message_text, redact) if isinstance(message_text, str) else ""
    request_id = response.headers.get("x-request-id") or response.headers.get("cf-ray") or ""
    hint = (hints.get(status, "") if fields else "") or _hint(request, response, redact)
    error = kind(
        f"{request.label} answered {status}{hint}{': ' if message else ''}{message}",
        status=status,
        server_message=message,
        errors=_field_messages(fields.get("errors"), redact),
        request_id=sanitize(request_id, redact) or None,
        method=request.method,
        path=request.path,
        attempts=attempts,
        body=redact(response.body[: _READ_FACTOR * _BODY_CHARS].decode("utf-8", "replace"))[:_BODY_CHARS],
        retry_after=retry_after(response.headers),
        maybe_applied=request.changes and maybe_applied(status, response.body),
    )
    if isinstance(error, RateLimitedError):
        error.limit = _count(response.headers.get("x-ratelimit-limit"))
        error.remaining = _count(response.headers.get("x-ratelimit-remaining"))
    return error


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and _COUNT.fullmatch(text) else None


def _hint(request: Request, response: Response, redact: Callable[[str], str]) -> str:
    """Tell whose answer an error is, where it is not the API's, and what to try."""
    status, body = response.status, response.body.lstrip()
    if 300 <= status < 400 and status != 304:
        return " (a redirect, which is never followed: check base_url)"
    if body[:1] == b"{" or request.method == "HEAD":
        return ""
    hint = f", with {_describe_page(response, redact)}" if _is_page(body) else ""
    if not hint and body:
        ray = _ray(response, redact)
        hint = f", without the API's JSON (cf-ray {ray})" if ray else ", without the API's JSON"
    if status in _REFUSES_BODIES and request.params_in_body:
        hint += '; a proxy may refuse a GET with a body: try AsyncSession(list_params="query")'
    return hint


def _field_messages(errors: object, redact: Callable[[str], str]) -> dict[str, list[str]]:
    messages: dict[str, list[str]] = {}
    room = _ERRORS_CHARS
    for field, lines in islice((as_object(errors) or {}).items(), _FIELDS):
        told = messages.setdefault(sanitize(field, redact), [])
        room -= len(field)
        for line in islice(_texts(lines), _FIELDS):
            if room <= 0:
                return messages
            room -= len(line)
            told.append(sanitize(line, redact))
    return messages


def _texts(value: object) -> Iterator[str]:
    """Find the texts within a value, however deep it is; a list is the stack, since Python's own is too short."""
    todo = [value]
    while todo:
        one = todo.pop()
        values = as_object(one)
        within = as_list(one) if values is None else list(values.values())
        if within is not None:
            todo += within[:_FIELDS][::-1]
        elif isinstance(one, str):
            yield one
        else:
            whole = isinstance(one, int) and not isinstance(one, bool) and one.bit_length() <= 64
            yield str(one) if whole or isinstance(one, Decimal) else kind_of(one)


def maybe_applied(status: int, body: bytes = b"") -> bool:
    """Whether a request with this answer may have been carried out.

    A 4xx of the API's says that it was not. One without the API's JSON may come from a box that forwarded the request
    and refused the answer to it, unless the status is about the request itself.
    """
    if not 400 <= status < 500 or status == 408:
        return True
    return status not in _ABOUT_THE_REQUEST and body.lstrip()[:1] != b"{"
