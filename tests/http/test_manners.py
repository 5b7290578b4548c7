"""HTTP on a raw socket: what it allows is read, what it forbids is an error of the tree, and no edit is sent twice."""

import asyncio
import gzip
import json
import os
import sys
import tracemalloc
import zlib
from collections.abc import Awaitable, Callable

import attrs
import pytest

from shopsdk import (
    AsyncSession,
    DecodeError,
    InvalidRequestError,
    ResponseError,
    RetryPolicy,
    ShopError,
    TransportError,
    UnknownOutcomeError,
    edit_customer_balance,
    get_customer,
)
from shopsdk.testing import InstantClock
from tests.support.needs import is_installed, need
from tests.support.servers import (
    CUSTOMER,
    Behaviour,
    ReceivedRequest,
    Wire,
    answer,
    customer_named,
    pass_time,
    raw_server,
    silence,
)


async def read(session: AsyncSession) -> object:
    return (await get_customer(session, 7)).id


async def post(session: AsyncSession) -> object:
    return (await edit_customer_balance(session, 7, 1)).message


async def put(session: AsyncSession) -> object:
    return (await edit_customer_balance(session, 7, 1, method="PUT")).message


CALLS: dict[str, tuple[Callable[[AsyncSession], Awaitable[object]], object]] = {
    "read": (read, 7),
    "post": (post, "done"),
    "put": (put, "done"),
}
BODY = json.dumps(CUSTOMER | {"message": "done"}).encode()
"""What each of these calls can read."""
HALF = len(BODY) // 2
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
OK = b"HTTP/1.1 200 OK\r\n"
OK_1_0 = b"HTTP/1.0 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CLOSE = b"Connection: close\r\n"
NO_MORE = b"0\r\n\r\n"


def http(head: bytes = LENGTH, body: bytes = BODY, *, start: bytes = OK) -> bytes:
    return start + head + b"\r\n" + body


def chunks(*parts: bytes, end: bytes = NO_MORE) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + end


def encoded(encoding: str, data: bytes, *, status: int = 200) -> bytes:
    return answer(raw=data, status=status, headers={"Content-Encoding": encoding})


@attrs.frozen
class Form:
    """One way to answer."""

    data: bytes
    closes: bool = False
    """Whether the server closes the connection behind it."""
    reusable: bool = True
    """Whether the connection may carry another request."""


PACES = ["at once", "in pieces"]


async def send(data: bytes, wire: Wire, pace: str) -> None:
    """Send, and in pieces let the client read each before the next; a byte at a time, unless that would take long."""
    size = len(data) if pace == "at once" else 1 + len(data) // 4096
    for begin in range(0, len(data), size):
        if wire.writer.transport.is_closing():
            return  # the client has left
        wire.send(data[begin : begin + size])
        for _ in range(2):
            await asyncio.sleep(0)


@attrs.frozen
class Outcome:
    """What came of a call."""

    value: object
    """The value that it returned, or the error that it raised."""
    sent: int
    connections: int
    """The connections that the call and a read after it took."""

    def check(self, call: str, kind: type[ShopError], words: str, *, attempts: int) -> None:
        """Check an error: of this kind, true about an edit, and without the key; of edits, one attempt was made."""
        edit = call != "read"
        assert isinstance(self.value, ShopError)
        assert (UnknownOutcomeError if edit and kind is TransportError else kind) is type(self.value)
        assert words in str(self.value)
        assert edit is self.value.maybe_applied
        assert (1 if edit else attempts) == self.sent
        assert "raw-key" not in f"{self.value} {self.value!r}"


async def outcome_of(call: str, form: Form, pace: str = "at once") -> Outcome:
    """Make a call that is answered so, of two attempts at most, and then a read that must get its own answer."""

    async def behave(heard: ReceivedRequest, wire: Wire) -> None:
        if heard.target.endswith("/9"):
            wire.send(customer_named(heard))
            return
        await send(form.data, wire, pace)
        if form.closes:
            wire.writer.close()

    async with raw_server(behave) as server:
        async with server.session(retry=RetryPolicy(attempts=2), clock=InstantClock()) as session:
            value: object
            try:
                value = await CALLS[call][0](session)
            except ShopError as error:
                value = error
            sent = len(server.heard)
            assert 9 == (await get_customer(session, 9)).id
    return Outcome(value, sent, server.connections)


# --- what is allowed


def interim(*statuses: int, header: bytes = b"") -> bytes:
    return b"".join(b"HTTP/1.1 %d X\r\n%s\r\n" % (status, header) for status in statuses)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


LINK = b"Link: </a.css>; rel=preload\r\n"
LEGAL: dict[str, Form] = {
    "a length": Form(http()),
    "chunks": Form(http(CHUNKED, chunks(BODY[:HALF], BODY[HALF:]))),
    "a chunk for each byte": Form(http(CHUNKED, chunks(*(bytes([byte]) for byte in BODY)))),
    "chunks with extensions": Form(http(CHUNKED, b'%x;a=b;c="d"\r\n%s\r\n0;e\r\n\r\n' % (len(BODY), BODY))),
    "a size with zeros and capitals": Form(http(CHUNKED, b"000%X\r\n%s\r\n000\r\n\r\n" % (len(BODY), BODY))),
    "CHUNKED": Form(http(CHUNKED.upper(), chunks(BODY))),
    "trailers": Form(http(CHUNKED, chunks(BODY, end=b"0\r\nX-Sum: 1\r\nServer-Timing: a;dur=1\r\n\r\n"))),
    "an encoding among the trailers": Form(http(CHUNKED, chunks(BODY, end=b"0\r\nContent-Encoding: gzip\r\n\r\n"))),
    "100": Form(interim(100) + http()),
    "102": Form(interim(102) + http()),
    "103": Form(interim(103, header=LINK) + http()),
    "100, 102, 103, 103 and 199": Form(interim(100, 102, 103, 103, 199, header=LINK) + http(CHUNKED, chunks(BODY))),
    "five hundred of 102": Form(interim(*[102] * 500) + http()),
    "HTTP/1.0 with a length": Form(http(start=OK_1_0), reusable=False),
    "HTTP/1.0 with a length, closed": Form(http(start=OK_1_0), closes=True, reusable=False),
    "HTTP/1.0 without a length": Form(http(b"", start=OK_1_0), closes=True, reusable=False),
    "HTTP/1.0, kept": Form(http(b"Connection: keep-alive\r\n" + LENGTH, start=OK_1_0)),
    "HTTP/1.0, kept, without a length": Form(
        http(b"Connection: keep-alive\r\n", start=OK_1_0), closes=True, reusable=False
    ),
    "close without a length": Form(http(CLOSE), closes=True, reusable=False),
    "neither close nor a length": Form(http(b""), closes=True, reusable=False),
    "close, but left open": Form(http(CLOSE + LENGTH), reusable=False),
    "close after chunks, but left open": Form(http(CLOSE + CHUNKED, chunks(BODY)), reusable=False),
    "keep-alive, whatever was asked": Form(http(b"Connection: keep-alive\r\nKeep-Alive: timeout=60\r\n" + LENGTH)),
    "lower case": Form(http(LENGTH.lower())),
    "upper case": Form(http(LENGTH.upper())),
    "no space behind a colon": Form(http(LENGTH.replace(b": ", b":"))),
    "blanks around a value": Form(http(LENGTH.replace(b" ", b" \t  ").replace(b"\r", b" \t\r"))),
    "a length with zeros": Form(http(LENGTH.replace(b" ", b" 000"))),
    "headers without a value": Form(http(b"X-None:\r\nX-Blank: \t\r\n" + LENGTH)),
    "bytes in a header": Form(http(b"X-Bytes: D\xe9j\xe0 \xff\xfe\r\nDate: \xff\r\nRetry-After: \xff\r\n" + LENGTH)),
    "bytes in a content type": Form(http(b"Content-Type: \xff;;=\r\n" + LENGTH)),
    "bytes in a cookie": Form(http(b"Set-Cookie: a=\xff\r\nSet-Cookie: \xff;;=\r\n" + LENGTH)),
    "one header many times": Form(http(b"Content-Type: text/html\r\nVary: a\r\nVary: b\r\n" * 9 + LENGTH)),
    "an upgrade that is offered": Form(http(b"Connection: upgrade\r\nUpgrade: h2,h2c\r\n" + LENGTH)),
    "no reason": Form(http(start=b"HTTP/1.1 200 \r\n")),
    "bytes in the reason": Form(http(start=b"HTTP/1.1 200 D\xe9j\xe0 \xff\xfe\r\n")),
    "60 kB of headers": Form(http(b"".join(b"X-%03d: %s\r\n" % (n, b"x" * 500) for n in range(120)) + LENGTH)),
    "a header of 19 kB": Form(http(b"Content-Security-Policy: %s\r\n" % (b"x" * 19_000) + LENGTH)),
    "identity": Form(encoded("identity", BODY)),
    "gzip": Form(encoded("gzip", gzip.compress(BODY))),
    "GZip": Form(encoded("GZip", gzip.compress(BODY))),
    "gzip in chunks": Form(
        http(b"Content-Encoding: gzip\r\n" + CHUNKED, chunks(gzip.compress(BODY)[:9], gzip.compress(BODY)[9:]))
    ),
    "gzip without a length": Form(
        http(b"Content-Encoding: gzip\r\n", gzip.compress(BODY)), closes=True, reusable=False
    ),
    "gzip of many members": Form(
        encoded("gzip", b"".join(gzip.compress(BODY[n : n + 9]) for n in range(0, len(BODY), 9)))
    ),
    "gzip with an empty member": Form(encoded("gzip", gzip.compress(BODY) + gzip.compress(b""))),
    "deflate": Form(encoded("deflate", zlib.compress(BODY))),
    "deflate without a head": Form(encoded("deflate", raw_deflate(BODY))),
}


@pytest.mark.parametrize("pace", PACES)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", LEGAL)
async def test_what_http_allows_is_read(name: str, call: str, pace: str) -> None:
    """Every form that HTTP allows is read, however it is cut; only a connection that may be kept is used again."""
    form = LEGAL[name]
    outcome = await outcome_of(call, form, pace)
    assert (CALLS[call][1], 1) == (outcome.value, outcome.sent)
    assert (1 if call == "read" and form.reusable else 2) == outcome.connections


OUTDATED: dict[str, Form] = {
    "a folded header": Form(http(b"X-Folded: a\r\n b\r\n\tc\r\n" + LENGTH)),
    "a folded length": Form(http(LENGTH.replace(b" ", b"\r\n "))),
    "lines that end in LF": Form(http().replace(b"\r\n", b"\n")),
    "a blank behind a chunk's size": Form(http(CHUNKED, b"%x \r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY))),
    "no blank behind the status": Form(http(start=b"HTTP/1.1 200\r\n")),
    "empty lines before the answer": Form(b"\r\n\r\n" + http()),
}
STRICT = bool(sys.flags.dev_mode or os.environ.get("PYTHONASYNCIODEBUG"))


@pytest.mark.skipif(STRICT, reason="aiohttp reads strictly in Python's development mode")
@pytest.mark.parametrize("pace", PACES)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", OUTDATED)
async def test_what_old_servers_send_is_read(name: str, call: str, pace: str) -> None:
    """What HTTP no longer allows, but old servers send, is read."""
    outcome = await outcome_of(call, OUTDATED[name], pace)
    assert (CALLS[call][1], 1) == (outcome.value, outcome.sent)


async def test_an_edits_connection_is_closed_though_the_answer_keeps_it() -> None:
    """A connection that the edit asked to close is closed by the client, though the answer says keep-alive."""
    kept = http(b"Connection: keep-alive\r\n" + LENGTH)
    async with raw_server(kept) as server, server.session() as session:
        await edit_customer_balance(session, 7, 1)
        while server.open_now:
            await asyncio.sleep(0)
    assert ["close"] == [heard.headers["connection"] for heard in server.heard]


# --- what is not allowed

UNREADABLE: dict[str, tuple[Form, str]] = {
    "a length twice": (Form(http(LENGTH + LENGTH)), "its Content-Length is broken or contradicted"),
    "two lengths": (Form(http(LENGTH + b"Content-Length: 3\r\n")), "its Content-Length is broken or contradicted"),
    "a list of lengths": (
        Form(http(LENGTH.replace(b"\r", b", %d\r" % len(BODY)))),
        "its Content-Length is broken or contradicted",
    ),
    "a length, then chunks": (Form(http(LENGTH + CHUNKED, chunks(BODY))), "Content-Length is broken or contradicted"),
    "chunks, then a length": (Form(http(CHUNKED + LENGTH, chunks(BODY))), "Content-Length is broken or contradicted"),
    "a length below 0": (Form(http(b"Content-Length: -1\r\n")), "its Content-Length is broken"),
    "a length with a sign": (Form(http(LENGTH.replace(b" ", b" +"))), "its Content-Length is broken"),
    "a length of 26 digits": (Form(http(b"Content-Length: %s\r\n" % (b"9" * 26))), "its Content-Length is broken"),
    "a length without a value": (Form(http(b"Content-Length:\r\n")), "its Content-Length is broken"),
    "a length folded in two": (Form(http(b"Content-Length: 1\r\n 2\r\n")), "its Content-Length is broken"),
    "an end before the length": (
        Form(http(b"Content-Length: %d\r\n" % (len(BODY) + 9)), closes=True),
        "its body ends before its Content-Length",
    ),
    "HTTP/1.0, an end before the length": (
        Form(http(b"Content-Length: %d\r\n" % (len(BODY) + 9), start=OK_1_0), closes=True),
        "its body ends before its Content-Length",
    ),
    "gzip, an end before the length": (
        Form(encoded("gzip", gzip.compress(BODY))[:-20], closes=True),
        "its body ends before its Content-Length",
    ),
    "an end before the last chunk": (
        Form(http(CHUNKED, chunks(BODY, end=b"")), closes=True),
        "its body ends before its last chunk",
    ),
    "an end within the last chunk": (
        Form(http(CHUNKED, chunks(BODY, end=b"0\r\n")), closes=True),
        "its body ends before its last chunk",
    ),
    "an end within the trailers": (
        Form(http(CHUNKED, chunks(BODY, end=b"0\r\nX-Sum: 1\r\n")), closes=True),
        "its body ends before its last chunk",
    ),
    "an end behind a 100": (Form(interim(100), closes=True), "ServerDisconnectedError"),
    "an end within the headers": (Form(OK + LENGTH, closes=True), "ServerDisconnectedError"),
    "a blank before a colon": (Form(http(b"X-A : 1\r\n" + LENGTH)), "it has a header that HTTP does not allow"),
    "a header without a name": (Form(http(b": 1\r\n" + LENGTH)), "it has a header that HTTP does not allow"),
    "bytes in a header's name": (Form(http(b"X-\xe9: 1\r\n" + LENGTH)), "it has a header that HTTP does not allow"),
    "a status of four digits": (Form(http(start=b"HTTP/1.1 2000 OK\r\n")), "it is not HTTP"),
    "a status of two digits": (Form(http(start=b"HTTP/1.1 20 OK\r\n")), "it is not HTTP"),
    "two blanks before the status": (Form(http(start=b"HTTP/1.1  200 OK\r\n")), "it is not HTTP"),
    "ICY": (Form(http(start=b"ICY 200 OK\r\n")), "it is not HTTP"),
    "a body alone": (Form(BODY, closes=True), "it is not HTTP"),
    "a header of 70 kB": (
        Form(http(b"Content-Security-Policy: %s\r\n" % (b"x" * 70_000) + LENGTH)),
        "it has a header line of more than 64 KiB",
    ),
    "a name of 70 kB": (Form(http(b"x" * 70_000 + b": 1\r\n" + LENGTH)), "it has a header line of more than 64 KiB"),
    "a reason of 70 kB": (Form(http(start=OK[:-2] + b"x" * 70_000 + b"\r\n")), "a header line of more than 64 KiB"),
    "129 headers": (
        Form(http(b"".join(b"X-%d: 1\r\n" % n for n in range(128)) + LENGTH)),
        "it has too many headers",
    ),
    "gzip that is none": (Form(encoded("gzip", BODY)), "its body is damaged"),
    "gzip with a wrong sum": (
        Form(encoded("gzip", gzip.compress(BODY)[:-8] + bytes(4) + gzip.compress(BODY)[-4:])),
        "its body is damaged",
    ),
    "gzip, then garbage": (Form(encoded("gzip", gzip.compress(BODY) + b"garbage")), "its body is damaged"),
    "gzip, then zeros": (Form(encoded("gzip", gzip.compress(BODY) + bytes(16))), "its body is damaged"),
    "deflate that is none": (Form(encoded("deflate", BODY)), "its body is damaged"),
    "deflate, then garbage": (Form(encoded("deflate", zlib.compress(BODY) + b"garbage")), "its body is damaged"),
}
"""What is unreadable in pieces too."""
BROKEN: dict[str, tuple[Form, str]] = {
    "chunks that end in LF": (Form(http(CHUNKED, b"%x\n%s\n0\n\n" % (len(BODY), BODY))), "its chunks are broken"),
    "a size below 0": (Form(http(CHUNKED, b"-5\r\n" + BODY)), "its chunks are broken"),
    "a chunk longer than its size": (Form(http(CHUNKED, b"5\r\n" + chunks(BODY)[4:])), "its chunks are broken"),
    "a length among the trailers": (
        Form(http(CHUNKED, chunks(BODY, end=b"0\r\nContent-Length: 5\r\n\r\n"))),
        "its Content-Length is broken or contradicted",
    ),
    "300 trailers": (Form(http(CHUNKED, chunks(BODY, end=b"0\r\n" + b"X: y\r\n" * 300 + b"\r\n"))), "too many headers"),
    "deflate cut short": (Form(encoded("deflate", zlib.compress(BODY)[:-9])), "its body is damaged"),
    "deflate without a head, cut short": (Form(encoded("deflate", raw_deflate(BODY)[:-9])), "its body is damaged"),
    "a body behind a length of 0": (Form(http(b"Content-Length: 0\r\n")), "it is not HTTP"),
}
"""What breaks behind the headers."""


@pytest.mark.parametrize(
    ("name", "pace"), [(name, pace) for name in UNREADABLE for pace in PACES] + [(name, "at once") for name in BROKEN]
)
@pytest.mark.parametrize("call", CALLS)
async def test_what_http_forbids_is_an_error_that_says_why(name: str, pace: str, call: str) -> None:
    """An answer that HTTP forbids is explained; a read asks again, and an edit is in doubt and is sent once."""
    form, words = (UNREADABLE | BROKEN)[name]
    (await outcome_of(call, form, pace)).check(call, TransportError, words, attempts=2)


NOT_WHOLE: dict[str, tuple[Form, str]] = {
    "cut, without a length": (Form(http(CLOSE, BODY[:-9]), closes=True), "cut short"),
    "nothing, without a length": (Form(http(CLOSE, b""), closes=True), "it is empty"),
    "no bytes of gzip": (Form(encoded("gzip", b"")), "it is empty"),
    "gzip of nothing": (Form(encoded("gzip", gzip.compress(b""))), "it is empty"),
    "gzip cut short": (Form(encoded("gzip", gzip.compress(BODY)[:-20])), "cut short"),
    "gzip, its second member cut short": (
        Form(encoded("gzip", gzip.compress(BODY[:HALF]) + gzip.compress(BODY[HALF:])[:-20])),
        "cut short",
    ),
    "gzip that nobody told of": (
        Form(http(b"Content-Length: %d\r\n" % len(gzip.compress(BODY)), gzip.compress(BODY))),
        "it is not JSON",
    ),
}


@pytest.mark.parametrize("pace", PACES)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", NOT_WHOLE)
async def test_a_body_that_is_not_whole_is_a_decode_error(name: str, call: str, pace: str) -> None:
    """A body whose end is missing is never a value: a read asks again, and an edit is in doubt and is sent once."""
    form, words = NOT_WHOLE[name]
    (await outcome_of(call, form, pace)).check(call, DecodeError, words, attempts=2)


@pytest.mark.parametrize("missing", range(1, 9))
async def test_gzip_without_its_sum_is_read_where_the_json_is_whole(missing: int) -> None:
    """A gzip body that lacks a part of its sum is read, since its JSON is whole."""
    outcome = await outcome_of("read", Form(encoded("gzip", gzip.compress(BODY)[:-missing])))
    assert (7, 1) == (outcome.value, outcome.sent)


HELD: dict[str, bytes] = {
    "nothing": b"",
    "half a status line": OK[:9],
    "half the headers": OK + b"Content-Le",
    "a 100": interim(100),
    "many of 103": interim(*[103] * 500, header=LINK),
    "no length": http(b""),
    "keep-alive without a length": http(b"Connection: keep-alive\r\n"),
    "HTTP/1.0 without a length": http(b"", start=OK_1_0),
    "less than the length": http(b"Content-Length: 999\r\n"),
    "no last chunk": http(CHUNKED, chunks(BODY, end=b"")),
    "no end of the trailers": http(CHUNKED, chunks(BODY, end=b"0\r\nX-Sum: 1\r\n")),
    "half of gzip": encoded("gzip", gzip.compress(BODY))[:-20],
} | {name: form.data for name, (form, _) in BROKEN.items() if name != "a body behind a length of 0"}


@pytest.mark.parametrize("pace", PACES)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", HELD)
async def test_an_answer_without_an_end_ends_with_its_attempt(name: str, call: str, pace: str) -> None:
    """An answer that breaks off, on a connection that stays open, is lost when the attempt's time is over."""

    async def behave(heard: ReceivedRequest, wire: Wire) -> None:
        await send(HELD[name], wire, pace)
        for _ in range(10):
            await asyncio.sleep(0)
        pass_time(60)  # past an attempt, not past a call
        await silence(heard, wire)

    async with raw_server(behave) as server:
        async with server.session(retry=RetryPolicy(attempts=2), clock=InstantClock()) as session:
            with pytest.raises(TransportError) as caught:
                await CALLS[call][0](session)
    Outcome(caught.value, len(server.heard), 0).check(call, TransportError, "", attempts=2)


# --- no end

SIZE = 32 * 2**20
"""Bytes that are sent before the attempt's time is over."""
CAP = 2**20
"""The session's max_response_bytes."""
MOST_MEMORY = 6 * CAP
PIECE = 64 * 2**10
STORED = b"\x00\xff\xff\x00\x00" + b" " * 65_535
"""A block within gzip that is not compressed, and not the last one."""
ENDLESS: dict[str, tuple[bytes, bytes, type[ShopError], str]] = {
    "a status line": (OK[:-2], b"x" * PIECE, TransportError, "a header line of more than 64 KiB"),
    "a header": (OK + b"X: ", b"x" * PIECE, TransportError, "a header line of more than 64 KiB"),
    "a header's name": (OK, b"x" * PIECE, TransportError, "a header line of more than 64 KiB"),
    "a folded header": (OK + b"X: a\r\n", b" b\r\n" * (PIECE // 4), TransportError, "header"),
    "headers": (OK, b"X: %s\r\n" % (b"y" * 99) * (PIECE // 99), TransportError, "too many headers"),
    "empty lines": (b"", b"\r\n" * (PIECE // 2), TransportError, "timed out"),
    "interim answers": (b"", interim(103, header=b"Link: %s\r\n" % (b"x" * 8000)) * 8, TransportError, "timed out"),
    "a body": (http(CLOSE, b""), b" " * PIECE, DecodeError, "larger than max_response_bytes"),
    "a body of a length": (http(b"Content-Length: %d\r\n" % 10**15), b" " * PIECE, DecodeError, "max_response_bytes"),
    "chunks": (http(CHUNKED, b""), chunks(b" " * PIECE, end=b""), DecodeError, "larger than max_response_bytes"),
    "a chunk": (http(CHUNKED, b"fffffffffff\r\n"), b" " * PIECE, DecodeError, "larger than max_response_bytes"),
    "a chunk's extension": (http(CHUNKED, b"1;"), b"x" * PIECE, TransportError, "timed out"),
    "a chunk's size": (http(CHUNKED, b"0"), b"0" * PIECE, TransportError, "timed out"),
    "trailers": (http(CHUNKED, chunks(BODY, end=b"0\r\n")), b"X: y\r\n" * 9999, TransportError, "too many headers"),
    "a trailer": (
        http(CHUNKED, chunks(BODY, end=b"0\r\nX: ")),
        b"y" * PIECE,
        TransportError,
        "a header line of more than",
    ),
    "gzip": (
        http(b"Content-Encoding: gzip\r\n" + CLOSE, gzip.compress(b"x")[:10]),
        STORED,
        DecodeError,
        "larger than max_response_bytes",
    ),
    "members of gzip": (
        http(b"Content-Encoding: gzip\r\n" + CLOSE, b""),
        gzip.compress(b"") * 3000,
        TransportError,
        "its body is damaged",
    ),
}


def endless(head: bytes, piece: bytes) -> Behaviour:
    """Send it until the client leaves; after so many bytes the attempt's time is over."""

    async def behave(_heard: ReceivedRequest, wire: Wire) -> None:
        wire.send(head)
        left = SIZE
        while not wire.writer.transport.is_closing():
            wire.send(piece)
            await wire.writer.drain()
            await asyncio.sleep(0)
            if 0 < left <= len(piece):
                pass_time(60)  # past an attempt, not past a call
            left -= len(piece)

    return behave


async def peak_of(work: Callable[[], Awaitable[object]]) -> int:
    tracemalloc.start()
    try:
        await work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("call", ["read", "post"])
@pytest.mark.parametrize("name", ENDLESS)
async def test_an_endless_answer_ends_in_bounded_memory(name: str, call: str) -> None:
    """An answer without an end costs no more than 6 times max_response_bytes; an edit is in doubt and is sent once."""
    head, piece, kind, words = ENDLESS[name]
    got: list[ShopError] = []

    async def work() -> None:
        async with raw_server(endless(head, piece)) as server:
            async with server.session(max_response_bytes=CAP, retry=RetryPolicy(attempts=1)) as session:
                with pytest.raises(ShopError) as caught:
                    await CALLS[call][0](session)
        got.append(caught.value)
        Outcome(caught.value, len(server.heard), 0).check(call, kind, words, attempts=1)

    assert await peak_of(work) <= MOST_MEMORY
    assert 1 == len(got)


# --- more than was announced

OTHER = answer({"id": 666, "email": "stray@example.com", "message": "stray"})
RESTS: dict[str, tuple[bytes, bool]] = {
    "a line's end": (b"\r\n", True),
    "garbage": (b"garbage\r\n", False),
    "the body again": (BODY, False),
    "another answer": (OTHER, True),
}
"""What stands behind an answer, and whether the answer is read if both come at once."""
WHOLE: dict[str, bytes] = {"a length": http(), "chunks": http(CHUNKED, chunks(BODY)), "gzip": LEGAL["gzip"].data}


@pytest.mark.parametrize("first", CALLS)
@pytest.mark.parametrize("then", CALLS)
@pytest.mark.parametrize("rest", RESTS)
@pytest.mark.parametrize("whole", WHOLE)
async def test_the_rest_behind_an_answer_is_nobodys(whole: str, rest: str, then: str, first: str) -> None:
    """What follows an answer in its packet is not the next answer; where it is no HTTP, a read asks again."""
    data, readable = RESTS[rest]

    async def behave(heard: ReceivedRequest, wire: Wire) -> None:
        wire.send(http() if len(server.heard) > 1 else WHOLE[whole] + data)

    async with raw_server(behave) as server, server.session(clock=InstantClock()) as session:
        if readable or first == "read":
            assert CALLS[first][1] == await CALLS[first][0](session)
        else:
            with pytest.raises(UnknownOutcomeError, match="it is not HTTP") as caught:
                await CALLS[first][0](session)
            assert caught.value.maybe_applied
        assert CALLS[then][1] == await CALLS[then][0](session)
    assert (2 if readable or first != "read" else 3) == len(server.heard)


@pytest.mark.parametrize("call", ["post", "put"])
@pytest.mark.parametrize("rest", RESTS)
async def test_a_rest_that_comes_late_is_in_no_edits_answer(rest: str, call: str) -> None:
    """What follows an answer in later packets reaches no edit, since an edit has a connection of its own."""

    async def behave(heard: ReceivedRequest, wire: Wire) -> None:
        await send(http() + (RESTS[rest][0] if heard.method == "GET" else b""), wire, "in pieces")

    async with raw_server(behave) as server, server.session() as session:
        assert 7 == await read(session)
        assert "done" == await CALLS[call][0](session)
    assert 2 == len(server.heard) == server.connections


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("pace", "kind", "words"), [("at once", TransportError, "it is not HTTP"), ("in pieces", DecodeError, "cut short")]
)
async def test_a_body_longer_than_its_length_is_no_value(
    pace: str, kind: type[ShopError], words: str, call: str
) -> None:
    """A body of which the length tells a part is never a value, and its rest is no other answer."""
    short = Form(http(b"Content-Length: %d\r\n" % HALF))
    (await outcome_of(call, short, pace)).check(call, kind, words, attempts=2)


# --- answers without a body

BODYLESS: dict[int, tuple[type[ShopError], str]] = {
    204: (DecodeError, "it is empty"),
    304: (ResponseError, "answered 304"),
}


@pytest.mark.parametrize("pace", PACES)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("body", ["none", "a length without a body", "a body", "chunks"])
@pytest.mark.parametrize("status", BODYLESS)
async def test_a_status_without_a_body_has_none(status: int, body: str, call: str, pace: str) -> None:
    """A 204 or a 304 is read without its body, and is unreadable if the same packet holds one; an edit is in doubt."""
    kind, words = BODYLESS[status]
    start = b"HTTP/1.1 %d X\r\n" % status
    data = {
        "none": http(b"", b"", start=start),
        "a length without a body": http(LENGTH if status == 304 else b"Content-Length: 0\r\n", b"", start=start),
        "a body": http(start=start),
        "chunks": http(CHUNKED, chunks(BODY), start=start),
    }[body]
    outcome = await outcome_of(call, Form(data), pace)
    if body in {"none", "a length without a body"} or pace == "in pieces":
        outcome.check(call, kind, words, attempts=1)
    else:
        outcome.check(call, TransportError, "it is not HTTP", attempts=2)


@pytest.mark.parametrize("pace", PACES)
async def test_the_body_behind_a_head_is_nobodys(pace: str) -> None:
    """A body that follows the answer to a HEAD is in no other answer."""

    async def behave(heard: ReceivedRequest, wire: Wire) -> None:
        await send(http() if heard.method == "HEAD" else customer_named(heard), wire, pace)

    async with raw_server(behave) as server, server.session(clock=InstantClock()) as session:
        if pace == "at once":
            with pytest.raises(TransportError, match="it is not HTTP"):
                await session.request("HEAD", ["x"])
        else:
            assert None is await session.request("HEAD", ["x"])
        assert 9 == (await get_customer(session, 9)).id


@pytest.mark.parametrize("call", CALLS)
async def test_bytes_in_the_headers_of_a_refusal_are_printable(call: str) -> None:
    """A refusal with bytes in its reason and its headers is that refusal, and can be printed."""
    start = b"HTTP/1.1 422 D\xe9j\xe0\r\n"
    rid = b"X-Request-Id: \xffa\xfe\r\nRetry-After: \xff\r\nCf-Ray: \xff\r\n"
    async with raw_server(http(rid + LENGTH, start=start)) as server, server.session() as session:
        with pytest.raises(InvalidRequestError, match=r"answered 422: done$") as caught:
            await CALLS[call][0](session)
    assert (False, "a") == (caught.value.maybe_applied, caught.value.request_id)
    assert str(caught.value).isprintable()
    assert 1 == len(server.heard)


# --- encodings that need a package


def brotli(data: bytes) -> bytes:
    """Write a stream of Brotli (RFC 7932) of one block that is not compressed."""
    return (len(data) - 1 << 4 | 1 << 20).to_bytes(3, "little") + data + b"\x03"


def zstd(data: bytes) -> bytes:
    """Write a frame of Zstandard (RFC 8878) of one block that is not compressed."""
    return b"\x28\xb5\x2f\xfd\x20" + bytes([len(data)]) + (len(data) << 3 | 1).to_bytes(3, "little") + data


PACKAGES = {
    "gzip": ("zlib",),
    "deflate": ("zlib",),
    "br": ("brotlicffi", "brotli"),
    "zstd": ("compression.zstd", "backports.zstd"),
}
"""The modules of which aiohttp takes one; the standard library has zstd from Python 3.14 on."""
INSTALLED = {encoding: any(map(is_installed, names)) for encoding, names in PACKAGES.items()}
ASKED = [encoding for encoding, installed in INSTALLED.items() if installed]


@pytest.mark.parametrize("call", CALLS)
async def test_only_what_can_be_decoded_is_asked_for(call: str) -> None:
    """Accept-Encoding names gzip, deflate, and what the installed packages decode, and nothing else."""
    async with raw_server(http()) as server, server.session() as session:
        await CALLS[call][0](session)
    assert [", ".join(ASKED)] == [heard.headers["accept-encoding"] for heard in server.heard]


@pytest.mark.parametrize("pace", PACES)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        pytest.param("br", brotli(BODY), id="br"),
        pytest.param("zstd", zstd(BODY), id="zstd"),
        pytest.param("zstd", zstd(BODY[:HALF]) + zstd(BODY[HALF:]), id="two frames of zstd"),
    ],
)
async def test_an_encoding_whose_package_is_installed_is_decoded(
    encoding: str, data: bytes, call: str, pace: str
) -> None:
    """Brotli and Zstandard are decoded where a package for them is installed."""
    need(*PACKAGES[encoding])
    outcome = await outcome_of(call, Form(encoded(encoding, data)), pace)
    assert (CALLS[call][1], 1) == (outcome.value, outcome.sent)


@pytest.mark.parametrize("pace", PACES)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("encoding", "data", "kind", "words"),
    [
        pytest.param("br", brotli(BODY)[:-20], DecodeError, "cut short", id="br cut short"),
        pytest.param("br", brotli(BODY) + b"garbage", TransportError, "is damaged", id="br, then garbage"),
        pytest.param("br", b"\xff" * 20, TransportError, "is damaged", id="br that is none"),
        pytest.param("zstd", zstd(BODY)[:-20], DecodeError, "cut short", id="zstd cut short"),
        pytest.param("zstd", zstd(BODY) + b"garbage", TransportError, "is damaged", id="zstd, then garbage"),
        pytest.param("zstd", BODY, TransportError, "is damaged", id="zstd that is none"),
    ],
)
async def test_a_damaged_encoding_is_no_value(
    encoding: str, data: bytes, kind: type[ShopError], words: str, call: str, pace: str
) -> None:
    """Damaged Brotli or Zstandard is never a value: a read asks again, and an edit is in doubt and is sent once."""
    need(*PACKAGES[encoding])
    (await outcome_of(call, Form(encoded(encoding, data)), pace)).check(call, kind, words, attempts=2)


BOMB_SIZE = 64 * 2**20
BOMBS = [
    pytest.param("gzip", gzip.compress(b" " * BOMB_SIZE), id="gzip"),
    pytest.param("deflate", zlib.compress(b" " * BOMB_SIZE), id="deflate"),
    pytest.param("gzip", gzip.compress(b" " * 2**17) * 512, id="members of gzip"),
    pytest.param("br", bytes.fromhex("9fffff7ff82540e2b14020f7fe0f"), id="br"),  # 8 MiB of blanks
    pytest.param(
        "zstd",
        b"\x28\xb5\x2f\xfd\x00\x38" + ((2**17 << 3 | 2).to_bytes(3, "little") + b" ") * 512 + b"\x01\x00\x00",
        id="zstd",
    ),
]


@pytest.mark.parametrize("call", ["read", "post"])
@pytest.mark.parametrize(("encoding", "data"), BOMBS)
async def test_a_bomb_unpacks_to_no_more_than_the_cap(encoding: str, data: bytes, call: str) -> None:
    """A small body that unpacks to a large one is refused, within 6 times max_response_bytes of memory."""
    need(*PACKAGES[encoding])
    bomb = encoded(encoding, data)

    async def work() -> None:
        async with raw_server(bomb) as server, server.session(max_response_bytes=CAP) as session:
            with pytest.raises(DecodeError, match="is larger than max_response_bytes") as caught:
                await CALLS[call][0](session)
        Outcome(caught.value, len(server.heard), 0).check(call, DecodeError, "", attempts=1)

    assert await peak_of(work) <= MOST_MEMORY


WITHOUT_PACKAGES = """
import asyncio, json, sys

for name in ("brotlicffi", "brotli", "backports.zstd", "compression.zstd"):
    sys.modules[name] = None

from shopsdk import AsyncSession, RetryPolicy, ShopError, edit_customer_balance, get_customer
from shopsdk.testing import InstantClock

async def main():
    for encoding in ("gzip", "br", "zstd"):
        for method in ("GET", "POST", "PUT"):
            url = f"{sys.argv[1]}/{encoding}"
            retry = RetryPolicy(attempts=2)
            async with AsyncSession("raw-key", shop_id=38, base_url=url, retry=retry, clock=InstantClock()) as session:
                try:
                    if method == "GET":
                        told = ["value", (await get_customer(session, 7)).id]
                    else:
                        told = ["value", (await edit_customer_balance(session, 7, 1, method=method)).message]
                except ShopError as error:
                    told = [type(error).__name__, error.maybe_applied, str(error)]
            print(json.dumps([encoding, method, *told]))

asyncio.run(main())
"""


@pytest.mark.slow
async def test_an_encoding_without_its_package_is_not_asked_for_and_is_an_error() -> None:
    """Without a package, an encoding is not asked for; an edit that is answered in it is in doubt and is sent once."""
    bodies = {"gzip": gzip.compress(BODY), "br": brotli(BODY), "zstd": zstd(BODY)}

    def behave(heard: ReceivedRequest, wire: Wire) -> None:
        encoding = heard.target.split("/")[1]
        wire.send(encoded(encoding, bodies[encoding]))

    async with raw_server(behave) as server:
        client = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", WITHOUT_PACKAGES, f"http://127.0.0.1:{server.port}"),
            stdout=asyncio.subprocess.PIPE,
        )
        told, _ = await client.communicate()
    endings = [json.loads(line) for line in told.splitlines()]
    assert [["gzip", "GET", "value", 7], ["gzip", "POST", "value", "done"], ["gzip", "PUT", "value", "done"]] == (
        endings[:3]
    )
    assert [
        [encoding, method, "TransportError" if method == "GET" else "UnknownOutcomeError", method != "GET"]
        for encoding in ("br", "zstd")
        for method in ("GET", "POST", "PUT")
    ] == [ending[:4] for ending in endings[3:]]
    assert all("in an encoding that was not asked for" in ending[4] for ending in endings[3:])
    assert {"gzip, deflate"} == {heard.headers["accept-encoding"] for heard in server.heard}
    assert ["GET", "POST", "PUT"] + 2 * ["GET", "GET", "POST", "PUT"] == [heard.method for heard in server.heard]


# --- what breaks later than the headers

LATE: dict[str, tuple[bytes, bytes, str]] = {
    "a chunk's size": (CHUNKED, b"zz\r\n", "its chunks are broken"),
    "a chunk's size that overflows": (CHUNKED, b"fffffffffffffffff\r\n", "its chunks are broken"),
    "a chunk's end": (CHUNKED, b"2\r\n{}xx", "its chunks are broken"),
    "a damaged deflate": (b"Content-Encoding: deflate\r\nContent-Length: 4\r\n", b"abcd", "its body is damaged"),
    "a damaged gzip": (b"Content-Encoding: gzip\r\nContent-Length: 4\r\n", b"abcd", "its body is damaged"),
    "a short body": (b"Content-Length: 40\r\n", b"abcd", "its body ends before its Content-Length"),
    "a short chunk": (CHUNKED, b"ff\r\n{}", "its body ends before its last chunk"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("headers", "rest", "reason"), LATE.values(), ids=LATE)
async def test_a_body_that_breaks_later_than_its_headers_ends_at_once(
    headers: bytes, rest: bytes, reason: str, call: str
) -> None:
    """A body that breaks once its headers were read ends the attempt with its reason, and waits for no timeout."""

    async def behave(_heard: ReceivedRequest, wire: Wire) -> None:
        wire.send(b"HTTP/1.1 200 OK\r\n%s\r\n" % headers)
        for _ in range(20):
            await asyncio.sleep(0)
        wire.send(rest)
        wire.writer.close()

    async with raw_server(behave) as server, server.session(retry=RetryPolicy(attempts=1)) as session:
        with pytest.raises(TransportError, match=reason) as caught:
            await CALLS[call][0](session)
    assert caught.value.maybe_applied is (call != "read")
    assert len(server.heard) == 1


@pytest.mark.parametrize("encoding", ["x-gzip", "compress", "snappy", "gzip, gzip", "aes128gcm"])
async def test_an_encoding_that_nobody_asked_for_is_named(encoding: str) -> None:
    """A success in an unknown encoding is an error that names it."""
    sent = answer(raw=b"\x1f\x8b\x08 not JSON", headers={"Content-Encoding": encoding})
    async with raw_server(sent) as server, server.session(retry=RetryPolicy(attempts=1)) as session:
        with pytest.raises(DecodeError, match=f"its encoding was not asked for: {encoding}$"):
            await get_customer(session, 9)


async def test_a_304_is_no_redirect() -> None:
    """A 304, which nobody asked for, is an error that does not speak of a redirect."""
    async with raw_server(answer(raw=b"", status=304)) as server, server.session() as session:
        with pytest.raises(ResponseError, match=r"answered 304$"):
            await get_customer(session, 9)


async def test_a_connection_that_changed_its_protocol_is_not_kept() -> None:
    """An answer behind a 101 that nobody asked for is no other read's answer."""

    async def behave(heard: ReceivedRequest, wire: Wire) -> None:
        if len(server.heard) > 1:
            wire.send(customer_named(heard))
            return
        wire.send(b"HTTP/1.1 101 X\r\n\r\n")
        for _ in range(20):
            await asyncio.sleep(0)
        wire.send(answer({"id": 7, "email": "a@b"}))

    async with raw_server(behave) as server, server.session(retry=RetryPolicy(attempts=1)) as session:
        with pytest.raises(ResponseError):
            await get_customer(session, 7)
        assert (await get_customer(session, 9)).id == 9
