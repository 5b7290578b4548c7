"""Hostile servers: bounded sizes, redirects that are not followed, and a documented error for every bad answer."""

import gzip
import json
import zlib
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shopsdk import (
    AsyncSession,
    BalanceTransaction,
    Customer,
    DecodeError,
    Page,
    ResponseError,
    RetryPolicy,
    ServerError,
    ShopError,
    Timeout,
    TransportError,
    UnknownOutcomeError,
    edit_customer_affiliate_code,
    edit_customer_balance,
    get_customer,
    get_customer_balance_transactions,
    get_customers,
    iter_customer_pages,
    iter_customers,
    paginate,
)
from shopsdk._http.response import maybe_applied
from shopsdk.testing import InstantClock
from tests.support.servers import (
    CUSTOMER,
    Behaviour,
    RawServer,
    ReceivedRequest,
    Wire,
    answer,
    page_of,
    raw_server,
    time_out,
)

Call = Callable[[AsyncSession], Awaitable[object]]


async def walked(session: AsyncSession) -> object:
    async with aclosing(iter_customers(session)) as walk:
        return [customer async for customer in walk]


async def paged(session: AsyncSession) -> object:
    async with aclosing(iter_customer_pages(session, concurrency=3, order_column="email")) as walk:
        return [page async for page in walk]


async def paginated(session: AsyncSession) -> object:
    async with aclosing(paginate(session, ["shops", 38, "x"], BalanceTransaction)) as walk:
        return [page async for page in walk]


READS: dict[str, Call] = {
    "list": get_customers,
    "one": lambda session: get_customer(session, 7),
    "ledger": lambda session: get_customer_balance_transactions(session, 7),
    "walk": walked,
    "pages": paged,
    "paginate": paginated,
    "request": lambda session: session.request("GET", ["x"]),
    "request with a type": lambda session: session.request("GET", ["x"], as_type=Page[Customer]),
}
EDITS: dict[str, Call] = {
    "POST": lambda session: edit_customer_balance(session, 7, 1),
    "PUT": lambda session: edit_customer_balance(session, 7, 1, method="PUT"),
    "POST with a reference": lambda session: edit_customer_balance(session, 7, 1, reference="r-1"),
    "PUT with a reference": lambda session: edit_customer_balance(session, 7, 1, method="PUT", reference="r-1"),
}
CHANGES: dict[str, Call] = EDITS | {
    "code": lambda session: edit_customer_affiliate_code(session, 7, "A"),
    "PATCH": lambda session: session.request("PATCH", ["x"], json={"a": 1}),
    "DELETE": lambda session: session.request("DELETE", ["x"]),
}
CALLS = READS | CHANGES


def edits(server: RawServer) -> int:
    return sum(1 for heard in server.heard if heard.target.endswith("/balance"))


# --- size


class Counted:
    """A body that is sent piece by piece, for as long as somebody reads."""

    def __init__(self, head: bytes, piece: bytes, most: int) -> None:
        self._head, self._piece, self._most = head, piece, most
        self.sent = 0

    async def __call__(self, heard: ReceivedRequest, wire: Wire) -> None:
        wire.send(self._head)
        while self.sent < self._most:
            self.sent += 1
            wire.send(self._piece)
            await wire.writer.drain()


def bomb(size: int, how: str) -> bytes:
    content = b'"' + b" " * size + b'"'
    packer = zlib.compressobj(wbits={"gzip": 31, "deflate": 15}[how])
    packed = packer.compress(content) + packer.flush()
    return answer(raw=packed, headers={"Content-Encoding": how})


@pytest.mark.parametrize("how", ["gzip", "deflate"])
@pytest.mark.parametrize("call", ["one", "request"])
async def test_a_small_answer_that_unpacks_to_a_large_one_ends_at_the_cap(how: str, call: str) -> None:
    """60 kB of gzip that unpack to 60 MB are read up to the cap alone."""
    packed = bomb(60_000_000, how)
    assert len(packed) < 65_000
    async with raw_server(packed) as server, server.session(max_response_bytes=1_000_000) as session:
        read = await most_bytes_read(session, CALLS[call])
    assert read < 8_000_000


async def most_bytes_read(session: AsyncSession, call: Call) -> int:
    """Make a call that fails, and return how much memory that took at its peak."""
    import tracemalloc

    tracemalloc.start()
    try:
        with pytest.raises(DecodeError, match=r"is larger than max_response_bytes$"):
            await call(session)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("framing", ["chunked", "until the end", "a length"])
async def test_an_endless_body_is_not_read_to_its_end(framing: str) -> None:
    """A body without an end is read up to the cap alone, however it is framed."""
    head, piece = {
        "chunked": ("Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * 0x10000 + b"\r\n"),
        "until the end": ("Connection: close\r\n\r\n", b" " * 0x10000),
        "a length": ("Content-Length: 999999999999\r\n\r\n", b" " * 0x10000),
    }[framing]
    endless = Counted(f"HTTP/1.1 200 OK\r\n{head}".encode(), piece, 100_000)
    async with raw_server(endless) as server, server.session(max_response_bytes=200_000) as session:
        with pytest.raises(DecodeError, match=r"is larger than max_response_bytes$"):
            await get_customer(session, 7)
    assert endless.sent < 1000  # 65 MB is what sockets and streams may hold


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize(("more", "fits"), [(0, True), (1, False)])
async def test_the_cap_is_met_to_the_byte(more: int, fits: bool, encoding: str) -> None:
    """An answer of exactly the allowed size is read; one byte more is refused."""
    content = json.dumps("x" * (998 + more)).encode()
    packed = gzip.compress(content) if encoding == "gzip" else content
    async with (
        raw_server(answer(raw=packed, headers={"Content-Encoding": encoding})) as server,
        server.session(max_response_bytes=1000) as session,
    ):
        if fits:
            assert "x" * 998 == await session.request("GET", ["x"])
        else:
            with pytest.raises(
                DecodeError, match=r"^the answer to GET /x is larger than max_response_bytes$"
            ) as caught:
                await session.request("GET", ["x"])
            assert not caught.value.maybe_applied


@pytest.mark.parametrize("call", list(EDITS))
async def test_an_edit_with_a_large_answer_may_have_been_made(call: str) -> None:
    """An edit whose answer is too large counts as maybe made, and is sent once."""
    large = answer(raw=b'"' + b"x" * 5000 + b'"')

    def behave(heard: ReceivedRequest, wire: Wire) -> None:
        wire.send(large if heard.target.endswith("/balance") else answer([]))

    async with raw_server(behave) as server, server.session(max_response_bytes=1000, clock=InstantClock()) as session:
        with pytest.raises(ShopError, match="is larger than max_response_bytes") as caught:
            await EDITS[call](session)
    assert caught.value.maybe_applied
    assert 1 == edits(server)


@pytest.mark.parametrize("cap", [10, 100_000], ids=["before the first piece ends", "later"])
@pytest.mark.parametrize("status", [404, 500])
async def test_a_large_error_stays_the_error_it_is(status: int, cap: int) -> None:
    """The status of a large error decides its class, and the beginning of its body is kept."""
    large = Counted(f"HTTP/1.1 {status} X\r\nConnection: close\r\n\r\n".encode(), b"x" * 0x10000, 10_000)
    async with (
        raw_server(large) as server,
        server.session(max_response_bytes=cap, retry=RetryPolicy(attempts=1)) as session,
    ):
        with pytest.raises(ResponseError) as caught:
            await get_customer(session, 7)
    assert (status, "x" * min(cap, 2000)) == (caught.value.status, caught.value.body)
    assert large.sent < 1000


HEADS: dict[str, bytes] = {
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200_000,
    "a long header": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000_000,
    "a long reason": b"HTTP/1.1 200 " + b"y" * 1_000_000,
    "endless interim answers": b"HTTP/1.1 102 Processing\r\n\r\n" * 100_000,
}


@pytest.mark.parametrize("call", ["one", "POST"])
@pytest.mark.parametrize("name", list(HEADS))
async def test_endless_headers_end_in_a_typed_error(name: str, call: str) -> None:
    """Headers without an end, or of any size, end in an error of the tree."""

    async def behave(heard: ReceivedRequest, wire: Wire) -> None:
        wire.send(HEADS[name])
        await wire.writer.drain()
        await time_out(heard, wire)

    async with raw_server(behave) as server, server.session(retry=RetryPolicy(1)) as session:
        with pytest.raises(UnknownOutcomeError if call == "POST" else TransportError):
            await CALLS[call](session)
    assert 1 == len(server.heard)


@pytest.mark.parametrize("call", list(CALLS))
async def test_a_slow_body_ends_in_a_typed_error(call: str) -> None:
    """An attempt's time counts to the last byte of the body, and a change then counts as maybe made."""

    async def dribble(heard: ReceivedRequest, wire: Wire) -> None:
        if "with a reference" in call and heard.method == "GET":
            wire.send(answer([]))
            return
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n[")
        await time_out(heard, wire)

    async with (
        raw_server(dribble) as server,
        server.session(retry=RetryPolicy(attempts=1), clock=InstantClock()) as session,
    ):
        with pytest.raises(TransportError) as caught:
            await CALLS[call](session)
    assert (call in CHANGES) == isinstance(caught.value, UnknownOutcomeError)
    assert (call in CHANGES) == caught.value.maybe_applied
    assert edits(server) == (1 if call in EDITS else 0)


# --- redirects


@pytest.mark.parametrize("call", list(CALLS))
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_never_followed(status: int, call: str) -> None:
    """No redirect is followed: an edit is sent once, to one place, and then counts as maybe made."""

    def behave(heard: ReceivedRequest, wire: Wire) -> None:
        if "with a reference" in call and heard.method == "GET":
            wire.send(answer([]))
        else:
            wire.send(answer({}, status, headers={"Location": f"http://localhost:{server.port}/elsewhere"}))

    async with raw_server(behave) as server, server.session(clock=InstantClock()) as session:
        with pytest.raises((ResponseError, UnknownOutcomeError), match="a redirect, which is never followed") as caught:
            await CALLS[call](session)
    assert [] == [heard.target for heard in server.heard if "elsewhere" in heard.target]
    assert (call in CHANGES) == caught.value.maybe_applied
    assert edits(server) == (1 if call in EDITS else 0)


# --- successes that are none

EMPTY: dict[str, bytes] = {
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "204 with a length": b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    "200": answer(raw=b""),
    "201 of white space": answer(raw=b" \r\n", status=201),
    "205": b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\n\r\n",
}


BARE = ["request", "PATCH", "DELETE"]
"""Calls that promise no shape: no content by the status' own meaning is theirs to take."""


@pytest.mark.parametrize("name", list(EMPTY))
@pytest.mark.parametrize("call", list(CALLS))
async def test_an_empty_success_is_an_error_that_says_so(name: str, call: str) -> None:
    """A success without content is an error if an answer was promised."""

    def behave(heard: ReceivedRequest, wire: Wire) -> None:
        wire.send(answer([]) if "with a reference" in call and heard.method == "GET" else EMPTY[name])

    async with raw_server(behave) as server, server.session(clock=InstantClock()) as session:
        if call in BARE and name.startswith(("204", "205")):
            assert await CALLS[call](session) is None
            return
        with pytest.raises((DecodeError, ResponseError, UnknownOutcomeError), match=r"it is empty|304") as caught:
            await CALLS[call](session)
    assert (call in CHANGES) == caught.value.maybe_applied
    assert edits(server) == (1 if call in EDITS else 0)


async def test_head_has_no_body_and_is_no_error() -> None:
    """HEAD has no body, and its result is None."""
    async with raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n") as server, server.session() as session:
        assert await session.request("HEAD", ["x"]) is None
    assert ["HEAD"] == [heard.method for heard in server.heard]


@pytest.mark.parametrize("call", list(CALLS))
async def test_a_page_of_html_is_no_success(call: str) -> None:
    """A login page or a proxy's greeting counts as no success; a change then counts as maybe made."""
    html = answer(raw=b"<!DOCTYPE html><title>Sign in</title>", headers={"Content-Type": "text/html"})

    def behave(heard: ReceivedRequest, wire: Wire) -> None:
        wire.send(answer([]) if "with a reference" in call and heard.method == "GET" else html)

    async with raw_server(behave) as server, server.session(clock=InstantClock()) as session:
        with pytest.raises((DecodeError, UnknownOutcomeError), match="it is not JSON") as caught:
            await CALLS[call](session)
    assert (call in CHANGES) == caught.value.maybe_applied
    assert edits(server) == (1 if call in EDITS else 0)


# --- the fuzz

GOOD_BODIES: list[Any] = [
    CUSTOMER,
    page_of([CUSTOMER]),
    page_of([CUSTOMER], 1, last=3, per_page=1, total=3),
    page_of([]),
    {"data": [CUSTOMER], "meta": {name: n for name, n in page_of([]).items() if name != "data"}},
    [{"id": 1, "amount": "1.00", "description": "x [ref:r-1]", "created_at": "2025-07-27T17:58:26.000000Z"}],
    [],
    {"message": "Customer balance updated successfully."},
    {"message": "The given data was invalid.", "errors": {"perPage": ["The per page must not be greater than 100."]}},
    {"message": "Too Many Attempts."},
]
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)


def mutated(draw: st.DrawFn, value: Any) -> Any:
    """Replace one value in a document, somewhere."""
    if isinstance(value, dict) and value and draw(st.booleans()):
        name = draw(st.sampled_from(sorted(value)))
        return value | {name: mutated(draw, value[name])}
    if isinstance(value, list) and value and draw(st.booleans()):
        return [mutated(draw, value[0]), *value[1:]]
    return draw(JSON)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from(["good", "mutated", "mutated", "json", "bytes", "html"]))
    if kind == "bytes":
        return draw(st.binary(max_size=60))
    if kind == "html":
        return b"<html>" + draw(st.text(max_size=10)).encode("utf-8", "surrogatepass")
    value = draw(JSON) if kind == "json" else draw(st.sampled_from(GOOD_BODIES))
    body = json.dumps(mutated(draw, value) if kind == "mutated" else value).encode()
    cut = draw(st.one_of(st.none(), st.integers(0, 40)))
    return body if cut is None or kind == "good" else body[: len(body) - cut]


WORDS = st.text(st.characters(codec="latin-1", exclude_characters="\r\n\x00"), max_size=12)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "Retry-After",
            "Date",
            "X-RateLimit-Reset",
            "X-RateLimit-Limit",
            "Content-Type",
            "Content-Encoding",
            "Location",
            "Transfer-Encoding",
            "Set-Cookie",
            "X-Request-Id",
            "Connection",
            "Content-Range",
            "Trailer",
            "Upgrade",
            "Link",
        ]
    ),
    st.one_of(
        WORDS,
        st.sampled_from(
            ["0", "1", "nan", "gzip", "deflate", "br", "zstd", "chunked", "close", "keep-alive", "text/html"]
        ),
        st.sampled_from(
            ["application/json; charset=utf-16", "/", "http://localhost:1/", "Sun, 27 Jul 2025 12:00:00 GMT"]
        ),
    ),
    max_size=3,
)
STATUSES = st.one_of(
    st.sampled_from([200, 200, 200, 201, 204, 302, 304, 401, 404, 422, 429, 500, 502, 503]), st.integers(100, 999)
)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """One HTTP answer: mostly well formed, at times cut, of the wrong length, or no HTTP at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(min_size=1, max_size=60))
    body, headers = draw(bodies()), draw(HEADERS)
    if draw(st.booleans()) and headers.get("Content-Encoding") in {"gzip", "deflate"}:
        body = gzip.compress(body) if headers["Content-Encoding"] == "gzip" else zlib.compress(body)
    length = len(body) + draw(st.sampled_from([0, 0, 0, 0, 0, -1, 1, 5]))
    if "Transfer-Encoding" not in headers and draw(st.integers(0, 9)):
        headers["Content-Length"] = str(max(0, length))
    lines = [f"HTTP/1.1 {draw(STATUSES)} X", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    whole = "\r\n".join(lines).encode("latin-1") + body
    return whole[: len(whole) - draw(st.sampled_from([0, 0, 0, 0, 1, 10]))] or b"x"


def fuzzed(script: list[bytes]) -> list[Behaviour]:
    """Each answer once, then hang up for ever; every connection ends with its answer, so nothing waits for more."""

    def payload(data: bytes) -> Behaviour:
        def behave(_heard: ReceivedRequest, wire: Wire) -> None:
            wire.send(data)
            wire.writer.close()

        return behave

    return [*map(payload, script), b""]


@pytest.mark.parametrize("call", list(CALLS))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(script=st.lists(answers(), min_size=1, max_size=5))
@example(script=[b"HTTP/1.1 200 OK\r\nContent-Encoding: zstd\r\nContent-Length: 3\r\n\r\nabc"])
@example(script=[b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 3\r\n\r\nabc"])
@example(script=[b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc"])
@example(script=[b"HTTP/1.1 429 X\r\nRetry-After: 99999999999999999999\r\nContent-Length: 0\r\n\r\n"])
@example(script=[answer({}, 429, headers={"Retry-After": "nan"})] * 5)
@example(script=[answer([])] + [answer({}, 500)] * 4)
async def test_whatever_is_answered_ends_in_a_value_or_a_documented_error(call: str, script: list[bytes]) -> None:
    """A call ends in a value or a ShopError whatever a server answers, and an edit is sent once, except after a 429."""
    async with (
        raw_server(*fuzzed(script)) as server,
        server.session(timeout=Timeout(2, 3, 60), clock=InstantClock()) as session,
    ):
        try:
            await CALLS[call](session)
        except ShopError as error:
            failure: ShopError | None = error
        else:
            failure = None
    limited = sum(1 for data in script if data.startswith(b"HTTP/1.1 429"))
    assert edits(server) <= (1 + limited if call in EDITS else 0)  # a 429 was surely not carried out
    assert failure is None or str(failure)
    if call in READS:
        assert failure is None or not failure.maybe_applied


@pytest.mark.parametrize("call", list(EDITS))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(data=answers(), committed=st.booleans())
async def test_an_edit_is_made_at_most_once_whatever_is_answered(call: str, data: bytes, committed: bool) -> None:
    """An edit is made at most once whatever is answered, and its error says so where it may have been made."""
    made: list[dict[str, Any]] = []

    def shop(heard: ReceivedRequest, wire: Wire) -> None:
        if heard.method == "GET":
            wire.send(answer(made))
            return
        if committed and not data.startswith(b"HTTP/1.1 429"):
            made.append({"id": len(made) + 1, **heard.json})
        wire.send(data)
        wire.writer.close()

    async with raw_server(shop) as server, server.session(timeout=Timeout(2, 3, 60), clock=InstantClock()) as session:
        try:
            await EDITS[call](session)
        except ShopError as error:
            failure: ShopError | None = error
        else:
            failure = None
    refused = isinstance(failure, ResponseError) and not maybe_applied(failure.status, failure.body.encode())
    assert len(made) <= 1
    assert edits(server) == 1 or data.startswith(b"HTTP/1.1 429")
    assert failure is None or refused != failure.maybe_applied
    if made and "reference" in call:
        assert failure is None or refused


async def test_the_fuzz_reaches_the_good_answers() -> None:
    """The fuzz reaches values and errors: a good answer is a value, and a bad one its own error."""
    async with raw_server(*fuzzed([answer(CUSTOMER)])) as server, server.session() as session:
        assert 7 == (await get_customer(session, 7)).id
    async with raw_server(*fuzzed([answer({}, 500)])) as server, server.session(retry=RetryPolicy(1)) as session:
        with pytest.raises(ServerError):
            await get_customer(session, 7)
