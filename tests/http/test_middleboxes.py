"""Pages that proxies, firewalls, CDNs and networks answer in place of the shop: whose they are, and what to try."""

import pickle
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shopsdk import (
    AsyncSession,
    AuthenticationError,
    DecodeError,
    ResponseError,
    RetryPolicy,
    ShopError,
    edit_customer_balance,
    find_customer,
    get_customer,
    get_customers,
    iter_customers,
    paginate,
)
from shopsdk._http.request import make_request
from shopsdk._http.response import Response, foreign_error
from shopsdk.testing import InstantClock
from tests.support.servers import answer, raw_server

PAGE = b"<!DOCTYPE html>\n<html><head><title>Access\n denied &amp; logged</title></head><body>no</body></html>"
WHOSE = 'a web page, titled "Access denied & logged"'
TRY = 'try AsyncSession(list_params="query")'

Call = Callable[[AsyncSession], Awaitable[Any]]


async def walked(session: AsyncSession) -> object:
    async with aclosing(iter_customers(session)) as customers:
        return [customer async for customer in customers]


async def paginated(session: AsyncSession) -> object:
    async with aclosing(paginate(session, ["orders"], dict[str, int])) as pages:
        return [page async for page in pages]


LISTS: dict[str, Call] = {
    "get_customers": get_customers,
    "find_customer": lambda session: find_customer(session, email="a@example.com"),
    "iter_customers": walked,
    "paginate": paginated,
}


async def error_of(call: Call, sent: bytes, **options: Any) -> ShopError:
    async with raw_server(sent) as server, server.session(retry=RetryPolicy(attempts=1), **options) as session:
        with pytest.raises(ShopError) as caught:
            await call(session)
    return caught.value


@pytest.mark.parametrize("body", [PAGE, b"Request body not allowed", b""], ids=["page", "text", "nothing"])
@pytest.mark.parametrize("status", [400, 403, 405, 411, 413, 415, 501])
@pytest.mark.parametrize("name", LISTS)
async def test_a_list_that_is_refused_for_its_body_says_what_to_try(name: str, status: int, body: bytes) -> None:
    """A GET with a body that something other than the API refuses names the page's title and list_params="query"."""
    error = await error_of(LISTS[name], answer(raw=body, status=status))
    assert isinstance(error, ResponseError)
    assert error.status == status
    assert TRY in str(error)
    assert (WHOSE in str(error)) is (body is PAGE)


@pytest.mark.parametrize("status", [400, 403, 405, 411, 413, 415, 501])
async def test_the_api_s_own_refusal_of_a_list_suggests_nothing(status: int) -> None:
    """An error in the API's JSON is the API's: no proxy is blamed."""
    error = await error_of(get_customers, answer({"message": "No."}, status))
    assert str(error) == f"GET /shops/38/customers answered {status}: No."


@pytest.mark.parametrize("call", [lambda s: get_customer(s, 7), lambda s: edit_customer_balance(s, 7, 1)])
async def test_a_request_without_a_list_suggests_no_other_list(call: Call) -> None:
    """A request that is no GET with a body names the page, and does not speak of list_params."""
    error = await error_of(call, answer(raw=PAGE, status=403))
    assert WHOSE in str(error)
    assert "list_params" not in str(error)


@pytest.mark.parametrize("status", [404, 409, 500, 502])
async def test_another_status_of_a_list_suggests_no_other_list(status: int) -> None:
    """A page with a status by which no proxy refuses a body is named, and nothing is suggested."""
    error = await error_of(get_customers, answer(raw=PAGE, status=status))
    assert WHOSE in str(error)
    assert "list_params" not in str(error)


async def test_a_list_in_the_query_suggests_no_query() -> None:
    """A list whose parameters travel in the query alone names the page only."""
    error = await error_of(get_customers, answer(raw=PAGE, status=403), list_params="query")
    assert WHOSE in str(error)
    assert "list_params" not in str(error)


@pytest.mark.parametrize("status", [403, 503])
async def test_a_challenge_of_a_cdn_is_named_with_its_ray(status: int) -> None:
    """A CDN's challenge page is named as such, with its cf-ray, which the request id has too."""
    page = b"\n <html><title>Just a moment...</title></html>"
    error = await error_of(
        lambda s: get_customer(s, 7), answer(raw=page, status=status, headers={"cf-ray": "8f1a2b3c4d5e6f70-FRA"})
    )
    assert isinstance(error, ResponseError)
    assert 'a web page of a CDN, maybe a challenge, titled "Just a moment..." (cf-ray 8f1a2b3c4d5e6f70-FRA)' in str(
        error
    )
    assert error.request_id == "8f1a2b3c4d5e6f70-FRA"


READS_AND_CHANGES: dict[str, Call] = LISTS | {
    "get_customer": lambda session: get_customer(session, 7),
    "edit": lambda session: edit_customer_balance(session, 7, 1),
    "request": lambda session: session.request("PATCH", ["x"], json={}),
}


@pytest.mark.parametrize("name", READS_AND_CHANGES)
async def test_a_captive_portal_s_success_is_named(name: str) -> None:
    """A page that comes as a success is a DecodeError that names it; a change may have been made."""
    error = await error_of(READS_AND_CHANGES[name], answer(raw=PAGE))
    assert isinstance(error, DecodeError)
    assert f"it is not JSON, but {WHOSE}" in str(error)
    assert error.maybe_applied is (name in {"edit", "request"})


async def test_a_captive_portal_is_waited_for_by_reads() -> None:
    """A read that met a page is repeated, and succeeds once the network lets it through."""
    customer = {"id": 7, "email": "a@example.com"}
    async with raw_server(answer(raw=PAGE), answer(customer)) as server:
        async with server.session(clock=InstantClock()) as session:
            assert (await get_customer(session, 7)).id == 7


@pytest.mark.parametrize(("body", "blamed"), [(PAGE, False), ({"message": "Unauthenticated."}, True)])
async def test_a_401_of_a_proxy_is_not_blamed_on_the_key(body: object, blamed: bool) -> None:
    """A 401 with a page says nothing of the key; one of the API's says what may be wrong with it."""
    sent = answer(raw=body, status=401) if isinstance(body, bytes) else answer(body, 401)
    async with raw_server(sent) as server, AsyncSession("12345", shop_id=38, base_url=server.base_url) as session:
        with pytest.raises(AuthenticationError) as caught:
            await get_customer(session, 7)
    assert ("key" in str(caught.value)) is blamed


SECRET = "12345|abcdefghijklmnopqrstuvwxyz0123456789ABCD"


async def test_a_title_shows_neither_key_nor_address() -> None:
    """The title of a page stands in the message without the key, without addresses, on one printable line."""
    title = f"no {SECRET} for ada@example.com \x1b[31m&#27;[0m"
    sent = answer(raw=f"<title>{title}</title>".encode(), status=403)
    async with raw_server(sent) as server, AsyncSession(SECRET, shop_id=38, base_url=server.base_url) as session:
        with pytest.raises(ResponseError) as caught:
            await get_customers(session)
    text = str(caught.value)
    assert "titled" in text
    assert text.isprintable()
    assert not any(part in text for part in (SECRET, SECRET[6:], "ada@"))
    assert str(pickle.loads(pickle.dumps(caught.value))) == text


@example("title>" + "A" * 500, 0)
@given(st.text(alphabet="<>/titleTITLE =\n\"'&#0;", max_size=300), st.integers(0, 5))
def test_any_page_makes_a_short_message(text: str, times: int) -> None:
    """Whatever a page holds, its description is one short line."""
    body = b"<" + (text * 10**times)[:100_000].encode()
    error = foreign_error(make_request("GET", ["x"]), Response(status=200, headers={}, body=body), str)
    assert error is not None
    assert len(str(error)) < 220
    assert str(error).isprintable()


LINE = {"id": 1, "amount": "1.00", "description": "[ref:r-1]", "created_at": None}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 451])
async def test_an_answer_that_a_box_refused_is_looked_up(status: int) -> None:
    """An edit whose 4xx is not the API's may have been made: with a reference it is found in the ledger."""
    page = answer(raw=PAGE, status=status)
    async with raw_server(answer([]), page, answer([LINE])) as server, server.session(clock=InstantClock()) as session:
        edit = await edit_customer_balance(session, 7, "1.00", reference="r-1")
    assert edit.transaction is not None
    assert [heard.method for heard in server.heard] == ["GET", "POST", "GET"]
    error = await error_of(lambda session: edit_customer_balance(session, 7, 1), page)
    assert error.maybe_applied


@pytest.mark.parametrize("status", [407, 411, 413, 414, 415, 417, 426, 431])
async def test_a_refusal_of_the_request_itself_is_certain(status: int) -> None:
    """A status that is about the request says that an edit was not made, whoever answers it."""
    error = await error_of(lambda session: edit_customer_balance(session, 7, 1), answer(raw=PAGE, status=status))
    assert not error.maybe_applied


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
async def test_a_refusal_of_the_api_s_is_certain(status: int) -> None:
    """A 4xx with the API's JSON says that an edit was not made; the ledger is not asked."""
    error = await error_of(lambda session: edit_customer_balance(session, 7, 1), answer({"message": "no"}, status))
    assert not error.maybe_applied


async def test_a_text_of_a_cdn_is_not_the_api_s() -> None:
    """An error without JSON says so, with its cf-ray."""
    sent = answer(raw=b"error code: 1020", status=403, headers={"cf-ray": "8f1a-FRA"})
    error = await error_of(lambda session: get_customer(session, 7), sent)
    assert str(error) == "GET /shops/38/customers/7 answered 403, without the API's JSON (cf-ray 8f1a-FRA)"


async def test_an_odd_encoding_of_json_is_read() -> None:
    """JSON under a Content-Encoding that is none is read: the body is what it is."""
    sent = answer({"message": "ok"}, headers={"Content-Encoding": "utf-8"})
    async with raw_server(sent) as server, server.session() as session:
        assert (await edit_customer_balance(session, 7, 1)).message == "ok"


async def test_a_body_of_the_caller_s_suggests_no_other_list() -> None:
    """A GET with a body that the caller gave does not speak of list_params, which would not move it."""
    error = await error_of(lambda s: s.request("GET", ["x"], json={"a": 1}), answer(raw=PAGE, status=403))
    assert "list_params" not in str(error)
