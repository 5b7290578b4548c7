"""One balance edit on its way: sent at most once, and, where it has a reference, looked for in the ledger."""

from decimal import Decimal

import attrs

from shopsdk._api.ledger import find_lines
from shopsdk._codec.json import parse
from shopsdk._codec.narrow import as_object
from shopsdk._errors import (
    ReferenceConflictError,
    ResponseError,
    SessionStateError,
    ShopError,
    TransportError,
    UnknownOutcomeError,
)
from shopsdk._http.lifecycle import Runtime
from shopsdk._http.request import Request, Response, make_request
from shopsdk._http.response import readable
from shopsdk._http.session import AsyncSession, core_of
from shopsdk._models import BalanceEdit, BalanceTransaction

_ROUTE = "/shops/{shop_id}/customers/{customer_id}"
_PAUSES = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Seconds before each search for an edit whose answer was lost: it may still be under way at the server."""
_SEARCH_SECONDS = 15.0
"""What all of those searches may take."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Edit:
    """What was asked for, checked."""

    session: AsyncSession
    shop: int
    customer: str
    amount: Decimal
    description: str | None
    reference: str | None
    method: str


def request_of(edit: Edit) -> Request:
    """Make its request, which is never repeated once it may have been carried out."""
    body: dict[str, object] = {"amount": edit.amount}
    if edit.description is not None:
        body["description"] = edit.description
    return make_request(
        edit.method,
        ["shops", edit.shop, "customers", edit.customer, "balance"],
        json=body,
        idempotent=False,
        route=f"{_ROUTE}/balance",
    )


async def send(edit: Edit, request: Request) -> Response:
    """Send it once; a cancellation leaves with a note where the edit may have been made."""
    return await core_of(edit.session).runtime().send(request, doubt=_interrupted_note(edit.reference))


def said(session: AsyncSession, request: Request, response: Response) -> str | None:
    """Read what an edit's answer says; its shape is not documented, so nothing of it is needed but that it is JSON."""
    answer = parse(response.body, label=request.label, changes=True)
    message = (as_object(answer) or {}).get("message")
    return readable(message, core_of(session).options.key.redact) if isinstance(message, str) else None


async def send_referenced(edit: Edit, reference: str) -> BalanceEdit:
    """Send it unless the ledger has it, and let the ledger say what became of it where its answer was lost."""
    try:
        earlier = await _find(edit, reference)
    except ShopError as error:
        error.args = (f"nothing was sent, since the ledger could not be read: {error}",)
        raise
    if other := next((line for line in earlier if line.amount != edit.amount), None):
        raise ReferenceConflictError(
            f"reference {reference!r} already stands in the ledger with the amount {other.amount},"
            f" not {edit.amount}; nothing was sent",
            reference=reference,
        )
    if made := _found(edit, earlier, replayed=True):
        return made
    request = request_of(edit)
    began, attempts = core_of(edit.session).runtime().now(), 1
    try:
        response = await send(edit, request)
        attempts = response.attempts
        return BalanceEdit(message=said(edit.session, request, response))
    except ShopError as error:
        if not error.maybe_applied:
            raise
        loss = error
    elapsed = loss.elapsed if isinstance(loss, TransportError) else core_of(edit.session).clock.now() - began
    found = await _search(edit, reference)
    if made := _found(edit, found or [], replayed=False):
        return made
    tells = "was not looked up, since the ledger could not be read" if found is None else "is not in the ledger yet"
    tells = f"is in the ledger with the amount {found[0].amount}" if found else tells
    raise UnknownOutcomeError(
        f"{loss}; reference {reference!r} {tells}: the edit may still be carried out",
        method=request.method,
        path=request.path,
        attempts=loss.attempts if isinstance(loss, TransportError | ResponseError) else attempts,
        elapsed=elapsed,
        reference=reference,
    ) from loss


async def _search(edit: Edit, reference: str) -> list[BalanceTransaction] | None:
    """Look for an edit whose answer was lost, a few times; None where the ledger could not be read."""
    try:
        return await _search_on(core_of(edit.session).runtime(), edit, reference)
    except SessionStateError:
        return None  # closed meanwhile: nobody can look, and the doubt stands
    except BaseException as interrupted:
        interrupted.add_note(_interrupted_note(reference))
        raise


async def _search_on(runtime: Runtime, edit: Edit, reference: str) -> list[BalanceTransaction] | None:
    ends_at = runtime.now() + _SEARCH_SECONDS
    found: list[BalanceTransaction] | None = None
    for pause in _PAUSES:
        if pause >= ends_at - runtime.now():
            break
        await runtime.pause(pause)
        left = ends_at - runtime.now()
        try:
            found = await _find(edit, reference, deadline=left)
        except SessionStateError:
            raise
        except ShopError:
            continue
        if _found(edit, found, replayed=False):
            break
    return found


async def _find(edit: Edit, reference: str, *, deadline: float | None = None) -> list[BalanceTransaction]:
    """Find the ledger's lines of a reference; more than one is another process's or a proxy's doing."""
    return await find_lines(core_of(edit.session), edit.shop, edit.customer, reference, deadline=deadline)


def _found(edit: Edit, lines: list[BalanceTransaction], *, replayed: bool) -> BalanceEdit | None:
    """Make the outcome of an edit that the ledger knows; None where it does not."""
    made = [line for line in lines if line.amount == edit.amount]
    if not made:
        return None
    return BalanceEdit(message=None, transaction=made[0], replayed=replayed, duplicated=len(made) > 1)


def _interrupted_note(reference: str | None) -> str:
    if reference is None:
        return "shopsdk: a balance edit was under way and may have been carried out; it had no reference to find it by"
    return (
        f"shopsdk: the balance edit with reference {reference!r} was under way and may have been carried out;"
        " call again with the same reference to find out"
    )
