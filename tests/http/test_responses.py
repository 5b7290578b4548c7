"""Answers: bodies that are not whole JSON, byte order marks, rejections, 503s, lost answers; and pickling of a key."""

import asyncio
import copy
import pickle
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any

import pytest

from shopsdk import (
    AsyncSession,
    AuthenticationError,
    Clock,
    DecodeError,
    Event,
    InvalidRequestError,
    RateLimitedError,
    RateLimitPaused,
    RateLimitResumed,
    RetryPolicy,
    ServerError,
    UnknownOutcomeError,
    edit_customer_affiliate_code,
    edit_customer_balance,
    get_customer,
    get_customer_balance_transactions,
    get_customers,
    iter_customers,
)
from shopsdk._config import Secret
from shopsdk._http.request import make_request
from shopsdk._http.session import core_of
from shopsdk.testing import InstantClock
from tests.support.needs import need
from tests.support.servers import CUSTOMER, ReceivedRequest, Wire, answer, page_of, raw_server, time_out

Call = Callable[[AsyncSession], Awaitable[Any]]
ROWS = page_of([CUSTOMER])


async def walked(session: AsyncSession) -> object:
    async with aclosing(iter_customers(session)) as customers:
        return [customer async for customer in customers]


READS: dict[str, tuple[Call, object]] = {
    "one customer": (lambda session: get_customer(session, 7), CUSTOMER),
    "a page": (get_customers, ROWS),
    "a walk": (walked, ROWS),
    "a ledger": (lambda session: get_customer_balance_transactions(session, 7), []),
    "a code": (lambda session: edit_customer_affiliate_code(session, 7, "A"), {"message": "ok"}),
    "a request": (lambda session: session.request("GET", ["shops"]), {"shops": []}),
    "a request with a type": (lambda session: session.request("GET", ["x"], as_type=dict[str, int]), {"a": 1}),
    "a change that may be repeated": (lambda s: s.request("PUT", ["x"], idempotent=True), {}),
}
INCOMPLETE = {
    "empty": b"",
    "blank": b" \r\n",
    "HTML": b"<!DOCTYPE html><html></html>",
    "cut": b'{"current_page": 1, "data": [{"id": 7, "ema',
    "cut behind a list's bracket": b'{"current_page": 1, "data": []',
    "text of a proxy": b"upstream connect error",
    "a mark alone": b"\xef\xbb\xbf",
}


@pytest.mark.parametrize("call", READS)
@pytest.mark.parametrize("body", INCOMPLETE)
async def test_a_success_that_is_no_whole_json_is_asked_for_again(body: str, call: str) -> None:
    """A read, and a write that sets a value, is repeated if the body of its success is empty, cut or HTML."""
    make, good = READS[call]
    async with raw_server(answer(raw=INCOMPLETE[body]), answer(good)) as server:
        async with server.session(clock=InstantClock()) as session:
            await make(session)
    assert 2 == len(server.heard)


@pytest.mark.parametrize("call", READS)
async def test_no_whole_json_after_all_attempts_is_a_decode_error(call: str) -> None:
    """A success that is no JSON in every attempt is a DecodeError that says so."""
    make, _ = READS[call]
    async with raw_server(answer(raw=b"<html>")) as server, server.session(clock=InstantClock()) as session:
        with pytest.raises(DecodeError, match="it is not JSON") as caught:
            await make(session)
    assert 4 == len(server.heard)
    assert ("code" in call or "change" in call) is caught.value.maybe_applied


DECODE_ERRORS = {
    "another shape": b'[{"id": "no number"}]',
    "cut behind a row": b'{"current_page": 1, "data": [{"id": 7}',
    "two documents": b'{"a": 1}{"b": 2}',
    "null": b"null",
    "a number": b"7",
    "too large": b'{"x": "' + b"x" * 5000 + b'"}',
}


@pytest.mark.parametrize("call", ["one customer", "a page", "a walk"])
@pytest.mark.parametrize("body", DECODE_ERRORS)
async def test_what_cannot_be_read_is_not_asked_for_again(body: str, call: str) -> None:
    """A whole body of another shape, or one that is too large, is not asked for again."""
    make, good = READS[call]
    async with raw_server(answer(raw=DECODE_ERRORS[body]), answer(good)) as server:
        async with server.session(clock=InstantClock(), max_response_bytes=4096) as session:
            with pytest.raises(DecodeError):
                await make(session)
    assert 1 == len(server.heard)


@pytest.mark.parametrize("call", READS)
async def test_a_byte_order_mark_is_skipped(call: str) -> None:
    """JSON behind a byte order mark is read."""
    make, good = READS[call]
    marked = answer(raw=b"\xef\xbb\xbf" + answer(good).partition(b"\r\n\r\n")[2])
    async with raw_server(marked) as server, server.session() as session:
        await make(session)
    assert 1 == len(server.heard)


async def test_a_byte_order_mark_hides_no_words_of_an_error_and_no_edit() -> None:
    """The message of an error and the answer to an edit are read behind a byte order mark."""
    wrong = answer(raw=b'\xef\xbb\xbf{"message": "too much", "errors": {"amount": ["x"]}}', status=422)
    made = answer(raw=b'\xef\xbb\xbf{"message": "done"}')
    async with raw_server(wrong, made) as server, server.session() as session:
        with pytest.raises(InvalidRequestError, match="too much") as caught:
            await edit_customer_balance(session, 7, 1)
        assert {"amount": ["x"]} == caught.value.errors
        assert "done" == (await edit_customer_balance(session, 7, 1)).message


@pytest.mark.parametrize("body", [b"7", b'"text"', b"null", b"true", b" [] ", b"\n{}\n"])
async def test_json_without_brackets_is_whole_too(body: bytes) -> None:
    """JSON that is a single value is whole."""
    async with raw_server(answer(raw=body)) as server, server.session() as session:
        await session.request("GET", ["x"])
    assert 1 == len(server.heard)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", [204, 205])
async def test_an_answer_without_a_body_by_nature_is_not_asked_for_again(status: int, method: str) -> None:
    """A 204 to a repeatable request is a success, and is asked for once."""
    none = f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode()
    async with raw_server(none) as server, server.session() as session:
        assert None is await session.request(method, ["x"])
    assert 1 == len(server.heard)


async def test_a_head_has_no_body_and_is_asked_for_once() -> None:
    """The answer to a HEAD is a success without a body, whatever its Content-Length is."""
    async with raw_server(b"HTTP/1.1 200 X\r\nContent-Length: 5\r\n\r\n") as server, server.session() as session:
        assert None is await session.request("HEAD", ["x"])
    assert 1 == len(server.heard)


# --- rejected


@pytest.mark.parametrize(("key", "hinted"), [("12345", True), ("12345|abc", False), ("abc", False)])
async def test_a_401_to_a_key_of_digits_alone_names_the_shells_pipe(key: str, hinted: bool) -> None:
    """A 401 to a key of digits alone says that a shell may have cut the key at a pipe."""
    async with raw_server(answer({"message": "Unauthenticated."}, 401)) as server:
        async with AsyncSession(key, shop_id=38, base_url=server.base_url) as session:
            with pytest.raises(AuthenticationError, match=r"Unauthenticated\.$") as caught:
                await get_customer(session, 7)
    assert hinted is ("a shell may have cut it at a |" in str(caught.value))
    assert key not in str(caught.value)


@pytest.mark.parametrize("reference", [None, "r-1"])
@pytest.mark.parametrize("status", [400, 403, 404, 422])
async def test_a_rejected_edit_has_no_unknown_outcome(status: int, reference: str | None) -> None:
    """The error of an edit that the shop rejected carries no note of an unknown outcome."""

    def behave(heard: ReceivedRequest, wire: Wire) -> None:
        wire.send(answer([]) if heard.method == "GET" else answer({"message": "no"}, status))

    async with raw_server(behave) as server, server.session() as session:
        with pytest.raises(Exception, match=f"answered {status}") as caught:
            await edit_customer_balance(session, 7, 1, reference=reference)
    assert not caught.value.maybe_applied  # type: ignore[attr-defined]
    assert [] == getattr(caught.value, "__notes__", [])


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:9/v1", "http://localhost/v1", "http://[::1]:8/v1"])
def test_a_proxy_is_refused_where_it_would_see_the_key(base_url: str) -> None:
    """A proxy before a plain http base URL, which would see the key, is refused."""
    with pytest.raises(ValueError, match=r"^proxy goes with an https base_url"):
        AsyncSession("key", base_url=base_url, proxy="http://proxy.example:3128")


# --- a 503 with a wait


def unavailable(wait: str | None) -> bytes:
    return answer({"message": "busy"}, 503, headers={} if wait is None else {"Retry-After": wait})


async def test_a_503_that_says_for_how_long_blocks_its_operation() -> None:
    """No call of an operation starts while a 503 with a Retry-After blocks it; other operations go on."""
    events: list[Event] = []
    over = asyncio.Event()
    moment = 0.0
    at: list[float] = []

    async def sleep(seconds: float) -> None:
        nonlocal moment
        until = moment + seconds
        await over.wait()
        moment = max(moment, until)

    def behave(heard: ReceivedRequest, wire: Wire) -> None:
        at.append(moment)
        wire.send(unavailable("30") if len(server.heard) == 1 else answer([] if "trans" in heard.target else CUSTOMER))

    clock = Clock(now=lambda: moment, sleep=sleep)
    async with raw_server(behave) as server, server.session(clock=clock, on_event=events.append) as session:
        calls = [asyncio.create_task(get_customer(session, 7))]
        while not any(isinstance(event, RateLimitPaused) for event in events):
            await asyncio.sleep(0)
        calls += [asyncio.create_task(get_customer(session, 7)) for _ in range(4)]
        assert [] == await get_customer_balance_transactions(session, 7)
        assert 2 == len(server.heard)
        over.set()
        await asyncio.gather(*calls)
    assert 7 == len(server.heard)
    assert all(since >= 30 for since in at[2:])
    assert {"GET /shops/{shop_id}/customers/{customer_id}"} == {
        event.operation for event in events if isinstance(event, RateLimitPaused | RateLimitResumed)
    }
    assert [503] == [event.status for event in events if isinstance(event, RateLimitPaused)]


async def test_a_503_to_an_edit_blocks_the_others_and_has_an_unknown_outcome() -> None:
    """An edit that was answered 503 is not sent again, and the next edit waits for as long as the shop asks."""
    clock = InstantClock()
    async with raw_server(unavailable("30"), answer({})) as server, server.session(clock=clock) as session:
        with pytest.raises(ServerError) as caught:
            await edit_customer_balance(session, 7, 1)
        assert caught.value.maybe_applied
        assert 0 == clock.time
        await edit_customer_balance(session, 8, 1)
        assert clock.time >= 30
    assert 2 == len(server.heard)


@pytest.mark.parametrize("wait", [None, "nonsense", "100000"])
async def test_a_503_without_a_bearable_wait_is_its_own_calls_alone(wait: str | None) -> None:
    """A 503 without a Retry-After, or with one past retry_after_max, blocks no other call."""
    clock = InstantClock()
    events: list[Event] = []
    policy = RetryPolicy(attempts=1)
    async with raw_server(unavailable(wait), answer(CUSTOMER)) as server:
        async with server.session(clock=clock, retry=policy, on_event=events.append) as session:
            with pytest.raises(ServerError):
                await get_customer(session, 7)
            assert 7 == (await get_customer(session, 7)).id
    assert 0 == clock.time
    assert not any(isinstance(event, RateLimitPaused) for event in events)


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimitedError), (503, ServerError)])
@pytest.mark.parametrize("call", ["one customer", "an edit"])
async def test_a_blocked_call_is_an_error_of_the_answer_that_blocks(
    call: str, status: int, kind: type[RateLimitedError | ServerError]
) -> None:
    """A call that is blocked past its deadline fails at once, with the class for the answer that blocks, 429 or 503."""
    make: Call = READS["one customer"][0] if call == "one customer" else lambda s: edit_customer_balance(s, 8, 1)
    clock = InstantClock()
    policy = RetryPolicy(attempts=1, retry_after_max=300)
    held = answer(None, status, headers={"Retry-After": "200"})
    async with raw_server(held, answer(CUSTOMER)) as server, server.session(clock=clock, retry=policy) as session:
        with pytest.raises(kind):
            await make(session)
        with pytest.raises(kind, match="an earlier answer to this operation asks to wait") as caught:
            await make(session)
    assert 1 == len(server.heard)
    assert (status, False) == (caught.value.status, caught.value.maybe_applied)
    assert 200 == pytest.approx(caught.value.retry_after)
    assert 0 == clock.time
    assert caught.value.path.startswith("/shops/38/customers/")


async def test_a_call_with_less_time_than_a_503_that_is_waited_out_fails_as_one() -> None:
    """A call that has less time than a 503 asks for is a ServerError, while another waits it out."""
    request = make_request("GET", ["shops", 38, "customers", 8], route="/shops/{shop_id}/customers/{customer_id}")
    over = asyncio.Event()

    async def sleep(_seconds: float) -> None:
        await over.wait()

    async with raw_server(unavailable("30"), answer(CUSTOMER)) as server:
        async with server.session(clock=Clock(now=lambda: 100.0 * over.is_set(), sleep=sleep)) as session:
            first = asyncio.create_task(get_customer(session, 7))
            runtime = core_of(session).runtime()
            while not runtime._tasks:  # it waits
                await asyncio.sleep(0)
            with pytest.raises(ServerError, match="an earlier answer to this operation"):
                await runtime.send(request, within=core_of(session).deadline(10))
            over.set()
            await first


# --- the search after a lost answer


@pytest.mark.parametrize("reads", [True, False])
async def test_a_search_that_could_not_look_does_not_say_that_it_did(reads: bool) -> None:
    """The error of a lost edit says that its reference is not in the ledger only if the ledger was read."""

    def behave(heard: ReceivedRequest, wire: Wire) -> None:
        if heard.method == "POST":
            wire.writer.close()
        else:
            lost = any(earlier.method == "POST" for earlier in server.heard)
            wire.send(answer([]) if reads or not lost else answer(None, 500))

    async with raw_server(behave) as server, server.session(clock=InstantClock()) as session:
        with pytest.raises(UnknownOutcomeError) as caught:
            await edit_customer_balance(session, 7, 1, reference="r-1")
    assert reads is ("is not in the ledger yet" in str(caught.value))
    assert reads is not ("the ledger could not be read" in str(caught.value))


@pytest.mark.parametrize("look", [0.5, 2.8, 4.0, 14.0])
async def test_looks_that_take_their_time_do_not_prolong_the_search(look: float) -> None:
    """A search begins no pause that would end after its fifteen seconds."""
    clock = InstantClock()

    def behave(heard: ReceivedRequest, wire: Wire) -> None:
        if heard.method == "POST":
            wire.writer.close()
            return
        clock.time += look if any(earlier.method == "POST" for earlier in server.heard) else 0.0
        wire.send(answer([]))

    async with raw_server(behave) as server, server.session(clock=clock) as session:
        with pytest.raises(UnknownOutcomeError):
            await edit_customer_balance(session, 7, 1, reference="r-1")
    assert clock.time < 15 + look


LEDGERS: dict[str, Any] = {
    "hangs": time_out,
    "says 429 for a minute": answer(None, 429, headers={"Retry-After": "60"}),
    "says 503 for a minute": unavailable("60"),
    "answers 500": answer(None, 500),
    "is empty": answer([]),
    "answers HTML": answer(raw=b"<html>"),
}


@pytest.mark.parametrize("ledger", LEDGERS)
async def test_the_search_after_a_lost_answer_ends_within_its_time(ledger: str) -> None:
    """The caller of a lost edit gets an answer within fifteen seconds, whatever the ledger does."""
    clock = InstantClock()

    async def behave(heard: ReceivedRequest, wire: Wire) -> None:
        if heard.method == "POST":
            wire.writer.close()
        elif not any(earlier.method == "POST" for earlier in server.heard):
            wire.send(answer([]))
        elif callable(LEDGERS[ledger]):
            clock.time += 10  # a hang costs time too
            await LEDGERS[ledger](heard, wire)
        else:
            wire.send(LEDGERS[ledger])

    async with raw_server(behave) as server:
        async with server.session(clock=clock, retry=RetryPolicy(attempts=9)) as session:
            with pytest.raises(UnknownOutcomeError) as caught:
                await edit_customer_balance(session, 7, 1, reference="r-1")
    assert "r-1" == caught.value.reference
    assert clock.time <= (25 if ledger == "hangs" else 15)  # the last request of a ledger that hangs began before
    assert 1 == sum(heard.method == "POST" for heard in server.heard)


# --- the key


def test_no_pickler_takes_a_key() -> None:
    """Neither pickle, copy nor deepcopy takes a key or a session."""
    remakes: list[Callable[[object], object]] = [copy.copy, copy.deepcopy]
    remakes += [partial(pickle.dumps, protocol=number) for number in range(pickle.HIGHEST_PROTOCOL + 1)]
    for remake in remakes:
        for thing in (Secret("hunter2"), AsyncSession("hunter2", proxy="http://user:hunter2@proxy.example:3128")):
            with pytest.raises(TypeError, match="cannot be pickled or copied"):
                remake(thing)


def test_cloudpickle_takes_no_key() -> None:
    """Cloudpickle takes neither a key, a session, nor a function that holds either."""
    need("cloudpickle")
    import cloudpickle

    secret = Secret("hunter2")
    session = AsyncSession("hunter2", proxy="http://user:hunter2@proxy.example:3128")

    def job() -> object:
        return session

    def deeper() -> object:
        return secret

    things = (secret, session, core_of(session), core_of(session).options, job, deeper, [secret], {"key": secret})
    for thing in things:
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            cloudpickle.dumps(thing)
