"""What the answers to changes say."""

from shopsdk._codec.json import parse
from shopsdk._codec.strict import as_object
from shopsdk._http.request import Request
from shopsdk._http.response import Response, foreign_error, sanitize
from shopsdk._http.session import AsyncSession, core_of


def response_message(session: AsyncSession, request: Request, response: Response) -> str | None:
    """Read the message in the answer to a change; any JSON will do, since the vendor documents no shape.

    Raises:
        DecodeError: the answer is no JSON; the change was probably made.
    """
    redact = core_of(session).options.key.redact
    if foreign := foreign_error(request, response, redact):
        raise foreign
    payload = parse(response.body, label=request.label, changes=True)
    message = (as_object(payload) or {}).get("message")
    return sanitize(message, redact) if isinstance(message, str) else None
