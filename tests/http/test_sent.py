"""Whether a request was sent: failures before it are reported as not sent, and an edit has its own connection."""

import asyncio
import contextvars
import gc
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from shopsdk import (
    AsyncSession,
    NotSentError,
    ResponseError,
    RetryPolicy,
    RetryScheduled,
    SessionStateError,
    ShopError,
    Timeout,
    TransportError,
    UnknownOutcomeError,
    edit_customer_affiliate_code,
    edit_customer_balance,
    get_customer,
    iter_customers,
)
from shopsdk.testing import InstantClock
from tests.support.needs import need
from tests.support.proxy import client_tls, server_tls, tls_server, tunnel
from tests.support.servers import (
    CUSTOMER,
    ReceivedRequest,
    Wire,
    answer,
    close_after,
    customer_named,
    listening,
    page_of,
    raw_server,
    silence,
)

EDITED = answer({"message": "ok"})

Call = Callable[[AsyncSession], Awaitable[object]]
CALLS: dict[str, Call] = {
    "read": lambda session: get_customer(session, 7),
    "post": lambda session: edit_customer_balance(session, 7, 1),
    "put": lambda session: edit_customer_balance(session, 7, 1, method="PUT"),
    "code": lambda session: edit_customer_affiliate_code(session, 7, "A"),
    "any change": lambda session: session.request("DELETE", ["shops", 38, "webhooks", 1]),
}


def shop_or_edit(heard: ReceivedRequest, wire: Wire) -> None:
    wire.send(customer_named(heard) if "/customers/" in heard.target and heard.method == "GET" else EDITED)


# --- before it is sent


async def hang_up_in_the_handshake(_heard: ReceivedRequest, wire: Wire) -> None:
    wire.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
    await wire.writer.drain()


REJECTIONS: dict[str, tuple[Callable[[ReceivedRequest, Wire], object], str, int]] = {
    "hangs up": (lambda _heard, _wire: None, r"ServerDisconnectedError", 4),
    "resets": (lambda _heard, wire: wire.reset(), r"Connection reset by peer|ServerDisconnectedError", 4),
    "407": (lambda _heard, wire: wire.send(answer(None, 407)), r"the proxy answered 407 to CONNECT", 1),
    "403": (lambda _heard, wire: wire.send(answer(None, 403)), r"the proxy answered 403 to CONNECT", 1),
    "502": (lambda _heard, wire: wire.send(answer(None, 502)), r"the proxy answered 502 to CONNECT", 4),
    "302": (
        lambda _heard, wire: wire.send(answer(None, 302, headers={"Location": "/"})),
        r"answered 302 to CONNECT",
        4,
    ),
    "nonsense": (lambda _heard, wire: wire.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), r"it is not HTTP", 4),
    "half an answer": (lambda _heard, wire: wire.send(b"HTTP/1.1 200 Conn"), r"was not sent: ", 4),
    "200, then hangs up": (hang_up_in_the_handshake, r"was not sent: ", 4),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", REJECTIONS)
async def test_what_a_proxy_does_to_connect_leaves_the_request_unsent(name: str, call: str) -> None:
    """A request that got no tunnel was not sent; the error has the proxy's status, and a refusal is not repeated."""
    refuse, words, attempts = REJECTIONS[name]
    async with tunnel(refuse) as proxy:
        async with AsyncSession(
            "key", shop_id=38, base_url="https://shop.example/v1", proxy=proxy.url, clock=InstantClock()
        ) as session:
            with pytest.raises(NotSentError, match=words) as caught:
                await CALLS[call](session)
    assert not caught.value.maybe_applied
    assert attempts == caught.value.attempts == len(proxy.heard)
    assert (attempts > 1) is caught.value.repeatable
    assert {"CONNECT"} == {heard.method for heard in proxy.heard}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("timeout", [Timeout(total=0.05), Timeout(connect=0.05), Timeout(connect=0.05, total=0.05)])
@pytest.mark.parametrize("silent", ["the proxy", "the handshake"])
async def test_time_that_ends_while_connecting_leaves_the_request_unsent(
    silent: str, timeout: Timeout, call: str
) -> None:
    """An attempt that ends before it has a connection was not sent, whichever timer ends it."""

    async def stay_silent(heard: ReceivedRequest, wire: Wire) -> None:
        if silent == "the handshake":
            wire.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await silence(heard, wire)

    async with tunnel(stay_silent) as proxy:
        async with AsyncSession(
            "key",
            shop_id=38,
            base_url="https://shop.example/v1",
            proxy=proxy.url,
            timeout=timeout,
            retry=RetryPolicy(attempts=2),
            clock=InstantClock(),
        ) as session:
            with pytest.raises(NotSentError, match="timed out") as caught:
                await CALLS[call](session)
    assert not caught.value.maybe_applied
    assert 2 == caught.value.attempts


@pytest.mark.parametrize("call", CALLS)
async def test_a_connectors_own_exception_is_not_sent(call: str) -> None:
    """A SOCKS connector's own exception becomes a NotSentError."""
    need("aiohttp_socks")
    import aiohttp_socks

    def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x05\xff")  # SOCKS 5: no login method is acceptable
        writer.close()

    async with listening(serve) as socks:
        port = socks.sockets[0].getsockname()[1]
        connector = aiohttp_socks.ProxyConnector.from_url(f"socks5://127.0.0.1:{port}")
        async with connector:
            session = AsyncSession(
                "key", shop_id=38, base_url="https://shop.example/v1", connector=connector, clock=InstantClock()
            )
            async with session:
                with pytest.raises(NotSentError, match="was not sent: Proxy") as caught:
                    await CALLS[call](session)
    assert not caught.value.maybe_applied
    assert 4 == caught.value.attempts


class Odd(aiohttp.TCPConnector):
    """A connector that raises the error that it was given."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error

    async def connect(self, *_: Any, **__: Any) -> Any:
        raise self._error


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "error", [RuntimeError("hunter2"), KeyError("hunter2"), ValueError("hunter2"), asyncio.CancelledError("hunter2")]
)
async def test_whatever_a_connector_raises_ends_in_the_tree(error: BaseException, call: str) -> None:
    """A connector's exception of any kind, and a cancellation that nobody asked for, is an error of the tree."""
    async with Odd(error) as connector:
        session = AsyncSession(
            "key", shop_id=38, base_url="http://127.0.0.1:9/v1", connector=connector, clock=InstantClock()
        )
        async with session:
            with pytest.raises(NotSentError) as caught:
                async with asyncio.timeout(None) as limit:
                    await CALLS[call](session)
            task = asyncio.current_task()
            assert task is not None
            assert (0, False) == (task.cancelling(), limit.expired())
    assert not caught.value.maybe_applied
    assert "hunter2" not in str(caught.value)


CERTIFICATES: dict[str, tuple[Callable[[], ssl.SSLContext], str]] = {
    "another host": (
        lambda: server_tls("other.example"),
        r"Hostname mismatch, certificate is not valid for 'localhost'$",
    ),
    "expired": (
        lambda: server_tls(
            "localhost", not_before=datetime(2020, 1, 1, tzinfo=UTC), not_after=datetime(2021, 1, 1, tzinfo=UTC)
        ),
        r"certificate has expired$",
    ),
    "not yet": (
        lambda: server_tls(
            "localhost", not_before=datetime(2090, 1, 1, tzinfo=UTC), not_after=datetime(2091, 1, 1, tzinfo=UTC)
        ),
        r"certificate is not yet valid$",
    ),
}


@pytest.mark.parametrize("call", ["read", "post"])
@pytest.mark.parametrize("name", CERTIFICATES)
async def test_a_certificate_that_does_not_hold_says_why(name: str, call: str) -> None:
    """A bad certificate is an error with OpenSSL's reason; nothing is sent, and nothing is repeated."""
    make, words = CERTIFICATES[name]
    async with (
        listening(lambda _r, w: w.close(), ssl=make()) as server,
        aiohttp.TCPConnector(ssl=client_tls()) as connector,
    ):
        port = server.sockets[0].getsockname()[1]
        session = AsyncSession("key", shop_id=38, base_url=f"https://localhost:{port}/v1", connector=connector)
        async with session:
            with pytest.raises(NotSentError, match="certificate verification failed: " + words) as caught:
                await CALLS[call](session)
    assert (1, False, False) == (caught.value.attempts, caught.value.repeatable, caught.value.maybe_applied)


UNSENT: dict[str, BaseException] = {
    "refused": aiohttp.ClientConnectorError(None, OSError(111, "hunter2")),  # type: ignore[arg-type]
    "timed out": aiohttp.ConnectionTimeoutError("hunter2"),
    "closed": asyncio.CancelledError("hunter2"),
}


@pytest.mark.parametrize("call", ["post", "put"])
@pytest.mark.parametrize("where", ["on_request_headers_sent", "on_request_end", "on_response_chunk_received"])
@pytest.mark.parametrize("name", UNSENT)
async def test_an_error_that_speaks_of_connecting_makes_no_sent_edit_unsent(name: str, where: str, call: str) -> None:
    """An edit that was being written has an unknown outcome and is sent once, though a hook's own connection fails."""

    async def fail(*_: object) -> None:
        raise UNSENT[name]

    trace = aiohttp.TraceConfig()
    getattr(trace, where).append(fail)
    async with raw_server(EDITED) as server, server.session(trace_configs=[trace], clock=InstantClock()) as session:
        with pytest.raises(UnknownOutcomeError) as caught:
            await CALLS[call](session)
    assert (True, 1) == (caught.value.maybe_applied, caught.value.attempts)
    assert len(server.heard) <= 1


@pytest.mark.parametrize("call", CALLS)
async def test_a_cancellation_that_is_on_its_way_already_is_the_callers(call: str) -> None:
    """A task that is cancelled just before it calls is cancelled, and sends nothing."""

    async def work(session: AsyncSession) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await CALLS[call](session)

    async with raw_server(shop_or_edit) as server, server.session() as session:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(work(session))
    assert [] == server.heard


async def test_a_cancellation_that_is_on_its_way_into_a_wait_is_the_callers() -> None:
    """A task that is cancelled just before its next attempt is cancelled, and gets no SessionStateError."""

    def on_event(event: object) -> None:
        if isinstance(event, RetryScheduled):
            task = asyncio.current_task()
            assert task is not None
            task.cancel()

    async with raw_server(answer(None, 500)) as server, server.session(on_event=on_event) as session:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(get_customer(session, 7))
    assert 1 == len(server.heard)


@pytest.mark.parametrize("call", CALLS)
async def test_a_hook_that_fails_over_a_cancellation_hides_it_from_nobody(call: str) -> None:
    """A cancelled call stays cancelled though a hook fails, and has its note if its outcome is unknown."""
    arrived = asyncio.Event()

    async def behave(heard: ReceivedRequest, wire: Wire) -> None:
        arrived.set()
        await silence(heard, wire)

    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    trace = aiohttp.TraceConfig()
    trace.on_request_exception.append(fail)
    async with raw_server(behave) as server, server.session(trace_configs=[trace]) as session:
        task = asyncio.ensure_future(CALLS[call](session))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
    assert 1 == len(server.heard)
    assert (call != "read") is bool(getattr(caught.value, "__notes__", []))


async def test_traces_leave_nothing_in_the_callers_context() -> None:
    """A traced call leaves no context variable behind."""
    async with raw_server(EDITED) as server, server.session(trace_configs=[aiohttp.TraceConfig()]) as session:
        before = dict(contextvars.copy_context())
        await edit_customer_balance(session, 7, 1)
        assert before == dict(contextvars.copy_context())


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", [401, 404, 422])
async def test_a_rejection_whose_body_is_cut_is_still_a_rejection(status: int, call: str) -> None:
    """An edit with a status that rejects it was not made, though the body is cut."""
    cut = answer({"message": "no"}, status, headers={"Content-Length": "9999"})
    async with raw_server(close_after(cut)) as server, server.session(clock=InstantClock()) as session:
        with pytest.raises(ResponseError) as caught:
            await CALLS[call](session)
    assert (status, False) == (caught.value.status, caught.value.maybe_applied)
    assert 1 == len(server.heard)


@pytest.mark.parametrize(("status", "notes"), [(413, 0), (429, 0), (422, 1), (403, 1), (500, 1)])
async def test_a_cancel_while_an_error_comes_in_notes_what_is_unknown(status: int, notes: int) -> None:
    """A cancelled edit has a note, unless its answer's status is about the request; the body was not there to tell."""
    arrived = asyncio.Event()

    async def behave(heard: ReceivedRequest, wire: Wire) -> None:
        wire.send(answer({"message": "no"}, status, headers={"Content-Length": "9999"}))
        await silence(heard, wire)

    trace = aiohttp.TraceConfig()

    async def note_arrival(*_: object) -> None:
        arrived.set()

    trace.on_request_end.append(note_arrival)
    async with raw_server(behave) as server, server.session(trace_configs=[trace]) as session:
        task = asyncio.create_task(edit_customer_balance(session, 7, 1))
        await arrived.wait()
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
    assert notes == len(getattr(caught.value, "__notes__", []))


async def test_a_read_gets_past_many_connections_that_hold_stray_answers() -> None:
    """The next attempt of a read has a fresh connection, however many kept ones hold a stray answer."""
    stray: list[Wire] = []
    together = asyncio.Barrier(8)

    async def behave(heard: ReceivedRequest, wire: Wire) -> None:
        if heard.target.endswith("/8"):
            stray.append(wire)
            await together.wait()
        wire.send(customer_named(heard))

    async with raw_server(behave) as server, server.session(clock=InstantClock()) as session:
        await asyncio.gather(*(get_customer(session, 8) for _ in range(8)))
        for wire in stray:
            wire.send(answer({"message": "time out"}, 408))
        for _ in range(20):
            await asyncio.sleep(0)
        assert 7 == (await get_customer(session, 7)).id


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:1\\@x", "http://u%3Aa:b@proxy.example:3128"])
def test_a_proxy_that_no_request_could_take_is_refused_at_once(proxy: str) -> None:
    """A proxy URL that aiohttp would refuse at each call is refused when the session is made."""
    with pytest.raises(ValueError, match=r"^proxy must ") as caught:
        AsyncSession("key", proxy=proxy)
    assert "127.0.0.1" not in str(caught.value)


# --- a connector that somebody closes


@pytest.mark.parametrize("call", CALLS)
async def test_a_closed_connector_is_a_session_state_error(call: str) -> None:
    """A call over a borrowed connector that is closed is a SessionStateError, and is not sent."""
    async with raw_server(shop_or_edit) as server:
        connector = aiohttp.TCPConnector()
        async with server.session(connector=connector) as session:
            await connector.close()
            with pytest.raises(SessionStateError, match="connector is closed") as caught:
                await CALLS[call](session)
    assert not caught.value.maybe_applied
    assert [] == server.heard
    assert not getattr(caught.value, "__notes__", [])


@pytest.mark.parametrize("call", CALLS)
async def test_a_connector_that_closes_under_a_waiting_request_leaves_it_unsent(call: str) -> None:
    """A request that waits for a connection when its connector is closed was not sent."""
    arrived = asyncio.Event()

    async def behave(heard: ReceivedRequest, wire: Wire) -> None:
        arrived.set()
        await silence(heard, wire)

    async with raw_server(behave) as server:
        connector = aiohttp.TCPConnector(limit=1)
        async with server.session(connector=connector, retry=RetryPolicy(attempts=1)) as session:
            first = asyncio.create_task(get_customer(session, 8))
            await arrived.wait()
            second = asyncio.ensure_future(CALLS[call](session))
            while not connector._waiters:
                await asyncio.sleep(0)
            await connector.close()
            with pytest.raises(SessionStateError, match="connector is closed") as caught:
                await second
            with pytest.raises(ShopError):
                await first
    assert not caught.value.maybe_applied
    assert 1 == len(server.heard)
    assert 0 == second.cancelling()


@pytest.mark.parametrize(
    ("call", "kind"),
    [("read", SessionStateError), ("post", UnknownOutcomeError), ("put", UnknownOutcomeError)],
)
async def test_a_connector_that_closes_under_a_sent_request_is_reported(call: str, kind: type[ShopError]) -> None:
    """A sent edit whose connector is closed has an unknown outcome, and a read is not tried again."""
    arrived = asyncio.Event()

    async def behave(heard: ReceivedRequest, wire: Wire) -> None:
        arrived.set()
        await silence(heard, wire)

    async with raw_server(behave) as server:
        connector = aiohttp.TCPConnector()
        async with server.session(connector=connector, clock=InstantClock()) as session:
            task = asyncio.ensure_future(CALLS[call](session))
            await arrived.wait()
            await connector.close()
            with pytest.raises(kind) as caught:
                await task
    assert (kind is UnknownOutcomeError) is caught.value.maybe_applied


@pytest.mark.parametrize("call", CALLS)
async def test_a_session_that_closes_while_a_borrowed_connector_connects_sends_nothing(call: str) -> None:
    """A request that is connecting when its session closes is not sent, and its connection is not lost."""
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def hold(heard: ReceivedRequest, wire: Wire) -> None:
        arrived.set()
        await go_on.wait()
        await proxy.through(heard, wire)

    async with (
        tls_server(shop_or_edit) as server,
        tunnel(hold) as proxy,
        aiohttp.TCPConnector(ssl=client_tls()) as connector,
    ):
        session = AsyncSession(
            "key", shop_id=38, base_url=f"https://localhost:{server.port}/v1", proxy=proxy.url, connector=connector
        )
        task = asyncio.ensure_future(CALLS[call](session))
        await arrived.wait()
        await session.close()
        go_on.set()
        with pytest.raises(SessionStateError, match="the session") as caught:
            await task
        assert not caught.value.maybe_applied
        gc.collect()
    assert [] == server.heard
    assert [] == problems


# --- cancelled


@pytest.mark.parametrize("call", ["post", "put", "code", "any change"])
@pytest.mark.parametrize("where", ["connecting", "sent"])
async def test_a_cancelled_change_has_a_note_only_where_it_may_have_been_made(where: str, call: str) -> None:
    """A change that is cancelled has a note of an unknown outcome if it was written, and none otherwise."""
    arrived = asyncio.Event()

    async def behave(heard: ReceivedRequest, wire: Wire) -> None:
        arrived.set()
        await silence(heard, wire)

    async with tunnel(behave) as proxy, raw_server(behave) as server:
        session = (
            AsyncSession("key", shop_id=38, base_url="https://shop.example/v1", proxy=proxy.url)
            if where == "connecting"
            else server.session()
        )
        async with session:
            task = asyncio.ensure_future(CALLS[call](session))
            await arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
    notes = "".join(getattr(caught.value, "__notes__", []))
    assert (where == "sent") is ("may have been carried out" in notes)


@pytest.mark.parametrize("reference", [None, "r-1"])
async def test_a_change_that_is_cancelled_in_a_queue_has_no_note(reference: str | None) -> None:
    """A change that is cancelled before its turn has no note of an unknown outcome."""
    arrived = asyncio.Event()

    async def behave(heard: ReceivedRequest, wire: Wire) -> None:
        arrived.set()
        await silence(heard, wire)

    async with raw_server(behave) as server, server.session(max_in_flight=1) as session:
        first = asyncio.create_task(get_customer(session, 8))
        await arrived.wait()
        second = asyncio.create_task(edit_customer_balance(session, 7, 1, reference=reference))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await second
        first.cancel()
    assert not getattr(caught.value, "__notes__", [])


# --- a connection of its own


def and_hang_up(heard: ReceivedRequest, wire: Wire) -> None:
    """Answer, and close without announcing it."""
    shop_or_edit(heard, wire)
    wire.writer.close()


@pytest.mark.parametrize("borrowed", [False, True], ids=["own connector", "borrowed"])
@pytest.mark.parametrize("reference", [False, True], ids=["plain", "with a reference"])
async def test_an_edit_takes_no_connection_that_is_about_to_die(reference: bool, borrowed: bool) -> None:
    """No edit is lost to a server that hangs up after each answer without announcing it."""

    def behave(heard: ReceivedRequest, wire: Wire) -> None:
        if "transactions" in heard.target:
            wire.send(answer([]))
        else:
            shop_or_edit(heard, wire)
        wire.writer.close()

    connector = aiohttp.TCPConnector() if borrowed else None
    async with raw_server(behave) as server:
        async with server.session(connector=connector, clock=InstantClock()) as session:
            for n in range(1, 21):
                await get_customer(session, n)
                await edit_customer_balance(session, n, 1, reference=f"r-{n}" if reference else None)
        if connector is not None:
            await connector.close()
    assert 20 == sum(heard.method == "POST" for heard in server.heard)


@pytest.mark.parametrize("call", CALLS)
async def test_an_answer_that_nobody_asked_for_is_nobodys(call: str) -> None:
    """A stray answer on an idle connection is not taken for the answer to the next request."""

    def behave(heard: ReceivedRequest, wire: Wire) -> None:
        shop_or_edit(heard, wire)
        if heard.target.endswith("/8"):
            stray.append(wire)

    stray: list[Wire] = []
    async with raw_server(behave) as server, server.session() as session:
        await get_customer(session, 8)
        stray[0].send(answer({"id": 666, "email": "stray@example.com", "message": "stray"}))
        await stray[0].writer.drain()
        for _ in range(20):  # it arrives while the connection is idle
            await asyncio.sleep(0)
        got = await CALLS[call](session)
    assert "stray" not in repr(got)


@pytest.mark.parametrize("borrowed", [False, True], ids=["own connector", "borrowed"])
async def test_each_edit_has_a_connection_of_its_own_and_leaves_none(borrowed: bool) -> None:
    """Each edit has a connection of its own, within the connector's limit, and closes it; other calls share one."""
    connector = aiohttp.TCPConnector(limit=3) if borrowed else None
    async with raw_server(shop_or_edit) as server:
        async with server.session(connector=connector, max_in_flight=3) as session:
            for n in range(1, 4):
                await get_customer(session, n)
                await edit_customer_affiliate_code(session, n, "A")
            assert 1 == server.connections
            await asyncio.gather(*(edit_customer_balance(session, n, 1, method="PUT") for n in range(1, 21)))
            await session.request("GET", ["shops"], idempotent=False)
            assert 22 == server.connections
            own = [heard for heard in server.heard if heard.connection > 1]
            assert {"close"} == {heard.headers.get("connection") for heard in own}
            await get_customer(session, 7)
            assert 22 == server.connections
            while server.open_now > 1:  # the server notices the closed connections a turn later
                await asyncio.sleep(0)
        if connector is not None:
            await connector.close()


async def test_edits_by_a_tunnel_are_sent_once_each_on_a_tunnel_of_their_own() -> None:
    """Each edit through a proxy has a tunnel of its own, and its CONNECT does not count as sent."""
    async with (
        tls_server(shop_or_edit) as server,
        tunnel() as proxy,
        aiohttp.TCPConnector(ssl=client_tls()) as connector,
    ):
        session = AsyncSession(
            "key",
            shop_id=38,
            base_url=f"https://localhost:{server.port}/v1",
            proxy=proxy.url,
            connector=connector,
        )
        async with session:
            for n in range(1, 4):
                await get_customer(session, n)
                await edit_customer_balance(session, n, 1)
    assert ["GET", "POST"] * 3 == [heard.method for heard in server.heard]
    assert 4 == len(proxy.heard) == server.connections


@pytest.mark.parametrize("call", ["post", "put"])
async def test_a_lost_edit_by_a_tunnel_has_an_unknown_outcome_and_is_sent_once(call: str) -> None:
    """An edit whose answer is lost behind a tunnel has an unknown outcome, and is sent once."""
    async with tls_server(b"") as server, tunnel() as proxy, aiohttp.TCPConnector(ssl=client_tls()) as connector:
        session = AsyncSession(
            "key", shop_id=38, base_url=f"https://localhost:{server.port}/v1", proxy=proxy.url, connector=connector
        )
        async with session:
            with pytest.raises(UnknownOutcomeError) as caught:
                await CALLS[call](session)
    assert caught.value.maybe_applied
    assert 1 == len(server.heard) == len(proxy.heard)


# --- why an answer cannot be read

DECODE_ERRORS: dict[str, tuple[bytes, str]] = {
    "brotli": (answer(raw=b"\xff" * 20, headers={"Content-Encoding": "br"}), "encoding that was not asked for"),
    "zstandard": (answer(raw=b"abc", headers={"Content-Encoding": "zstd"}), "encoding that was not asked for"),
    "damaged gzip": (answer(raw=b"abc", headers={"Content-Encoding": "gzip"}), "damaged, or in an encoding"),
    "two lengths": (b"HTTP/1.1 200 X\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "Content-Length is broken"),
    "a length that is none": (b"HTTP/1.1 200 X\r\nContent-Length: x\r\n\r\n{}", "Content-Length is broken"),
    "a length and chunks": (
        b"HTTP/1.1 200 X\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "Content-Length is broken",
    ),
    "a body that ends early": (b"HTTP/1.1 200 X\r\nContent-Length: 30\r\n\r\n{}", "ends before its Content-Length"),
    "chunks that are none": (b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}", "chunks are broken"),
    "chunks that end early": (b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{}", "before its last chunk"),
    "a header too long": (answer(CUSTOMER, headers={"X-Long": "x" * 70_000}), "a header line of more than 64 KiB"),
    "too many headers": (answer(CUSTOMER, headers={f"X-{n}": "x" for n in range(200)}), "too many headers"),
    "a header without a colon": (b"HTTP/1.1 200 X\r\nnonsense\r\n\r\n", "a header that HTTP does not allow"),
    "a header that is none": (answer(CUSTOMER, headers={"X-Bad": "a\x00b"}), "a header that HTTP does not allow"),
    "another protocol": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "it is not HTTP"),
}


@pytest.mark.parametrize("call", ["read", "post"])
@pytest.mark.parametrize("name", DECODE_ERRORS)
async def test_an_answer_that_cannot_be_read_says_why(name: str, call: str) -> None:
    """The error of an unreadable answer says why in our words, and quotes nothing of it."""
    data, words = DECODE_ERRORS[name]
    async with raw_server(close_after(data)) as server:
        async with server.session(retry=RetryPolicy(attempts=1)) as session:
            with pytest.raises(TransportError, match=words) as caught:
                await CALLS[call](session)
    assert (call == "post") is caught.value.maybe_applied
    assert "OpenSSH" not in str(caught.value)


@pytest.mark.parametrize("size", [9_000, 60_000])
async def test_long_header_lines_are_read(size: int) -> None:
    """Header lines of up to 64 KiB, as a Content-Security-Policy may be, are read."""
    long = answer(CUSTOMER, headers={"Content-Security-Policy": "x" * size})
    async with raw_server(long) as server, server.session() as session:
        assert 7 == (await get_customer(session, 7)).id
    assert 1 == len(server.heard)


# --- texts of messages


async def test_no_text_of_aiohttps_stands_in_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message has the system's text for an OSError, not aiohttp's, which may quote a URL with an e-mail address."""
    address = "someone@example.com"

    async def fail(self: aiohttp.ClientRequest, _conn: object) -> None:
        raise aiohttp.ClientOSError(32, f"Can not write request body for {self.url}")

    monkeypatch.setattr(aiohttp.ClientRequest, "send", fail)
    async with raw_server(EDITED) as server, server.session() as session:
        with pytest.raises(UnknownOutcomeError, match=r"ClientOSError: Broken pipe$") as caught:
            await edit_customer_balance(session, address, 1)
    assert address not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(104, "hunter2"), "Connection reset by peer"),
        (OSError(None, "hunter2"), "ClientOSError$"),
        (OSError("hunter2"), "ClientOSError$"),
        (OSError(-7, "hunter2"), "ClientOSError$"),
        (ConnectionResetError("hunter2"), "ClientOSError$"),  # so aiohttp calls it
        (TimeoutError("hunter2"), "timed out$"),
        (aiohttp.ClientConnectionError("hunter2"), "ClientConnectionError$"),
        (aiohttp.ClientPayloadError("hunter2"), "the answer cannot be read: its body is damaged$"),
    ],
)
async def test_a_failure_is_described_by_number_or_class(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No text of an exception stands in the message of its error."""

    async def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(aiohttp.ClientRequest, "send", fail)
    async with raw_server(EDITED) as server, server.session() as session:
        with pytest.raises(UnknownOutcomeError, match=words) as caught:
            await edit_customer_balance(session, 7, 1)
    assert "hunter2" not in str(caught.value)
    assert 0 == len(server.heard)


# --- a whole walk


async def test_a_walk_survives_a_server_that_hangs_up_behind_each_page() -> None:
    """A walk repeats its reads against a server that hangs up after each page."""

    def behave(heard: ReceivedRequest, wire: Wire) -> None:
        page = heard.json["page"]
        rows = [{"id": 10 * page + n, "email": "a@b"} for n in range(2 if page <= 5 else 0)]
        wire.send(answer(page_of(rows, page, last=5, per_page=2, total=10)))
        wire.writer.close()

    async with raw_server(behave) as server, server.session(clock=InstantClock()) as session:
        assert 10 == len([customer.id async for customer in iter_customers(session, per_page=2)])
