"""An answer that is not a success: which error it is, and what of the server's words may be shown."""

import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from itertools import islice

from shopsdk._codec.narrow import as_list, as_object
from shopsdk._codec.scalars import kind_of
from shopsdk._errors import (
    AuthenticationError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    ResponseError,
    ServerError,
)
from shopsdk._http.request import Request, Response, maybe_applied, redact_emails

_COUNT = re.compile(r"[0-9]{1,18}")
_MESSAGE_CHARS = 500
_BODY_CHARS = 2_000
_ERRORS_CHARS = 32_000
"""What is read of the messages of all fields together."""
_READ_FACTOR = 8
"""So many times what is shown is read: much of it may be white space, or be blotted out."""
_LONGEST_ADDRESS = 320
_FIELDS = 50
"""Fields, and lines to a field."""

_ERRORS: dict[int, type[ResponseError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    422: InvalidRequestError,
    429: RateLimitedError,
}


def readable(text: str, redact: Callable[[str], str] = str) -> str:
    """Make the server's words fit for a message: one line, printable, short, no e-mail addresses.

    Args:
        text: the server's words.
        redact: blots out what must not be shown of them.
    """
    most = _READ_FACTOR * _MESSAGE_CHARS
    printable = "".join(char if char.isprintable() else " " for char in redact(text[:most]))
    line = redact_emails(" ".join(printable.split()))
    if len(text) > most:
        # An address that was cut before its @ is not known for one.
        line = line[:-_LONGEST_ADDRESS] + line[-_LONGEST_ADDRESS:].rpartition(" ")[0]
    return line[:_MESSAGE_CHARS]


def error_from(
    request: Request,
    response: Response,
    *,
    said: object,
    attempts: int,
    redact: Callable[[str], str] = str,
    hints: Mapping[int, str] | None = None,
) -> ResponseError:
    """Turn an answer that is not a success into its error.

    Args:
        request: what was asked.
        response: what was answered.
        said: the body's JSON, or None.
        attempts: how many times it was asked.
        redact: blots out what must not be shown of the server's words, wherever they end up.
        hints: what to add to the message, by status.
    """
    status = response.status
    kind = _ERRORS.get(status) or (ServerError if 500 <= status < 600 else ResponseError)
    fields = as_object(said) or {}
    said_message = fields.get("message")
    message = readable(said_message, redact) if isinstance(said_message, str) else ""
    request_id = response.headers.get("x-request-id") or response.headers.get("cf-ray") or ""
    hint = (hints or {}).get(status, "") or _hint(status)
    error = kind(
        f"{request.label} answered {status}{hint}{': ' if message else ''}{message}",
        status=status,
        server_message=message,
        errors=_field_messages(fields.get("errors"), redact),
        request_id=readable(request_id, redact) or None,
        method=request.method,
        path=request.path,
        attempts=attempts,
        body=redact(response.body[: _READ_FACTOR * _BODY_CHARS].decode("utf-8", "replace"))[:_BODY_CHARS],
        maybe_applied=request.changes and maybe_applied(status),
    )
    if isinstance(error, RateLimitedError):
        error.limit = _count(response.headers.get("x-ratelimit-limit"))
        error.remaining = _count(response.headers.get("x-ratelimit-remaining"))
    return error


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and _COUNT.fullmatch(text) else None


def _hint(status: int) -> str:
    return " (a redirect, which is never followed: check base_url)" if 300 <= status < 400 else ""


def _field_messages(errors: object, redact: Callable[[str], str]) -> dict[str, list[str]]:
    messages: dict[str, list[str]] = {}
    room = _ERRORS_CHARS
    for field, lines in islice((as_object(errors) or {}).items(), _FIELDS):
        told = messages.setdefault(readable(field, redact), [])
        room -= len(field)
        for line in islice(_texts(lines), _FIELDS):
            if room <= 0:
                return messages
            room -= len(line)
            told.append(readable(line, redact))
    return messages


def _texts(value: object) -> Iterator[str]:
    """Find the texts within a value, however deep: by a stack of its own, since Python's is not deep enough."""
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
