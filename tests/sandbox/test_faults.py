"""Faults on request: the requests that they hit, their effect, and whether the change was made."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from shopsdk.sandbox import Fault, Sandbox

HEADERS = {"Authorization": "Bearer sandbox-key", "Accept": "application/json"}
Ask = Any


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    """Send one request, never repeated: aiohttp itself would send a PUT again whose connection died."""
    async with aiohttp.ClientSession(headers=HEADERS) as client:
        client._retry_connection = False

        async def ask(shop: Sandbox, method: str, path: str, **options: Any) -> tuple[int, Any, aiohttp.ClientResponse]:
            async with client.request(method, f"{shop.base_url}/shops/38/customers{path}", **options) as response:
                body = await (response.json() if response.content_type == "application/json" else response.text())
                return response.status, body, response

        yield ask


def booked(shop: Sandbox) -> int:
    return len(shop.transactions(1001))


async def until(seen: Callable[[], bool]) -> None:
    while not seen():  # another thread's doing, which sets no event
        await asyncio.sleep(0)


async def edit(ask: Ask, shop: Sandbox, method: str = "POST") -> tuple[int, Any, aiohttp.ClientResponse]:
    answer: tuple[int, Any, aiohttp.ClientResponse] = await ask(shop, method, "/1001/balance", json={"amount": 1})
    return answer


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("reused", [False, True])
@pytest.mark.parametrize(("kind", "applied"), [("drop_before", 0), ("drop_after", 1)])
async def test_dropped(ask: Ask, method: str, kind: Any, applied: int, *, reused: bool) -> None:
    """A dropped connection carries no answer; ``drop_after`` makes the change, and ``drop_before`` does not."""
    with Sandbox(3) as shop:
        if reused:
            await ask(shop, "GET", "")
        shop.fail_next(kind)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await edit(ask, shop, method)
        assert booked(shop) == applied
        assert (shop.requests[-1].status, shop.requests[-1].fault) == (None, kind)
        assert (await edit(ask, shop, method))[0] == 200
        assert booked(shop) == applied + 1


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize(
    ("kind", "status", "content_type"), [("error_500", 500, "application/json"), ("html_502", 502, "text/html")]
)
async def test_server_errors(ask: Ask, kind: Any, status: int, content_type: str, *, applied: bool) -> None:
    """A server error has its form, and the change is made only with ``applied``."""
    with Sandbox(3, faults=[Fault(kind, first=1, applied=applied)]) as shop:
        got, body, response = await edit(ask, shop)
        assert (got, response.content_type) == (status, content_type)
        assert (body == {"message": "Server Error"}) if status == 500 else ("502 Bad Gateway" in body)
        assert booked(shop) == int(applied)
        assert shop.requests[-1].status == status


async def test_truncated(ask: Ask) -> None:
    """A truncated answer is shorter than its Content-Length says; the change is made."""
    with Sandbox(3, faults=[Fault("truncate", first=2)]) as shop:
        with pytest.raises(aiohttp.ClientPayloadError):
            await edit(ask, shop)
        assert booked(shop) == 1
        with pytest.raises(aiohttp.ClientPayloadError):
            await ask(shop, "GET", "")
        assert (await ask(shop, "GET", ""))[0] == 200


async def test_slow(ask: Ask) -> None:
    """A slow change is made at once, others are not held up, and closing the shop does not wait for the answer."""
    with Sandbox(3, faults=[Fault("slow", first=1, seconds=3600)]) as shop:
        pending = asyncio.create_task(edit(ask, shop))
        await until(lambda: booked(shop) == 1)
        assert (await ask(shop, "GET", ""))[0] == 200, "others are not held up"
        assert shop.requests[0].status is None, "it is still held back"
        await asyncio.to_thread(shop.close)
        assert (await pending)[0] == 200, "what is held back when the shop closes is answered then"


async def test_latency_is_concurrent(ask: Ask) -> None:
    """Answers are delayed side by side, not one after the other."""
    with Sandbox(3, latency=3600) as shop:
        pending = [asyncio.create_task(ask(shop, "GET", "")) for _ in range(20)]
        await until(lambda: len(shop.requests) == 20)
        assert all(request.status is None for request in shop.requests), "all are held back, at the same time"
        await asyncio.to_thread(shop.close)
        assert [answer[0] for answer in await asyncio.gather(*pending)] == [200] * 20


@pytest.mark.parametrize("retry_after", [0, 7, "Wed, 21 Oct 2026 07:28:00 GMT", None])
async def test_rate_limited(ask: Ask, retry_after: int | str | None) -> None:
    """A 429 carries the Retry-After that was asked for, and nothing is changed."""
    with Sandbox(3, faults=[Fault("rate_limit", first=1, retry_after=retry_after)]) as shop:
        status, body, response = await edit(ask, shop)
        assert (status, body, booked(shop)) == (429, {"message": "Too Many Attempts."}, 0)
        assert response.headers.get("Retry-After") == (None if retry_after is None else str(retry_after))


async def test_ignored_body(ask: Ask) -> None:
    """``ignore_body`` drops the body of a GET, and that of another verb only if it is named."""
    with Sandbox(30, faults=[Fault("ignore_body")]) as shop:
        _, page, _ = await ask(shop, "GET", "", json={"page": 2, "perPage": 5})
        assert (page["current_page"], page["per_page"]) == (1, 10)
        assert shop.requests[-1].json == {"page": 2, "perPage": 5}, "the record shows what was sent"
        _, page, _ = await ask(shop, "GET", "", params={"page": 2, "perPage": 5})
        assert (page["current_page"], page["per_page"]) == (2, 5)
        assert (await edit(ask, shop))[0] == 200
        shop.fail_next("ignore_body", method="POST")
        assert (await edit(ask, shop))[0] == 422


async def statuses(ask: Ask, shop: Sandbox, count: int, method: str = "GET", path: str = "") -> list[int]:
    return [(await ask(shop, method, path, json={"amount": 1}))[0] for _ in range(count)]


async def test_every(ask: Ask) -> None:
    """``every`` hits each Nth request."""
    with Sandbox(3, faults=[Fault("error_500", every=3)]) as shop:
        assert await statuses(ask, shop, 7) == [200, 200, 500, 200, 200, 500, 200]


async def test_first(ask: Ask) -> None:
    """``first`` hits the first N requests, and no more."""
    with Sandbox(3, faults=[Fault("error_500", first=2)]) as shop:
        assert await statuses(ask, shop, 4) == [500, 500, 200, 200]


async def test_always(ask: Ask) -> None:
    """A fault with neither ``every`` nor ``first`` hits every request."""
    with Sandbox(3, faults=[Fault("error_500")]) as shop:
        assert await statuses(ask, shop, 3) == [500, 500, 500]


async def test_where(ask: Ask) -> None:
    """A fault counts and hits only requests with its verb and its part of a path."""
    with Sandbox(3, faults=[Fault("error_500", every=2, method="post", path="/balance")]) as shop:
        assert await statuses(ask, shop, 3) == [200] * 3
        assert await statuses(ask, shop, 2, "POST", "/1001/balance") == [200, 500]
        assert await statuses(ask, shop, 2, "PUT", "/1001/balance") == [200] * 2
        assert await statuses(ask, shop, 2, "POST", "/1001/balance") == [200, 500]


async def test_several(ask: Ask) -> None:
    """Of several faults the first that applies hits, and those after it do not count the request."""
    with Sandbox(
        3, faults=[Fault("error_500", first=1), Fault("rate_limit", first=1), Fault("html_502", every=2)]
    ) as shop:
        assert await statuses(ask, shop, 6) == [500, 429, 200, 502, 200, 502]


async def test_fail_next(ask: Ask) -> None:
    """Faults that are queued hit first, in their order, and before all others."""
    with Sandbox(3, faults=[Fault("error_500", every=2)]) as shop:
        assert await statuses(ask, shop, 1) == [200]
        shop.fail_next("html_502", 2, method="GET")
        shop.fail_next("rate_limit")
        assert await statuses(ask, shop, 5) == [502, 502, 429, 500, 200]


async def test_faults_know_no_key(ask: Ask) -> None:
    """A fault hits requests without a key too."""
    with Sandbox(3, api_key="another", faults=[Fault("html_502", first=1)]) as shop:
        assert await statuses(ask, shop, 2) == [502, 401]


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("explode", {}),
        ("slow", {"every": 2, "first": 2}),
        ("slow", {"every": 0}),
        ("slow", {"first": -1}),
        ("slow", {"first": True}),
        ("slow", {"seconds": -1}),
        ("slow", {"seconds": float("nan")}),
        ("slow", {"seconds": float("inf")}),
        ("drop_after", {"applied": True}),
        ("drop_before", {"applied": True}),
    ],
)
def test_senseless_faults(kind: Any, fields: dict[str, Any]) -> None:
    """A fault that makes no sense is a ValueError."""
    with pytest.raises(ValueError):  # noqa: PT011 - the words differ
        Fault(kind, **fields)


def test_the_error_of_a_misspelled_fault_names_the_right_ones() -> None:
    """The error of an unknown kind names those there are."""
    wrong: Any = "dropafter"
    with pytest.raises(ValueError, match=r"^kind must be one of drop_before, drop_after, .*, not 'dropafter'$"):
        Fault(wrong)
