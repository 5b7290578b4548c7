"""An edit reaches the server at most once on any failure of a connection, and its error says whether it was made."""

import asyncio
import socket
import ssl
from decimal import Decimal
from typing import Any, Literal

import aiohttp
import pytest
import trustme

from shopsdk import (
    AsyncSession,
    AuthenticationError,
    DecodeError,
    InvalidRequestError,
    NotFoundError,
    NotSentError,
    PermissionDeniedError,
    ResponseError,
    ServerError,
    ShopError,
    Timeout,
    TransportError,
    UnknownOutcomeError,
    edit_customer_affiliate_code,
    edit_customer_balance,
    get_customer,
)
from shopsdk.testing import InstantClock
from tests.support.servers import (
    CUSTOMER,
    Behaviour,
    ReceivedRequest,
    Wire,
    answer,
    close_after,
    listening,
    raw_server,
    silence,
    time_out,
)

METHODS = ["POST", "PUT"]
EDITED = answer({"message": "ok"})
Method = Literal["POST", "PUT"]


def reset(_heard: ReceivedRequest, wire: Wire) -> None:
    wire.reset()


def half(_heard: ReceivedRequest, wire: Wire) -> None:
    wire.send(EDITED[:-4])
    wire.writer.close()


async def half_in_time(heard: ReceivedRequest, wire: Wire) -> None:
    wire.send(EDITED[:-4])
    await time_out(heard, wire)


HTML = answer(raw=b"<html>Bad Gateway</html>", headers={"Content-Type": "text/html"}, status=502)


OPEN: dict[str, tuple[Behaviour, type[ShopError]]] = {
    "hangs up": (b"", UnknownOutcomeError),
    "resets": (reset, UnknownOutcomeError),
    "never answers": (time_out, UnknownOutcomeError),
    "cuts the answer": (half, UnknownOutcomeError),
    "stalls in the answer": (half_in_time, UnknownOutcomeError),
    "answers garbage": (close_after(b"SMTP ready\r\n\r\n"), UnknownOutcomeError),
    "answers 500": (answer({"message": "Server Error"}, 500), ServerError),
    "answers 502 in HTML": (HTML, ServerError),
    "answers 503": (answer(None, 503, headers={"Retry-After": "1"}), ServerError),
    "answers 504": (answer(None, 504), ServerError),
    "answers 521": (answer(None, 521), ServerError),
    "redirects": (answer(None, 302, headers={"Location": "/elsewhere"}), ResponseError),
    "redirects and keeps the verb": (answer(None, 307, headers={"Location": "/elsewhere"}), ResponseError),
    "answers 408": (answer(None, 408), ResponseError),
    "answers HTML": (answer(raw=b"<html>"), DecodeError),
    "answers nothing": (answer(raw=b""), DecodeError),
    "answers cut JSON": (answer(raw=b'{"message": "o'), DecodeError),
}


@pytest.mark.parametrize("reused", [False, True], ids=["fresh", "reused"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", OPEN)
async def test_an_edit_with_an_unknown_outcome_is_never_sent_again(name: str, method: Method, reused: bool) -> None:
    """An edit that may have been made reaches the server once, and is reported as maybe made."""
    behaviour, kind = OPEN[name]
    behaviours = [answer(CUSTOMER), behaviour, EDITED] if reused else [behaviour, EDITED]
    async with (
        raw_server(*behaviours) as server,
        server.session(clock=InstantClock()) as session,
    ):
        if reused:
            await get_customer(session, 7)
        with pytest.raises(ShopError) as caught:
            await edit_customer_balance(session, 7, "1.50", method=method)
    assert [method] == [heard.method for heard in server.heard if heard.method != "GET"]
    assert len(server.heard) == server.connections  # an edit does not use the kept connection
    assert kind is type(caught.value)
    assert caught.value.maybe_applied
    if isinstance(caught.value, TransportError | ResponseError):
        assert (method, "/shops/38/customers/7/balance", 1) == (
            caught.value.method,
            caught.value.path,
            caught.value.attempts,
        )


REFUSED: dict[int, type[ResponseError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ResponseError,
    422: InvalidRequestError,
}


@pytest.mark.parametrize("status", REFUSED)
async def test_an_edit_that_was_refused_is_surely_not_applied(status: int) -> None:
    """The error of an edit that the shop rejected says that it was not made."""
    async with raw_server(answer({"message": "no"}, status)) as server, server.session() as session:
        with pytest.raises(ResponseError) as caught:
            await edit_customer_balance(session, 7, 1)
    assert REFUSED[status] is type(caught.value)
    assert not caught.value.maybe_applied
    assert len(server.heard) == 1


async def test_an_edit_refused_by_a_rate_limit_is_sent_again() -> None:
    """An edit that was answered 429 is sent again, since a rate limit rejects it before anything is done."""
    limited = answer({"message": "Too Many Attempts."}, 429, headers={"Retry-After": "7"})
    clock = InstantClock()
    async with raw_server(limited, limited, EDITED) as server, server.session(clock=clock) as session:
        assert (await edit_customer_balance(session, 7, 1)).message == "ok"
    assert len(server.heard) == 3
    assert sum(clock.slept) >= 14
    assert [heard.body for heard in server.heard[:1]] * 3 == [heard.body for heard in server.heard]


@pytest.fixture
def nobody_listens() -> str:
    """A base URL on a port that refuses connections."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{closed.getsockname()[1]}/v1"


@pytest.mark.parametrize("method", METHODS)
async def test_a_refused_connection_is_surely_unsent_and_tried_again(nobody_listens: str, method: Method) -> None:
    """A refused connection is tried again, and reported as not sent."""
    clock = InstantClock()
    async with AsyncSession("key", shop_id=38, base_url=nobody_listens, clock=clock) as session:
        with pytest.raises(NotSentError) as caught:
            await edit_customer_balance(session, 7, 1, method=method)
    assert not caught.value.maybe_applied
    assert caught.value.attempts == 4
    assert len(clock.slept) == 3
    assert sum(clock.slept) == pytest.approx(caught.value.elapsed)


async def test_a_name_that_does_not_resolve_is_surely_unsent() -> None:
    """An edit to a host name that does not resolve is reported as not sent, and the name is told."""
    async with AsyncSession("key", shop_id=38, base_url="https://nowhere.invalid/v1", clock=InstantClock()) as session:
        with pytest.raises(NotSentError, match=r"the name nowhere\.invalid could not be resolved"):
            await edit_customer_balance(session, 7, 1)


@pytest.mark.parametrize("timeout", [Timeout(connect=0.05, total=5), Timeout(connect=10, total=0.06)], ids=str)
async def test_a_connect_timeout_is_surely_unsent(timeout: Timeout) -> None:
    """A timeout while connecting is reported as not sent, however short the total is."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        fillers = [socket.socket() for _ in range(3)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(address)
            async with AsyncSession(
                "key", shop_id=38, base_url=f"http://127.0.0.1:{address[1]}/v1", timeout=timeout, clock=InstantClock()
            ) as session:
                with pytest.raises(NotSentError) as caught:
                    await edit_customer_balance(session, 7, 1)
            assert caught.value.attempts == 4
        finally:
            for filler in fillers:
                filler.close()


async def test_a_proxy_that_refuses_to_connect_is_surely_unsent() -> None:
    """An edit for which a proxy made no connection is reported as not sent."""
    async with raw_server(answer(None, 502)) as proxy:
        place = f"http://127.0.0.1:{proxy.port}"
        async with AsyncSession(
            "key", shop_id=38, base_url="https://shop.example/v1", proxy=place, clock=InstantClock()
        ) as session:
            with pytest.raises(NotSentError) as caught:
                await edit_customer_balance(session, 7, 1)
    assert not caught.value.maybe_applied
    assert {"CONNECT"} == {heard.method for heard in proxy.heard}


async def test_plain_text_where_tls_is_expected_is_surely_unsent() -> None:
    """An edit whose TLS handshake fails is reported as not sent."""

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"no TLS here\r\n")
        writer.close()

    async with listening(hang_up) as server:
        port = server.sockets[0].getsockname()[1]
        async with AsyncSession(
            "key", shop_id=38, base_url=f"https://127.0.0.1:{port}/v1", clock=InstantClock()
        ) as session:
            with pytest.raises(
                NotSentError, match=r"ClientConnectorSSLError: (WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE)$"
            ) as caught:
                await edit_customer_balance(session, 7, 1)
    assert not caught.value.maybe_applied


async def test_a_bad_certificate_is_surely_unsent_and_not_tried_again(self_signed: ssl.SSLContext) -> None:
    """An edit to a server with a bad certificate is reported as not sent, and is not tried again."""
    async with listening(lambda _r, w: w.close(), ssl=self_signed) as server:
        port = server.sockets[0].getsockname()[1]
        clock = InstantClock()
        async with AsyncSession("key", shop_id=38, base_url=f"https://localhost:{port}/v1", clock=clock) as session:
            with pytest.raises(
                NotSentError, match=r"certificate verification failed: unable to get local issuer certificate$"
            ) as caught:
                await edit_customer_balance(session, 7, 1)
    assert clock.slept == []
    assert not caught.value.repeatable


READS_REPEAT: dict[str, Behaviour] = {
    name: behaviour for name, (behaviour, kind) in OPEN.items() if kind in (UnknownOutcomeError, ServerError)
}


@pytest.mark.parametrize("name", READS_REPEAT)
async def test_a_read_is_tried_again(name: str) -> None:
    """A read is repeated after a passing fault."""
    server_down = [READS_REPEAT[name]] * 2
    async with (
        raw_server(*server_down, answer(CUSTOMER)) as server,
        server.session(clock=InstantClock()) as session,
    ):
        assert (await get_customer(session, 7)).id == 7
    assert len(server.heard) == 3


@pytest.mark.parametrize("name", READS_REPEAT)
async def test_a_read_that_fails_is_no_unknown_outcome(name: str) -> None:
    """A read that fails is never an unknown outcome, since it changes nothing."""
    async with (
        raw_server(READS_REPEAT[name]) as server,
        server.session(clock=InstantClock()) as session,
    ):
        with pytest.raises(ShopError) as caught:
            await get_customer(session, 7)
    assert type(caught.value) in (TransportError, ServerError)
    assert not caught.value.maybe_applied
    assert len(server.heard) == 4


async def test_an_unknown_outcome_stays_unknown_when_a_later_attempt_is_not_sent() -> None:
    """A change that may have been made stays so when a later attempt cannot connect."""

    def close_the_shop(_heard: ReceivedRequest, wire: Wire) -> None:
        server.listener.close()
        wire.writer.close()

    async with raw_server(close_the_shop) as server, server.session(clock=InstantClock()) as session:
        with pytest.raises(UnknownOutcomeError) as caught:
            await edit_customer_affiliate_code(session, 7, "A")
    assert caught.value.maybe_applied
    assert caught.value.attempts == 4
    assert len(server.heard) == 1


async def test_an_unknown_outcome_stays_unknown_when_a_later_attempt_is_rejected() -> None:
    """A change that may have been made stays so when a later attempt is rejected."""
    async with (
        raw_server(answer(None, 500), answer({"message": "no"}, 422)) as server,
        server.session(clock=InstantClock()) as session,
    ):
        with pytest.raises(InvalidRequestError) as caught:
            await edit_customer_affiliate_code(session, 7, "A")
    assert caught.value.maybe_applied


@pytest.mark.parametrize("reference", [None, "refund-1187"])
async def test_a_cancelled_edit_stays_a_cancellation_with_a_note(reference: str | None) -> None:
    """A cancelled edit is a CancelledError, with a note that it may have been made."""
    arrived = asyncio.Event()

    async def hold(heard: ReceivedRequest, wire: Wire) -> None:
        arrived.set()
        await silence(heard, wire)

    behaviours: list[Behaviour] = [hold] if reference is None else [answer([]), hold]
    async with raw_server(*behaviours) as server, server.session() as session:
        task = asyncio.create_task(edit_customer_balance(session, 7, 1, reference=reference))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
    notes = "".join(caught.value.__notes__)
    assert "may have been carried out" in notes
    assert reference is None or repr(reference) in notes
    assert len([heard for heard in server.heard if heard.method != "GET"]) == 1


@pytest.mark.parametrize(
    ("where", "kind", "sent"),
    [
        ("on_request_start", NotSentError, 0),
        ("on_connection_create_start", NotSentError, 0),
        ("on_connection_create_end", NotSentError, 0),
        ("on_request_headers_sent", UnknownOutcomeError, None),
        ("on_request_chunk_sent", UnknownOutcomeError, None),
        ("on_request_end", UnknownOutcomeError, 1),
        ("on_response_chunk_received", UnknownOutcomeError, 1),
    ],
)
async def test_a_hook_that_fails_counts_like_any_failure_at_its_place(
    where: str, kind: type[ShopError], sent: int | None
) -> None:
    """An edit whose trace hook fails is reported as not sent if it was not written yet, and as maybe made otherwise."""

    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    trace = aiohttp.TraceConfig()
    getattr(trace, where).append(fail)
    async with (
        raw_server(EDITED) as server,
        server.session(trace_configs=[trace], clock=InstantClock()) as session,
    ):
        with pytest.raises(TransportError, match=r"ZeroDivisionError|ClientConnectionError") as caught:
            await edit_customer_balance(session, 7, 1)
    assert kind is type(caught.value)
    assert (kind is UnknownOutcomeError) is caught.value.maybe_applied
    assert (4 if kind is NotSentError else 1) == caught.value.attempts
    assert sent is None or sent == len(server.heard)


async def test_a_get_that_must_not_be_repeated_is_a_change() -> None:
    """A GET sent with idempotent=False counts as a change, and its loss as an unknown outcome."""
    async with raw_server(b"") as server, server.session() as session:
        with pytest.raises(UnknownOutcomeError) as caught:
            await session.request("GET", ["process"], idempotent=False)
    assert caught.value.maybe_applied
    assert 1 == len(server.heard)


async def test_a_timeout_around_an_edit_is_the_callers_own() -> None:
    """``asyncio.timeout`` around a call raises the caller's own TimeoutError."""

    async def run_out(heard: ReceivedRequest, wire: Wire) -> None:
        limit.reschedule(asyncio.get_running_loop().time())
        await silence(heard, wire)

    async with raw_server(run_out) as server, server.session() as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as limit:
                await edit_customer_balance(session, 7, 1)
    assert 1 == len(server.heard)


@pytest.mark.parametrize(
    ("amount", "sent"),
    [
        ("1.5", b"1.5"),
        (Decimal(1000), b"1000"),
        (-1000, b"-1000"),
        (Decimal("1E+2"), b"100"),
        ("0.10", b"0.10"),
        ("-0", b"0"),
    ],
)
async def test_money_travels_as_an_exact_number(amount: Any, sent: bytes) -> None:
    """An amount is sent as an exact JSON number."""
    async with raw_server(EDITED) as server, server.session() as session:
        await edit_customer_balance(session, 7, amount)
        await edit_customer_balance(session, 7, amount, description="d")
    assert [b'{"amount":' + sent + b"}", b'{"amount":' + sent + b',"description":"d"}'] == [
        h.body for h in server.heard
    ]


@pytest.fixture
def self_signed() -> ssl.SSLContext:
    """A server's context with a certificate that nobody trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    return context
