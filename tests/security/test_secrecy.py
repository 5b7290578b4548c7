"""Secrecy of the key and of customers' e-mail addresses, searched for in all that failures of every kind leave."""

import asyncio
import gc
import json
import logging
import pickle
import socket
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from html import escape
from pathlib import Path
from traceback import TracebackException, walk_tb
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any
from urllib.parse import quote

import attrs
import pytest

from shopsdk import (
    AsyncSession,
    DecodeError,
    RetryPolicy,
    ShopError,
    Timeout,
    edit_customer_affiliate_code,
    edit_customer_balance,
    get_customer,
    get_customers,
    iter_customers,
)
from shopsdk._api.arguments import balance_amount
from shopsdk._config import Secret
from shopsdk.testing import InstantClock
from tests.support.servers import (
    CUSTOMER,
    Behaviour,
    RawServer,
    ReceivedRequest,
    Wire,
    answer,
    close_after,
    listening,
    page_of,
    raw_server,
    silence,
    time_out,
)

KEY = "hunter2/1|AbC+xyz=="
"""With the characters that JSON, URLs and HTML write otherwise."""
TRACE = "hunter2"
ADDRESS = "anna@example.com"

Call = Callable[[AsyncSession], Awaitable[object]]


async def walked(session: AsyncSession) -> None:
    async with aclosing(iter_customers(session, email=ADDRESS)) as walk:
        async for _ in walk:
            pass


CALLS: dict[str, Call] = {
    "read": lambda session: get_customer(session, 7),
    "list": lambda session: get_customers(session, email=ADDRESS),
    "walk": walked,
    "edit": lambda session: edit_customer_balance(session, ADDRESS, 1, description=f"for {ADDRESS}"),
    "edit with a reference": lambda session: edit_customer_balance(session, ADDRESS, 1, method="PUT", reference="r-1"),
    "code": lambda session: edit_customer_affiliate_code(session, ADDRESS, "A"),
}


# --- the failures


def reset(_heard: ReceivedRequest, wire: Wire) -> None:
    wire.reset()


async def endless_headers(heard: ReceivedRequest, wire: Wire) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\n" + f"X-Echo: {KEY} {ADDRESS}\r\n".encode() * 2000)
    await time_out(heard, wire)


async def slow_body(heard: ReceivedRequest, wire: Wire) -> None:
    wire.send(answer(page_of([CUSTOMER]))[:-20])
    await time_out(heard, wire)


def echo(status: int) -> Behaviour:
    """Send back all that was sent, in the headers and in the body, as it was and as JSON escapes it."""

    def behave(heard: ReceivedRequest, wire: Wire) -> None:
        sent = heard.headers["authorization"]
        body = {
            "message": f"not for {sent} of {ADDRESS}",
            "errors": {sent: [sent, f"{ADDRESS} is taken"], ADDRESS: ["x"]},
            "trace": quote(sent, safe=""),
        }
        names = "X-Request-Id", "CF-Ray", "WWW-Authenticate", "Retry-After", "X-RateLimit-Limit", "Set-Cookie"
        headers = {name: sent.partition(" ")[2] for name in names} | {"Location": f"/{sent}"}
        wire.send(answer(body, status, headers=headers))

    return behave


def php_echo(heard: ReceivedRequest, wire: Wire) -> None:
    """Echo the key as PHP writes JSON: with its slashes escaped."""
    raw = b'{"message":"%s"}' % heard.headers["authorization"].replace("/", "\\/").encode()
    wire.send(answer(raw=raw, status=401))


def echo_in_success(heard: ReceivedRequest, wire: Wire) -> None:
    whole = answer({"data": [{"id": heard.headers["authorization"], "email": ADDRESS}], "amount": ADDRESS})
    wire.send(whole if heard.method == "GET" else whole[:-1] + b"]")


def redirect(elsewhere: str) -> Behaviour:
    return lambda heard, wire: wire.send(answer({}, 307, headers={"Location": elsewhere + heard.target}))


FAULTS: dict[str, Behaviour] = {
    "hang-up": b"",
    "reset": reset,
    "truncated": close_after(answer(CUSTOMER)[:-9]),
    "garbage": close_after(f"SMTP {KEY} {ADDRESS}\r\n\r\n".encode()),
    "a garbled header": close_after(f"HTTP/1.1 200 OK\r\n{KEY} {ADDRESS}\x00\r\n\r\n".encode()),
    "a garbled chunk": close_after(
        f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{KEY} {ADDRESS}\r\n".encode()
    ),
    "garbled gzip": answer(raw=KEY.encode(), headers={"Content-Encoding": "gzip"}),
    "endless headers": endless_headers,
    "silence": time_out,
    "slow body": slow_body,
    "oversize": answer(raw=b'"' + b"x" * 100_000 + b'"'),
    "HTML": answer(raw=f"<html>{ADDRESS}</html>".encode(), headers={"Content-Type": "text/html"}),
    "HTML 502": answer(raw=f"<html>{ADDRESS}</html>".encode(), status=502),
    "echo in a success": echo_in_success,
    "a redirect here": redirect(""),
    **{f"echo {status}": echo(status) for status in (302, 401, 403, 404, 422, 429, 500)},
    "echo of PHP": php_echo,
}


@attrs.define
class Seen:
    """All that a failure has left behind."""

    caught: BaseException | None = None
    words: list[str] = attrs.Factory(list)

    def texts(self) -> Iterator[str]:
        yield from self.words
        error = self.caught
        assert error is not None
        for one in chain(error):
            yield from (str(one), repr(one), repr(one.args), *getattr(one, "__notes__", ()))
            yield from strings(vars(one))
        for trace in traces(TracebackException.from_exception(error, capture_locals=True)):
            yield from (str(trace), *trace.format_exception_only())
            for frame in trace.stack:
                if frame.filename != __file__:  # the tests know the key
                    yield f"{frame.filename}:{frame.lineno} {frame.line} {frame.locals}"
        if isinstance(error, ShopError):
            yield from (repr(pickle.dumps(error, protocol)) for protocol in (0, 5))


TESTS = str(Path(__file__).parents[1])


def in_frames(error: BaseException | None) -> Iterator[str]:
    """Yield every text within reach of the frames that an error holds on to, as a debugger would find it."""
    for one in chain(error):
        for live, _ in walk_tb(one.__traceback__):
            if not live.f_code.co_filename.startswith(TESTS):  # a test's own frame leads to pytest, which has them all
                yield from strings(live.f_locals)


def traces(trace: TracebackException | None) -> Iterator[TracebackException]:
    if trace is not None:
        yield trace
        yield from traces(trace.__cause__)
        yield from traces(trace.__context__)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error, and all that led to it, hidden or not."""
    todo, done = [error], set()
    while todo:
        one = todo.pop()
        if one is None or id(one) in done:
            continue
        done.add(id(one))
        yield one
        todo += [one.__cause__, one.__context__]


LEAVES = (type, FunctionType, MethodType, BuiltinFunctionType, ModuleType, asyncio.AbstractEventLoop, logging.Logger)


def strings(root: object) -> Iterator[str]:
    """Yield every text within reach of an object, by its attributes, slots and items."""
    todo, done = [root], {}
    while todo:
        value = todo.pop()
        if id(value) in done or isinstance(value, LEAVES):
            continue
        done[id(value)] = value
        if isinstance(value, str | bytes | bytearray | int | float | None):
            yield str(value)
            continue
        yield repr(value)
        if isinstance(value, dict):
            todo += [*value, *value.values()]
        elif isinstance(value, list | tuple | set | frozenset):
            todo += value
        todo += getattr(value, "__dict__", {}).values()
        for cls in type(value).__mro__:
            slots = vars(cls).get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                private = f"_{cls.__name__.lstrip('_')}{name}" if name.startswith("__") else name
                todo.append(getattr(value, private, None))


@asynccontextmanager
async def watching(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Seen]:
    """Catch what the block raises, and keep all that is logged, warned of or left in the air meanwhile."""
    seen = Seen()
    loop = asyncio.get_running_loop()
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    loop.set_debug(True)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            yield seen
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - whatever it is, it is searched
            seen.caught = error
        finally:
            loop.set_debug(False)
        gc.collect()
        await asyncio.sleep(0)
    assert caplog.records
    seen.words += [
        text
        for record in caplog.records
        for text in (record.getMessage(), record.exc_text or "", *strings(vars(record)))
    ]
    seen.words += [str(warning.message) for warning in warned]


def key_stays_in(seen: Seen, *, deep: bool = True) -> None:
    """Check that no text that may be printed has the key, and no frame either if nothing was echoed."""
    texts = [*seen.texts(), *(in_frames(seen.caught) if deep else ())]
    found = [text for text in texts if TRACE in text or "AbC+xyz" in text]
    assert [] == found


def address_stays_in(seen: Seen, caplog: pytest.LogCaptureFixture) -> None:
    """Check messages and logs alone: a path or a body as a field is for the program, not for the log."""
    error = seen.caught
    payload = [record.getMessage() for record in caplog.records if record.name != "asyncio"]
    for one in chain(error):
        payload += [str(one), str(getattr(one, "message", "")), *getattr(one, "__notes__", ())]
        payload += [line for lines in getattr(one, "errors", {}).items() for line in (lines[0], *lines[1])]
    assert [] == [text for text in payload if "anna" in text or "example.com" in text]


def session_on(base_url: str, **settings: Any) -> AsyncSession:
    return AsyncSession(KEY, shop_id=38, base_url=base_url, retry=RetryPolicy(attempts=2), **settings)


@pytest.mark.parametrize("call", list(CALLS))
@pytest.mark.parametrize("fault", list(FAULTS))
async def test_no_fault_of_the_server_shows_the_key_or_an_address(
    fault: str, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No fault of a server puts the key into anything that is left, or an address into messages and logs."""
    async with (
        raw_server(FAULTS[fault]) as server,
        session_on(server.base_url, max_response_bytes=50_000, clock=InstantClock()) as session,
    ):
        async with watching(caplog) as seen:
            await CALLS[call](session)
        assert isinstance(seen.caught, ShopError)
        key_stays_in(seen, deep="echo" not in fault)
        address_stays_in(seen, caplog)
        assert [] == [text for text in strings(session) if TRACE in text]
    assert {heard.headers["authorization"] for heard in server.heard} <= {f"Bearer {KEY}"}


@pytest.mark.parametrize("call", list(CALLS))
async def test_a_redirect_to_another_host_is_not_followed(call: str, caplog: pytest.LogCaptureFixture) -> None:
    """The key goes to no host that a redirect names."""
    async with raw_server(answer(CUSTOMER)) as other:
        async with raw_server(redirect(f"http://localhost:{other.port}")) as server:
            async with session_on(server.base_url, clock=InstantClock()) as session:
                async with watching(caplog) as seen:
                    await CALLS[call](session)
        key_stays_in(seen)
    assert [] == other.heard
    assert isinstance(seen.caught, ShopError)


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port: int = closed.getsockname()[1]
    return port


@pytest.fixture
def full_port() -> Iterator[int]:
    """A server that never accepts."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield full.getsockname()[1]
        for filler in fillers:
            filler.close()


@pytest.mark.parametrize("call", list(CALLS))
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_connection_that_fails_shows_nothing(
    call: str, scheme: str, closed_port: int, full_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a refused connection nor one that hangs, nor a failed or a hanging TLS handshake, shows the key."""

    def plain_text(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"no TLS here\r\n")
        writer.close()

    async with listening(plain_text) as plain, raw_server(b"") as silent:
        handshakes = [plain.sockets[0].getsockname()[1], silent.port] if scheme == "https" else []
        for port in (closed_port, full_port, *handshakes):
            timeout = Timeout(connect=0.05 if port in {full_port, silent.port} else 10)
            url = f"{scheme}://127.0.0.1:{port}/v1"
            async with session_on(url, timeout=timeout, clock=InstantClock()) as session:
                async with watching(caplog) as seen:
                    await CALLS[call](session)
            assert isinstance(seen.caught, ShopError)
            key_stays_in(seen)
            address_stays_in(seen, caplog)


PROXY_FAULTS: dict[str, Behaviour] = {
    "hang-up": b"",
    "407": answer({}, 407, headers={"Proxy-Authenticate": "Basic"}),
    "407 echo": lambda heard, wire: wire.send(answer(heard.headers, 407)),
    "502": answer(raw=b"<html>", status=502),
    "garbage": close_after(b"SMTP\r\n\r\n"),
    "silence": time_out,
}


@pytest.mark.parametrize("fault", [*PROXY_FAULTS, "refused"])
@pytest.mark.parametrize("call", ["read", "edit"])
async def test_a_failing_proxy_shows_neither_the_key_nor_its_password(
    fault: str, call: str, closed_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A failing proxy shows neither its password nor the key."""
    async with raw_server(PROXY_FAULTS.get(fault, b"")) as server:
        port = closed_port if fault == "refused" else server.port
        proxy = f"http://user:hunter2@127.0.0.1:{port}"
        async with session_on("https://shop.invalid/v1", proxy=proxy, clock=InstantClock()) as session:
            async with watching(caplog) as seen:
                await CALLS[call](session)
            assert isinstance(seen.caught, ShopError)
            key_stays_in(seen, deep=False)
            assert TRACE not in repr(session)


def mid_request(arrived: asyncio.Event) -> Behaviour:
    async def behave(heard: ReceivedRequest, wire: Wire) -> None:
        arrived.set()
        await silence(heard, wire)

    return behave


def mid_body(arrived: asyncio.Event) -> Behaviour:
    async def behave(heard: ReceivedRequest, wire: Wire) -> None:
        wire.send(answer(page_of([CUSTOMER]))[:-20])
        await wire.writer.drain()
        arrived.set()
        await silence(heard, wire)

    return behave


@pytest.mark.parametrize("call", list(CALLS))
@pytest.mark.parametrize("where", [mid_request, mid_body])
@pytest.mark.parametrize("how", ["task.cancel", "asyncio.timeout"])
async def test_a_cancelled_call_shows_nothing(
    call: str, where: Callable[[asyncio.Event], Behaviour], how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A cancelled call shows neither the key nor an address, though aiohttp's frames hold the headers."""
    arrived = asyncio.Event()

    async def bounded(session: AsyncSession) -> None:
        async with asyncio.timeout(None) as limit:
            if how == "asyncio.timeout":
                end.append(limit)
            await CALLS[call](session)

    end: list[asyncio.Timeout] = []
    async with raw_server(where(arrived)) as server, session_on(server.base_url) as session:
        async with watching(caplog) as seen:
            task = asyncio.create_task(bounded(session))
            await arrived.wait()
            if end:
                end[0].reschedule(asyncio.get_running_loop().time())
            else:
                task.cancel()
            await task
        assert isinstance(seen.caught, TimeoutError if end else asyncio.CancelledError)
        key_stays_in(seen)
        address_stays_in(seen, caplog)
        assert [] == [text for text in strings(session) if TRACE in text]


@pytest.mark.parametrize("call", list(CALLS))
async def test_a_session_closed_under_a_call_shows_nothing(call: str, caplog: pytest.LogCaptureFixture) -> None:
    """A session that is closed while a call is under way shows neither the key nor an address."""
    arrived = asyncio.Event()
    async with (
        raw_server(mid_request(arrived)) as server,
        session_on(server.base_url, clock=InstantClock()) as session,
    ):
        async with watching(caplog) as seen:
            task = asyncio.create_task(_awaited(CALLS[call](session)))
            await arrived.wait()
            await session.close()
            await task
    assert isinstance(seen.caught, ShopError)
    key_stays_in(seen)
    address_stays_in(seen, caplog)


async def _awaited(call: Awaitable[object]) -> object:
    return await call


async def test_a_success_shows_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The log of a success, and a caller's own error after it, show neither the key nor an address."""
    async with raw_server(answer(CUSTOMER)) as server, session_on(server.base_url) as session:
        async with watching(caplog) as seen:
            await get_customer(session, 7)
            raise LookupError("a caller's own error, with the session in its frame")
    key_stays_in(seen)
    address_stays_in(seen, caplog)


async def test_a_session_prints_no_key_in_any_state(closed_port: int) -> None:
    """A session's repr, and all within its reach, hold no key in clear text before, during and after its use."""
    async with raw_server(answer(CUSTOMER)) as server:
        session = session_on(server.base_url, proxy=None)
        states = []
        for step in (None, lambda: get_customer(session, 7), session.close):
            if step is not None:
                await step()
            states.append(repr(session).rsplit(" ", 1)[1])
            assert [] == [text for text in strings(session) if TRACE in text]
    assert ["unopened>", "open>", "closed>"] == states


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
async def test_a_session_cannot_be_pickled(protocol: int) -> None:
    """A session cannot be pickled, and the error shows no key."""
    session = AsyncSession(KEY)
    with pytest.raises(TypeError, match=r"^an AsyncSession cannot be pickled or copied: it holds a key"):
        pickle.dumps(session, protocol)
    seen = Seen()
    try:
        pickle.dumps(session, protocol)
    except TypeError as error:
        seen.caught = error
    key_stays_in(seen)


@pytest.mark.parametrize("key", [f"{KEY}\nX-Evil: 1", f"{KEY}\r", f"a{KEY}\x00b", f"{KEY}é", f"{KEY} {KEY}"])
def test_a_key_that_is_refused_is_not_echoed(key: str) -> None:
    """The message about a key with a line break or the like does not print it."""
    with pytest.raises(ValueError, match=r"^api_key must be printable ASCII") as caught:
        AsyncSession(f"x{key}x")
    assert TRACE not in f"{caught.value!r} {caught.value.__context__!r} {caught.value.__cause__!r}"


def in_url(text: str) -> str:
    return quote(text, safe="")


def as_php(text: str) -> str:
    return escape(text).replace("&#x27;", "&#039;")


@pytest.mark.parametrize("write", [str, in_url, lambda key: in_url(key).lower(), as_php, json.dumps])
def test_an_echo_of_the_key_is_redacted_however_it_is_written(write: Callable[[str], str]) -> None:
    """A key that a server quotes is shown as ``[secret]``, whether it is written for a URL, HTML or JSON."""
    key = "38|a\"b<c&d'/e\\f"
    payload = Secret(key).redact(f"not for {write(key)}!")
    assert payload.replace('"', "") == "not for [secret]!"


async def test_the_keys_of_a_mapping_stay_out_of_messages() -> None:
    """The keys of a mapping in an answer, which may hold a key or an address, stand in no path of an error."""

    def behave(heard: ReceivedRequest, wire: Wire) -> None:
        wire.send(answer({heard.headers["authorization"]: "x", ADDRESS: "y"}))

    async with raw_server(behave) as server, session_on(server.base_url) as session:
        with pytest.raises(DecodeError) as caught:
            await session.request("GET", ["x"], as_type=dict[str, int])
    assert caught.value.path == "$[?]"
    key_stays_in(Seen(caught.value), deep=False)


def test_the_watch_would_see() -> None:
    """The search of these tests finds a key in a cause, a note, a nested attribute and a frame."""
    inner = ValueError(f"Bearer {KEY}")
    outer = ShopError("x")
    outer.__context__ = inner
    with pytest.raises(AssertionError):
        key_stays_in(Seen(outer))
    held = ShopError("x")
    held.add_note(KEY)
    with pytest.raises(AssertionError):
        key_stays_in(Seen(held))
    deep: Any = LookupError("x")
    deep.held = [{"a": Secretive(KEY.encode())}]
    with pytest.raises(AssertionError):
        key_stays_in(Seen(deep))
    with pytest.raises(ValueError, match="amount") as caught:
        balance_amount(KEY)  # its frame holds what it was given
    with pytest.raises(AssertionError):
        key_stays_in(Seen(caught.value))


@attrs.define(repr=False)
class Secretive:
    value: bytes


async def test_the_raw_server_gets_the_key() -> None:
    """The key is sent, so that the tests of this file have something to find."""
    async with raw_server(answer(CUSTOMER)) as server, session_on(server.base_url) as session:
        await get_customer(session, 7)
    assert isinstance(server, RawServer)
    assert [f"Bearer {KEY}"] == [heard.headers["authorization"] for heard in server.heard]


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_url": "ftp://x"},
        {"base_url": f"https://user:{KEY}@shop.example/v1"},
        {"base_url": f"https://shop.example/v1?key={KEY}"},
        {"max_in_flight": 0},
        {"shop_id": 0},
        {"list_params": "x"},
        {"api_key": f"{KEY}\n{KEY}"},
    ],
)
def test_a_constructor_that_refuses_holds_no_key_in_its_frames(wrong: dict[str, Any]) -> None:
    """The error of a constructor that refuses its arguments holds no key, nor do its frames."""
    with pytest.raises(ValueError, match=r" must (be|hold) ") as caught:
        AsyncSession(**{"api_key": KEY} | wrong)
    key_stays_in(Seen(caught.value))
