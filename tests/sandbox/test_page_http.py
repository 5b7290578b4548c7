"""The sandbox's page over plain HTTP: who may load it, what it may do, and that it changes nothing."""

import asyncio
import base64
import hashlib
import http.client
import importlib.resources
import json
import re
import socket
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shopsdk import Customer, RateLimit, RetryPolicy, TransportError, edit_customer_balance, get_customers
from shopsdk.sandbox import Fault, RecordedRequest, Sandbox
from shopsdk.sandbox._requests import RequestLog
from tests.sandbox.test_shared_machine import WRONG_HOSTS

ADA = Customer(id=7, email="ada@example.com", balance=None)
PATHS = ["/", "/_sandbox/requests", "/_sandbox/shops/38/customers", "/_sandbox/shops/38/customers/7"]
NUMBERS = [
    "9" * 5000,
    "-" + "9" * 5000,
    str(2**63),
    "-1",
    "1e3",
    "\u0663",
    "\u00b2",
    "\0",
    "7\0",
    "",
    " 7",
    "0x7",
    "7.0",
]
"""Texts in the place of a number; ``int`` refuses the first two for their length alone."""


async def ask(
    shop: Sandbox, target: str = "/", *lines: str, method: str = "GET", body: str = ""
) -> tuple[int, dict[str, str], bytes]:
    """Send a request as a browser does, or with these header lines; return status (0: none), headers and body."""
    port = int(shop.base_url.split(":")[2].split("/")[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = lines if any(line.startswith("Host") for line in lines) else ("Host: 127.0.0.1:{port}", *lines)
    head = "\r\n".join((f"{method} {target} HTTP/1.1", *lines, "Connection: close", "\r\n"))
    try:
        writer.write(head.replace("{port}", str(port)).encode() + body.encode())
        answer = await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
    start, _, content = answer.partition(b"\r\n\r\n")
    status, *headers = start.decode().split("\r\n")
    return int((status.split() or "00")[1]), dict(header.split(": ", 1) for header in headers), content


async def load(shop: Sandbox, path: str) -> Any:
    status, _, body = await ask(shop, f"/_sandbox/{path}")
    assert 200 == status, body
    return json.loads(body)


@pytest.mark.parametrize("path", [*PATHS, "/_sandbox/", "/_sandbox/nothing", "/_sandbox/shops/39/customers"])
async def test_every_answer_is_fenced_in(path: str) -> None:
    """Each answer forbids the browser to keep it, to guess its type, and to show or load anything but itself."""
    with Sandbox([ADA]) as shop:
        _, headers, _ = await ask(shop, path)
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert ("'none'", "'self'") == (policy["default-src"], policy["connect-src"])
    assert {"'none'"} == {policy[name] for name in ("frame-ancestors", "base-uri", "form-action", "trusted-types")}
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert ("nosniff", "no-referrer") == (headers["X-Content-Type-Options"], headers["Referrer-Policy"])
    assert ("same-origin", "no-store") == (headers["Cross-Origin-Resource-Policy"], headers["Cache-Control"])
    assert not any(name.lower().startswith("access-control") for name in headers)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    "target",
    [
        "requests?after={}",
        "shops/38/customers?page={}",
        "shops/38/customers?id={}",
        "shops/38/customers/7?page={}",
        "shops/38/customers/{}",
        "shops/{}/customers",
        "shops/{}/customers/7",
    ],
)
async def test_a_number_that_is_none_is_answered_as_any_other(target: str, number: str) -> None:
    """The answer is one of the page's own, with its headers, whatever stands in the place of a number."""
    with Sandbox([ADA]) as shop:
        status, headers, body = await ask(shop, f"/_sandbox/{target.format(quote(number))}")
    assert status in {200, 404, 422}
    assert {"Content-Security-Policy", "X-Content-Type-Options"} < headers.keys()
    assert isinstance(json.loads(body), dict)


async def test_a_bug_of_the_page_is_a_500_within_its_fence(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure of the page's own is logged, and answered 500 with the headers of every other answer."""

    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("shopsdk.sandbox._page.PageData.requests", fail)
    with Sandbox([ADA]) as shop:
        status, headers, body = await ask(shop, "/_sandbox/requests")
    assert (500, "no-store") == (status, headers["Cache-Control"])
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert b"a bug" not in body
    assert "a bug" in caplog.text


async def test_the_page_is_one_file_that_names_no_other_address() -> None:
    """The page is the file of the package. Its policy admits its own script and style, and it names no other."""
    with Sandbox([ADA]) as shop:
        status, headers, body = await ask(shop)
        _, head, nothing = await ask(shop, method="HEAD")
    assert (200, "text/html") == (status, headers["Content-Type"])
    assert (str(len(body)), b"") == (head["Content-Length"], nothing)
    text = importlib.resources.files("shopsdk.sandbox").joinpath("page.html").read_text(encoding="utf-8")
    assert text.encode() == body
    for element in ("script", "style"):
        (content,) = re.findall(f"<{element}>(.*?)</{element}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in headers["Content-Security-Policy"]
    assert ["http://www.w3.org/2000/svg"] == re.findall(r"\w+://[^'\"\s`$]+", text), "a name, which nobody loads"
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|<[^>]* on\w+=", text)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("lines", WRONG_HOSTS)
async def test_a_page_whose_name_leads_here_sees_nothing(lines: tuple[str, ...], path: str) -> None:
    """A request for another host is refused, for the page as for the API (DNS rebinding)."""
    with Sandbox([ADA]) as shop:
        status, _, body = await ask(shop, path, *(lines or ("Host-Less: 1",)))
        assert status in {400, 421}
        assert b"ada@example.com" not in body
        assert b"Customers" not in body
        assert status == 400 or [] == shop.requests


FOREIGN = [
    ("Origin: https://evil.example",),
    ("Origin: http://localhost:{port}",),  # another origin than 127.0.0.1
    ("Origin: http://127.0.0.1",),
    ("Origin: https://127.0.0.1:{port}",),
    ("Origin: null",),
    ("Origin: ",),
    ("Sec-Fetch-Site: cross-site",),
    ("Sec-Fetch-Site: same-site",),
    ("Sec-Fetch-Site: same-origin", "Origin: https://evil.example"),
    ("Sec-Fetch-Site: cross-site", "Origin: http://127.0.0.1:{port}"),
    ("Sec-Fetch-Site: anything",),
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("lines", FOREIGN)
async def test_another_site_sees_nothing(lines: tuple[str, ...], path: str) -> None:
    """A request that a browser makes for another site is refused."""
    with Sandbox([ADA]) as shop:
        status, headers, body = await ask(shop, path, *lines)
        assert 403 == status
        assert headers["Content-Type"].startswith("text/plain" if path == "/" else "application/json")
        assert b"ada@example.com" not in body


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("Sec-Fetch-Site: none",),
        ("Sec-Fetch-Site: same-origin", "Origin: http://127.0.0.1:{port}"),
        ("Host: LocalHost:{port}", "Origin: http://localhost:{port}"),
        ("Host: [::1]:8080",),
    ],
)
async def test_the_page_s_own_requests_are_answered(lines: tuple[str, ...], path: str) -> None:
    """The page is there under any name of this machine, and its own requests are answered."""
    with Sandbox([ADA]) as shop:
        assert 200 == (await ask(shop, path, *lines))[0]
        assert 200 == (await ask(shop, path, *lines, method="HEAD"))[0]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", [*PATHS, "/_sandbox/nothing"])
async def test_the_page_takes_no_verb_that_changes(method: str, path: str) -> None:
    """Anything but GET and HEAD is answered 405."""
    with Sandbox([ADA]) as shop:
        status, headers, body = await ask(shop, path, method=method)
        assert (405, "GET, HEAD") == (status, headers["Allow"])
        assert b"ada@example.com" not in body


VERBS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
PIECES = st.sampled_from(
    ["shops", "38", "customers", "7", "balance", "affiliate-code", "requests", "..", "%2e", "", "v1", "%00", "%D9%A3"]
)
QUERIES = st.dictionaries(
    st.sampled_from(["page", "perPage", "orderColumn", "orderDirection", "email", "id", "after", "amount", "page[]"]),
    st.text(max_size=8) | st.integers().map(str) | st.sampled_from(NUMBERS),
    max_size=3,
).filter(lambda query: sum(map(len, query.values())) < 7000)  # aiohttp itself refuses a longer line


def test_nothing_changes_whatever_is_asked_of_the_page() -> None:
    """No verb, path or query under the page's prefix changes the shop, fails in the sandbox, or is recorded."""
    with Sandbox([ADA, Customer(id=8, email="bob@example.com", balance=Decimal(5))]) as shop:
        before = (shop.customers(), shop.transactions(7), shop.transactions(8))
        connection = http.client.HTTPConnection(shop.base_url.split("/")[2])

        @given(VERBS, st.lists(PIECES, max_size=5), QUERIES)
        def ask_anything(method: str, pieces: list[str], query: dict[str, str]) -> None:
            text = "&".join(f"{quote(name)}={quote(value, errors='replace')}" for name, value in query.items())
            connection.request(method, f"/_sandbox/{'/'.join(pieces)}?{text}", body=b'{"amount": 5}')
            response = connection.getresponse()
            response.read()
            assert response.status in ({200, 404, 422} if method in {"GET", "HEAD"} else {405})

        with closing(connection):
            ask_anything()
        assert before == (shop.customers(), shop.transactions(7), shop.transactions(8))
        assert [] == shop.requests


async def test_the_page_meets_no_fault_no_latency_and_no_limit() -> None:
    """The page is served beside the API: no fault hits it or counts it, nothing delays it, and it uses up no limit."""
    faults = [Fault("drop_before", first=1), Fault("rate_limit", first=1)]
    limit = RateLimit(max_requests=1, per_seconds=3600)
    with Sandbox([ADA], faults=faults, latency=3600, rate_limit=limit) as shop:
        for path in PATHS:
            status, headers, _ = await ask(shop, path)
            assert 200 == status
            assert "X-RateLimit-Limit" not in headers
        asking = asyncio.create_task(ask(shop, "/v1/shops/38/customers", "Authorization: Bearer sandbox-key"))
        while not shop.requests:
            await asyncio.sleep(0.001)
        assert "drop_before" == shop.requests[0].fault
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def test_the_api_is_what_it_was() -> None:
    """The paths beside the page are the API's, and its requests are recorded; without a key they are a 401."""
    with Sandbox([ADA]) as shop:
        for path in ("/v1", "/v1/", "//", "/_sandbox", "/v1/_sandbox/requests", "/index.html"):
            status, headers, _ = await ask(shop, path, "Accept: application/json")
            assert (401, path) == (status, shop.requests[-1].path)
            assert "Content-Security-Policy" not in headers


@pytest.mark.parametrize("path", ["/v1/shops/38/customers", "/login", "/anything"])
async def test_a_foreign_page_reaches_no_fault_and_no_log(path: str) -> None:
    """What a browser asks for a page of another site is refused: it takes no fault, and fills no log."""
    with Sandbox([ADA], faults=[Fault("drop_before", first=1)]) as shop:
        for site in ("cross-site", "same-site"):
            status, _, _ = await ask(shop, path, f"Sec-Fetch-Site: {site}")
            assert 403 == status
        status, _, _ = await ask(shop, "/favicon.ico")  # a browser asks for it by itself
        assert 404 == status
        assert [] == shop.requests
        async with shop.session(retry=RetryPolicy(attempts=1)) as session:
            with pytest.raises(TransportError):  # the fault is still there
                await get_customers(session)


async def test_no_part_of_a_key_is_shown_however_it_is_quoted() -> None:
    """The secret part of a key is masked alone too, and where it was quoted twice."""
    key = "12345|Sb3Qx9secretpart"
    with Sandbox([ADA], api_key=key) as shop:
        for target in (
            f"/v1/{quote(quote(key))}",
            "/v1/x?token=Sb3Qx9secretpart",
            f"/v1/x?{quote(key)}=1&a=b%7C{key[6:]}",
        ):
            await ask(shop, target)
        _, _, body = await ask(shop, "/_sandbox/requests")
        assert b"***" in body
        assert b"Sb3Qx9" not in body


async def test_the_key_is_in_nothing_that_the_page_loads() -> None:
    """Neither the page nor its data hold the key, even where a program has sent it in a URL."""
    key = "sandbox|key/4711"
    with Sandbox([ADA], api_key=key) as shop:
        async with shop.session() as session:
            await get_customers(session)
            await edit_customer_balance(session, 7, 5)
        wrong = quote(key)
        await ask(shop, f"/v1/{wrong}?{wrong}={wrong}&again={wrong}")
        for path in PATHS:
            _, headers, body = await ask(shop, path)
            assert "4711" not in str(headers)
            assert b"4711" not in body
            assert b"uthorization" not in body
        (last, *_) = (await load(shop, "requests"))["requests"]
        assert ("/v1/***", [["***", "***"], ["again", "***"]]) == (last["path"], last["parameters"])


@pytest.mark.parametrize("key", ["s", "shops", "/", ".*"])
async def test_a_key_that_is_a_word_is_masked_where_it_stands_alone(key: str) -> None:
    """A key of fewer than 8 characters is masked as a whole segment or value, and leaves other words readable."""
    with Sandbox([ADA], api_key=key) as shop:
        await ask(shop, f"/v1/hops.*s/{quote(key, safe='')}?email={quote(key)}&again=ss")
        (last,) = (await load(shop, "requests"))["requests"]
    parameters = [["email", "***"], ["again", "ss"]]
    assert parameters == last["parameters"]
    if key != "/":
        assert "/v1/hops.*s/***" == last["path"]


# --- what it shows


async def test_customers_come_in_pages() -> None:
    """The page is given 50 customers at a time, by the API's own order and filters; past the last page, the last."""
    with Sandbox(120) as shop:
        everybody = shop.customers()
        first = await load(shop, "shops/38/customers?orderDirection=asc&perPage=100")
        assert [str(customer.id) for customer in everybody[:50]] == [each["id"] for each in first["customers"]]
        assert (1, 3, 120) == (first["page"], first["pages"], first["total"])
        last = await load(shop, f"shops/38/customers?orderDirection=asc&page={2**62}")
        assert (3, 20) == (last["page"], len(last["customers"]))
        assert everybody[-1].email == last["customers"][-1]["email"]
        found = await load(shop, f"shops/38/customers?email={everybody[3].email.upper()}")
        assert [everybody[3].email] == [each["email"] for each in found["customers"]]
        for wrong in ("page=x", "orderColumn=nonsense", "email[]=1"):
            assert 422 == (await ask(shop, f"/_sandbox/shops/38/customers?{wrong}"))[0]
    with Sandbox([]) as shop:
        nobody = await load(shop, "shops/38/customers")
        assert ([], 1, 1, 0) == (nobody["customers"], nobody["page"], nobody["pages"], nobody["total"])


async def test_a_customer_comes_with_its_ledger() -> None:
    """A customer's numbers are exact text, and its ledger comes newest first, 50 lines at a time."""
    ada = Customer(id=2**63 - 1, email="ada@example.com")
    with Sandbox([ada]) as shop:
        path = f"shops/38/customers/{ada.id}"
        empty = await load(shop, path)
        assert ([], 1) == (empty["lines"], empty["pages"])
        async with shop.session() as session:
            for number in range(51):
                await edit_customer_balance(session, ada.id, "0.10", description=str(number))
        first, second = await load(shop, path), await load(shop, f"{path}?page=2")
        assert (str(ada.id), "5.10") == (first["customer"]["id"], first["customer"]["balance"])
        assert [str(number) for number in range(50, 0, -1)] == [line["description"] for line in first["lines"]]
        assert [("0", "0.10")] == [(line["description"], line["amount"]) for line in second["lines"]]
        assert empty["changes"] < first["changes"] == second["changes"]
        for path in ("shops/38/customers/8", "shops/39/customers/8", "shops/39/customers", "shops/x/customers"):
            assert 404 == (await ask(shop, f"/_sandbox/{path}"))[0]


async def test_each_shop_has_customers_of_its_own() -> None:
    """The page is given the shops' ids, and for each its own customers alone."""
    with Sandbox(3, shop_id=[38, 39]) as shop:
        assert ["38", "39"] == (await load(shop, "requests"))["shops"]
        for shop_id in shop.shop_ids:
            found = await load(shop, f"shops/{shop_id}/customers?orderDirection=asc")
            assert [str(each.id) for each in shop.customers(shop_id=shop_id)] == [
                each["id"] for each in found["customers"]
            ]
        theirs = shop.customers(shop_id=39)[0].id
        assert 404 == (await ask(shop, f"/_sandbox/shops/38/customers/{theirs}"))[0]


KEY = "sandbox-key-4711"


@pytest.mark.parametrize(
    ("method", "body", "shown"),
    [
        ("POST", '{"amount": -12.50, "description": "refund"}', [["amount", "-12.50"], ["description", "refund"]]),
        ("PUT", '{"amount": "5", "reason": "unknown to the shop"}', [["amount", "5"]]),
        ("PUT", '{"affiliate_code": null}', [["affiliate_code", "null"]]),
        ("POST", '{"amount": true, "description": [1]}', [["amount", "true"]]),
        ("POST", f'{{"amount": {"9" * 4000}}}', [["amount", "9" * 4000]]),
        ("POST", f'{{"amount": {"9" * 5000}}}', []),
        ("POST", f'{{"description": "{"x" * 4096}"}}', []),
        ("POST", f'{{"description": "with {KEY}"}}', [["description", "with ***"]]),
        ("POST", '["amount"]', []),
        ("POST", "no JSON", []),
        ("POST", "", []),
        ("GET", '{"amount": 1}', []),  # a list's parameters stand in the query too
    ],
)
async def test_the_fields_of_an_edit_are_shown(method: str, body: str, shown: list[list[str]]) -> None:
    """An edit comes with its amount, description and code beside its query, in a bounded length and without the key."""
    with Sandbox([ADA], api_key=KEY) as shop:
        lines = (f"Authorization: Bearer {KEY}", f"Content-Length: {len(body)}")
        await ask(shop, "/v1/shops/38/customers/7/balance?a=b", *lines, method=method, body=body)
        (last,) = (await load(shop, "requests"))["requests"]
    assert [["a", "b"], *shown] == last["parameters"]


async def test_requests_come_in_increments() -> None:
    """The page is given the requests that came or were answered since it asked, and of many the latest."""
    with Sandbox([ADA]) as shop:
        assert ([], 0) == ((await load(shop, "requests"))["requests"], (await load(shop, "requests"))["version"])
        await ask(shop, "/v1/one?a=1&b=2")
        one = await load(shop, "requests")
        await ask(shop, "/v1/two")
        two = await load(shop, f"requests?after={one['version']}")
        assert [["/v1/one"], ["/v1/two"]] == [[each["path"] for each in news["requests"]] for news in (one, two)]
        (first,) = one["requests"]
        assert ([["a", "1"], ["b", "2"]], 302, None) == (first["parameters"], first["status"], first["fault"])
        assert [] == (await load(shop, f"requests?after={two['version']}"))["requests"]
        assert one["run"] == two["run"]
        for wrong in ("x", "-1", "", "\u00b2", "1e3"):
            assert 2 == len((await load(shop, f"requests?after={quote(wrong)}"))["requests"])
        shop.requests.clear()
        assert 2 == (await load(shop, "requests"))["total"], "a test may empty its own list"
        for number in range(310):
            await ask(shop, f"/v1/{number}")
        many = await load(shop, f"requests?after={two['version']}")
        assert [f"/v1/{number}" for number in range(309, 9, -1)] == [each["path"] for each in many["requests"]]
    with shop:
        assert one["run"] != (await load(shop, "requests"))["run"]


def record(path: str, body: bytes = b"") -> RecordedRequest:
    return RecordedRequest(
        received_at=datetime.now(UTC), method="GET", path=path, route=None, query={}, headers={}, body=body, fault=None
    )


def test_a_request_that_was_given_up_is_not_shown_when_it_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log takes no more memory for the page than the requests that the sandbox keeps."""
    monkeypatch.setattr("shopsdk.sandbox._requests._MAX_REQUESTS", 2)
    log = RequestLog([])
    records = [record(f"/{number}") for number in range(4)]
    for each in records:
        log.add(each)
    log.finish(records[0], 200, 0.5)
    log.finish(records[2], None, 0.5)
    assert [(3, records[2]), (4, records[3])] == list(log.changed_since(0, 10))
    assert [(3, records[2])] == list(log.changed_since(4, 10))
    assert (4, 5) == (log.total, log.version)


async def test_times_of_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorded request says when it came, and how long its answer took once it is sent or its connection dropped."""
    answer = threading.Event()
    monkeypatch.setattr("shopsdk.sandbox._server.Server._pause", lambda *_: asyncio.to_thread(answer.wait))
    with Sandbox([ADA]) as shop:
        before = datetime.now(UTC)
        asking = asyncio.create_task(ask(shop, "/v1/shops/38/customers", "Authorization: Bearer sandbox-key"))
        while not shop.requests:
            await asyncio.sleep(0.001)
        (request,) = shop.requests
        assert (None, None) == (request.status, request.elapsed)
        (waiting,) = (await load(shop, "requests"))["requests"]
        assert (1, None, None) == (waiting["number"], waiting["status"], waiting["elapsed"])
        answer.set()
        await asking
        (done,) = (await load(shop, "requests?after=1"))["requests"]
        assert (1, 200, request.elapsed) == (done["number"], done["status"], done["elapsed"])
        assert timedelta(0) == request.received_at.utcoffset()
        assert before <= request.received_at <= datetime.now(UTC)
        shop.fail_next("drop_after")
        await ask(shop, "/v1/shops/38/customers", "Authorization: Bearer sandbox-key")
        assert shop.requests[-1].status is None
        assert shop.requests[-1].elapsed is not None


@pytest.mark.parametrize("fault", ["slow", "error_500", None])
async def test_an_answer_that_nobody_waited_for_has_no_status(fault: Any) -> None:
    """The change of a client that timed out is recorded without a status: the answer was sent to nobody."""
    faults = [] if fault is None else [Fault(fault, applied=fault == "error_500")]
    body = b'{"amount": 5}'
    head = "POST /v1/shops/38/customers/7/balance HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += f"Authorization: Bearer sandbox-key\r\nContent-Length: {len(body)}\r\n\r\n"
    with Sandbox([ADA], faults=faults, latency=3600) as shop:
        with socket.create_connection(("127.0.0.1", int(shop.base_url.split(":")[2].split("/")[0]))) as client:
            client.sendall(head.encode() + body)
            while not shop.transactions(7):
                await asyncio.sleep(0.001)
        await asyncio.to_thread(shop.close)  # what is held back is answered now
        (request,) = shop.requests
        assert (None, fault) == (request.status, request.fault)
        assert request.elapsed is not None


async def test_the_requests_of_the_page_are_not_recorded() -> None:
    """Only what reaches the API is recorded: no request for the page, refused or not, and no data that is no HTTP."""
    with Sandbox([ADA]) as shop:
        for path in (*PATHS, "/_sandbox/nothing"):
            for method in ("GET", "POST"):
                await ask(shop, path, method=method)
            await ask(shop, path, "Host: evil.example")
        assert 400 == (await ask(shop, "/v1/shops", "Content-Length: x"))[0]
        assert [] == shop.requests
