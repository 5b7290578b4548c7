"""A stream of NDJSON from a FastAPI route: it goes as fast as the browser reads, and ends when the browser leaves."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from shopsdk import Customer, RateLimitedError, iter_customer_pages
from shopsdk.export import to_plain
from shopsdk.sandbox import Fault, Sandbox
from tests.docs.test_web_programs import App, served
from tests.support.needs import need

pytestmark = pytest.mark.slow

PAGES = 120
LARGE = [
    Customer(id=number, email=f"{number}@example.com", discord_username="x" * 1_000)
    for number in range(1, 100 * PAGES + 1)
]
"""12 MB, which is more than the buffers of a connection hold."""


@pytest.fixture
async def app() -> AsyncIterator[tuple[App, Sandbox]]:
    """The app, and a shop that is large."""
    with Sandbox(LARGE) as shop:
        async with served("stream_fastapi.py", shop) as app:
            yield app, shop


async def stands_still(app: App, shop: Sandbox) -> int:
    """Wait until the app asks for no more pages, though it has turns; return for how many it has asked."""
    asked, quiet = -1, 0
    while quiet < 50:
        quiet = quiet + 1 if len(shop.requests) == asked else 0
        asked = len(shop.requests)
        await app.get("/openapi.json")
    return asked


@asynccontextmanager
async def slow_browser(app: App) -> AsyncIterator[aiohttp.ClientResponse]:
    """The stream as it comes to a browser that takes in little before it reads."""

    def make(address: Any) -> socket.socket:
        made = socket.socket(*address[:3])
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        return made

    async with app.client.get("/openapi.json") as answer:
        url = answer.url.with_path("/customers.ndjson")
    connector = aiohttp.TCPConnector(socket_factory=make)
    async with aiohttp.ClientSession(connector=connector, read_bufsize=4_096) as browser, browser.get(url) as answer:
        yield answer


async def test_a_browser_that_reads_slowly_slows_the_walk_down(app: tuple[App, Sandbox]) -> None:
    """While the browser reads nothing, the walk stands still; then every customer arrives, once and in order."""
    there, shop = app
    async with slow_browser(there) as answer:
        assert (200, "application/x-ndjson") == (answer.status, answer.content_type)
        assert await stands_still(there, shop) < PAGES
        rows = [json.loads(line) async for line in answer.content]
    assert [to_plain(customer) for customer in LARGE] == rows


async def test_a_browser_that_leaves_ends_the_walk(app: tuple[App, Sandbox]) -> None:
    """When the browser leaves, no more pages are asked for, and another browser gets all."""
    there, shop = app
    async with slow_browser(there) as answer:
        await answer.content.readline()
        answer.close()
    assert await stands_still(there, shop) < PAGES
    async with there.client.get("/customers.ndjson") as answer:
        assert len(LARGE) == len((await answer.read()).splitlines())


async def test_a_shop_that_fails_before_the_first_row_is_an_error() -> None:
    """A failure before the first row is a 502; a shop without customers is an empty 200."""
    with Sandbox(0) as shop:
        async with served("stream_fastapi.py", shop) as app:
            async with app.client.get("/customers.ndjson") as answer:
                assert (200, b"") == (answer.status, await answer.read())
            shop.fail_next("rate_limit", retry_after=3600)
            assert (502, {"error": "the shop cannot be read: RateLimitedError"}) == await app.get("/customers.ndjson")


async def test_a_shop_that_fails_in_the_middle_breaks_the_stream_off() -> None:
    """A failure in the middle raises in the server, which then ends no body as if it were whole; no task is left."""
    need("fastapi")
    need("uvicorn")
    from tests.programs.stream_fastapi import CustomersResponse

    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    with Sandbox(250, faults=[Fault("rate_limit", every=2, retry_after=3600)]) as shop:
        async with shop.session() as session:
            pages = iter_customer_pages(session)
            with pytest.raises(RateLimitedError):
                await CustomersResponse(await anext(pages), pages)({"type": "http"}, receive, send)
        assert {asyncio.current_task()} == asyncio.all_tasks()
    bodies = [message for message in sent if message["type"] == "http.response.body"]
    assert 100 == b"".join(message["body"] for message in bodies).count(b"\n")
    assert all(message["more_body"] for message in bodies)


async def test_a_browser_that_leaves_takes_the_requests_on_their_way_with_it() -> None:
    """When the browser leaves while the next page is on its way, the request for it is cancelled at once."""
    need("fastapi")
    need("uvicorn")
    from tests.programs.stream_fastapi import CustomersResponse

    read = asyncio.Event()

    async def receive() -> MutableMapping[str, Any]:
        await read.wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.body":
            read.set()
            await asyncio.Event().wait()  # the browser takes no more

    with Sandbox(250, faults=[Fault("slow", every=2, seconds=600)]) as shop:
        async with shop.session() as session:
            pages = iter_customer_pages(session)
            first = await anext(pages)
            await CustomersResponse(first, pages)({"type": "http"}, receive, send)
            assert {asyncio.current_task()} == asyncio.all_tasks()
