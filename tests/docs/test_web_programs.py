"""The web apps that users start from: each is served by its own process, and called over HTTP."""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import attrs
import pytest

from shopsdk.sandbox import Fault, Sandbox
from tests.support.needs import need
from tests.support.programs import PROGRAMS, environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("name", ["web_app_aiohttp.py", "web_app_fastapi.py"]),
]


@attrs.define
class App:
    """A web app that is being served."""

    client: aiohttp.ClientSession
    said: str = ""

    async def get(self, path: str) -> tuple[int, object]:
        async with self.client.get(path) as answer:
            return answer.status, await answer.json()

    async def credit(self, customer_id: int, amount: object, key: str | None) -> tuple[int, object]:
        headers = {} if key is None else {"Idempotency-Key": key}
        where = f"/customers/{customer_id}/credit"
        async with self.client.post(where, json={"amount": amount}, headers=headers) as answer:
            return answer.status, await answer.json()


@asynccontextmanager
async def served(name: str, shop: Sandbox) -> AsyncIterator[App]:
    """Serve an app; at the end it is told to stop, and everything that it said is kept."""
    if "fastapi" in name:
        need("fastapi")
        need("uvicorn")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-u",
        PROGRAMS / name,
        env=environment(shop, PORT=str(port)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
        app = App(client)
        try:
            while "unning on" not in app.said:
                line = await process.stdout.readline()
                assert line, f"it has ended: {app.said}"
                app.said += line.decode()
            yield app
        finally:
            if process.returncode is None:
                process.terminate()
            app.said += (await process.stdout.read()).decode()
            code = await process.wait()
    assert code in {0, -signal.SIGTERM}, app.said
    assert "Traceback" not in app.said, app.said


async def until(condition: Callable[[], bool]) -> None:
    """Let the others work until this is so."""
    while not condition():
        await asyncio.sleep(0)


async def test_customers_are_shown(name: str, shop: Sandbox) -> None:
    """The app shows a customer, and answers 404 for one that is not there."""
    customer = shop.customers()[0]
    async with served(name, shop) as app:
        status, shown = await app.get(f"/customers/{customer.id}")
        assert isinstance(shown, dict)
        assert (200, customer.email) == (status, shown["email"])
        assert (404, {"error": "no such customer"}) == await app.get("/customers/999999")


async def test_a_key_credits_once(name: str, shop: Sandbox) -> None:
    """One Idempotency-Key credits once; another amount under it is a 409."""
    number = shop.customers()[0].id
    async with served(name, shop) as app:
        assert (200, {"credited": "5.00", "again": False}) == await app.credit(number, "5.00", "order-1")
        assert (200, {"credited": "5.00", "again": True}) == await app.credit(number, "5.00", "order-1")
        assert 409 == (await app.credit(number, "6.00", "order-1"))[0]
        for amount, key in (("5.00", None), ("5.00", "no good"), ("5000", "order-2"), ("five", "order-2")):
            assert (await app.credit(number, amount, key))[0] in {400, 422}
        assert 404 == (await app.credit(999999, "5.00", "order-3"))[0]
    assert ["[ref:order-1]"] == [line.description for line in shop.transactions(number)]


async def test_the_health_check_knows_the_shop(name: str, shop: Sandbox) -> None:
    """The health check fails while the shop cannot be used."""
    number = shop.customers()[0].id
    async with served(name, shop) as app:
        assert (200, {"shop": "ok"}) == await app.get("/health")
        shop.fail_next("rate_limit", retry_after=3600)
        assert (503, {"shop": "RateLimitedError"}) == await app.get("/health")
        shop.fail_next("rate_limit", retry_after=3600)
        assert (503, {"error": "busy"}) == await app.get(f"/customers/{number}")


async def test_a_caller_hangs_up_on_a_credit(name: str, shop: Sandbox) -> None:
    """A credit is carried to its end when its caller hangs up and when the app is stopped."""
    number = shop.customers()[0].id
    async with served(name, shop) as app:
        shop.fail_next("slow", method="POST", seconds=1)
        calling = asyncio.create_task(app.credit(number, "5.00", "order-1"))
        await until(lambda: any(request.method == "POST" for request in shop.requests))
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
    assert f"credit of {number}: BalanceEdit" in app.said
    assert 1 == len(shop.transactions(number))


async def test_callers_hang_up_on_reads(name: str) -> None:
    """Callers who hang up hold no slot of the session."""
    # aiohttp.web cancels what nobody waits for any more, so its 16 slots come free at once; FastAPI works it off.
    gone, seconds = (80, 600) if "aiohttp" in name else (1, 1)
    stuck = Fault("slow", path="/customers/1001", seconds=seconds)
    with Sandbox(faults=[stuck]) as shop:
        async with served(name, shop) as app:
            calling = [asyncio.create_task(app.get("/customers/1001")) for _ in range(gone)]
            await until(lambda: len(shop.requests) == min(gone, 16))
            for task in calling:
                task.cancel()
            await asyncio.gather(*calling, return_exceptions=True)
            assert 200 == (await app.get("/customers/1002"))[0]
