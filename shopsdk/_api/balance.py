"""A customer's balance: its ledger, and edits that are sent at most once."""

from decimal import Decimal
from operator import attrgetter
from typing import Literal

import attrs

from shopsdk._api import routes
from shopsdk._api.answers import response_message
from shopsdk._api.arguments import balance_amount, balance_description, check_customer_id, edit_reference
from shopsdk._api.ledger import find_lines, read_ledger
from shopsdk._checks import check_choice, check_int
from shopsdk._errors import (
    ReferenceConflictError,
    ResponseError,
    SessionStateError,
    ShopError,
    TransportError,
    UnknownOutcomeError,
)
from shopsdk._http.lifecycle import Core
from shopsdk._http.request import Request, make_request
from shopsdk._http.response import Response
from shopsdk._http.session import AsyncSession, core_of
from shopsdk._models import BalanceEdit, BalanceTransaction

_SEARCH_PAUSES = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Seconds before each search for an edit whose answer was lost: it may still be under way at the server."""
_SEARCH_SECONDS = 15.0
"""What all of those searches may take."""


async def get_customer_balance_transactions(
    session: AsyncSession, customer_id: int, *, shop_id: int | None = None
) -> list[BalanceTransaction]:
    """Get Customer Balance Transactions: the whole ledger of one customer, newest first.

    Args:
        session: the session to ask through.
        customer_id: the customer's id, at least 1.
        shop_id: the shop's id, at least 1; default: the session's.

    Raises:
        NotFoundError: no such customer, or no such shop.
        ShopError: any other failure.
        ValueError: an argument out of its bounds; nothing was sent.
    """
    return await read_ledger(core_of(session), core_of(session).shop(shop_id), check_int("customer_id", customer_id, 1))


async def edit_customer_balance(
    session: AsyncSession,
    customer_id: int | str,
    amount: Decimal | int | str,
    *,
    description: str | None = None,
    reference: str | None = None,
    shop_id: int | None = None,
    method: Literal["POST", "PUT"] = "POST",
) -> BalanceEdit:
    """Edit Customer Balance: add to a customer's balance, or deduct from it. Sent at most once.

    ```python
    try:
        edit = await edit_customer_balance(session, 42, "-12.50", reference="order-1187")
    except UnknownOutcomeError as error:
        print("call again later, with the same reference:", error.reference)
    else:
        print("done before" if edit.replayed else "done")
    ```

    The edit is never sent again once it may have been carried out, whatever the verb. With a reference it can be asked
    for again later: the ledger is searched before anything is sent, and again after a lost answer, for up to 15 seconds
    (queues for a slot not counted). Calls that share a reference and a customer are served in turn within a session;
    others do not wait.

    The README's "Money" says what is repeated, when it is safe to call again, and what cannot be known.

    Args:
        session: the session to ask through.
        customer_id: the customer's id, at least 1; as text, as the vendor documents it here, its digits and no more.
        amount: what to add, or, if negative, to deduct, in the shop's currency; -1000 to 1000, at most two decimals.
            No floats.
        description: what the ledger says of it; at most 255 characters, the reference's marker included. One that you
            end in such a marker yourself (``[ref:...]``) counts as an edit with that reference.
        reference: your own name for this edit among those of this customer, such as ``refund-1187``; 1 to 64 letters
            (capitals are others), digits and ``. _ : -``.
        shop_id: the shop's id, at least 1; default: the session's.
        method: "POST" or "PUT"; the vendor documents both, and they do the same; default: "POST", since proxies repeat
            a PUT sooner when its answer is lost.

    Raises:
        UnknownOutcomeError: sent, or maybe sent, and nobody knows whether it was carried out; it was not sent again.
        NotSentError: surely not carried out.
        ReferenceConflictError: the reference was already used with another amount; nothing was sent.
        ResponseError: the shop refused; ``maybe_applied`` tells whether that leaves the outcome open.
        DecodeError: a success that cannot be read; the edit was probably made.
        ValueError: an argument out of its bounds; nothing was sent.
        TypeError: an argument of the wrong type, such as a float; nothing was sent.
    """
    name = None if reference is None else edit_reference(reference)
    edit = _Edit(
        session=session,
        shop=core_of(session).shop(shop_id),
        customer=check_customer_id(customer_id),
        amount=balance_amount(amount),
        description=balance_description(description, name),
        reference=name,
        method=check_choice("method", method, ("POST", "PUT")),
    )
    if name is None:
        request = _request(edit)
        return BalanceEdit(message=response_message(session, request, await _send(edit, request)))
    # A reference is one edit of one customer: nobody else waits for it.
    lock = core_of(session).runtime().lock(f"{edit.shop}/{name}/{edit.customer}")
    async with lock:
        return await _send_referenced(edit, name)


async def find_balance_edit(
    session: AsyncSession, customer_id: int | str, reference: str, *, shop_id: int | None = None
) -> BalanceTransaction | None:
    """Find the ledger's line of an edit by its reference, past any cache; None if the ledger does not hold it now.

    None is no proof that the edit was not made, or will not be: it may still be under way at the server, or be held
    back by a proxy. To make sure of an edit, call ``edit_customer_balance`` again with its reference, under the
    conditions that are named there.

    ```python
    line = await find_balance_edit(session, 42, "order-1187")
    print("not in the ledger now" if line is None else f"made: {line.amount}")
    ```

    Args:
        session: the session to ask through.
        customer_id: the customer's id, at least 1; as text, its digits and no more.
        reference: the reference of the edit, as given to ``edit_customer_balance``.
        shop_id: the shop's id, at least 1; default: the session's.

    Returns:
        The line; the newest, where the ledger holds the reference more than once (the log warns of it where the amounts
        are the same).

    Raises:
        NotFoundError: no such customer, or no such shop.
        PaginationError: the ledger could not be read whole.
        ShopError: any other failure.
        ValueError: an argument out of its bounds; nothing was sent.
        TypeError: an argument of the wrong type; nothing was sent.
    """
    core = core_of(session)
    lines = await find_lines(core, core.shop(shop_id), check_customer_id(customer_id), edit_reference(reference))
    return max(lines, key=attrgetter("id"), default=None)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class _Edit:
    """What was asked for, checked."""

    session: AsyncSession
    shop: int
    customer: str
    amount: Decimal
    description: str | None
    reference: str | None
    method: str


def _request(edit: _Edit) -> Request:
    """Make the request of an edit, which is never repeated once it may have been carried out."""
    body: dict[str, object] = {"amount": edit.amount}
    if edit.description is not None:
        body["description"] = edit.description
    return make_request(
        edit.method,
        ["shops", edit.shop, "customers", edit.customer, "balance"],
        json=body,
        idempotent=False,
        route=routes.BALANCE,
    )


async def _send(edit: _Edit, request: Request) -> Response:
    """Send it once; a cancellation leaves with a note where the edit may have been made."""
    return await core_of(edit.session).runtime().send(request, doubt=_interrupted_note(edit.reference))


async def _send_referenced(edit: _Edit, reference: str) -> BalanceEdit:
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
    request = _request(edit)
    began, attempts = core_of(edit.session).clock.now(), 1
    try:
        response = await _send(edit, request)
        attempts = response.attempts
        return BalanceEdit(message=response_message(edit.session, request, response))
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


async def _search(edit: _Edit, reference: str) -> list[BalanceTransaction] | None:
    """Look for an edit whose answer was lost, a few times; None where the ledger could not be read."""
    try:
        return await _search_within(core_of(edit.session), edit, reference)
    except SessionStateError:
        return None  # closed meanwhile: nobody can look, and the doubt stands
    except BaseException as interrupted:
        interrupted.add_note(_interrupted_note(reference))
        raise


async def _search_within(core: Core, edit: _Edit, reference: str) -> list[BalanceTransaction] | None:
    runtime, ends_at = core.runtime(), core.clock.now() + _SEARCH_SECONDS
    found: list[BalanceTransaction] | None = None
    for pause in _SEARCH_PAUSES:
        if pause >= ends_at - core.clock.now():
            break
        await runtime.pause(pause)
        left = ends_at - core.clock.now()
        try:
            found = await _find(edit, reference, deadline=left)
        except SessionStateError:
            raise
        except ShopError:
            continue
        if _found(edit, found, replayed=False):
            break
    return found


async def _find(edit: _Edit, reference: str, *, deadline: float | None = None) -> list[BalanceTransaction]:
    """Find the ledger's lines of a reference; more than one is another process's or a proxy's doing."""
    return await find_lines(core_of(edit.session), edit.shop, edit.customer, reference, deadline=deadline)


def _found(edit: _Edit, lines: list[BalanceTransaction], *, replayed: bool) -> BalanceEdit | None:
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
