"""The life of a session: making, first use, closing, and use across event loops and processes."""

import asyncio
import gc
import subprocess
import sys
import textwrap
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

import aiohttp
import pytest

from shopsdk import (
    AsyncSession,
    Clock,
    Customer,
    RateLimit,
    SessionStateError,
    Timeout,
    edit_customer_affiliate_code,
    edit_customer_balance,
    get_customer,
    iter_customer_pages,
    iter_customers,
    paginate,
)
from shopsdk._http.session import core_of
from shopsdk.sandbox import Sandbox
from tests.support.servers import CUSTOMER, ReceivedRequest, Wire, answer, page_of, raw_server, silence


def test_a_session_can_be_made_where_no_loop_runs(shop: Sandbox) -> None:
    """A session can be made at module level, where no event loop runs."""
    session = shop.session()
    assert 250 == len(asyncio.run(read_all(session)))


async def read_all(session: AsyncSession) -> list[Customer]:
    async with session:
        return [customer async for customer in iter_customers(session)]


async def test_a_closed_session_says_so(shop: Sandbox) -> None:
    """Every use of a closed session is a SessionStateError."""
    async with shop.session() as session:
        await get_customer(session, shop.customers()[0].id)
    await session.close()
    with pytest.raises(SessionStateError, match="closed"):
        await get_customer(session, 7)
    with pytest.raises(SessionStateError, match="closed"):
        async with session:
            pass
    with pytest.raises(SessionStateError, match="closed"):
        [c async for c in iter_customers(session)]


async def test_a_session_that_was_never_used_closes(shop: Sandbox) -> None:
    """A session that was never used can be closed, and is closed then."""
    session = shop.session()
    await session.close()
    with pytest.raises(SessionStateError):
        await get_customer(session, 7)


def test_one_session_serves_one_loop_after_another(shop: Sandbox) -> None:
    """One session serves one ``asyncio.run`` after another."""
    session = shop.session()
    customer = shop.customers()[0]

    async def use() -> Customer:
        return await get_customer(session, customer.id)

    assert [customer] * 3 == [asyncio.run(use()) for _ in range(3)]
    asyncio.run(session.close())
    gc.collect()


def test_a_second_loop_is_refused_while_the_first_is_open(shop: Sandbox) -> None:
    """A session in use on one loop refuses another loop, and goes on serving the first."""
    session = shop.session()
    customer = shop.customers()[0].id
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    try:
        first.run_until_complete(get_customer(session, customer))
        with pytest.raises(SessionStateError, match="another event loop"):
            second.run_until_complete(get_customer(session, customer))
        with pytest.raises(SessionStateError, match="another event loop"):
            second.run_until_complete(session.close())
        first.run_until_complete(get_customer(session, customer))
        first.run_until_complete(session.close())
    finally:
        first.close()
        second.close()


def run(program: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # the interpreter's own exit is part of what is tested
        [sys.executable, *options, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


HEAD = """
    import asyncio, logging, os, sys
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # a busy machine makes callbacks slow, and -X dev tells
    from shopsdk import *
    from shopsdk.sandbox import Sandbox
    from contextlib import aclosing, suppress
"""


def test_a_forked_child_opens_its_own_connections(shop: Sandbox) -> None:
    """A forked child opens connections of its own, and the parent's go on."""
    result = run(
        HEAD
        + f"""
    session = AsyncSession("{shop.api_key}", shop_id=38, base_url="{shop.base_url}")
    loop = asyncio.new_event_loop()
    me = loop.run_until_complete(get_customers(session)).data[0]
    child = os.fork()
    if child == 0:
        asyncio.events._set_running_loop(None)
        code = 1
        try:
            async def use():
                got = await get_customer(session, me.id)
                await session.close()
                return got
            code = 0 if asyncio.run(use()) == me else 2
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    again = loop.run_until_complete(get_customer(session, me.id))
    loop.run_until_complete(session.close())
    loop.close()
    print(os.waitstatus_to_exitcode(status), again == me)
    """,
        "-X",
        "dev",
    )
    assert ("0 True\n", "") == (result.stdout, result.stderr)


PROGRAMS = {
    "break without aclosing": """
        async for customer in iter_customers(session, per_page=5, concurrency=4):
            break
    """,
    "never closed": """
        await get_customers(session)
        session = None
    """,
    "an exception in the consumer": """
        try:
            async with aclosing(iter_customers(session, per_page=5, concurrency=4)) as customers:
                async for customer in customers:
                    raise LookupError
        except LookupError:
            pass
    """,
    "a cancelled walk": """
        under_way = asyncio.Event()
        async def walk():
            async with aclosing(iter_customers(session, per_page=5, concurrency=4)) as customers:
                async for customer in customers:
                    under_way.set()
                    await asyncio.sleep(0)
        task = asyncio.create_task(walk())
        await under_way.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    """,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PROGRAMS if name != "never closed"])
def test_a_program_ends_without_a_word(name: str) -> None:
    """A program that uses a session ends without a warning."""
    result = run(
        HEAD
        + f"""
    async def main():
        async with Sandbox(100) as shop, shop.session() as session:
            {textwrap.indent(textwrap.dedent(PROGRAMS[name]), " " * 12).strip()}
        assert {{asyncio.current_task()}} == asyncio.all_tasks(), asyncio.all_tasks()
    asyncio.run(main())
    """,
        "-X",
        "dev",
        "-W",
        "error",
    )
    assert (0, "", "") == (result.returncode, result.stdout, result.stderr)


@pytest.mark.slow
def test_repeated_runs_are_quiet() -> None:
    """A program that calls ``asyncio.run`` twice with one session ends without a warning."""
    result = run(
        HEAD
        + """
    with Sandbox(100) as shop:
        session = shop.session()
        for _ in range(3):
            asyncio.run(get_customers(session))
        asyncio.run(session.close())
    """,
        "-X",
        "dev",
        "-W",
        "error::ResourceWarning",
    )
    assert (0, "", "") == (result.returncode, result.stdout, result.stderr)


async def left_by_break(pages: AsyncGenerator[object, None]) -> AsyncGenerator[object, None]:
    async for _ in pages:
        break
    return pages


async def test_close_ends_what_a_bare_break_left(shop: Sandbox) -> None:
    """Closing a session ends the tasks and connections of a walk that was left without aclosing."""
    async with shop.session() as session:
        walks = [
            await left_by_break(iter_customers(session, per_page=5, concurrency=4)),
            await left_by_break(iter_customer_pages(session, per_page=5, concurrency=4)),
            await left_by_break(paginate(session, ["shops", 38, "customers"], Customer, per_page=5, concurrency=4)),
        ]
    assert {asyncio.current_task()} == asyncio.all_tasks()
    for left in walks[1:]:
        with pytest.raises(SessionStateError):
            [row async for row in left]
    with pytest.raises(SessionStateError):
        [row async for row in walks[0]]


async def stuck_after_page_one(heard: ReceivedRequest, wire: Wire) -> None:
    if heard.json["page"] == 1:
        wire.send(answer(page_of([CUSTOMER], 1, last=9, per_page=1, total=9)))
    else:
        await silence(heard, wire)


async def test_close_does_not_wait_for_answers_nobody_wants() -> None:
    """Closing a session cancels the requests of a walk that was left, and does not wait for their answers."""
    async with raw_server(stuck_after_page_one) as server:
        async with server.session() as session:
            left = await left_by_break(iter_customers(session, per_page=1, concurrency=4))
            while len(server.heard) < 5:
                await asyncio.sleep(0)
        assert len(server.heard) == 5
        await left.aclose()


async def test_close_ends_calls_under_way() -> None:
    """A call that is under way when the session is closed ends in an error of the tree."""
    async with raw_server(answer(None, 503, headers={"Retry-After": "0"})) as server:
        session = server.session(timeout=Timeout(total=5))
        task = asyncio.create_task(get_customer(session, 7))
        while not server.heard:
            await asyncio.sleep(0)
        await session.close()
        with pytest.raises(SessionStateError):
            await task


@pytest.mark.parametrize("status", [429, 503], ids=["while blocked", "before a retry"])
async def test_close_ends_calls_that_wait_for_their_turn(status: int) -> None:
    """Closing a session ends the calls that wait for a 429, a 503 or their next attempt."""
    async with raw_server(answer(None, status, headers={"Retry-After": "60"})) as server:
        session = server.session(clock=Clock(sleep=forever))
        calls = [asyncio.create_task(get_customer(session, 7)) for _ in range(3)]
        await until_waiting(session, 3)
        await session.close()
        for call in calls:
            with pytest.raises(SessionStateError):
                await call


async def test_close_ends_calls_that_wait_for_the_rate_limit() -> None:
    """Closing a session ends the calls that wait for a turn by its own rate limit."""
    async with raw_server(answer(CUSTOMER)) as server:
        session = server.session(rate_limit=RateLimit(1, 3600), timeout=Timeout(deadline=4 * 3600))
        await get_customer(session, 7)
        calls = [asyncio.create_task(get_customer(session, 7)) for _ in range(3)]
        await until_waiting(session, 3)
        await session.close()
        for call in calls:
            with pytest.raises(SessionStateError):
                await call
    assert len(server.heard) == 1


async def test_close_ends_calls_that_come_to_wait_while_it_works() -> None:
    """A call that would begin to wait while the session is closing ends instead."""
    closing = asyncio.Event()
    calls: list[asyncio.Task[Any]] = []

    async def behave(_heard: ReceivedRequest, wire: Wire) -> None:
        await closing.wait()
        wire.send(answer(None, 503, headers={"Retry-After": "60"}))

    async def ends_slowly() -> None:
        try:
            await forever(0)
        finally:
            closing.set()
            await asyncio.wait(calls)

    async with raw_server(behave) as server:
        session = server.session(clock=Clock(sleep=forever))
        core_of(session).runtime().spawn(ends_slowly())
        calls.append(asyncio.create_task(get_customer(session, 7)))
        while not server.heard:
            await asyncio.sleep(0)
        await session.close()
        with pytest.raises(SessionStateError):
            await calls[0]


async def test_close_sends_nothing_that_was_queued() -> None:
    """An edit that waits for a slot when the session is closed is not sent, and reported as not sent."""
    async with raw_server(stuck_after_page_one) as server:
        session = server.session(max_in_flight=1)
        left = await left_by_break(iter_customers(session, per_page=1))
        while len(server.heard) < 2:
            await asyncio.sleep(0)
        edit = asyncio.create_task(edit_customer_balance(session, 7, 1))
        await asyncio.sleep(0)
        await session.close()
        with pytest.raises(SessionStateError) as caught:
            await edit
        await left.aclose()
    assert not caught.value.maybe_applied
    assert {"GET"} == {heard.method for heard in server.heard}


async def test_close_from_within_a_walk_s_own_request() -> None:
    """A trace hook of a walk's request can close the session."""
    session: AsyncSession | None = None

    async def give_up(*_: object) -> None:
        assert session is not None
        await session.close()

    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(give_up)
    async with raw_server(answer(page_of([CUSTOMER], 1, last=9, per_page=1, total=9))) as server:
        session = server.session(trace_configs=[trace])
        with pytest.raises(SessionStateError):
            [row async for row in iter_customers(session, per_page=1)]
    assert {asyncio.current_task()} == asyncio.all_tasks()


async def test_close_is_no_cancellation_after_an_earlier_cancel() -> None:
    """A task that survived an earlier cancel gets a SessionStateError, no cancellation, when the session closes."""

    async def survivor() -> None:
        with suppress(asyncio.CancelledError):
            await forever(0)
        with pytest.raises(SessionStateError):
            await get_customer(session, 7)

    async with raw_server(answer(None, 503, headers={"Retry-After": "60"})) as server:
        session = server.session(clock=Clock(sleep=forever))
        task = asyncio.create_task(survivor())
        await asyncio.sleep(0)
        task.cancel()
        await until_waiting(session, 1)
        await session.close()
        await task


async def test_close_keeps_the_unknown_outcome_of_a_call_that_waits() -> None:
    """The outcome of a change that was lost before its wait stays unknown when the session closes."""
    async with raw_server(b"") as server:
        session = server.session(clock=Clock(sleep=forever))
        call = asyncio.create_task(edit_customer_affiliate_code(session, 7, "x"))
        await until_waiting(session, 1)
        await session.close()
        with pytest.raises(SessionStateError) as caught:
            await call
    assert caught.value.maybe_applied


async def test_close_ends_calls_that_would_wait_after_it() -> None:
    """A read whose connection is closed under it makes no next attempt once the session is closed."""
    async with raw_server(silence) as server:
        session = server.session(clock=Clock(sleep=forever))
        call = asyncio.create_task(get_customer(session, 7))
        while not server.heard:
            await asyncio.sleep(0)
        await session.close()
        with pytest.raises(SessionStateError):
            await call


async def forever(_seconds: float) -> None:
    await asyncio.Event().wait()


async def until_waiting(session: AsyncSession, calls: int) -> None:
    """Let the loop run until so many calls wait; the session has no other tasks of theirs."""
    while len(core_of(session).runtime()._tasks) < calls:
        await asyncio.sleep(0)


async def test_a_borrowed_connector_is_given_back(shop: Sandbox) -> None:
    """A borrowed connector is open after the session is closed."""
    connector = aiohttp.TCPConnector()
    for _ in range(2):
        async with shop.session(connector=connector) as session:
            await get_customer(session, shop.customers()[0].id)
    assert not connector.closed
    await connector.close()


def test_a_borrowed_connector_of_another_loop_is_refused(shop: Sandbox) -> None:
    """A borrowed connector of another loop is a SessionStateError that names the connector."""

    async def lend() -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector()

    session = shop.session(connector=asyncio.run(lend()))
    with pytest.raises(SessionStateError, match="connector"):
        asyncio.run(read_all(session))


async def test_a_cancelled_close_still_closes() -> None:
    """A close that is cancelled closes the connections."""
    async with raw_server(answer(page_of([CUSTOMER], 1, last=9, per_page=1, total=9)), silence) as server:
        session = server.session()
        left = await left_by_break(iter_customers(session, per_page=1))
        transport = core_of(session).runtime()._transport
        closing = asyncio.create_task(session.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        assert transport.http.closed
        await left.aclose()


async def test_an_answer_without_a_body_is_none() -> None:
    """A 204 and the answer to a HEAD are None."""
    gone = b"HTTP/1.1 204 No Content\r\n\r\n"
    async with raw_server(gone, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n") as server:
        async with server.session() as session:
            assert None is await session.request("DELETE", ["shops", 38, "webhooks", 1])
            assert None is await session.request("HEAD", ["shops", 38])


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout": 30},
        {"retry": 3},
        {"rate_limit": 5},
        {"connector": "x"},
        {"clock": 1},
        {"on_event": 5},
        {"trace_configs": ["x"]},
        {"base_url": 5},
        {"proxy": 5},
        {"api_key": b"key"},
        {"max_in_flight": 1.5},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_setting_of_the_wrong_type_is_named(wrong: dict[str, Any]) -> None:
    """A setting of the wrong type is a TypeError that names it, when the session is made."""
    with pytest.raises(TypeError, match=next(iter(wrong))):
        AsyncSession(**{"api_key": "key", **wrong})


def test_a_blank_base_url_is_refused() -> None:
    """An empty base_url is refused, and does not stand for the vendor's."""
    with pytest.raises(ValueError, match="base_url"):
        AsyncSession("key", base_url="")


def test_a_session_says_where_it_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session has its base URL and its shop as attributes, which nobody can change."""
    session = AsyncSession("key", base_url="https://api.example.com/v2/")
    assert ("https://api.example.com/v2", None) == (session.base_url, session.shop_id)
    monkeypatch.setenv("SHOPSDK_SHOP_ID", "7")
    session = AsyncSession("key")
    assert ("https://api.sellauth.com/v1", 7) == (session.base_url, session.shop_id)
    with pytest.raises(AttributeError):
        session.shop_id = 8  # type: ignore[misc]


def test_a_session_that_was_never_made_can_be_shown() -> None:
    """The repr of a half-made session, which an error tracker may show, raises nothing."""
    assert "unmade" in repr(AsyncSession.__new__(AsyncSession))


async def test_trace_configs_see_the_wire(shop: Sandbox) -> None:
    """The caller's trace_configs see each request."""
    seen: list[str] = []

    async def on_start(_session: object, _context: object, params: aiohttp.TraceRequestStartParams) -> None:
        seen.append(params.url.path)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(on_start)
    customer = shop.customers()[0].id
    async with shop.session(trace_configs=[trace]) as session:
        await get_customer(session, customer)
    assert [f"/v1/shops/38/customers/{customer}"] == seen


async def test_connections_are_reused(shop: Sandbox) -> None:
    """Reads share one connection, one after another."""
    async with raw_server(answer(CUSTOMER)) as server, server.session() as session:
        for _ in range(5):
            await get_customer(session, 7)
    assert (5, 1) == (len(server.heard), server.connections)


async def test_every_request_has_its_headers() -> None:
    """Every request has headers for JSON, the user agent and the key."""
    import shopsdk

    async with raw_server(answer(CUSTOMER)) as server, server.session() as session:
        await get_customer(session, 7)
    headers = server.heard[0].headers
    assert {
        "accept": "application/json",
        "content-type": "application/json",
        "authorization": "Bearer raw-key",
        "user-agent": f"shopsdk/{shopsdk.__version__}",
    } == {name: headers[name] for name in ("accept", "content-type", "authorization", "user-agent")}
    assert b"" == server.heard[0].body


async def test_a_leaving_consumer_frees_its_connections(shop: Sandbox) -> None:
    """A walk that is left frees its slots and connections for the next."""
    async with shop.session(max_in_flight=4) as session:
        for _ in range(5):
            async with aclosing(iter_customers(session, per_page=5, concurrency=4)) as customers:
                async for _ in customers:
                    break
        assert 250 == len([c async for c in iter_customers(session, concurrency=4)])


def test_the_environment_names_key_shop_and_place(shop: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment gives key, shop and base URL, white space around the key removed."""
    monkeypatch.setenv("SHOPSDK_API_KEY", f" {shop.api_key}\n")
    monkeypatch.setenv("SHOPSDK_SHOP_ID", "38")
    monkeypatch.setenv("SHOPSDK_BASE_URL", shop.base_url + "/")
    assert 250 == len(asyncio.run(read_all(AsyncSession())))


def test_a_missing_key_or_shop_says_where_to_put_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing key or shop is a ValueError that names the argument and the variable."""
    with pytest.raises(ValueError, match=r"api_key.*SHOPSDK_API_KEY"):
        AsyncSession()
    with pytest.raises(ValueError, match=r"shop_id.*SHOPSDK_SHOP_ID"):
        iter_customers(AsyncSession("key"))
    monkeypatch.setenv("SHOPSDK_SHOP_ID", "abc")
    with pytest.raises(ValueError, match="SHOPSDK_SHOP_ID"):
        AsyncSession("key")
