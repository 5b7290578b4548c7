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
reference at one time may both look, find nothing, and both send; within a session, calls that share customer and
reference are served in turn.

A ledger that a cache kept would show none of that, so each request for one carries a nonce in its query, and
``Cache-Control: no-cache``. Against a proxy that repeats a request on its own the client can do nothing but tell of it:
where the ledger shows one reference twice with one amount, the log warns, and ``BalanceEdit.duplicated`` is true.
Proxies repeat a PUT sooner than a POST.
"""

from decimal import Decimal
from operator import attrgetter
from typing import Literal

from shopsdk._api.arguments import balance_amount, balance_description, customer_name, customer_number, edit_reference
from shopsdk._api.edit import Edit, request_of, said, send, send_referenced
from shopsdk._api.ledger import find_lines, read_ledger
from shopsdk._http.request import check_choice
from shopsdk._http.session import AsyncSession, core_of
from shopsdk._models import BalanceEdit, BalanceTransaction


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
    amount, nothing is sent. After a lost answer the ledger is searched again, for up to 15 seconds (queues for a slot
    not counted). Calls that share a reference and a customer are served in turn within a session; others do not wait.
    Why, and what remains: ``shopsdk._api.balance``.

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
        method: the vendor documents both; they do the same. Prefer POST, the default: proxies repeat a PUT sooner when
            its answer is lost, and the edit is then made twice.

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
    edit = Edit(
        session=session,
        shop=core_of(session).shop(shop_id),
        customer=customer_name(customer_id),
        amount=balance_amount(amount),
        description=balance_description(description, name),
        reference=name,
        method=check_choice("method", method, ("POST", "PUT")),
    )
    if name is None:
        request = request_of(edit)
        return BalanceEdit(message=said(session, request, await send(edit, request)))
    # A reference is one edit of one customer: nobody else waits for it.
    lock = core_of(session).runtime().lock(f"{edit.shop}/{name}/{edit.customer}")
    async with lock:
        return await send_referenced(edit, name)


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
        ShopError: anything else of the tree in ``shopsdk._errors``.
        ValueError: an argument out of its bounds; nothing was sent.
        TypeError: an argument of the wrong type; nothing was sent.
    """
    core = core_of(session)
    lines = await find_lines(core, core.shop(shop_id), customer_name(customer_id), edit_reference(reference))
    return max(lines, key=attrgetter("id"), default=None)
