"""A customer's ledger, read to its end, in whichever shape and number of pages the server has it.

The vendor shows no example of it. A reference is looked for here before money moves, so a ledger that cannot be known
to have been read whole is refused rather than taken for one.
"""

from shopsdk._codec import decode
from shopsdk._core import Core
from shopsdk._errors import PaginationError
from shopsdk._models import BalanceTransaction, Ledger
from shopsdk._wire import Request, Response

_ROUTE = "/shops/{shop_id}/customers/{customer_id}/balance-transactions"


async def read_ledger(
    core: Core, shop: int, customer: int | str, *, deadline: float | None = None
) -> list[BalanceTransaction]:
    """Read every page of a ledger, where it has pages. New lines come in front, so pages can repeat but not lose."""
    runtime = core.runtime()
    path: list[str | int] = ["shops", shop, "customers", customer, "balance-transactions"]
    ends_at = None if deadline is None else runtime.now() + deadline
    lines: dict[int, BalanceTransaction] = {}
    number, last = 1, 1
    while True:
        params = {"page": number} if number > 1 else {}
        request = core.list_request(path, params, route=_ROUTE)
        left = None if ends_at is None else ends_at - runtime.now()
        page = _ledger_page(request, await runtime.send(request, deadline=left))
        fresh = {line.id: line for line in page.data if line.id not in lines}
        lines |= fresh
        grown, last = (page.last_page or 1) > last, page.last_page or 1
        _check_ledger_page(page, number, repeats=not fresh and not grown)
        if number >= last or not page.data:
            return list(lines.values())
        number += 1


def _check_ledger_page(page: Ledger, number: int, *, repeats: bool) -> None:
    """Refuse a ledger that cannot be read to its end: an edit on a page that nobody saw would be made again."""
    asked, got = f"page {number} of the ledger", f"page {page.current_page}"
    if page.last_page is None and (page.next_page_url or page.next_cursor or page.current_page is not None):
        got = "a page that does not say how many there are"
    elif (
        page.last_page is None
        or number >= page.last_page
        or not page.data
        or (page.current_page == number and not repeats)
    ):
        return
    elif page.current_page == number:
        got = "the lines of an earlier page again"
    raise PaginationError(f"asked for {asked}, got {got}", asked=asked, got=got)


def _ledger_page(request: Request, response: Response) -> Ledger:
    """Read a ledger's answer: a bare list, a list under ``data``, or a paginator's page."""
    if _is_envelope(response.body):
        return decode(response.body, Ledger, label=request.label)
    return Ledger(data=decode(response.body, list[BalanceTransaction], label=request.label))


def _is_envelope(body: bytes) -> bool:
    """Is this an object with the lines inside it, or an empty one, rather than a list that PHP wrote as an object?"""
    start = body.lstrip()
    return start[:1] == b"{" and (b'"data"' in start or start[1:].lstrip()[:1] == b"}")
