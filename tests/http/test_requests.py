"""Requests: paths, addresses, keys, queries and bodies, and the errors raised before anything is sent."""

import json
from contextlib import aclosing
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shopsdk import (
    AsyncSession,
    edit_customer_affiliate_code,
    edit_customer_balance,
    get_customer,
    get_customer_balance_transactions,
    get_customers,
    iter_customers,
    paginate,
)
from shopsdk._checks import path_segment
from shopsdk._config import Secret, check_base_url
from shopsdk._http.request import make_list_request, make_request, query_value, redact_emails
from shopsdk._http.response import sanitize
from tests.support.servers import CUSTOMER, RawServer, answer, page_of, raw_server

ListParams = Literal["both", "body", "query"]
MODES: list[ListParams] = ["both", "body", "query"]

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


# --- the path


@given(st.one_of(st.text(), st.integers(), st.sampled_from(["..", ".", " .. ", "a/b", "%2e%2e", "?", "#", "\\", ";"])))
def test_a_segment_stays_one_segment(segment: str | int) -> None:
    """A path segment is sent as one segment, whatever it holds."""
    try:
        quoted = path_segment(segment)
    except ValueError:
        return
    assert str(segment) == unquote(quoted)
    assert not set("/?#\\; ") & set(quoted)
    assert quoted.isascii()
    assert quoted not in {"", ".", ".."}


@pytest.mark.parametrize("segment", ["", " ", "\t", ".", "..", " .. ", "a\nb", "a\x00", "a\x7f", "\ud800", "\u200b"])
def test_a_segment_that_a_server_reads_as_structure_is_refused(segment: str) -> None:
    """A segment that is empty, all dots, or holds control characters is refused by name."""
    with pytest.raises(ValueError, match=r"^customer_id must not "):
        path_segment(segment, "customer_id")


@pytest.mark.parametrize("segment", [True, 1.0, None, b"x", Decimal(1)])
def test_a_segment_is_text_or_a_whole_number(segment: Any) -> None:
    """A path segment is text or an int, and no boolean."""
    with pytest.raises(TypeError, match=rf"^customer_id must be a str or an int, not {type(segment).__name__}$"):
        path_segment(segment, "customer_id")


def test_a_path_is_a_sequence_of_segments() -> None:
    """A path given as one string is refused."""
    with pytest.raises(TypeError, match=r"^path must be a sequence of segments"):
        make_request("GET", "shops")
    with pytest.raises(ValueError, match=r"^path must have at least one segment$"):
        make_request("GET", [])


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "", "GET /x", "P\nUT"])
def test_a_method_is_one_of_the_known(method: str) -> None:
    """A method is one of six."""
    with pytest.raises(ValueError, match=r"^method must be one of DELETE, GET, HEAD, PATCH, POST, PUT, not "):
        make_request(method, ["shops"])


@pytest.mark.parametrize(("method", "changes"), [("get", False), ("HEAD", False), ("post", True), ("DELETE", True)])
def test_only_reads_are_repeated_unasked(method: str, changes: bool) -> None:
    """Only reads count as idempotent by default."""
    request = make_request(method, ["shops", 38])
    assert (method.upper(), changes, not changes) == (request.method, request.changes, request.idempotent)
    assert make_request(method, ["shops"], idempotent=True).idempotent


def test_a_route_names_the_operation_and_not_the_customer() -> None:
    """An operation is named without ids and e-mail addresses."""
    request = make_request("GET", ["shops", 38, "customers", "anna@example.com", "x"])
    assert request.route == "/shops/{id}/customers/{id}/x"
    assert request.path == "/shops/38/customers/anna%40example.com/x"
    assert request.label == "GET /shops/38/customers/[e-mail]/x"


async def test_a_quoted_path_travels_as_it_was_quoted() -> None:
    """A quoted path is sent as it was quoted."""
    async with raw_server(answer({"message": "ok"})) as server, server.session() as session:
        await edit_customer_affiliate_code(session, "a/../b?c#d%2F é", "X")
    assert [h.target for h in server.heard] == [
        "/v1/shops/38/customers/a%2F..%2Fb%3Fc%23d%252F%20%C3%A9/affiliate-code"
    ]


# --- the base URL


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.sellauth.com/v1", "https://api.sellauth.com/v1"),
        (" https://api.sellauth.com/v1// ", "https://api.sellauth.com/v1"),
        ("https://host", "https://host"),
        ("https://host:8443/a/b%20c", "https://host:8443/a/b%20c"),
        ("HTTPS://HOST/v1", "HTTPS://HOST/v1"),
        ("http://localhost:8000/v1", "http://localhost:8000/v1"),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        ("http://127.9.9.9/v1", "http://127.9.9.9/v1"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
    ],
)
def test_a_good_base_url(url: str, expected: str) -> None:
    """A base URL keeps its port and its path; loopback may be plain http."""
    assert expected == check_base_url(Secret(url))


@pytest.mark.parametrize(
    "url",
    [
        "http://api.sellauth.com/v1",  # the key in clear
        "http://10.0.0.1/v1",
        "http://localhost.example.com/v1",
        "http://127.0.0.1.example.com/v1",
        "http://2130706433/v1",
        "https://user:hunter2@host/v1",
        "https://hunter2@host",
        "https://host/v1?key=hunter2",
        "https://host/v1#hunter2",
        "https://host\\@hunter2/v1",
        "https://host/hun ter2",
        "https://host/hunter2\n",
        "https://host\n/hunter2",
        "https://host/hunter2/../v1",
        "https://host/./hunter2",
        "ftp://hunter2/v1",
        "hunter2",
        "//hunter2/v1",
        "https:///hunter2",
        "https:hunter2",
        "https://hunter2:0/v1",
        "https://hunter2:99999/v1",
        "https://hunter2:x/v1",
        "https://[hunter2/v1",
        "https://hunter2..example/v1",
        "https://.hunter2/v1",
        f"https://hunter2{'x' * 60}.example/v1",
        "https://hunter2é.example/v1",
        "https://hunter2.example/vé",
        "https://hunter2\u2100.example/v1",
    ],
)
def test_a_bad_base_url_is_refused_without_being_echoed(url: str) -> None:
    """A base URL that would leak the key or lose the path is refused, and not quoted."""
    if url == "https://host/hunter2\n":
        assert check_base_url(Secret(url)) == "https://host/hunter2"  # white space around it is harmless
        return
    with pytest.raises(ValueError, match=r"^base_url must ") as caught:
        AsyncSession("key", base_url=url)
    assert "hunter2" not in str(caught.value)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


@given(st.one_of(st.text(), st.text(st.sampled_from("htps:/[]@?#%.0123456789ab\\ "), min_size=1).map("http".__add__)))
@example("http://[")
def test_any_base_url_is_taken_or_refused(url: str) -> None:
    """Any text is taken as a base URL or is a ValueError; only loopback may be plain http."""
    try:
        parts = urlsplit(check_base_url(Secret(url)))
    except ValueError as error:
        message = str(error)
    else:
        message = "base_url must be what it is"
        assert parts.scheme == "https" or parts.hostname in {"localhost", "::1"} or "127." in str(parts.hostname)
    assert message.startswith("base_url must ")


@pytest.mark.parametrize("proxy", ["hunter2", "ftp://u:hunter2@host", "http://u:hunter2@host:99999", "http://[hunter2"])
def test_a_bad_proxy_is_refused_without_being_echoed(proxy: str) -> None:
    """A bad proxy URL is refused, and its password not quoted."""
    with pytest.raises(ValueError, match=r"^proxy must be like ") as caught:
        AsyncSession("key", proxy=proxy)
    assert "hunter2" not in str(caught.value)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


async def test_the_environment_fills_in_what_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments go before the environment, and the environment before defaults."""
    async with raw_server(answer(CUSTOMER)) as server:
        monkeypatch.setenv("SHOPSDK_API_KEY", " env-key\n")
        monkeypatch.setenv("SHOPSDK_SHOP_ID", " 41 ")
        monkeypatch.setenv("SHOPSDK_BASE_URL", server.base_url + "/")
        async with AsyncSession() as session:
            await get_customer(session, 7)
        async with AsyncSession("own-key", shop_id=42) as session:
            await get_customer(session, 7)
    assert [h.target for h in server.heard] == ["/v1/shops/41/customers/7", "/v1/shops/42/customers/7"]
    assert [h.headers["authorization"] for h in server.heard] == ["Bearer env-key", "Bearer own-key"]


@pytest.mark.parametrize("text", ["x", "1.5", "-1", "٣", "1 2"])
def test_a_bad_shop_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A shop id in the environment that is no number is refused by the variable's name."""
    monkeypatch.setenv("SHOPSDK_SHOP_ID", text)
    with pytest.raises(ValueError, match=r"^SHOPSDK_SHOP_ID must be a whole number$"):
        AsyncSession("key")


# --- the key


@pytest.mark.parametrize(
    "key", ["hunter2\nX: y", "hunter2\r", "hun\x00ter2", "hunter2\x7f x", "hunter2é", "hun ter2\t2"]
)
def test_a_key_that_no_header_can_carry_is_refused_without_being_echoed(key: str) -> None:
    """A key that no header can carry is refused, and not quoted."""
    with pytest.raises(ValueError, match=r"^api_key must be printable ASCII") as caught:
        AsyncSession(f"a{key}b")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("key", ["", " ", "\n"])
def test_a_missing_key_is_asked_for_by_name(key: str) -> None:
    """A missing key is a ValueError that names the argument and the variable."""
    with pytest.raises(ValueError, match=r"api_key= or set SHOPSDK_API_KEY$"):
        AsyncSession(key)
    with pytest.raises(ValueError, match=r"api_key= or set SHOPSDK_API_KEY$"):
        AsyncSession()


async def test_the_documented_headers_travel() -> None:
    """A list says that it takes and sends JSON, which Laravel needs, and has no cookie."""
    async with raw_server(answer(page_of([]))) as server, server.session() as session:
        await get_customers(session)
    headers = server.heard[0].headers
    assert (headers["accept"], headers["content-type"]) == ("application/json", "application/json")
    assert headers["authorization"] == "Bearer raw-key"
    assert headers["user-agent"].startswith("shopsdk/")
    assert "cookie" not in headers


async def test_no_cookie_is_kept() -> None:
    """No cookie of an answer is sent again."""
    cookie = answer(CUSTOMER, headers={"Set-Cookie": "laravel_session=1; Path=/"})
    async with raw_server(cookie) as server:
        named = f"http://localhost:{server.port}/v1"  # from a bare address no client would take a cookie
        async with AsyncSession("key", shop_id=38, base_url=named) as session:
            await get_customer(session, 7)
            await get_customer(session, 7)
    assert ["cookie" in h.headers for h in server.heard] == [False, False]


# --- queries and lists


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, "1"),
        (False, "0"),
        (5, "5"),
        (-5, "-5"),
        ("a&b=c", "a&b=c"),
        ("", ""),
        (Decimal("1.50"), "1.50"),
        (Decimal("1E+3"), "1000"),
        (Decimal("1E-7"), "0.0000001"),
    ],
)
def test_the_text_of_a_query_value(value: object, expected: str) -> None:
    """A boolean is 1 or 0 in a query, as Laravel takes it, and a Decimal is exact."""
    assert expected == query_value("x", value)


@pytest.mark.parametrize("value", [None, 1.5, Decimal("NaN"), Decimal("-Infinity"), b"x", [1], {}])
def test_a_query_value_that_has_no_exact_text_is_refused(value: object) -> None:
    """A query value without an exact text, such as a float, is refused."""
    with pytest.raises(TypeError, match=rf"^params\['x'\] must be a str, .*not {type(value).__name__}$"):
        query_value("x", value)


@given(st.dictionaries(TEXT, st.one_of(TEXT, st.integers(), st.decimals(allow_nan=False, allow_infinity=False))))
def test_a_query_says_exactly_what_was_given(params: dict[str, object]) -> None:
    """A query value arrives as it was given."""
    query = make_list_request(["x"], params, list_params="query").query
    assert query.isascii()
    sent = parse_qsl(query, keep_blank_values=True)
    assert list(params) == [name for name, _ in sent]
    for value, (_, text) in zip(params.values(), sent, strict=True):
        assert str(value) == text or (isinstance(value, Decimal) and value == Decimal(text))


def read_params(server: RawServer, mode: ListParams) -> list[dict[str, Any]]:
    """The parameters of each request, from where the mode puts them; in both places they must be the same."""
    carried: list[dict[str, Any]] = []
    for heard in server.heard:
        query = dict(parse_qsl(urlsplit(heard.target).query, keep_blank_values=True, strict_parsing=True))
        body = json.loads(heard.body, parse_float=Decimal) if heard.body else {}
        if mode == "both":
            assert query == as_sent("query", body)
        else:
            assert {} == (query if mode == "body" else body)
        carried.append(query if mode == "query" else body)
    return carried


def as_sent(mode: ListParams, params: dict[str, object]) -> dict[str, object]:
    return {name: str(value) for name, value in params.items()} if mode == "query" else params


@pytest.mark.parametrize("mode", MODES)
async def test_a_list_without_wishes_names_its_page_and_nothing_else(mode: ListParams) -> None:
    """A list without arguments sends its page and page size, and nothing else."""
    async with raw_server(answer(page_of([]))) as server, server.session(list_params=mode) as session:
        await get_customers(session)
    assert [as_sent(mode, {"page": 1, "perPage": 100})] == read_params(server, mode)
    assert urlsplit(server.heard[0].target).path == "/v1/shops/38/customers"


@pytest.mark.parametrize("mode", MODES)
async def test_every_wish_of_a_list_travels_under_its_wire_name(mode: ListParams) -> None:
    """Every filter and order of a list is sent under the vendor's name for it."""
    everything: dict[str, object] = {
        "id": "240",
        "email": "a+b@example.com",
        "discord_id": "8035",
        "discord_username": "ann ä&=?",
        "affiliate_code": "50%",
        "affiliate_referrer_email": "bob@",
    }
    async with (
        raw_server(answer(page_of([], 3, per_page=25))) as server,
        server.session(list_params=mode) as session,
    ):
        await get_customers(
            session,
            page=3,
            per_page=25,
            order_column="total_spent_usd",
            order_direction="desc",
            id=240,
            subscribed=True,
            email="a+b@example.com",
            discord_id="8035",
            discord_username="ann ä&=?",
            affiliate_code="50%",
            affiliate_referrer_email="bob@",
        )
        await get_customers(session, page=3, per_page=25, id="240", subscribed=False)
        await get_customers(session, page=3, per_page=25, subscribed="true")
    paging: dict[str, object] = {"page": 3, "perPage": 25}
    order: dict[str, object] = {"orderColumn": "total_spent_usd", "orderDirection": "desc"}
    assert [
        as_sent(mode, paging | order | everything | {"subscribed": "1"}),
        as_sent(mode, paging | {"id": "240", "subscribed": "0"}),
        as_sent(mode, paging | {"subscribed": "true"}),
    ] == read_params(server, mode)


@pytest.mark.parametrize("mode", MODES)
async def test_a_walk_asks_by_id_and_counts_pages(mode: ListParams) -> None:
    """A walk asks for ascending ids, page after page."""
    first, second = (
        page_of([CUSTOMER], last=2, per_page=1, total=2),
        page_of([CUSTOMER | {"id": 8}], 2, last=2, per_page=1, total=2),
    )
    behaviours = answer(first), answer(second), answer(page_of([], 3, last=2, per_page=1, total=2))
    async with (
        raw_server(*behaviours) as server,
        server.session(list_params=mode) as session,
        aclosing(iter_customers(session, per_page=1, email="x")) as walk,
    ):
        assert [customer.id async for customer in walk] == [7, 8]
    rest = {"perPage": 1, "orderColumn": "id", "orderDirection": "asc", "email": "x"}
    assert [as_sent(mode, {"page": n} | rest) for n in (1, 2, 3)] == read_params(server, mode)


@pytest.mark.parametrize("mode", MODES)
async def test_a_decimal_in_any_list_is_exact(mode: ListParams) -> None:
    """A Decimal in the parameters of any list arrives exactly."""
    exact = {"min": Decimal("1.50"), "big": Decimal("123456789012345678.05")}
    async with (
        raw_server(answer(page_of([]))) as server,
        server.session(list_params=mode) as session,
        aclosing(paginate(session, ["shops", 38, "invoices"], dict, params=exact)) as pages,
    ):
        assert [page async for page in pages] == []
    assert [as_sent(mode, {"page": 1, "perPage": 100, **exact})] == read_params(server, mode)
    if mode != "query":
        assert b'"min":1.50,"big":123456789012345678.05' in server.heard[0].body


async def test_a_single_read_carries_no_body() -> None:
    """A read of one customer or ledger carries no body, since proxies refuse a GET with one."""
    ledger = answer([])
    async with raw_server(answer(CUSTOMER), ledger) as server, server.session() as session:
        await get_customer(session, 7)
        assert await get_customer_balance_transactions(session, 7) == []
    assert [heard.body for heard in server.heard] == [b"", b""]
    assert [heard.target for heard in server.heard] == [
        "/v1/shops/38/customers/7",
        "/v1/shops/38/customers/7/balance-transactions",
    ]


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_an_edit_sends_its_amount_as_a_number_and_nothing_it_was_not_given(
    method: Literal["POST", "PUT"],
) -> None:
    """An edit sends its amount as a number, and no field that was not given."""
    async with raw_server(answer({"message": "ok"})) as server, server.session() as session:
        await edit_customer_balance(session, 7, "-12.50", method=method)
        await edit_customer_balance(session, "7", Decimal("0.10"), description="Für Anna", method=method)
    assert [b'{"amount":-12.50}', '{"amount":0.10,"description":"Für Anna"}'.encode()] == [h.body for h in server.heard]
    assert [(method, "/v1/shops/38/customers/7/balance")] * 2 == [(h.method, h.target) for h in server.heard]


async def test_a_code_is_cleared_by_an_explicit_null() -> None:
    """An affiliate code is cleared by an explicit null."""
    async with raw_server(answer({"message": "ok"})) as server, server.session() as session:
        await edit_customer_affiliate_code(session, 7, "ANNA10")
        await edit_customer_affiliate_code(session, 7, None)
    assert [heard.body for heard in server.heard] == [b'{"affiliate_code":"ANNA10"}', b'{"affiliate_code":null}']


# --- texts for messages


@given(st.text())
def test_the_servers_words_are_one_short_printable_line(text: str) -> None:
    """Text of a server becomes one short, printable line."""
    line = sanitize(text, str)
    assert line.isprintable()
    assert len(line) <= 500
    assert sanitize(line, str) == line


@pytest.mark.parametrize(
    "address", ["anna@example.com", "a.b+c@sub.example.co.uk", "ünï@exämple.com", "anna@localhost"]
)
@pytest.mark.parametrize("around", ["{}", "no customer {}.", "<{}>", '"{}"', "mailto:{}", "({})", "[{}]", "a={},b"])
def test_an_address_is_kept_out_of_messages(address: str, around: str) -> None:
    """E-mail addresses are redacted in messages, however they are quoted."""
    for text in (around.format(address), around.format(address.replace("@", "%40"))):
        assert "example" not in redact_emails(text).lower()
        assert "anna" not in redact_emails(text)
        assert "[e-mail]" in redact_emails(text)


def test_text_without_an_address_is_left_alone() -> None:
    """Text without an e-mail address stays as it is."""
    assert redact_emails("100 %20 of a/b") == "100 %20 of a/b"
