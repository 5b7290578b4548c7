"""The how-to of a typed resource, against a small server of invoices: what is promised of customers carries over."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from aiohttp import web

from shopsdk import AsyncSession, DecodeError, PaginationError, ServerError
from shopsdk.sandbox import Sandbox
from shopsdk.testing import InstantClock
from tests.programs import invoices
from tests.support.programs import run


@attrs.define
class Invoices:
    """A shop's invoices, served as the vendor's framework does, with failures on request."""

    rows: list[dict[str, Any]]
    fail: list[str] = attrs.Factory(list)
    asked: list[str] = attrs.Factory(list)
    deaf: bool = False
    base_url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        what = request.path.removeprefix("/v1/shops/38/invoices").strip("/")
        self.asked.append(f"{request.method} {what}")
        if what in self.fail:
            self.fail.remove(what)
            return web.json_response({"message": "Server Error"}, status=500)
        if what == "":
            return web.json_response(self.page({} if self.deaf else await request.json()))
        if what.isdigit():
            return web.json_response(next(row for row in self.rows if str(row["id"]) == what))
        return web.json_response({"message": "Done."})

    def page(self, asked: dict[str, Any]) -> dict[str, Any]:
        number, size = asked.get("page", 1), asked.get("perPage", 10)
        rows = [row for row in self.rows if asked.get("email", "") in row["email"]]
        last = max(1, -(-len(rows) // size))
        part = rows[(number - 1) * size : number * size]
        return {"data": part, "current_page": number, "last_page": last, "per_page": size, "total": len(rows)}


def invoice(number: int) -> dict[str, Any]:
    """One invoice, with a field that nobody asked for, and money as the server writes it."""
    email = "ada@example.com" if number % 2 else "bob@example.com"
    status = "pending" if number % 5 == 0 else "completed"
    row = {"id": number, "unique_id": f"inv-{number}", "email": email, "status": status, "currency": "USD"}
    return row | {"price": f"{number}.10", "created_at": "2025-02-07T03:37:00.000000Z", "salt": "x"}


@pytest.fixture
async def shop() -> AsyncIterator[Invoices]:
    """A server with 250 invoices."""
    served = Invoices([invoice(number) for number in range(1, 251)])
    app = web.Application()
    app.router.add_route("*", "/v1/shops/38/invoices{rest:.*}", served.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    served.base_url = f"http://{host}:{port}/v1"
    yield served
    await runner.cleanup()


@pytest.fixture
async def session(shop: Invoices) -> AsyncIterator[AsyncSession]:
    """A session on it, with no time to lose."""
    async with AsyncSession("key", shop_id=38, base_url=shop.base_url, clock=InstantClock()) as session:
        yield session


@pytest.mark.slow
async def test_the_program_prints_what_was_paid(
    shop: Invoices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The how-to runs as it stands, and prints what was paid."""
    sandbox = Sandbox(0)  # never started: it lends the program its key and its shop's number
    monkeypatch.setattr(Sandbox, "base_url", shop.base_url)
    ran = await asyncio.to_thread(run, "invoices.py", "ada@example.com", shop=sandbox, cwd=tmp_path)
    paid = [row for row in shop.rows if row["email"] == "ada@example.com" and row["status"] == "completed"]
    assert (0, "") == (ran.code, ran.err)
    assert [f"{row['unique_id']} {row['price']} USD" for row in paid] == ran.out.splitlines()


async def test_the_walk_carries_over(shop: Invoices, session: AsyncSession) -> None:
    """A list of the user's own is delivered whole and once, failures or not."""
    shop.fail = ["", ""]
    pages = [page async for page in invoices.iter_invoice_pages(session, 38)]
    assert list(range(1, 251)) == [row.id for page in pages for row in page.data]


async def test_a_dropped_body_is_noticed(shop: Invoices, session: AsyncSession) -> None:
    """A page that is not the one asked for is a PaginationError."""
    shop.deaf = True
    with pytest.raises(PaginationError):
        [page async for page in invoices.iter_invoice_pages(session, 38)]


async def test_one_invoice_is_typed(shop: Invoices, session: AsyncSession) -> None:
    """Money is a Decimal, times are aware, and a field that is missing is a DecodeError."""
    row = await invoices.get_invoice(session, 38, 7)
    assert ("7.10", "2025-02-07 03:37:00+00:00") == (str(row.price), str(row.created_at))
    del shop.rows[6]["price"]
    with pytest.raises(DecodeError):
        await invoices.get_invoice(session, 38, 7)


async def test_what_sets_a_value_is_repeated(shop: Invoices, session: AsyncSession) -> None:
    """A write that is said to be idempotent is repeated after a failure."""
    shop.fail = ["7/archive"]
    await invoices.archive_invoice(session, 38, 7)
    assert ["POST 7/archive"] * 2 == shop.asked


async def test_what_delivers_is_sent_once(shop: Invoices, session: AsyncSession) -> None:
    """A GET that is said not to be idempotent is sent once."""
    shop.fail = ["7/process"]
    with pytest.raises(ServerError):
        await invoices.process_invoice(session, 38, 7)
    assert ["GET 7/process"] == shop.asked
