"""Errors of the sandbox: keys, routes, verbs, rate limits, and callers that did not ask for JSON."""

import asyncio
import io
import logging
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from shopsdk import RateLimit
from shopsdk.sandbox import Sandbox
from shopsdk.sandbox._message import HTTPError
from shopsdk.sandbox._store import Store
from shopsdk.sandbox._throttle import Throttle

JSON = {"Accept": "application/json"}
KEY = {"Authorization": "Bearer sandbox-key"}


@pytest.fixture(scope="module")
def shop() -> Iterator[Sandbox]:
    with Sandbox(3) as shop:
        yield shop


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as client:
        yield client


WRONG_KEYS = [None, "", "Bearer", "Bearer ", "Bearer wrong", "Bearer sandbox-key2", "bearer sandbox-key",
              "Basic sandbox-key", "sandbox-key", "Bearer schlüssel"]  # fmt: skip


@pytest.mark.parametrize("authorization", WRONG_KEYS)
@pytest.mark.parametrize(
    "path", ["/shops/38/customers", "/shops/99/customers", "/nowhere", "/shops/38/customers/1/balance"]
)
async def test_key_comes_first(
    shop: Sandbox, client: aiohttp.ClientSession, path: str, authorization: str | None
) -> None:
    """A request without the key is a 401, whatever else is wrong with it."""
    headers = JSON if authorization is None else JSON | {"Authorization": authorization}
    async with client.delete(shop.base_url + path, headers=headers) as response:
        assert response.status == 401
        assert await response.json() == {"message": "Unauthenticated."}


async def test_key_of_no_text(shop: Sandbox) -> None:
    """A key of bytes that are no text is a 401."""
    host, port = shop.base_url.removeprefix("http://").removesuffix("/v1").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"GET /v1/shops/38/customers HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: a/json\r\nConnection: close\r\n"
    writer.write(head.encode() + b"Authorization: Bearer \xff\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 401 ")
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/shops/38",
        "/shops/38/customer",
        "/shops/38/customers/1/nothing",
        "/shops/38/customers/1/balance/2",
        "/shops//customers",
    ],
)
async def test_unknown_route(shop: Sandbox, client: aiohttp.ClientSession, path: str) -> None:
    """A path that the API does not have is a 404."""
    async with client.get(shop.base_url + path, headers=JSON | KEY) as response:
        assert (response.status, await response.json()) == (404, {"message": ""})


@pytest.mark.parametrize(
    ("method", "path", "supported"),
    [
        ("DELETE", "/shops/38/customers", "GET, HEAD"),
        ("POST", "/shops/38/customers/1001", "GET, HEAD"),
        ("POST", "/shops/38/customers/1001/balance-transactions", "GET, HEAD"),
        ("GET", "/shops/38/customers/1001/balance", "POST, PUT"),
        ("PATCH", "/shops/38/customers/1001/affiliate-code", "PUT"),
        ("DELETE", "/shops/99/customers", "GET, HEAD"),
    ],
)
async def test_wrong_verb(shop: Sandbox, client: aiohttp.ClientSession, method: str, path: str, supported: str) -> None:
    """A verb that a route does not have is a 405 that names those it has."""
    async with client.request(method, shop.base_url + path, headers=JSON | KEY) as response:
        assert response.status == 405
        assert response.headers["Allow"] == supported
        message = f"The {method} method is not supported for this route. Supported methods: {supported}."
        assert await response.json() == {"message": message}


async def test_unknown_shop(shop: Sandbox, client: aiohttp.ClientSession) -> None:
    """Another shop's id is a 404, before parameters are looked at."""
    for number in ("39", "038", "x"):
        url = f"{shop.base_url}/shops/{number}/customers/1001"
        async with client.get(url, params={"perPage": 1000}, headers=JSON | KEY) as response:
            answer = {"message": f"No query results for model [Shop] {number}"}
            assert (response.status, await response.json()) == (404, answer)


async def test_trailing_slash(shop: Sandbox, client: aiohttp.ClientSession) -> None:
    """A trailing slash leads to the same route, and is not in the paginator's links."""
    async with client.get(f"{shop.base_url}/shops/38/customers/", headers=JSON | KEY) as response:
        assert (await response.json())["path"] == f"{shop.base_url}/shops/38/customers"


ACCEPTS_HTML = ["*/*", "text/html, application/json", "application/json;q=0.5, text/html", "text/html", "image/*"]
ACCEPTS_JSON = [
    "application/json",
    "application/json, text/html",
    "text/html;q=0.9, application/vnd.api+json",
    "application/json;q=nonsense, a/json",
]


@pytest.mark.parametrize("accept", ACCEPTS_HTML)
async def test_errors_for_browsers(shop: Sandbox, client: aiohttp.ClientSession, accept: str) -> None:
    """A caller that did not put JSON first gets the redirects and the pages of the real stack."""
    html = {"Accept": accept, "Referer": "http://127.0.0.1/form"}
    url = f"{shop.base_url}/shops/38/customers"
    async with client.get(url, headers=html | KEY, params={"perPage": 0}, allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "http://127.0.0.1/form")
        assert response.content_type == "text/html"
    async with client.get(url, headers=html, allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "/login")
    async with client.get(f"{url}/1", headers=html | KEY, allow_redirects=False) as response:
        assert (response.status, response.content_type) == (404, "text/html")
    async with client.get(url, headers=html | KEY) as response:
        assert (response.status, response.content_type) == (200, "application/json")


@pytest.mark.parametrize("accept", ACCEPTS_JSON)
async def test_errors_for_programs(shop: Sandbox, client: aiohttp.ClientSession, accept: str) -> None:
    """A caller that put JSON first gets errors as JSON."""
    url = f"{shop.base_url}/shops/38/customers"
    async with client.get(
        url, headers=KEY | {"Accept": accept}, params={"perPage": 0}, allow_redirects=False
    ) as response:
        assert (response.status, response.content_type) == (422, "application/json")


async def test_errors_for_scripts_in_a_page(shop: Sandbox, client: aiohttp.ClientSession) -> None:
    """An XMLHttpRequest that takes any type gets errors as JSON."""
    ajax = {"X-Requested-With": "XMLHttpRequest", "Accept": "*/*"}
    async with client.get(f"{shop.base_url}/shops/38/customers", headers=ajax) as response:
        assert (response.status, response.content_type) == (401, "application/json")


async def test_rate_limit(client: aiohttp.ClientSession) -> None:
    """Requests beyond the limit are 429, and each answer has the state of the limit."""
    with Sandbox(3, rate_limit=RateLimit(2, 3600)) as shop:
        url = f"{shop.base_url}/shops/38/customers"
        answers: list[tuple[int, str]] = []
        for path in ("", "/1", ""):
            async with client.get(url + path, headers=JSON | KEY) as response:
                assert response.headers["X-RateLimit-Limit"] == "2"
                answers.append((response.status, response.headers["X-RateLimit-Remaining"]))
        assert answers == [(200, "1"), (404, "0"), (429, "0")]
        async with client.get(url, headers=JSON | KEY) as response:
            assert (response.status, await response.json()) == (429, {"message": "Too Many Attempts."})
            assert 3590 <= int(response.headers["Retry-After"]) <= 3600
            assert int(response.headers["X-RateLimit-Reset"]) > 1_700_000_000
        async with client.get(url, headers=JSON) as response:
            assert response.status == 401, "a missing key is a 401 before it is a 429"
            assert response.headers["X-RateLimit-Remaining"] == "0"


async def test_no_rate_limit(shop: Sandbox, client: aiohttp.ClientSession) -> None:
    """No answer names a limit if there is none."""
    async with client.get(f"{shop.base_url}/shops/38/customers", headers=JSON | KEY) as response:
        assert not [name for name in response.headers if name.startswith("X-RateLimit")]


def test_window_is_fixed() -> None:
    """The window begins with its first request and has a fixed length; refused requests do not count."""
    now = 100.0
    throttle = Throttle(RateLimit(2, 60), lambda: now)
    throttle.hit()
    now = 130.5
    throttle.hit()
    now = 131.0
    with pytest.raises(HTTPError):
        throttle.hit()
    now = 159.5
    with pytest.raises(HTTPError) as caught:
        throttle.hit()
    assert caught.value.headers["Retry-After"] == "1", "half a second is rounded up to a whole one"
    assert throttle.headers()["X-RateLimit-Remaining"] == "0"
    now = 160.0
    assert throttle.headers()["X-RateLimit-Remaining"] == "2"
    throttle.hit()
    throttle.hit()
    with pytest.raises(HTTPError):
        throttle.hit()


async def test_a_mistake_of_the_sandbox_is_a_500_and_logged(
    shop: Sandbox, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug in the sandbox is a 500, and its traceback is logged."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Store, "page", broken)
    with caplog.at_level(logging.ERROR, "shopsdk.sandbox"):
        async with client.get(f"{shop.base_url}/shops/38/customers", headers=JSON | KEY) as response:
            assert (response.status, await response.json()) == (500, {"message": "Server Error"})
    assert "ZeroDivisionError" in caplog.text


async def test_oversized_body_is_refused(shop: Sandbox, client: aiohttp.ClientSession) -> None:
    """A body of more than 1 MiB is a 413."""
    url = f"{shop.base_url}/shops/38/customers/1001/balance"
    async with client.post(url, data=io.BytesIO(b"x" * (2 * 2**20)), headers=JSON | KEY) as response:
        assert response.status == 413
