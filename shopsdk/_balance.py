"""A customer's balance: the ledger, and edits that are sent at most once.

An edit adds to a balance, so doing it twice is not doing it once. It is never sent again once it may have been carried
out, whatever the verb: not after a hang-up, a timeout or a 5xx, and not by aiohttp, which would send a PUT again of its
own accord where a connection that was kept open turns out to be dead. It is sent again only where it surely was not
carried out: no connection could be made, or a rate limit refused it.

A caller who wants to try again gives a *reference*: it travels in the edit's description, so the ledger itself can tell
whether the edit was made, before anything is sent and after an answer was lost. What the ledger cannot tell is what is
still on its way: an edit that is not found may be carried out in the next moment, by a server that is slow or a proxy
that held it back. So "not found" after a loss is no "not made", but ``UnknownOutcomeError``; and calling again with the
same reference is safe only once the earlier request can no longer be running at the server. Two processes that use one
reference at one time may both look, find nothing, and both send; within a session such calls are served in turn.
"""

from decimal import Decimal
from typing import Literal

import attrs

from shopsdk._arguments import balance_amount, balance_description, customer_name, customer_number, reference_marker
from shopsdk._codec import parse
from shopsdk._errors import (
    ReferenceConflictError,
    SessionStateError,
    ShopError,
    UnknownOutcomeError,
)
from shopsdk._json import as_object
from shopsdk._ledger import read_ledger
from shopsdk._models import BalanceEdit, BalanceTransaction
from shopsdk._runtime import Runtime
from shopsdk._session import AsyncSession, core_of
from shopsdk._wire import Request, Response, make_request

_ROUTE = "/shops/{shop_id}/customers/{customer_id}"
_PAUSES = (0.0, 0.5, 1.0, 2.0, 4.0)
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
        shop_id: the shop's id, at least 1; absent, the session's.

    Raises:
        NotFoundError: no such customer, or no such shop.
        ShopError: anything else of the tree in ``shopsdk._errors``.
        ValueError: an argument out of its bounds; nothing was sent.
    """
    return await read_ledger(core_of(session), core_of(session).shop(shop_id), customer_number(customer_id))


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

    With a ``reference``, calling again is safe once the earlier request can no longer be running at the server, and
    while no other process uses that reference: the ledger is searched for it first, and where it stands with the same
    amount, nothing is sent. After a lost answer the ledger is searched again, for up to 15 seconds. Calls that share a
    reference are served in turn within a session. Why, and what remains: ``shopsdk._balance``.

    ```python
    try:
        edit = await edit_customer_balance(session, 42, "-12.50", reference="order-1187")
    except UnknownOutcomeError as error:
        print("call again later, with the same reference:", error.reference)
    else:
        print("done before" if edit.replayed else "done")
    ```

    Args:
        session: the session to ask through.
        customer_id: the customer's id, at least 1; as text, as the vendor documents it here, its digits and no more.
        amount: what to add, or, if negative, to deduct, in the shop's currency; -1000 to 1000, at most two decimals.
            No floats.
        description: what the ledger says of it; at most 255 characters, the reference's marker included. One that you
            end in such a marker yourself (``[ref:...]``) counts as an edit with that reference.
        reference: your own name for this edit among those of this customer, such as ``refund-1187``; 1 to 64 letters
            (capitals are others), digits and ``. _ : -``.
        shop_id: the shop's id, at least 1; absent, the session's.
        method: the vendor documents both; they do the same.

    Raises:
        UnknownOutcomeError: sent, or maybe sent, and nobody knows whether it was carried out; it was not sent again.
        NotSentError: surely not carried out.
        ReferenceConflictError: the reference was already used with another amount; nothing was sent.
        ResponseError: the shop refused; ``maybe_applied`` tells whether that leaves the outcome open.
        DecodeError: a success that cannot be read; the edit was probably made.
        ValueError: an argument out of its bounds; nothing was sent.
        TypeError: an argument of the wrong type, such as a float; nothing was sent.
    """
    if method not in ("POST", "PUT"):  # pyright: ignore[reportUnnecessaryContains]
        raise ValueError(f"method must be 'POST' or 'PUT', not {method!r}")
    edit = _Edit(
        session=session,
        shop=core_of(session).shop(shop_id),
        customer=customer_name(customer_id),
        amount=balance_amount(amount),
        description=balance_description(description, reference),
        reference=reference,
        method=method,
    )
    if reference is None:
        return BalanceEdit(message=await _send(edit))
    lock = core_of(session).runtime().lock(reference)
    async with lock:
        return await _send_referenced(edit, reference)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class _Edit:
    session: AsyncSession
    shop: int
    customer: int | str
    amount: Decimal
    description: str | None
    reference: str | None
    method: str


async def _send(edit: _Edit) -> str | None:
    body: dict[str, object] = {"amount": edit.amount}
    if edit.description is not None:
        body["description"] = edit.description
    request = make_request(
        edit.method,
        ["shops", edit.shop, "customers", edit.customer, "balance"],
        json=body,
        idempotent=False,
        route=f"{_ROUTE}/balance",
    )
    try:
        response = await core_of(edit.session).runtime().send(request)
    except ShopError:
        raise
    except BaseException as interrupted:  # a cancellation, or what a trace_configs hook of the caller's raised
        interrupted.add_note(_interrupted_note(edit.reference))
        raise
    return said(request, response)


def said(request: Request, response: Response) -> str | None:
    """Read what an edit's answer says; its shape is not documented, so nothing of it is needed but that it is JSON."""
    answer = parse(response.body, label=request.label, changes=True)
    message = (as_object(answer) or {}).get("message")
    return message if isinstance(message, str) else None


async def _send_referenced(edit: _Edit, reference: str) -> BalanceEdit:
    earlier = await _find(edit, reference)
    if earlier is not None:
        if earlier.amount == edit.amount:
            return BalanceEdit(message=None, transaction=earlier, replayed=True)
        raise ReferenceConflictError(
            f"reference {reference!r} already stands in the ledger with the amount {earlier.amount},"
            f" not {edit.amount}; nothing was sent",
            reference=reference,
        )
    try:
        return BalanceEdit(message=await _send(edit))
    except ShopError as error:
        if not error.maybe_applied:
            raise
        loss = error
    try:
        made = await _search(edit, reference)
    except BaseException as interrupted:
        interrupted.add_note(_interrupted_note(reference))
        raise
    if made is not None and made.amount == edit.amount:
        return BalanceEdit(message=None, transaction=made)
    known = "is not in the ledger yet" if made is None else f"is in the ledger with the amount {made.amount}"
    unknown = UnknownOutcomeError(
        f"{loss}; reference {reference!r} {known}: the edit may still be carried out",
        method=edit.method,
        path=getattr(loss, "path", ""),
        attempts=getattr(loss, "attempts", 1),
        elapsed=getattr(loss, "elapsed", 0.0),
        reference=reference,
    )
    raise unknown from loss


async def _search(edit: _Edit, reference: str) -> BalanceTransaction | None:
    """Look for an edit whose answer was lost, a few times; nothing that goes wrong with looking is news.

    A line of another amount, which another process made meanwhile, is given back only if no better one turns up.
    """
    try:
        return await _search_on(core_of(edit.session).runtime(), edit, reference)
    except SessionStateError:
        return None  # closed meanwhile: nobody can look, and the doubt stands


async def _search_on(runtime: Runtime, edit: _Edit, reference: str) -> BalanceTransaction | None:
    ends_at = runtime.now() + _SEARCH_SECONDS
    found: BalanceTransaction | None = None
    for pause in _PAUSES:
        await runtime.pause(pause)
        left = ends_at - runtime.now()
        if left <= 0:
            break
        try:
            found = await _find(edit, reference, deadline=left)
        except SessionStateError:
            raise
        except ShopError:
            continue
        if found is not None and found.amount == edit.amount:
            break
    return found


async def _find(edit: _Edit, reference: str, *, deadline: float | None = None) -> BalanceTransaction | None:
    """Find the ledger's line of a reference; one with another amount goes first, since it is the news."""
    marker = reference_marker(reference)
    lines = await read_ledger(core_of(edit.session), edit.shop, edit.customer, deadline=deadline)
    found = [line for line in lines if line.description is not None and line.description.rstrip().endswith(marker)]
    return next((line for line in found if line.amount != edit.amount), found[0] if found else None)


def _interrupted_note(reference: str | None) -> str:
    if reference is None:
        return "shopsdk: a balance edit was under way and may have been carried out; it had no reference to find it by"
    return (
        f"shopsdk: the balance edit with reference {reference!r} was under way and may have been carried out;"
        " call again with the same reference to find out"
    )
