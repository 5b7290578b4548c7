"""The README's table of what is repeated, made to happen row by row; and what the log says meanwhile."""

import asyncio
import logging
import re
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from shopsdk import (
    AsyncSession,
    ShopError,
    edit_customer_affiliate_code,
    edit_customer_balance,
    get_customer,
    iter_customers,
)
from shopsdk.sandbox import Sandbox
from shopsdk.testing import InstantClock
from tests.support.needs import need
from tests.support.servers import (
    CUSTOMER,
    Behaviour,
    ReceivedRequest,
    Wire,
    answer,
    close_after,
    listening,
    raw_server,
    time_out,
)

TEXT = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SECTION = TEXT.partition("## What is repeated")[2].partition("\n## ")[0]
ROWS = [
    tuple(cell.strip() for cell in line.strip("|").split("|"))
    for line in SECTION.splitlines()
    if line.startswith("|") and "---" not in line
][1:]

assert ROWS, "the table has gone from the README"

LONGER = answer({"id": 7}, headers={"Content-Length": "9999"})[:-2]


async def stalled(heard: ReceivedRequest, wire: Wire) -> None:
    wire.send(LONGER)
    await time_out(heard, wire)


HAPPENS: dict[str, list[Behaviour]] = {
    "429": [answer({"message": "Too Many Attempts."}, 429, headers={"Retry-After": "3"})],
    "no answer": [b"", time_out, stalled, close_after(LONGER), close_after(b"not HTTP\r\n\r\n")],
    "503 with": [answer(None, 503, headers={"Retry-After": "3"})],
    "5xx": [answer(None, status) for status in (500, 502, 503, 504, 520, 527)],
    "a redirect": [
        answer(None, status, headers={"Location": "/v1/shops/38/customers/7"}) for status in (301, 302, 307, 308)
    ],
    "a success that is no whole JSON": [
        answer(raw=raw) for raw in (b"<html>", b"", b" ", b'{"id": 7', b"[1, 2", b"nul")
    ],
    "a success of another shape": [answer(raw=b'"not this"')],
    "a success that is too large": [answer(raw=b'"' + b"x" * 5000 + b'"')],
    "400, 401, 403, 404, 422 with the API's JSON": [
        answer({"message": "no"}, status) for status in (400, 401, 403, 404, 422)
    ],
    "400, 401, 403, 404, 422 with anything else": [
        answer(raw=body, status=status) for status in (400, 401, 403, 404, 422) for body in (b"<html>", b"no", b"")
    ],
}

Call = Callable[[AsyncSession], Awaitable[Any]]


def get(session: AsyncSession) -> Awaitable[Any]:
    return get_customer(session, 7)


def set_code(session: AsyncSession) -> Awaitable[Any]:
    return edit_customer_affiliate_code(session, 7, "A")


def post(session: AsyncSession) -> Awaitable[Any]:
    return edit_customer_balance(session, 7, 1, method="POST")


def put(session: AsyncSession) -> Awaitable[Any]:
    return edit_customer_balance(session, 7, 1, method="PUT")


def said(cell: str, error: ShopError | None, sent: int) -> None:
    """Hold one cell of the table against what happened."""
    assert ("not repeated" not in cell and "never repeated" not in cell) == (sent > 1), (cell, sent)
    named = re.search(r"`(\w+Error)`", cell)
    assert named is None or (error is not None and named[1] in {kind.__name__ for kind in type(error).__mro__})
    if "maybe_applied" in cell or "UnknownOutcome" in cell:
        assert error is not None
        assert error.maybe_applied
    if "surely not applied" in cell:
        assert error is not None
        assert not error.maybe_applied


@pytest.mark.parametrize(
    "row", [row for row in ROWS if not row[0].startswith(("could not", "the certificate"))], ids=lambda r: r[0]
)
@pytest.mark.parametrize(("column", "call"), [(1, get), (1, set_code), (2, post), (2, put)])
async def test_the_table_tells_the_truth(row: tuple[str, ...], column: int, call: Call) -> None:
    """Each row of the table says what is repeated, and what may have been applied, when that happens."""
    name = next(name for name in HAPPENS if row[0].startswith(name))
    for behaviour in HAPPENS[name]:
        async with (
            raw_server(behaviour) as server,
            server.session(clock=InstantClock(), max_response_bytes=4096) as session,
        ):
            if "taken for a success" in row[column] and call is not get:
                await call(session)
                assert 1 == len(server.heard)
                continue
            with pytest.raises(ShopError) as caught:
                await call(session)
        said(row[column], caught.value, len(server.heard))


@pytest.mark.parametrize(("column", "call"), [(1, get), (1, set_code), (2, post), (2, put)])
async def test_the_rows_without_a_request_tell_the_truth(column: int, call: Call) -> None:
    """What was surely not sent is repeated, and a bad certificate is not."""
    unsent = {row[0].partition(" ")[0]: row for row in ROWS if row[0].startswith(("could not", "the certificate"))}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    connections = 0

    def count(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    async with listening(count, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        for scheme, first in (("https", "the"), ("http", "could")):
            async with AsyncSession(
                "key", shop_id=38, base_url=f"{scheme}://localhost:{port}/v1", clock=InstantClock()
            ) as session:
                with pytest.raises(ShopError) as caught:
                    await call(session)
            said(unsent[first][column], None, getattr(caught.value, "attempts", 0))
            assert not caught.value.maybe_applied
            server.close()  # for the second round, nobody listens


async def test_the_log_tells_of_requests_retries_and_giving_up(caplog: pytest.LogCaptureFixture) -> None:
    """A request is logged at DEBUG, a retry at INFO, and giving up at WARNING."""
    caplog.set_level(logging.DEBUG, logger="shopsdk")
    async with (
        raw_server(answer(None, 500), answer(CUSTOMER)) as server,
        server.session(clock=InstantClock()) as session,
    ):
        await get_customer(session, 7)
        server.behaviours = [answer(None, 500)]
        with pytest.raises(ShopError):
            await get_customer(session, 7)
    levels = [record.levelname for record in caplog.records]
    assert ["DEBUG", "INFO", "DEBUG"] == levels[:3]
    assert ["DEBUG", "INFO"] * 3 + ["DEBUG", "WARNING"] == levels[3:]
    assert (
        "GET /shops/{shop_id}/customers/{customer_id}: not tried again after attempt 4: ServerError"
        == caplog.messages[-1]
    )
    assert "GET /shops/{shop_id}/customers/{customer_id}: ServerError, again in 0.25 s" == caplog.records[1].message


async def test_the_log_tells_of_an_edit_whose_fate_is_open(caplog: pytest.LogCaptureFixture) -> None:
    """An edit that was maybe applied is logged at WARNING, with these words."""
    caplog.set_level(logging.DEBUG, logger="shopsdk")
    async with raw_server(b"") as server, server.session() as session:
        with pytest.raises(ShopError):
            await edit_customer_balance(session, 7, 1)
    assert ["DEBUG", "WARNING"] == [record.levelname for record in caplog.records]
    assert caplog.messages[-1].endswith("not tried again after attempt 1: UnknownOutcomeError, maybe applied")


def test_the_library_does_not_log_by_itself(capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is printed in a program that configured no logging."""
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("shopsdk").handlers)


def test_it_works_on_uvloop() -> None:
    """The library works on uvloop."""
    need("uvloop")
    import uvloop

    async def main() -> None:
        with Sandbox(300) as shop:
            async with shop.session() as session:
                assert 300 == len([c async for c in iter_customers(session, per_page=20, concurrency=4)])
                shop.fail_next("drop_after", method="PUT")
                customer = shop.customers()[0]
                edit = await edit_customer_balance(session, customer.id, 1, reference="u", method="PUT")
                assert [edit.transaction] == shop.transactions(customer.id)
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0):
                        await get_customer(session, customer.id)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
