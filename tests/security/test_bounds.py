"""Bounds on the memory and the time of a call, whatever a server answers."""

import asyncio
import gc
import inspect
import json
import sys
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import suppress
from decimal import Decimal
from types import FrameType
from typing import Any

import attrs
import pytest

import shopsdk
from shopsdk import (
    AsyncSession,
    BalanceTransaction,
    Customer,
    DecodeError,
    MultipleCustomersError,
    Page,
    PaginationError,
    RateLimitedError,
    RetryPolicy,
    ShopError,
    Timeout,
    TransportError,
    UnknownOutcomeError,
    edit_customer_balance,
    find_balance_edit,
    find_customer,
    get_customer,
    get_customers,
    paginate,
)
from shopsdk._codec.json import decode, parse
from shopsdk.testing import InstantClock
from tests.support.bounds import BODIES, BOMB, CAP, OPERATIONS, Own
from tests.support.servers import (
    CUSTOMER,
    Behaviour,
    ReceivedRequest,
    Wire,
    answer,
    page_of,
    pass_time,
    raw_server,
    silence,
)

MULTIPLE = 64
"""Bytes of memory for each byte of an answer: lists within lists take 49 times their length as Python objects."""
SLACK = 100
"""Calls that are not made for each row, such as those of another level of a tree."""
PRIME = 2**61 - 1
"""Its multiples share a hash."""


def calls_of(work: Callable[[], object]) -> int:
    """Count the calls of functions of the codec and of cattrs that this work makes."""
    calls = 0

    def count(frame: FrameType, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event == "call" and any(name in frame.f_code.co_filename for name in ("shopsdk/_", "cattrs"))

    gc.disable()  # a collection may call functions of its own
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
        gc.enable()
    return calls


def peak_of(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refused(body: bytes, as_type: Any, max_rows: int | None = None) -> ShopError:
    with pytest.raises((DecodeError, PaginationError)) as caught:
        decode(body, as_type, max_rows=max_rows)
    return caught.value


# --- rows


@attrs.frozen
class Fork:
    at: int
    left: "Fork | None" = None
    right: "Fork | None" = None


def fork(depth: int) -> object:
    return {"at": "x"} if depth == 0 else {"at": 1, "left": fork(depth - 1), "right": fork(depth - 1)}


BAD_ROWS: dict[str, tuple[Any, Callable[[int], object]]] = {
    "lines without anything": (list[BalanceTransaction], lambda n: [{}] * n),
    "customers without anything": (Page[Customer], lambda n: page_of([{}] * n)),
    "rows of two bad fields": (list[BalanceTransaction], lambda n: [{"id": [], "amount": [], "created_at": 5}] * n),
    "bad rows by index": (list[BalanceTransaction], lambda n: {str(i): {} for i in range(n)}),
    "bad values by name": (dict[str, int], lambda n: {f"k{i}": "x" for i in range(n)}),
    "bad keys": (dict[int, int], lambda n: {f"k{i}": 1 for i in range(n)}),
    "bad rows within rows": (list[Own], lambda n: [{"rows": [{"id": None}] * n}] * 3),
    "a tree of bad leaves": (Fork, lambda n: fork(n.bit_length())),
}


@pytest.mark.parametrize("name", list(BAD_ROWS))
def test_the_first_bad_value_ends_the_reading(name: str) -> None:
    """The first bad value is the one that is reported, and the others cost no more than their parsing."""
    as_type, document = BAD_ROWS[name]
    small, large = (json.dumps(document(n)).encode() for n in (100, 10_000))
    refused(small, as_type)  # builds the decoder of this type
    assert abs(calls_of(lambda: refused(large, as_type)) - calls_of(lambda: refused(small, as_type))) <= SLACK
    assert peak_of(lambda: refused(large, as_type)) <= peak_of(lambda: parse(large)) + 2 * len(large)


def test_the_path_leads_to_the_first_bad_value() -> None:
    """The path of the error leads to the first bad value, and a missing field goes before a wrong one.

    If the nesting is too deep to read on, the path is that of the whole document.
    """
    body = b'[{"rows":[{}, {"by_name":{"a":{"prices":["1","x"]}}}]}, {"rows":5}]'
    assert "$[0].rows[1].by_name[?].prices[1]" == getattr(refused(body, list[Own]), "path", None)
    deep = b'{"id":"1","rows":[' * 400 + b"]}" * 400
    assert "$" == getattr(refused(deep, Own), "path", None)
    body = b'[{"amount":"x"}]'
    assert "$[0].id" == getattr(refused(body, list[BalanceTransaction]), "path", None)


@pytest.mark.parametrize("rows", ["{}", '{"id":1,"email":""}', '{"id":"1","email":""}'])
@pytest.mark.parametrize("by_index", [False, True])
@pytest.mark.parametrize("meta", [False, True])
def test_too_many_rows_are_refused_before_any_is_read(rows: str, by_index: bool, meta: bool) -> None:
    """A page of more rows than any page has is refused by their number alone."""
    numbers = '"current_page":1,"last_page":1,"per_page":100,"total":1'
    numbers = f'"meta":{{{numbers}}}' if meta else numbers

    def body(count: int) -> bytes:
        data = ",".join(f'"{n}":{rows}' for n in range(count)) if by_index else ",".join([rows] * count)
        return f'{{"data":{"{" if by_index else "["}{data}{"}" if by_index else "]"},{numbers}}}'.encode()

    few, many = body(20_000), body(40_000)
    error = refused(few, Page[Customer], 100)
    assert isinstance(error, PaginationError)
    assert ("at most 100 rows", "20000 rows") == (error.asked, error.got)
    counts = [calls_of(lambda text=text: refused(text, Page[Customer], 100)) for text in (few, many)]  # type: ignore[misc]
    assert abs(counts[0] - counts[1]) <= SLACK
    assert peak_of(lambda: refused(many, Page[Customer], 100)) <= MULTIPLE * len(many)


def test_valid_rows_are_counted_for_a_fraction_of_what_reading_them_takes() -> None:
    """100,000 small rows that can be read are refused without a customer having been made of any."""
    body = json.dumps(page_of([{"id": 1, "email": ""}] * 100_000)).encode()
    assert peak_of(lambda: refused(body, Page[Customer], 100)) <= 2 * len(body)


@pytest.mark.parametrize("rows", [101, 50_000])
@pytest.mark.parametrize("row", [CUSTOMER, CUSTOMER | {"id": "7"}])
async def test_a_page_of_too_many_rows_is_a_pagination_error(row: dict[str, object], rows: int) -> None:
    """A page with more rows than were asked for is a PaginationError from every function that reads one."""

    async def first(session: AsyncSession) -> object:
        return await anext(paginate(session, ["x"], Customer))

    async with raw_server(answer(page_of([row] * rows))) as server, server.session() as session:
        for read in (get_customers, first, OPERATIONS["iter_customers"], OPERATIONS["find_customer"]):
            with pytest.raises(PaginationError, match=f"got {rows} rows") as caught:
                await read(session)
            unread = rows > 101 or isinstance(row["id"], str)  # counted before any was read
            assert unread == (caught.value.asked == "at most 100 rows")
        page = await session.request("GET", ["x"], as_type=Page[Customer])  # its own list may have larger pages
    assert rows == len(page.data)


async def test_a_page_of_another_size_keeps_its_likely_cause() -> None:
    """The error of a page of 10 where 5 were asked for names a proxy that drops parameters as the likely cause."""
    odd = page_of([CUSTOMER | {"id": str(n)} for n in range(10)], per_page=10)
    async with raw_server(answer(odd)) as server, server.session() as session:
        with pytest.raises(PaginationError, match="page 1 with 10 rows a page"):
            await get_customers(session, per_page=5)


# --- whole numbers

LARGE = [2**63, -(2**63) - 1, 2**64, 10**40, PRIME * 10**6]
ZERO = "0000-00-00 00:00:00"
PLACES: dict[str, tuple[Any, Callable[[int], object]]] = {
    "$.id": (Customer, lambda n: {"id": n, "email": ""}),
    "$.total_completed": (Customer, lambda n: {"id": 1, "email": "", "total_completed": n}),
    "$.affiliate_referrer_id": (Customer, lambda n: {"id": 1, "email": "", "affiliate_referrer_id": n}),
    "$.affiliate_referrer.id": (
        Customer,
        lambda n: {"id": 1, "email": "", "affiliate_referrer": {"id": n, "email": ""}},
    ),
    "$.total": (Page[Customer], lambda n: page_of([]) | {"total": n}),
    "$.current_page": (Page[Customer], lambda n: page_of([]) | {"current_page": n}),
    "$[0].id": (list[BalanceTransaction], lambda n: [{"id": n, "amount": 1}]),
}


@pytest.mark.parametrize("path", list(PLACES))
@pytest.mark.parametrize("number", LARGE)
@pytest.mark.parametrize("habit", [False, True], ids=["fast", "strict"])
def test_a_number_beyond_64_bits_is_refused(path: str, number: int, habit: bool) -> None:
    """Whole numbers of a model fit 64 bits; larger ones are refused."""
    as_type, document = PLACES[path]
    value: Any = document(number)
    if habit:  # what only the strict path reads
        row: dict[str, object] = value if "id" in value or "total" in value else value[0]
        row |= {"per_page": "100"} if "per_page" in row else {"newsletter_at": ZERO, "created_at": ZERO}
    error = refused(json.dumps(value).encode(), as_type)
    assert path == getattr(error, "path", None)
    for edge in (2**63 - 1, -(2**63)):
        decode(json.dumps(document(edge)).encode(), as_type)


def test_the_callers_own_numbers_may_be_larger() -> None:
    """A class of the caller's own has whole numbers as long as they come, by either path."""
    for own in ('{"id":%d}', '{"id":%d,"prices":{"3":1}}'):
        assert 2**70 == decode((own % 2**70).encode(), Own).id


SETS: list[tuple[Any, Callable[[str], str]]] = [
    (set[int], str),
    (frozenset[int], str),
    (set[float], str),
    (set[Any], str),
    (set, str),
    (set[tuple[int, int]], lambda n: f"[{n},{n}]"),
]


@pytest.mark.parametrize(("kind", "item"), SETS)
def test_a_set_of_values_that_share_a_hash_is_refused(kind: Any, item: Callable[[str], str]) -> None:
    """No set is made of values that were chosen to share a hash; others, and repeats, are read."""

    def body(numbers: list[int]) -> bytes:
        return f"[{','.join(item(str(n)) for n in numbers)}]".encode()

    if kind == set[float]:
        numbers = [2 ** (61 * k) for k in range(1, 17)]  # all that floats have: few enough
        assert decode(body(numbers), kind) == set(map(float, numbers))
        return
    decode(body([n * PRIME for n in range(3, 500)]), kind)
    decode(body([5 * PRIME] * 5000), kind)
    decode(body(list(range(5000))), kind)
    refused(body([n * PRIME for n in range(3, 5000)]), kind)


def test_keys_of_one_hash_are_refused() -> None:
    """A mapping whose keys were chosen to share a hash is refused too."""
    keys = [str(n * PRIME) for n in range(3, 5000)]
    for kind in (dict[Decimal, int], dict[int, int]):
        refused(json.dumps(dict.fromkeys(keys, 1)).encode(), kind)
    assert {12: 1} == decode(b'{"12":1}', dict[int, int])


# --- the one that was asked for


@pytest.mark.parametrize("wrong", [1, 8, 70, -7, 0])
async def test_the_answer_of_another_customer_is_refused(wrong: int) -> None:
    """An answer with another id than was asked for is a DecodeError."""
    for own_id in (wrong, str(wrong)):
        async with raw_server(answer(CUSTOMER | {"id": own_id})) as server, server.session() as session:
            with pytest.raises(DecodeError, match=f"it is customer {wrong}, not 7$") as caught:
                await get_customer(session, 7)
        assert ("$.id", False) == (caught.value.path, caught.value.maybe_applied)
        assert 1 == len(server.heard)


# --- a ledger without end


def endless_ledger(clock: InstantClock, seconds: float, lines: int = 1) -> Behaviour:
    """A ledger that has one page more each time; each takes so many seconds to come."""

    def behave(heard: ReceivedRequest, wire: Wire) -> None:
        if heard.method != "GET":
            wire.send(b"")
            wire.writer.close()
            return
        clock.time += seconds
        number = heard.json["page"] if heard.body else 1
        rows = [{"id": number * lines + n, "amount": "1", "description": None} for n in range(lines)]
        wire.send(answer(page_of(rows, number, last=number + 1)))

    return behave


LEDGERS: dict[str, Callable[[AsyncSession], Awaitable[object]]] = {
    name: OPERATIONS[name]
    for name in ("get_customer_balance_transactions", "find_balance_edit", "edit_customer_balance, by reference")
}


@pytest.mark.parametrize("call", list(LEDGERS))
async def test_all_pages_of_a_ledger_have_one_deadline(call: str) -> None:
    """The deadline of a call is that of all its pages together, and nothing is sent once it has passed."""
    clock = InstantClock()
    async with (
        raw_server(endless_ledger(clock, 2)) as server,
        server.session(timeout=Timeout(deadline=5), clock=clock) as session,
    ):
        with pytest.raises(TransportError) as caught:
            await LEDGERS[call](session)
    assert ["GET"] * 3 == [heard.method for heard in server.heard]
    assert not caught.value.maybe_applied
    assert ("nothing was sent" in str(caught.value)) == ("by reference" in call)
    assert "no end within the deadline of 5 s, after 3 pages" in str(caught.value)
    assert ("GET", "/shops/38/customers/7/balance-transactions", 6) == (
        caught.value.method,
        caught.value.path,
        caught.value.elapsed,
    )


@pytest.mark.parametrize("call", list(LEDGERS))
async def test_a_page_of_a_ledger_has_what_is_left_of_the_deadline(call: str) -> None:
    """A page that is asked for late waits for no rate limit past the deadline of all."""
    clock = InstantClock()
    first = endless_ledger(clock, 3)
    assert callable(first)

    def behave(heard: ReceivedRequest, wire: Wire) -> None:
        if len(server.heard) == 1:
            first(heard, wire)
        else:
            wire.send(answer(None, 429, headers={"Retry-After": "3"}))

    async with (
        raw_server(behave) as server,
        server.session(timeout=Timeout(deadline=5), clock=clock) as session,
    ):
        with pytest.raises(RateLimitedError) as caught:
            await LEDGERS[call](session)
    assert (3, 2) == (clock.time, len(server.heard))
    assert not caught.value.maybe_applied


@pytest.mark.parametrize("call", list(LEDGERS))
@pytest.mark.parametrize(
    ("lines", "pages", "message"), [(20_000, 6, "got more than 100000 lines"), (100_001, 1, "got 100001 rows")]
)
async def test_a_ledger_has_a_most_of_lines(call: str, lines: int, pages: int, message: str) -> None:
    """A ledger of more than 100,000 lines is an error, however fast it comes, and nothing is sent."""
    clock = InstantClock()
    async with raw_server(endless_ledger(clock, 0, lines)) as server, server.session(clock=clock) as session:
        with pytest.raises(PaginationError, match=message) as caught:
            await LEDGERS[call](session)
    assert ["GET"] * pages == [heard.method for heard in server.heard]
    assert not caught.value.maybe_applied
    assert ("nothing was sent" in str(caught.value)) == ("by reference" in call)


async def test_the_search_after_a_loss_ends_within_a_ledger() -> None:
    """The fifteen seconds of a search after a lost answer hold for the pages of one ledger too."""
    clock = InstantClock()
    pages = endless_ledger(clock, 1)
    assert callable(pages)

    def behave(heard: ReceivedRequest, wire: Wire) -> None:
        if len(server.heard) == 1:
            wire.send(answer([]))
        else:
            pages(heard, wire)

    async with raw_server(behave) as server, server.session(clock=clock) as session:
        with pytest.raises(UnknownOutcomeError) as caught:
            await edit_customer_balance(session, 7, 1, reference="r")
    assert caught.value.maybe_applied
    assert 15 + 2 == len(server.heard)


BEFORE: dict[str, tuple[bytes, type[ShopError]]] = {
    "an error": (answer({"message": "no"}, 404), ShopError),
    "a failure": (answer(None, 500), ShopError),
    "HTML": (answer(raw=b"<html>"), DecodeError),
    "a cut answer": (b"", TransportError),
    "a line that cannot be read": (answer([{"id": 1}]), DecodeError),
    "half a ledger": (answer(page_of([], 1, last=1, total=5)), PaginationError),
}


@pytest.mark.parametrize("name", list(BEFORE))
async def test_a_search_that_fails_says_that_nothing_was_sent(name: str) -> None:
    """The error of an edit whose ledger could not be read says that nothing was sent."""
    behaviour, kind = BEFORE[name]
    async with raw_server(behaviour) as server, server.session(clock=InstantClock()) as session:
        with pytest.raises(kind, match=r"^nothing was sent, since the ledger could not be read: ") as caught:
            await edit_customer_balance(session, 7, 1, reference="r")
        with pytest.raises(kind, match=r"^(?!nothing was sent)"):
            await find_balance_edit(session, 7, "r")
    assert not caught.value.maybe_applied
    assert {"GET"} == {heard.method for heard in server.heard}


# --- a search without end


async def test_all_pages_of_a_search_have_one_deadline() -> None:
    """A list that always has one page more ends a search by the deadline of a call."""
    clock = InstantClock()

    def behave(heard: ReceivedRequest, wire: Wire) -> None:
        clock.time += 2
        number = heard.json["page"]
        rows = [CUSTOMER | {"id": number * 100 + n} for n in range(100)]
        wire.send(answer(page_of(rows, number, last=number + 1, total=number * 100 + 100)))

    timeout = Timeout(deadline=5)
    async with raw_server(behave) as server, server.session(timeout=timeout, clock=clock) as session:
        with pytest.raises(TransportError):
            await find_customer(session, email="nobody@example.com")
    assert 3 == len(server.heard)


async def test_a_search_that_finds_too_many_ends() -> None:
    """A search that finds nothing but twins ends at a hundred of them."""

    def behave(heard: ReceivedRequest, wire: Wire) -> None:
        number = heard.json["page"]
        rows = [CUSTOMER | {"id": number * 60 + n} for n in range(60)]
        wire.send(answer(page_of(rows, number, last=number + 1, per_page=100, total=10**6)))

    async with raw_server(behave) as server, server.session() as session:
        with pytest.raises(MultipleCustomersError, match=r"^expected 1 customer, found 100 or more$") as caught:
            await find_customer(session, email="seven@example.com")
    assert 100 == len(caught.value.customer_ids)
    assert len(server.heard) <= 3


# --- hostile answers

NAMES = list(BODIES)
OWN_CLASSES = {"a class", "a list"}
"""Operations without a bound: a row of 2 bytes can become an object of any size of the caller's class."""


def test_every_operation_is_among_them() -> None:
    """A function that is added to the public face is added to the operations whose memory is measured."""
    functions = {name for name in shopsdk.__all__ if inspect.isfunction(getattr(shopsdk, name))}
    named = {name.partition(",")[0] for name in OPERATIONS}
    assert functions <= named, "add it to OPERATIONS in tests/support/bounds.py"


ANSWERS = [
    *((operation, 200) for operation in OPERATIONS),
    *((operation, status) for operation in ("get_customer", "edit_customer_balance") for status in (422, 500)),
]
"""Each operation on each of the bodies as a success; two of them on errors too, which are read alike in all."""


@pytest.mark.slow
@pytest.mark.timeout(900)  # 8,448 calls, on a machine that may be busy
async def test_whatever_is_answered_ends_in_bounded_memory() -> None:
    """Every call on every hostile body ends in a value or a ShopError, within 64 times max_response_bytes."""

    def behave(heard: ReceivedRequest, wire: Wire) -> None:
        _, status, case = heard.target.split("/")[:3]
        wire.send(answer(raw=BODIES[NAMES[int(case)]], status=int(status)))

    async with raw_server(behave) as server:
        client = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.bounds", f"http://127.0.0.1:{server.port}"),
            *(json.dumps(ANSWERS), str(len(NAMES))),
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await client.communicate()
    endings = [json.loads(line) for line in output.splitlines()]
    assert len(ANSWERS) * len(NAMES) == len(endings)
    shown = [((operation, status, NAMES[case]), *measured) for operation, status, case, *measured in endings]
    assert [] == [(call, how) for call, how, _, _ in shown if how.startswith("bare")]
    assert [] == [(call, length) for call, _, length, _ in shown if length > 2_000]
    bounded = [(call, peak / CAP) for call, _, _, peak in shown if call[0] not in OWN_CLASSES]
    assert [] == [(call, multiple) for call, multiple in bounded if multiple > MULTIPLE]


@pytest.mark.parametrize("operation", list(OPERATIONS))
async def test_a_bomb_of_empty_rows_ends_at_the_cap(operation: str) -> None:
    """717 bytes that unpack to 160,000 empty rows are refused by their size, or by the first of the rows."""
    packed = answer(raw=BOMB, headers={"Content-Encoding": "gzip"})
    assert len(BOMB) < 1000
    for cap in (CAP, 2**20):
        async with (
            raw_server(packed) as server,
            server.session(max_response_bytes=cap, clock=InstantClock()) as session,
        ):
            with suppress(ShopError):
                await OPERATIONS[operation](session)


DRIPS: dict[str, tuple[bytes, bytes]] = {
    "the status line": (b"HTTP/1.1 200 ", b"O"),
    "a header": (b"HTTP/1.1 200 OK\r\nX: ", b"y"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n", b"["),
    "a body until the end": (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b" "),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "a chunk's extension": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x"),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", b"X: y\r\n"),
    "interim answers": (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    "an error": (b"HTTP/1.1 500 X\r\nConnection: close\r\n\r\n", b"x"),
}


@pytest.mark.parametrize("call", ["get_customer", "edit_customer_balance"])
@pytest.mark.parametrize("name", list(DRIPS))
async def test_what_drips_for_ever_ends_with_the_attempt(name: str, call: str) -> None:
    """An answer that comes piece by piece, always in time for the next one, ends when its attempt does."""
    head, piece = DRIPS[name]

    async def behave(heard: ReceivedRequest, wire: Wire) -> None:
        wire.send(head)
        for _ in range(60):  # past an attempt, not past a call
            wire.send(piece)
            await wire.writer.drain()
            await asyncio.sleep(0)
            pass_time(1)
        await silence(heard, wire)

    async with raw_server(behave) as server, server.session(retry=RetryPolicy(attempts=1)) as session:
        with pytest.raises(ShopError) as caught:
            await OPERATIONS[call](session)
    assert (call == "edit_customer_balance") == caught.value.maybe_applied
    assert 1 == len(server.heard)


# --- shared bounds


@pytest.mark.parametrize("call", ["edit_customer_balance, by reference", "find_customer"])
async def test_queues_for_a_slot_count_against_no_search(call: str) -> None:
    """The time for which the pages of a search queue for slots does not count against the search's deadline."""
    clock = InstantClock()

    def behave(heard: ReceivedRequest, wire: Wire) -> None:
        clock.time += 1
        if heard.method == "POST":
            wire.send(answer({"message": "done"}))
            return
        number = heard.json["page"] if heard.body else 1
        ledger = "balance-transactions" in heard.target
        row: dict[str, object] = {"amount": "1"} if ledger else CUSTOMER
        rows = [row | {"id": 100 * number + n} for n in range(100 if number == 1 else 1)]
        wire.send(answer(page_of(rows, number, last=2, total=101, per_page=100)))

    async with (
        raw_server(behave) as server,
        server.session(timeout=Timeout(deadline=4), clock=clock, max_in_flight=1) as session,
    ):
        made = await asyncio.gather(*(OPERATIONS[call](session) for _ in range(8)), return_exceptions=True)
    assert [] == [error for error in made if isinstance(error, BaseException)]


async def test_a_ledger_is_no_larger_than_four_answers() -> None:
    """The lines of a ledger, however large and many, are bounded all together."""

    def behave(heard: ReceivedRequest, wire: Wire) -> None:
        number = heard.json["page"] if heard.body else 1
        line = {"id": number, "amount": 1, "description": "x" * 90_000}
        wire.send(answer(page_of([line], number, last=number + 1, total=10**6)))

    async with raw_server(behave) as server, server.session(max_response_bytes=100_000) as session:
        with pytest.raises(PaginationError, match="more than 400000 bytes in all"):
            await find_balance_edit(session, 7, "r")
    assert 5 == len(server.heard)


async def test_amounts_of_one_hash_are_counted_like_any(caplog: pytest.LogCaptureFixture) -> None:
    """Amounts that were chosen to share a hash take no more time than others, and the log warns of few of them."""
    lines = [
        {"id": 2 * n + twice, "amount": str(PRIME * n), "description": "[ref:r]"}
        for n in range(1, 15_001)
        for twice in (0, 1)
    ]
    async with raw_server(answer(lines)) as server, server.session() as session:
        assert await find_balance_edit(session, 7, "r") is not None
    assert 5 == sum("stands 2 times" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("unit", ["[]", "{}", "[[[]]]"])
def test_a_document_of_a_million_lists_is_refused_unread(unit: str) -> None:
    """JSON of more than a million lists and objects is refused before it is read."""
    body = f"[{','.join([unit] * 1_000_001)}]".encode()
    with pytest.raises(DecodeError, match="more than 1000000 lists and objects"):
        parse(body)
    assert peak_of(lambda: refused(body, list[BalanceTransaction])) < 2**20
