"""A customer's ledger, read to its end, in whatever shape and number of pages the server sends it.

The vendor shows no example of it. A reference is searched for here before money moves, so a ledger is refused unless
it is known to have been read whole.
"""

import logging
from collections import defaultdict
from decimal import Decimal
from itertools import islice

from shopsdk._api import routes
from shopsdk._api.arguments import reference_marker
from shopsdk._codec.json import decode
from shopsdk._codec.strict import INTEGER
from shopsdk._errors import PaginationError, TransportError
from shopsdk._http.lifecycle import Core
from shopsdk._http.request import Request, likely_cause, redact_emails, uncached
from shopsdk._http.response import Response
from shopsdk._models import BalanceTransaction, Ledger

_logger = logging.getLogger("shopsdk")

_STALLED_PAGES = 50
"""Consecutive pages without a new line that are read while new lines push the old ones onto later pages."""
_MAX_LINES = 100_000
"""Lines of one ledger, which take some 50 MB: an edit every five minutes for a year."""
_MAX_BODIES = 4
"""How many times as large as one answer (``max_response_bytes``) all pages together may be."""
_MAX_WARNINGS = 5
_UNKNOWN_FORM = "the server has pages in a form that this version of shopsdk does not know"


async def read_ledger(
    core: Core, shop: int, customer: int | str, *, deadline: float | None = None, fresh: bool = False
) -> list[BalanceTransaction]:
    """Read every page of a ledger. New lines come in front, so a later page can repeat lines but not lose them.

    Args:
        core: the session.
        shop: the shop's id.
        customer: the customer's id.
        deadline: seconds for all pages together, queues for a slot not counted; default: the session's deadline.
        fresh: pass by every cache. An edit would be made again if a cache still showed the ledger without its line.

    Raises:
        TransportError: the deadline passed before the last page.
        PaginationError: the ledger cannot be known to have been read whole, has more than 100,000 lines, or is more
            than four times as large as an answer may be.
    """
    runtime = core.runtime()
    ends = core.deadline(deadline)
    path = ["shops", shop, "customers", customer, "balance-transactions"]
    cause = likely_cause(core.list_params)
    lines: dict[int, BalanceTransaction] = {}
    number, last, minimum, stalled, size = 1, 1, 0, 0, 0
    max_bytes = _MAX_BODIES * core.options.max_response_bytes
    while True:
        params = {"page": number} if number > 1 else {}
        request = core.list_request(path, params, route=routes.BALANCE_TRANSACTIONS)
        if fresh:
            request = uncached(request)
        if ends.remaining <= 0:
            raise TransportError(
                f"{request.label} has no end within the deadline of {ends.seconds:g} s, after {number - 1} pages",
                method=request.method,
                path=request.path,
                elapsed=ends.elapsed,
            )
        response = await runtime.send(request, within=ends)
        size += len(response.body)
        if size > max_bytes:
            raise _pagination_error(
                number, f"more than {max_bytes} bytes in all", f"{_MAX_BODIES} times max_response_bytes"
            )
        page = _ledger_page(request, response)
        _check_echo(page, number, cause)
        known = len(lines)
        lines |= {line.id: line for line in page.data if line.id not in lines}
        if len(lines) > _MAX_LINES:
            raise _pagination_error(number, f"more than {_MAX_LINES} lines", "shopsdk reads no longer ones")
        stalled = 0 if len(lines) > known else stalled + 1
        grown, last = (page.last_page or 1) > last, page.last_page or 1
        minimum = minimum if number > 1 else _total(page)  # later totals may count new lines, which stand in front
        if number >= last:
            if len(lines) < minimum:
                raise _pagination_error(number, f"{len(lines)} lines in all, where the total said {minimum}", cause)
            return list(lines.values())
        if stalled > (_STALLED_PAGES if grown else 0):
            raise _pagination_error(number, "no line that was not on an earlier page", cause)
        number += 1


async def find_lines(
    core: Core, shop: int, customer: str, reference: str, *, deadline: float | None = None
) -> list[BalanceTransaction]:
    """Find the ledger's lines of a checked reference, past every cache; warn where one amount stands more than once."""
    marker = reference_marker(reference)
    ledger = await read_ledger(core, shop, customer, deadline=deadline, fresh=True)
    lines = [line for line in ledger if line.description is not None and line.description.rstrip().endswith(marker)]
    by_amount: defaultdict[str, list[Decimal]] = defaultdict(
        list
    )  # keys are text: numbers can be chosen to share a hash
    for line in lines:
        by_amount[_shortest(line.amount)].append(line.amount)
    for amounts in islice((same for same in by_amount.values() if len(same) > 1), _MAX_WARNINGS):
        _logger.warning(
            "reference %r stands %d times with the amount %s in the ledger of customer %s of shop %d:"
            " a proxy may have repeated the edit",
            reference,
            len(amounts),
            amounts[0],
            redact_emails(customer),
            shop,
        )
    return lines


def _shortest(amount: Decimal) -> str:
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _check_echo(page: Ledger, number: int, cause: str) -> None:
    """Refuse a ledger that cannot be read to its end: an edit on an unread page would be made again."""
    more = page.next_page_url or page.next_cursor
    if page.last_page is None and (more or page.current_page is not None):
        raise _pagination_error(number, "a page that does not say how many there are", _UNKNOWN_FORM)
    if page.last_page is not None and number >= page.last_page and more:
        raise _pagination_error(number, "the last page, with a sign of more behind it", _UNKNOWN_FORM)
    alone = number == 1 and page.last_page in {None, 1}
    if page.current_page != number and not (alone and page.current_page is None):
        raise _pagination_error(number, f"page {page.current_page}", cause)


def _total(page: Ledger) -> int:
    counted = page.last_page is not None and isinstance(page.total, int | str) and INTEGER.fullmatch(str(page.total))
    return int(page.total) if counted else 0


def _pagination_error(number: int, got: str, cause: str) -> PaginationError:
    asked = f"page {number} of the ledger"
    return PaginationError(f"asked for {asked}, got {got} ({cause})", asked=asked, got=got)


def _ledger_page(request: Request, response: Response) -> Ledger:
    """Read a ledger's answer: a bare list, a list under ``data``, or a paginator's page."""
    if _is_envelope(response.body):
        return decode(response.body, Ledger, label=request.label, max_rows=_MAX_LINES)
    lines = decode(response.body, list[BalanceTransaction], label=request.label, max_rows=_MAX_LINES)
    return Ledger(data=lines)


def _is_envelope(body: bytes) -> bool:
    """Whether this is an object that holds the lines, or an empty one; else it is a list, or PHP's object for one."""
    start = body.lstrip()
    return start[:1] == b"{" and (b'"data"' in start or start[1:].lstrip()[:1] == b"}")
