"""Caches and proxies between a session and its shop: pages and filters stay apart, and one reference is one edit.

Each of them is a small HTTP server of its own on loopback that passes requests on to a sandbox.
"""

import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import attrs
import pytest
from aiohttp import web

from shopsdk import (
    AsyncSession,
    Customer,
    PaginationError,
    UnknownOutcomeError,
    edit_customer_balance,
    find_balance_edit,
    find_customer,
    get_customer_balance_transactions,
    get_customers,
    iter_customer_pages,
    iter_customers,
    paginate,
)
from shopsdk._config import ListParams
from shopsdk._http.request import make_list_request, make_list_requests
from shopsdk.sandbox import Fault, Sandbox
from shopsdk.testing import InstantClock
from tests.support.servers import CUSTOMER, RawServer, answer, page_of, raw_server

MODES: tuple[ListParams, ...] = ("both", "body", "query")
PEOPLE = [
    Customer(id=number, email=f"{'ann' if number % 2 else 'bob'}{number}@example.com", balance=Decimal(0))
    for number in range(1, 61)
]


@attrs.define
class Between:
    """A cache or proxy between a session and a shop; it counts the answers that it gives by itself."""

    shop: Sandbox
    http: aiohttp.ClientSession
    keep: Literal["nothing", "by URL", "by URL unless no-cache"] = "nothing"
    drops: Literal["nothing", "bodies", "queries"] = "nothing"
    kept: dict[str, tuple[int, bytes]] = attrs.Factory(dict)
    hits: int = 0
    base_url: str = ""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = b"" if request.method == "GET" and self.drops == "bodies" else await request.read()
        target = request.path if self.drops == "queries" else request.path_qs
        asks_anew = self.keep == "by URL unless no-cache" and "no-cache" in request.headers.get("Cache-Control", "")
        cached = request.method == "GET" and self.keep != "nothing" and not asks_anew
        if cached and target in self.kept:
            self.hits += 1
            status, content = self.kept[target]
            return web.Response(status=status, body=content, content_type="application/json")
        names = ("Authorization", "Accept", "Content-Type")
        headers = {name: request.headers[name] for name in names if name in request.headers}
        url = self.shop.base_url.removesuffix("/v1") + target
        async with self.http.request(request.method, url, data=body or None, headers=headers) as made:
            content = await made.read()
        if cached:
            self.kept[target] = made.status, content
        return web.Response(status=made.status, body=content, content_type="application/json")

    def session(self, **kwargs: Any) -> AsyncSession:
        return AsyncSession(self.shop.api_key, shop_id=38, base_url=self.base_url, clock=InstantClock(), **kwargs)


@asynccontextmanager
async def between(shop: Sandbox, **how: Any) -> AsyncIterator[Between]:
    async with AsyncExitStack() as stack:
        made = Between(shop, await stack.enter_async_context(aiohttp.ClientSession()), **how)
        runner = web.ServerRunner(web.Server(made.handle))
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        made.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        yield made


async def ids_of(session: AsyncSession, **how: Any) -> list[int]:
    async with aclosing(iter_customers(session, **how)) as customers:
        return [customer.id async for customer in customers]


# --- a cache that goes by the URL


@pytest.mark.parametrize("mode", ["both", "query"])
async def test_a_cache_by_the_url_mixes_up_neither_pages_nor_filters(mode: ListParams) -> None:
    """Every page, size, order and filter has a URL of its own, so a cache answers each question as it should."""
    async with Sandbox(PEOPLE) as shop, between(shop, keep="by URL") as cache, cache.session(list_params=mode) as s:
        everybody = [customer.id for customer in PEOPLE]
        for _ in range(2):
            assert everybody == await ids_of(s, per_page=10)
            assert everybody[::-1] == await ids_of(s, per_page=10, order_direction="desc")
            assert everybody[::2] == await ids_of(s, per_page=10, email="ann")
            assert everybody[1::2] == await ids_of(s, per_page=10, email="bob")
            assert [] == await ids_of(s, per_page=10, email="nobody")
            assert [3] == [customer.id for customer in (await get_customers(s, id=3, per_page=10)).data]
            assert await find_customer(s, email="zz-nobody") is None
        assert len(cache.kept) == cache.hits


async def test_a_cache_by_the_url_is_noticed_where_all_travels_in_the_body() -> None:
    """A page that a cache answers for another is refused, with a hint at what to do."""
    async with Sandbox(PEOPLE) as shop, between(shop, keep="by URL") as cache:
        async with cache.session(list_params="body") as session:
            with pytest.raises(PaginationError, match="list_params='both'"):
                await ids_of(session, per_page=10)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("keep", ["by URL", "by URL unless no-cache"])
@pytest.mark.parametrize("loses", [None, "drop_before", "drop_after", "error_500"])
async def test_a_cache_makes_no_reference_two_edits(mode: ListParams, keep: Any, loses: Any) -> None:
    """One reference is one edit, however long a cache keeps a ledger."""
    async with Sandbox(PEOPLE) as shop, between(shop, keep=keep) as cache, cache.session(list_params=mode) as session:
        assert [] == await get_customer_balance_transactions(session, 7)  # now the cache holds an empty ledger
        if loses is not None:
            shop.fail_next(loses, method="POST")
        for _ in range(3):
            with suppress(UnknownOutcomeError):
                await edit_customer_balance(session, 7, "5.00", reference="gift")
        assert ["[ref:gift]"] == [line.description for line in shop.transactions(7)]
        assert shop.transactions(7)[0] == await find_balance_edit(session, 7, "gift")


async def test_a_reference_asks_for_its_ledger_anew_each_time() -> None:
    """Each request for a ledger with a reference has a nonce of its own and says no-cache; other reads do not."""
    async with raw_server(answer([])) as server:
        for mode in MODES:
            async with server.session(list_params=mode) as session:
                await find_balance_edit(session, 7, "r")
                await find_balance_edit(session, 7, "r")
                await get_customer_balance_transactions(session, 7)
    fresh = [heard for heard in server.heard if "?" in heard.target]
    nonces = [re.fullmatch(r"/v1/shops/38/customers/7/balance-transactions\?_=([0-9a-f]{16})", h.target) for h in fresh]
    assert 6 == len({match[1] for match in nonces if match})
    assert ["no-cache"] * 6 == [heard.headers.get("cache-control") for heard in fresh]
    others = [heard for heard in server.heard if heard not in fresh]
    assert [None] * 3 == [heard.headers.get("cache-control") for heard in others]
    assert [b""] * 9 == [heard.body for heard in server.heard]


@pytest.mark.parametrize("mode", MODES)
async def test_every_page_of_a_ledger_is_asked_for_where_lists_are(mode: ListParams) -> None:
    """The page of a ledger stands in body and query, or in the one that the session names, beside the nonce."""
    lines = [{"id": number, "amount": "1", "description": None, "created_at": None} for number in (2, 1)]
    pages = [page_of(lines[n - 1 : n], n, last=2, per_page=1, total=2) for n in (1, 2)]
    async with raw_server(*map(answer, pages)) as server, server.session(list_params=mode) as session:
        assert await find_balance_edit(session, 7, "r") is None
    first, second = carried(server)
    assert (["_"], {}) == ([*first[0]], first[1])
    in_query = {name: text for name, text in second[0].items() if name != "_"}
    assert ({"page": "2"} if mode != "body" else {}) == in_query
    assert ({"page": 2} if mode != "query" else {}) == second[1]
    assert first[0]["_"] != second[0]["_"]


# --- a proxy that drops bodies, or the query


@pytest.mark.parametrize("mode", ["both", "query"])
async def test_a_proxy_that_drops_bodies_takes_no_filter_with_it(mode: ListParams) -> None:
    """Filters arrive through a proxy that drops bodies, where the echo of the page would match anyhow."""
    async with Sandbox(PEOPLE) as shop, between(shop, drops="bodies") as proxy:
        async with proxy.session(list_params=mode) as session:
            assert [] == (await get_customers(session, per_page=10, email="zz-nobody")).data
            assert [customer.id for customer in PEOPLE[::2]] == await ids_of(session, per_page=10, email="ann")
            path: list[str | int] = ["shops", 38, "customers"]
            pages = paginate(session, path, Customer, per_page=10, params={"email": "ann3@"})
            assert [[3]] == [[customer.id for customer in page.data] async for page in pages]
            assert PEOPLE[2] == await find_customer(session, email="ann3@example.com")


@pytest.mark.parametrize("mode", ["both", "body"])
async def test_a_proxy_that_drops_the_query_changes_nothing(mode: ListParams) -> None:
    """Everything arrives in the body through a proxy that drops the query."""
    async with Sandbox(PEOPLE) as shop, between(shop, drops="queries") as proxy:
        async with proxy.session(list_params=mode) as session:
            assert [customer.id for customer in PEOPLE[::2]] == await ids_of(session, per_page=10, email="ann")
            edit = await edit_customer_balance(session, 7, 1, reference="r")
            assert not edit.replayed
            assert (await edit_customer_balance(session, 7, 1, reference="r")).replayed


HINTS = [
    ("both", r"\(likely a cache, or a server that ignores the parameters in body and query alike\)$"),
    ("body", r"\(likely a proxy that drops the body of a GET: try AsyncSession\(list_params='both'\)\)$"),
    ("query", r"\(likely a server or a proxy that ignores the query: try AsyncSession\(list_params='both'\)\)$"),
]


@pytest.mark.parametrize(("mode", "hint"), HINTS)
async def test_the_hint_of_a_pagination_error_follows_the_mode(mode: ListParams, hint: str) -> None:
    """The hint never names the mode in use, and is the same for lists, walks and ledgers."""
    wrong = answer(page_of([CUSTOMER], 1, last=3, per_page=100, total=300))
    odd = answer(page_of([CUSTOMER | {"id": 9}, CUSTOMER], 1))
    line = {"id": 1, "amount": "1", "description": None, "created_at": None}
    ledger = answer(page_of([line], 1, last=2, per_page=1, total=2))
    asked: list[tuple[bytes, Callable[[AsyncSession], Any]]] = [
        (wrong, lambda s: get_customers(s, page=2)),
        (wrong, lambda s: ids_of(s, start_page=2)),
        (odd, ids_of),
        (wrong, lambda s: anext(iter_customer_pages(s, start_page=2))),
        (wrong, lambda s: anext(paginate(s, ["x"], Customer, start_page=2))),
        (ledger, lambda s: get_customer_balance_transactions(s, 7)),
        (ledger, lambda s: edit_customer_balance(s, 7, 1, reference="r")),
        (ledger, lambda s: find_balance_edit(s, 7, "r")),
    ]
    for behaviour, ask in asked:
        async with raw_server(behaviour) as server, server.session(list_params=mode) as session:
            with pytest.raises(PaginationError, match=hint):
                await ask(session)
    capped = answer(page_of([], per_page=50))
    async with raw_server(capped) as server, server.session(list_params=mode) as session:
        with pytest.raises(PaginationError, match=r"\(a cap on the page size, or " + hint[2:]):
            await get_customers(session)


# --- parameters in the body and in the query


def carried(server: RawServer) -> list[tuple[dict[str, str], dict[str, Any]]]:
    """The query and the body of each request."""
    return [
        (dict(parse_qsl(urlsplit(heard.target).query, keep_blank_values=True)), heard.json if heard.body else {})
        for heard in server.heard
    ]


def test_what_a_query_cannot_say_travels_in_the_body_alone() -> None:
    """Lists, objects, null and floats are sent in the body alone; all else in both, with a boolean as 1 or 0."""
    exact = {"perPage": 10, "text": "a&b=ü", "yes": True, "no": False, "exact": Decimal("1.50")}
    body_only = {"list": [1], "object": {"a": 1}, "null": None, "float": 1.5, "tuple": (1, 2)}
    request = make_list_request(["x"], exact | body_only, list_params="both")
    query = {"perPage": "10", "text": "a&b=ü", "yes": "1", "no": "0", "exact": "1.50"}
    assert query == dict(parse_qsl(request.query))
    assert {**exact, **body_only, "tuple": [1, 2]} == request.json
    assert "" == make_list_request(["x"], exact | body_only, list_params="body").query
    for name, value in body_only.items():
        with pytest.raises(TypeError, match=rf"^params\['{name}'\] must be a str, int, bool or finite Decimal"):
            make_list_request(["x"], {**exact, name: value}, list_params="query")


@pytest.mark.parametrize("mode", MODES)
def test_pages_differ_in_their_number_alone(mode: ListParams) -> None:
    """A walk requests each page as a request for that page alone would."""
    params: dict[str, object] = {"perPage": 10, "email": "a b&c", "deep": [1]} if mode != "query" else {"perPage": 10}
    request_of = make_list_requests(["shops", 38, "x"], params, list_params=mode, route="/r")
    for number in (1, 2, 17):
        assert make_list_request(
            ["shops", 38, "x"], {"page": number, **params}, list_params=mode, route="/r"
        ) == request_of(number)


async def test_a_list_that_is_changed_while_it_is_walked_is_asked_for_as_it_began() -> None:
    """Every page is asked for with the parameters that were checked, though the caller changes theirs."""
    async with (
        raw_server(
            answer(page_of([CUSTOMER], 1, last=2, per_page=1, total=2)),
            answer(page_of([CUSTOMER | {"id": 8}], 2, last=2, per_page=1, total=2)),
            answer(page_of([], 3, last=2, per_page=1, total=2)),
        ) as server,
        server.session() as session,
    ):
        deep = ["paid"]
        params: dict[str, object] = {"status": deep, "q": "x"}
        async for _ in paginate(session, ["x"], Customer, per_page=1, params=params, key=lambda row: row.id):
            deep.append("late")
            params["q"] = "y"
    assert [(["paid"], "x", "x")] * 3 == [(body["status"], body["q"], query["q"]) for query, body in carried(server)]


# --- the sandbox reads both, as Laravel does


async def test_the_body_wins_over_the_query(shop: Sandbox) -> None:
    """A name in both counts as in the body, null included; a nonce and other unknown names are ignored."""
    url = f"{shop.base_url}/shops/38/customers"
    headers = {"Authorization": f"Bearer {shop.api_key}", "Accept": "application/json"}
    asked: list[tuple[str, dict[str, Any], tuple[int, int]]] = [
        ("?page=2&perPage=20", {"page": 3, "perPage": 30}, (3, 30)),
        ("?page=2&perPage=20", {"page": 3}, (3, 20)),
        ("?page=2&perPage=20&_=0123456789abcdef", {}, (2, 20)),
        ("?page=2&perPage=20", {"perPage": None}, (2, 10)),
        ("?page=2&perPage=20", {"perPage": ""}, (2, 10)),
        ("?_=1", {"page": 2, "_": 2, "other": [1]}, (2, 10)),
        ("?page=x", {"page": 2}, (2, 10)),
    ]
    async with aiohttp.ClientSession(headers=headers) as http:
        for query, body, expected in asked:
            async with http.get(url + query, json=body) as got:
                page = await got.json()
            assert expected == (page["current_page"], page["per_page"]), (query, body)
        async with http.get(f"{url}/{shop.customers()[0].id}/balance-transactions?_=1") as got:
            assert [] == await got.json()


async def test_a_sandbox_behind_a_dropped_body_answers_from_the_query() -> None:
    """The fault ignore_body leaves the query, as a proxy does."""
    with Sandbox(PEOPLE, faults=[Fault("ignore_body")]) as shop:
        async with shop.session() as session:
            assert [] == (await get_customers(session, per_page=10, email="zz-nobody")).data
        assert ["zz-nobody"] == [request.query["email"] for request in shop.requests]


async def test_nothing_of_a_filter_is_logged(shop: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """No filter and no URL stands in the log."""
    with caplog.at_level(logging.DEBUG, "shopsdk"):
        async with shop.session() as session:
            await get_customers(session, email="secret-person@example.com")
            assert await find_customer(session, email="secret-person@example.com") is None
    assert caplog.records
    assert "secret-person" not in caplog.text
