"""Each operation's exchange to the byte, through aioresponses, which stands in the place of aiohttp's own requests.

aioresponses patches ``ClientSession._request``: no middleware runs, so the Authorization header, which one of this
library's adds, is not seen here; and no sending is observed, so it is unknown whether a request was sent.
"""

import asyncio
import errno
import re
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, Literal

import aiohttp
import attrs
import pytest
from aiohttp.client_reqrep import ConnectionKey
from aioresponses import aioresponses

from shopsdk import (
    AsyncSession,
    NotSentError,
    UnknownOutcomeError,
    __version__,
    edit_customer_affiliate_code,
    edit_customer_balance,
    get_customer,
    get_customer_balance_transactions,
    get_customers,
)
from shopsdk.testing import InstantClock
from tests.support.servers import CUSTOMER, page_of

ROOT = "https://api.sellauth.com/v1"
ANYWHERE = re.compile("")
HEADERS = {"Accept": "application/json", "Content-Type": "application/json", "User-Agent": f"shopsdk/{__version__}"}


class MockedResponse(aiohttp.ClientResponse):
    """A response with the writer that aiohttp 3.14 asks for, and aioresponses 0.7.9 does not give."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"stream_writer": SimpleNamespace(output_size=0)} | kwargs)


@pytest.fixture
def mocked() -> Iterator[aioresponses]:
    """A mock of aiohttp's requests: none leaves this process."""
    with aioresponses() as mock:
        yield mock


def sent(mocked: aioresponses) -> list[tuple[str, str, bytes | None, dict[str, str]]]:
    """Each request that was made: verb, URL as it was written (aioresponses sorts its query), body, headers."""
    asked: Any = aiohttp.ClientSession._request
    urls = [str(call.args[2]) for call in asked.call_args_list]
    calls = [(verb, call.kwargs) for (verb, _), several in mocked.requests.items() for call in several]
    assert all(kwargs["allow_redirects"] is False for _, kwargs in calls)
    return [(verb, url, kw["data"], dict(kw["headers"])) for (verb, kw), url in zip(calls, urls, strict=True)]


PAGE, LEDGER, EDITED = page_of([CUSTOMER]), [{"id": 1, "amount": "5.00"}], {"message": "done"}
FILTERS: dict[str, Any] = {"email": "a+b@é.example", "subscribed": True, "order_column": "balance"}


@attrs.frozen
class Exchange:
    """One call, and all that it may send."""

    call: Callable[[AsyncSession], Awaitable[object]]
    answer: Any
    verb: str
    target: str
    body: bytes | None
    list_params: Literal["both", "body", "query"] = "both"


EXCHANGES = {
    "get_customers": Exchange(get_customers, PAGE, "GET", "?page=1&perPage=100", b'{"page":1,"perPage":100}'),
    "get_customers, filtered": Exchange(
        lambda session: get_customers(session, **FILTERS),
        PAGE,
        "GET",
        "?page=1&perPage=100&orderColumn=balance&email=a%2Bb%40%C3%A9.example&subscribed=1",
        '{"page":1,"perPage":100,"orderColumn":"balance","email":"a+b@é.example","subscribed":"1"}'.encode(),
    ),
    "get_customers, in the body": Exchange(
        lambda session: get_customers(session, id=7), PAGE, "GET", "", b'{"page":1,"perPage":100,"id":"7"}', "body"
    ),
    "get_customers, in the query": Exchange(
        lambda session: get_customers(session, id=7), PAGE, "GET", "?page=1&perPage=100&id=7", None, "query"
    ),
    "get_customer": Exchange(lambda session: get_customer(session, 7), CUSTOMER, "GET", "/7", None),
    "get_customer_balance_transactions": Exchange(
        lambda session: get_customer_balance_transactions(session, 7), LEDGER, "GET", "/7/balance-transactions", None
    ),
    "edit_customer_balance, POST": Exchange(
        lambda session: edit_customer_balance(session, 7, Decimal("-12.50"), description="order 1187"),
        EDITED,
        "POST",
        "/7/balance",
        b'{"amount":-12.50,"description":"order 1187"}',
    ),
    "edit_customer_balance, PUT": Exchange(
        lambda session: edit_customer_balance(session, "7", 5, method="PUT"),
        EDITED,
        "PUT",
        "/7/balance",
        b'{"amount":5}',
    ),
    "edit_customer_affiliate_code, set": Exchange(
        lambda session: edit_customer_affiliate_code(session, 7, "SPRING10"),
        EDITED,
        "PUT",
        "/7/affiliate-code",
        b'{"affiliate_code":"SPRING10"}',
    ),
    "edit_customer_affiliate_code, clear": Exchange(
        lambda session: edit_customer_affiliate_code(session, 7, None),
        EDITED,
        "PUT",
        "/7/affiliate-code",
        b'{"affiliate_code":null}',
    ),
    "request": Exchange(
        lambda session: session.request(
            "PATCH",
            ["shops", 38, "customers", "a/b"],
            json={"amount": Decimal("1.10"), "names": ["é"]},
            params={"dry run": True, "least": Decimal("1.5")},
        ),
        EDITED,
        "PATCH",
        "/a%2Fb?dry%20run=1&least=1.5",
        '{"amount":1.10,"names":["é"]}'.encode(),
    ),
}


@pytest.mark.parametrize("name", EXCHANGES)
async def test_an_operation_is_one_request(name: str, mocked: aioresponses) -> None:
    """An operation sends one request: this verb, URL, body and these headers, to the byte."""
    exchange = EXCHANGES[name]
    mocked.add(ANYWHERE, exchange.verb, payload=exchange.answer, response_class=MockedResponse)
    async with AsyncSession("key", shop_id=38, list_params=exchange.list_params) as session:
        await exchange.call(session)
    url = f"{ROOT}/shops/38/customers{exchange.target}"
    assert [(exchange.verb, url, exchange.body, HEADERS)] == sent(mocked)


@pytest.mark.parametrize(
    "lost",
    [
        aiohttp.ClientOSError(errno.ECONNRESET, "reset"),
        aiohttp.ServerDisconnectedError(),
        aiohttp.ClientPayloadError(),
        TimeoutError(),
    ],
    ids=lambda lost: type(lost).__name__,
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_lost_edit_has_an_unknown_outcome_under_a_mock(
    method: Literal["POST", "PUT"], lost: Exception, mocked: aioresponses
) -> None:
    """An edit that is lost counts as maybe sent if no sending is observed, and is sent once."""
    mocked.add(ANYWHERE, method, exception=lost, repeat=True)
    async with AsyncSession("key", shop_id=38, clock=InstantClock()) as session:
        with pytest.raises(UnknownOutcomeError) as caught:
            await edit_customer_balance(session, 7, 5, method=method)
    assert caught.value.maybe_applied
    assert 1 == len(sent(mocked))


async def test_a_cancelled_edit_has_a_note_under_a_mock(mocked: aioresponses) -> None:
    """An edit that is cancelled counts as maybe sent if no sending is observed, and a note names its reference."""
    under_way = asyncio.Event()

    async def stuck(*_: object, **__: object) -> None:
        under_way.set()
        await asyncio.Event().wait()

    mocked.get(ANYWHERE, payload=[], response_class=MockedResponse)
    mocked.post(ANYWHERE, callback=stuck)
    async with AsyncSession("key", shop_id=38) as session:
        edit = asyncio.create_task(edit_customer_balance(session, 7, 5, reference="order-1187"))
        await under_way.wait()
        edit.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await edit
    assert "order-1187" in " ".join(caught.value.__notes__)


async def test_an_edit_without_a_connection_is_surely_unsent_under_a_mock(mocked: aioresponses) -> None:
    """An edit whose error says that there was no connection counts as not sent under a mock, and is repeated."""
    where = ConnectionKey("api.sellauth.com", 443, True, True, None, None, None)
    refused = aiohttp.ClientConnectorError(where, OSError(errno.ECONNREFUSED, "refused"))
    mocked.post(ANYWHERE, exception=refused, repeat=4)
    mocked.post(ANYWHERE, payload=EDITED, response_class=MockedResponse)
    async with AsyncSession("key", shop_id=38, clock=InstantClock()) as session:
        with pytest.raises(NotSentError) as caught:
            await edit_customer_balance(session, 7, 5)
        assert not caught.value.maybe_applied
        assert 4 == len(sent(mocked))
        assert "done" == (await edit_customer_balance(session, 7, 5)).message


async def test_a_lost_edit_is_found_by_its_reference_under_a_mock(mocked: aioresponses) -> None:
    """An edit that is lost under a mock is looked up in the ledger, past every cache."""
    ledger = re.compile(r".*/balance-transactions\?_=[0-9a-f]+$")
    line = {"id": 1, "amount": "5.00", "description": "[ref:order-1187]"}
    mocked.get(ledger, payload=[], response_class=MockedResponse)
    mocked.post(f"{ROOT}/shops/38/customers/7/balance", exception=aiohttp.ServerDisconnectedError())
    mocked.get(ledger, payload=[line], response_class=MockedResponse)
    async with AsyncSession("key", shop_id=38, clock=InstantClock()) as session:
        edit = await edit_customer_balance(session, 7, 5, reference="order-1187")
    assert edit.transaction is not None
    assert ["GET", "GET", "POST"] == sorted(verb for verb, *_ in sent(mocked))
