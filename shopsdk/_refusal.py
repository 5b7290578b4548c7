"""An answer that is not a success: which error it is, and what of the server's words may be shown."""

import re
from collections.abc import Callable, Mapping

from shopsdk._errors import (
    AuthenticationError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    ResponseError,
    ServerError,
)
from shopsdk._json import as_list, as_object
from shopsdk._wire import Request, Response, maybe_applied, without_emails

_COUNT = re.compile(r"[0-9]{1,18}")
_MESSAGE_CHARS = 500
_BODY_CHARS = 2_000
_FIELDS = 50

_ERRORS: dict[int, type[ResponseError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    422: InvalidRequestError,
    429: RateLimitedError,
}


def readable(text: str) -> str:
    """Make the server's words fit for a message: one line, printable, short, no e-mail addresses."""
    line = "".join(char if char.isprintable() else " " for char in text[: 4 * _MESSAGE_CHARS])
    return without_emails(" ".join(line.split()))[:_MESSAGE_CHARS]


def error_from(
    request: Request,
    response: Response,
    *,
    said: object,
    attempts: int,
    scrub: Callable[[str], str] = str,
    hints: Mapping[int, str] | None = None,
) -> ResponseError:
    """Turn an answer that is not a success into its error.

    Args:
        request: what was asked.
        response: what was answered.
        said: the body's JSON, or None.
        attempts: how many times it was asked.
        scrub: blots out what must not be shown of the server's words, wherever they end up.
        hints: what to add to the message, by status.
    """
    status = response.status
    kind = _ERRORS.get(status) or (ServerError if 500 <= status < 600 else ResponseError)
    fields = as_object(said) or {}
    said_message = fields.get("message")
    message = readable(scrub(said_message)) if isinstance(said_message, str) else ""
    request_id = response.headers.get("x-request-id") or response.headers.get("cf-ray") or ""
    hint = (hints or {}).get(status, "") or _hint(status)
    error = kind(
        f"{request.label} answered {status}{hint}{': ' if message else ''}{message}",
        status=status,
        server_message=message,
        errors=_field_messages(fields.get("errors"), scrub),
        request_id=readable(scrub(request_id)) or None,
        method=request.method,
        path=request.path,
        attempts=attempts,
        body=scrub(response.body[: 8 * _BODY_CHARS].decode("utf-8", "replace"))[:_BODY_CHARS],
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


def _field_messages(errors: object, scrub: Callable[[str], str]) -> dict[str, list[str]]:
    return {
        readable(scrub(field)): [readable(scrub(str(line))) for line in (as_list(lines) or [lines])[:_FIELDS]]
        for field, lines in list((as_object(errors) or {}).items())[:_FIELDS]
    }
