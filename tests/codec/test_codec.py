"""Decoding and encoding: the fast and the strict path agree, PHP's forms are read, and errors name their place."""

import copy
import decimal
import json
import tracemalloc
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Generic, Literal, NewType, TypeVar, get_args, get_origin, get_type_hints
from uuid import UUID

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shopsdk import (
    AffiliateCodeEdit,
    AffiliateReferrer,
    BalanceEdit,
    BalanceTransaction,
    Customer,
    DecodeError,
    Page,
    get_customer_balance_transactions,
    get_customers,
)
from shopsdk._codec.json import decode, encode, parse, parse_or_none
from shopsdk._codec.strict import UnreadableError, structure
from shopsdk._models import Ledger
from tests.support.servers import answer, page_of, raw_server

T = TypeVar("T")

ROW = {
    "id": 240,
    "email": "my@customer.com",
    "discord_id": None,
    "discord_username": None,
    "balance": "0.00",
    "total_completed": 1,
    "total_spent_usd": "1.35",
    "last_completed_at": "2025-07-27 18:04:28",
    "newsletter_at": None,
    "affiliate_code": None,
    "affiliate_referrer_id": None,
    "affiliate_referrer": None,
}
"""The vendor's own example."""


def both(document: object, as_type: type[T]) -> tuple[object, object]:
    """Decode by ``decode``, which prefers the fast path, and by the strict path alone; give an error as its path."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return read_or_path(lambda: decode(body, as_type)), read_or_path(lambda: structure(parse(body), as_type))


def read_or_path(read: Callable[[], object]) -> object:
    try:
        return read()
    except (DecodeError, UnreadableError) as error:
        return f"refused at {error.path}"


def customer(**fields: object) -> Customer:
    return decode(json.dumps({"id": 7, "email": "a@b"} | fields).encode(), Customer)


# --- the two paths

MONEY = st.one_of(
    st.decimals(-(10**9), 10**9, places=2).map(str),
    st.decimals(-(10**6), 10**6, places=4).map(str),
    st.integers(-(10**12), 10**12),
    st.integers(-(10**12), 10**12).map(str),
)
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2999, 1, 1))  # noqa: DTZ001 - the API's
TIMES = st.one_of(
    MOMENTS.map(lambda t: f"{t:%Y-%m-%d %H:%M:%S}"),
    MOMENTS.map(lambda t: f"{t:%Y-%m-%dT%H:%M:%S.%fZ}"),
    st.tuples(MOMENTS, st.sampled_from(["+02:00", "-11:30", "+00:00"])).map(
        lambda p: f"{p[0]:%Y-%m-%dT%H:%M:%S}{p[1]}"
    ),
)
WORDS = st.text(st.characters(codec="utf-8"), max_size=12)
ID = st.integers(1, 10**9)


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), values)


ROWS = st.fixed_dictionaries(
    {"id": ID, "email": WORDS},
    optional={
        "discord_id": maybe(WORDS),
        "discord_username": maybe(WORDS),
        "balance": maybe(MONEY),
        "total_completed": maybe(st.integers(0, 10**6)),
        "total_spent_usd": maybe(MONEY),
        "last_completed_at": maybe(TIMES),
        "newsletter_at": maybe(TIMES),
        "affiliate_code": maybe(WORDS),
        "affiliate_referrer_id": maybe(ID),
        "affiliate_referrer": maybe(st.fixed_dictionaries({"id": ID, "email": WORDS}, optional={"name": WORDS})),
        "unheard_of": st.recursive(st.one_of(st.none(), WORDS, ID), lambda inner: st.lists(inner, max_size=2)),
    },
)
PAGES = st.builds(page_of, st.lists(ROWS, max_size=4), st.integers(1, 9), last=ID, per_page=ID, total=ID)

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=4),
    st.just([]),
    st.just({}),
    st.lists(st.integers(), max_size=2),
    MONEY,
    TIMES,
    st.sampled_from(["NaN", "Infinity", "-inf", "1_000", " 1.5 ", "+1", "1e5", "٣", "1" * 40, "0000-00-00 00:00:00"]),
    st.sampled_from(
        ["2025-07-27", "2025-02-30 00:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0"]
    ),
    st.sampled_from([10**18, 10**30, -(10**40), 1e300, 5e-324, 0.1]),
)


@st.composite
def mutated_pages(draw: st.DrawFn) -> bytes:
    """A page in its documented form, with some values that are wrong, or written as no encoder writes them."""
    page = copy.deepcopy(draw(PAGES))
    rows: list[dict[str, Any]] = page["data"]  # type: ignore[assignment]
    for _ in range(draw(st.integers(0, 3))):
        part: dict[str, Any] = draw(st.sampled_from([page, *rows]))
        name = draw(st.sampled_from(sorted(ROW if part is not page else page)))
        if draw(st.booleans()):
            part[name] = draw(ODD)
        else:
            part.pop(name, None)
    if draw(st.booleans()):
        page["data"] = {str(index): row for index, row in enumerate(rows)} if isinstance(page.get("data"), list) else 1
    body = json.dumps(page, indent=draw(st.sampled_from([None, 2])), ensure_ascii=draw(st.booleans()))
    if draw(st.booleans()):
        name = draw(st.sampled_from(sorted(ROW)))
        body = body.replace(f'"{name}"', '"' + "".join(f"\\u{ord(char):04x}" for char in name) + '"')
    return body.encode()


@given(PAGES)
@example(page_of([ROW]))
def test_both_paths_agree_on_documented_pages(page: dict[str, object]) -> None:
    """Both paths make the same values of a documented page."""
    fast, slow = both(page, Page[Customer])
    assert isinstance(fast, Page)
    assert fast == slow
    assert repr(fast) == repr(slow)  # the decimals' places and the times' zones, too


@given(mutated_pages())
def test_both_paths_agree_on_odd_pages(body: bytes) -> None:
    """Both paths make the same values of an odd page, or refuse it at the same place."""
    fast, slow = both(body, Page[Customer])
    assert repr(slow) == repr(fast)


@given(mutated_pages())
def test_every_decoded_value_is_of_the_type_of_its_field(body: bytes) -> None:
    """Every decoded value is of the type of its field: no float, no infinity, no time without a zone."""
    try:
        page = decode(body, Page[Customer])
    except DecodeError:
        return
    for row in page.data:
        assert (int, str) == (type(row.id), type(row.email))
        for money in (row.balance, row.total_spent_usd):
            assert money is None or (type(money) is Decimal and money.is_finite())
        for moment in (row.last_completed_at, row.newsletter_at):
            assert moment is None or moment.tzinfo is UTC
        assert isinstance(row.affiliate_referrer, AffiliateReferrer | None)


@given(st.binary(max_size=200))
@example(b'{"id":1,"email":"\\ud800"}')
@example(b'{"id":1,"email":"a","balance":1e99999999999999999999}')
@example(b'{"id":' + b"1" * 5000 + b',"email":"a"}')
def test_any_bytes_end_in_a_value_or_a_decode_error(body: bytes) -> None:
    """Any bytes end in a value or in a DecodeError."""
    for as_type in (Customer, Page[Customer], list[BalanceTransaction], Ledger):
        assert read_or_path(lambda kind=as_type: decode(body, kind)) is not None  # type: ignore[misc]


# --- PHP's habits


def test_the_vendors_example() -> None:
    """The documented answer is read."""
    expected = Customer(
        id=240,
        email="my@customer.com",
        balance=Decimal("0.00"),
        total_completed=1,
        total_spent_usd=Decimal("1.35"),
        last_completed_at=datetime(2025, 7, 27, 18, 4, 28, tzinfo=UTC),
    )
    assert expected == decode(json.dumps(ROW).encode(), Customer)


HABITS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "a gap in a PHP array": lambda page: page | {"data": {"0": page["data"][0], "5": page["data"][1]}},
    "a resource collection": lambda page: {
        "data": page["data"],
        "links": {"first": "x", "last": "x", "prev": None, "next": None},
        "meta": {name: value for name, value in page.items() if name != "data"},
    },
    "numbers as text": lambda page: page | {name: str(page[name]) for name in ("per_page", "total", "current_page")},
    "fields nobody heard of": lambda page: page | {"first_page_url": "x", "links": [{"url": None}], "from": None},
    "a meta that is none": lambda page: page | {"meta": {"generated": "today"}},
}


@pytest.mark.parametrize("habit", list(HABITS))
def test_every_habit_of_an_envelope_is_read(habit: str) -> None:
    """Every form of an envelope that PHP and Laravel write is read."""
    page = page_of([{"id": 1, "email": "a"}, {"id": 2, "email": "b"}], 3, last=9, per_page=50, total=450)
    expected = Page(
        data=[Customer(id=1, email="a"), Customer(id=2, email="b")], current_page=3, last_page=9, per_page=50, total=450
    )
    body = json.dumps(HABITS[habit](page)).encode()
    assert expected == decode(body, Page[Customer])
    assert expected == structure(parse(body), Page[Customer])


def test_an_empty_php_array_is_an_empty_list() -> None:
    """An empty PHP array is an empty list."""
    for empty in ("[]", "{}"):
        body = json.dumps(page_of([])).replace("[]", empty)
        assert [] == decode(body.encode(), Page[Customer]).data


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        ('"1.50"', "1.50"),
        ("1.50", "1.50"),
        ("1", "1"),
        ("-12.5", "-12.5"),
        ('"-0.01"', "-0.01"),
        ("1e2", "100"),
        ("1.5E+2", "150"),
        ("25e-2", "0.25"),
        ("0.1", "0.1"),
        ("123456789012345678901.23", "123456789012345678901.23"),
        ("9" * 25, "9" * 25),
        ('"007.10"', "7.10"),
        ("null", "None"),
    ],
)
def test_money_is_read_to_the_last_digit(wire: str, expected: str) -> None:
    """Money is exact, whether it is sent as text or as a number."""
    body = b'{"id":7,"email":"a","balance":%s}' % wire.encode()
    for value in (decode(body, Customer), structure(parse(body), Customer)):
        assert expected == str(value.balance)


NO_MONEY = [
    *(
        '"NaN"',
        '"nan"',
        '"sNaN"',
        '"sNaN123"',
        '"Infinity"',
        '"-inf"',
        '"1e31"',
        '"1e-31"',
        '"1,5"',
        '""',
        '" "',
    ),
    *(f'"{"1" * 31}"', f'"1.{"0" * 31}"', '"0x1"', '"."', '"1 0"', '"--1"', '"1\\u00003"'),
    *("1e999999999", "-1e999999999", "1e-999999999", "1e31", "1" * 31, "1." + "1" * 40, "true", "[]", "{}", '["1"]'),
]
FIELDS = ["balance", "total_spent_usd", "bal\\u0061nce", "\\u0062\\u0061lance", "total_spent\\u005fusd"]


@pytest.mark.parametrize("wire", NO_MONEY)
@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("space", ["", " ", "\n\t"])
def test_money_that_is_no_plain_number_is_refused(wire: str, name: str, space: str) -> None:
    """Money that is no finite plain decimal is refused with its path, however the field's name is written."""
    body = f'{{"id":7,"email":"a","{name}"{space}:{space}{wire}{space}}}'.encode()
    with pytest.raises(DecodeError, match="expected a finite plain decimal, got ") as caught:
        decode(body, Customer)
    assert "$." + json.loads(f'"{name}"') == caught.value.path


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        ("1_000", "1000"),
        (" 1.5 ", "1.5"),
        ("1.50\\n", "1.50"),
        ("+1", "1"),
        ("1.5_0", "1.50"),
        ("1.", "1"),
        (".5", "0.5"),
        ("\u0663.5", "3.5"),
        ("\\u0663", "3"),
        ("1e5", "100000"),
        ("1.5E0", "1.5"),
    ],
)
def test_money_as_text_is_taken_for_what_it_says(wire: str, expected: str) -> None:
    """Text that Python's Decimal reads as a plain number is that number, on both paths."""
    body = f'{{"id":7,"email":"a","balance":"{wire}"}}'.encode()
    for value in (decode(body, Customer), structure(parse(body), Customer)):
        assert expected == str(value.balance)


@pytest.mark.parametrize("wire", ['"NaN"', '"sNaN"', '"Infinity"', "1e31", "-1e999999999"])
@pytest.mark.parametrize("traps", [[], [decimal.InvalidOperation, decimal.Inexact]])
@pytest.mark.parametrize("capitals", [0, 1])
def test_money_is_checked_under_any_decimal_context(wire: str, traps: list[Any], capitals: int) -> None:
    """One bad amount among a page of good ones is found, whatever decimal context the caller has."""
    rows = ",".join(f'{{"id":{n},"email":"a","balance":{wire if n == 50 else n}}}' for n in range(100))
    with decimal.localcontext(decimal.Context(prec=1, Emax=2, Emin=-2, traps=traps, capitals=capitals)):
        with pytest.raises(DecodeError, match="expected a finite plain decimal, got ") as caught:
            decode(f"[{rows}]".encode(), list[Customer])
    assert caught.value.path == "$[50].balance"


@pytest.mark.parametrize("wire", ["1e9999999", "1e-9999999", "0e9999999", "-1.5e9999999"])
def test_a_huge_exponent_costs_nothing(wire: str) -> None:
    """A number with a huge exponent is refused without writing out its digits."""
    body = b'{"id":7,"email":"a","balance":%s}' % wire.encode()
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError, match="expected a finite plain decimal, got a number"):
            decode(body, Customer)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        ("2025-07-27 18:04:28", datetime(2025, 7, 27, 18, 4, 28, tzinfo=UTC)),
        ("2025-07-27T17:58:26.000000Z", datetime(2025, 7, 27, 17, 58, 26, tzinfo=UTC)),
        ("2025-07-27T17:58:26.123456Z", datetime(2025, 7, 27, 17, 58, 26, 123456, tzinfo=UTC)),
        ("2025-07-27T01:00:00+02:00", datetime(2025, 7, 26, 23, tzinfo=UTC)),
        ("2025-07-27T23:00:00-05:30", datetime(2025, 7, 28, 4, 30, tzinfo=UTC)),
        ("0000-00-00 00:00:00", None),
        ("0000-00-00", None),
        ("0000-00-00T00:00:00.000000Z", None),
        (None, None),
    ],
)
def test_every_way_to_write_a_time(wire: str | None, expected: datetime | None) -> None:
    """A time in any documented form is aware UTC; MySQL's zero time is None."""
    body = json.dumps({"id": 7, "email": "a", "newsletter_at": wire}).encode()
    for value in (decode(body, Customer), structure(parse(body), Customer)):
        assert expected == value.newsletter_at
        assert (None if expected is None else UTC) == (value.newsletter_at and value.newsletter_at.tzinfo)


@given(MOMENTS, st.integers(-23 * 60 - 59, 23 * 60 + 59))
def test_an_offset_is_taken_off(moment: datetime, minutes: int) -> None:
    """A time with an offset is the same moment in UTC."""
    sign = "-" if minutes < 0 else "+"
    text = f"{moment:%Y-%m-%dT%H:%M:%S}{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
    read = customer(last_completed_at=text).last_completed_at
    assert (moment.replace(tzinfo=UTC, microsecond=0) - timedelta(minutes=minutes)) == read


# --- values that are refused

REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"email": None}, "$.data[1].email (id 5)", "expected text, got null"),
    ({"email": 5}, "$.data[1].email (id 5)", "expected text, got a number"),
    ({"email": True}, "$.data[1].email (id 5)", "expected text, got a boolean"),
    ({"email": ["x"]}, "$.data[1].email (id 5)", "expected text, got a list"),
    ({"id": None}, "$.data[1].id", "expected a whole number, got null"),
    ({"id": True}, "$.data[1].id", "expected a whole number, got a boolean"),
    ({"id": 1.9}, "$.data[1].id", "expected a whole number, got a number"),
    ({"id": "1.9"}, "$.data[1].id", "expected a whole number, got text"),
    ({"id": "5x"}, "$.data[1].id", "expected a whole number, got text"),
    ({"id": "\u0665"}, "$.data[1].id", "expected a whole number, got text"),
    ({"total_completed": "many"}, "$.data[1].total_completed (id 5)", "expected a whole number, got text"),
    ({"balance": "much"}, "$.data[1].balance (id 5)", "expected a finite plain decimal, got text"),
    ({"newsletter_at": 1753639468}, "$.data[1].newsletter_at (id 5)", "expected a time, got a number"),
    ({"newsletter_at": "soon"}, "$.data[1].newsletter_at (id 5)", "cannot be read (ValidationError)"),
    ({"newsletter_at": "2025-02-30 00:00:00"}, "$.data[1].newsletter_at (id 5)", "cannot be read (ValidationError)"),
    (
        {"newsletter_at": "0001-01-01T00:00:00+14:00"},
        "$.data[1].newsletter_at (id 5)",
        "cannot be read (OverflowError)",
    ),
    ({"affiliate_referrer": 5}, "$.data[1].affiliate_referrer (id 5)", "expected an object, got a number"),
    ({"affiliate_referrer": []}, "$.data[1].affiliate_referrer (id 5)", "expected an object, got a list"),
    ({"affiliate_referrer": {"id": 1}}, "$.data[1].affiliate_referrer.email (id 5)", "it is missing"),
    (
        {"affiliate_referrer": {"id": "x", "email": "a"}},
        "$.data[1].affiliate_referrer.id (id 5)",
        "expected a whole number, got text",
    ),
]


@pytest.mark.parametrize(("wrong", "where", "reason"), REFUSED)
@pytest.mark.parametrize("shape", ["list", "object"])
async def test_a_bad_value_is_named_by_row_and_id(wrong: dict[str, Any], where: str, reason: str, shape: str) -> None:
    """The error of a bad value names its path, and the id of its row."""
    rows: Any = [{"id": 4, "email": "a"}, {"id": 5, "email": "secret@example.com"} | wrong]
    if shape == "object":
        rows = {"0": rows[0], "7": rows[1]}
    page = page_of([]) | {"data": rows}
    async with raw_server(answer(page)) as server, server.session() as session:
        with pytest.raises(DecodeError) as caught:
            await get_customers(session)
    assert f"cannot read the answer to GET /shops/38/customers at {where}: {reason}" == str(caught.value)
    assert (where.partition(" ")[0], False) == (caught.value.path, caught.value.maybe_applied)


@pytest.mark.parametrize("name", ["data", "current_page", "last_page", "per_page", "total"])
def test_an_envelope_names_what_it_lacks(name: str) -> None:
    """The error of an envelope without page numbers names the missing field."""
    page = {key: value for key, value in page_of([]).items() if key != name}
    with pytest.raises(DecodeError, match=rf"at \$\.{name}: it is missing$") as caught:
        decode(json.dumps(page).encode(), Page[Customer])
    assert f"$.{name}" == caught.value.path


@pytest.mark.parametrize("data", [None, 5, "x", {"a": {}}, {"0": {}, "x": {}}])
def test_rows_that_are_no_list_are_refused(data: object) -> None:
    """``data`` that is neither a list nor a PHP list is refused."""
    with pytest.raises(DecodeError, match=r"^cannot read the answer to x at \$\.data: expected a list, got "):
        decode(json.dumps(page_of([]) | {"data": data}).encode(), Page[Customer], label="x")


@pytest.mark.parametrize("body", [b"[]", b"null", b"5", b'"x"', b"true"])
def test_a_document_that_is_no_object_is_refused(body: bytes) -> None:
    """JSON that is no object is refused where a page is expected."""
    with pytest.raises(DecodeError, match=r"at \$: expected an object, got ") as caught:
        decode(body, Page[Customer])
    assert "$" == caught.value.path


NOT_JSON: dict[str, bytes] = {
    "HTML": b"<!DOCTYPE html><title>Login</title>",
    "cut": b'{"id": 7, "email": "a',
    "cut after a value": b'{"id": 7',
    "invalid UTF-8": b'{"id":7,"email":"\xff\xfe"}',
    "UTF-16": '{"id":7,"email":"a"}'.encode("utf-16"),
    "two documents": b'{"id":7,"email":"a"}{"id":8}',
    "NaN": b'{"id":7,"email":"a","balance":NaN}',
    "deep": b'{"id":7,"email":"a","x":' + b"[" * 200_000,
    "deep and closed": b"[" * 100_000 + b"]" * 100_000,
    "a whole number too long for Python": b'{"id":' + b"7" * 5000 + b',"email":"a"}',
    "an exponent too large for Python": b'{"id":7,"email":"a","balance":1e99999999999999999999}',
    "a lone surrogate": b'{"id":7,"email":"\\ud800"}',
}


@pytest.mark.parametrize("name", list(NOT_JSON))
def test_what_is_not_json_is_a_decode_error(name: str) -> None:
    """A body that is not JSON is a DecodeError."""
    for read in (
        lambda body: decode(body, Customer, label="GET /x", changes=True),
        lambda b: parse(b, label="GET /x", changes=True),
    ):
        with pytest.raises(DecodeError, match=r"^cannot read the answer to GET /x: it is not JSON") as caught:
            read(NOT_JSON[name])
        assert ("$", True) == (caught.value.path, caught.value.maybe_applied)
    assert parse_or_none(NOT_JSON[name]) is None


@pytest.mark.parametrize("body", [b"", b" ", b"\n"])
def test_an_empty_answer_says_so(body: bytes) -> None:
    """The error of an empty body says that it is empty."""
    with pytest.raises(DecodeError, match=r"^cannot read the answer to GET /x: it is empty$"):
        decode(body, Customer, label="GET /x")


def test_a_document_may_be_as_deep_as_anyone_would_write_it() -> None:
    """An unknown field may be nested deeply."""
    nested = b"[" * 300 + b"]" * 300
    assert 7 == decode(b'{"id":7,"email":"a","x":%s,"balance":1e0}' % nested, Customer).id


# --- the ledger


@pytest.mark.parametrize("paging", ["flat", "meta", "m\\u0065ta"])
async def test_a_ledger_of_several_pages_is_read_to_its_end_whatever_its_shape(paging: str) -> None:
    """A ledger of several pages is read to its end in each form of its envelope."""

    def page(number: int) -> bytes:
        numbers = {"current_page": number, "last_page": 2, "per_page": 1, "total": 2}
        data: dict[str, object] = {"data": [{"id": 3 - number, "amount": "1.00"}]}
        body = json.dumps(data | (numbers if paging == "flat" else {"meta": numbers}))
        return answer(raw=body.replace('"meta"', f'"{paging}"').encode())

    async with raw_server(page(1), page(2)) as server, server.session() as session:
        assert [2, 1] == [line.id for line in await get_customer_balance_transactions(session, 7)]


# --- the caller's own types


class Colour(Enum):
    RED = "red"


Cents = NewType("Cents", Decimal)


@attrs.frozen
class Box(Generic[T]):
    value: T


@attrs.frozen(kw_only=True)
class Note:
    at: datetime
    price: Decimal = Decimal(0)


@attrs.frozen(slots=False)
class Unslotted:
    at: datetime


@attrs.frozen
class Priced:
    cents: Cents


@attrs.define
class Tree:
    at: datetime | None = None
    children: list["Tree"] = attrs.Factory(list)
    parent: "Tree | None" = None


@attrs.frozen(kw_only=True)
class Invoice:
    id: int
    paid: bool = False
    share: float = 0.0
    status: Literal["open", "done"] = "open"
    colour: Colour | None = None
    notes: list[Note] = attrs.Factory(list)
    first: Note | None = None
    seen: list[datetime | None] = attrs.Factory(list)
    prices: list[Decimal] = attrs.Factory(list)
    by_name: dict[str, Decimal] | None = None
    notes_by_name: dict[str, Note] | None = None
    boxed: Box[Decimal] | None = None
    cents: Cents | None = None
    extra: Any = None


AT = "2025-07-27T20:04:28+02:00"
MOMENT = datetime(2025, 7, 27, 18, 4, 28, tzinfo=UTC)

OWN_TYPES: list[tuple[Any, Any, Any]] = [
    (Note, {"at": AT, "price": 1.10}, Note(at=MOMENT, price=Decimal("1.1"))),
    (list[Note], [{"at": AT}], [Note(at=MOMENT)]),
    (
        Page[Note],
        page_of([{"at": AT}]),
        Page(data=[Note(at=MOMENT)], current_page=1, last_page=1, per_page=100, total=1),
    ),
    (
        Tree,
        {"at": AT, "children": [{"at": AT, "children": [{"at": None}]}], "parent": {"at": AT}},
        Tree(MOMENT, [Tree(MOMENT, [Tree()])], Tree(MOMENT)),
    ),
    (list[Tree], [{"at": AT, "children": {"1": {"at": AT}}}], [Tree(MOMENT, [Tree(MOMENT)])]),
    (Box[Note], {"value": {"at": AT}}, Box(Note(at=MOMENT))),
    (Box[Decimal], {"value": "1.50"}, Box(Decimal("1.50"))),
    (Box[datetime], {"value": AT}, Box(MOMENT)),
    (Unslotted, {"at": AT}, Unslotted(MOMENT)),
    (list[datetime], [AT], [MOMENT]),
    (list[float], ["1.5", 2, 2.5], [1.5, 2.0, 2.5]),
    (list[bool], [True, 1, 0], [True, True, False]),
    (list[Decimal], [1.5, "2"], [Decimal("1.5"), Decimal(2)]),
    (list[int], [1, 2], [1, 2]),
    (Decimal, "1.5", Decimal("1.5")),
    (dict[str, Note], {"a": {"at": AT}}, {"a": Note(at=MOMENT)}),
    (Note | AffiliateReferrer, {"at": AT}, Note(at=MOMENT)),
    (UUID, "12345678-1234-5678-1234-567812345678", UUID("12345678-1234-5678-1234-567812345678")),
    (date, "2025-07-27", date(2025, 7, 27)),
    (set[int], ["1", 2], {1, 2}),
    (frozenset[Decimal], {"1": 1.5}, frozenset({Decimal("1.5")})),
    (tuple[int, ...], ["1", 2, 3], (1, 2, 3)),
    (tuple[int, str], {"0": "1", "2": "x"}, (1, "x")),
    (Sequence[datetime], [AT], [MOMENT]),
    (AbstractSet[str], {"0": "x"}, {"x"}),
    (dict[str, list[int]], {"a": {"3": "1"}}, {"a": [1]}),
    (dict[str, int], [], {}),
    (Any, [1.5], [Decimal("1.5")]),
    (
        Invoice,
        {
            "id": "7",
            "paid": 1,
            "share": 1.5,
            "status": "done",
            "colour": "red",
            "notes": [{"at": AT}],
            "first": {"at": AT},
            "seen": [AT, None, "0000-00-00 00:00:00"],
            "prices": ["1.10"],
            "by_name": {"a": 1.10},
            "notes_by_name": {"a": {"at": AT}},
            "boxed": {"value": "3"},
            "cents": "4",
            "extra": {"x": 1.5},
        },
        Invoice(
            id=7,
            paid=True,
            share=1.5,
            status="done",
            colour=Colour.RED,
            notes=[Note(at=MOMENT)],
            first=Note(at=MOMENT),
            seen=[MOMENT, None, None],
            prices=[Decimal("1.10")],
            by_name={"a": Decimal("1.1")},
            notes_by_name={"a": Note(at=MOMENT)},
            boxed=Box(Decimal(3)),
            cents=Cents(Decimal(4)),
            extra={"x": Decimal("1.5")},
        ),
    ),
]


@pytest.mark.parametrize(("as_type", "wire", "expected"), OWN_TYPES)
async def test_a_callers_own_type_is_read(as_type: Any, wire: object, expected: object) -> None:
    """A type of the caller's is read with exact decimals and aware times at any depth."""
    async with raw_server(answer(wire)) as server, server.session() as session:
        read = await session.request("GET", ["x"], as_type=as_type)
    assert repr(expected) == repr(read)
    assert expected == read


@attrs.frozen
class Loose:
    """A class with only those fields that the fast path takes."""

    share: float
    extra: Any = None
    colour: Colour | None = None


@pytest.mark.parametrize("extra", ["1.5", "[1.5]", '{"x":1.50}', "1", '"x"'])
def test_what_has_no_type_is_read_alike_on_both_paths(extra: str) -> None:
    """A field of any type holds the same value on both paths."""
    body = b'{"share":1.5,"colour":"red","extra":%s}' % extra.encode()
    fast, slow = both(body, Loose)
    assert isinstance(fast, Loose)
    assert repr(slow) == repr(fast)
    assert Decimal not in map(type, (fast.share,))


COLLECTIONS: list[Any] = [
    set[int],
    frozenset[int],
    tuple[int, ...],
    tuple[int, int],
    Sequence[int],
    AbstractSet[int],
    list,
]
BAD_OWN: list[tuple[Any, str, str]] = [
    (Invoice, '{"id":1,"prices":["NaN"]}', "$.prices[0]"),
    (Invoice, '{"id":1,"by_name":{"a":"Infinity"}}', "$.by_name"),
    (Invoice, '{"id":1,"boxed":{"value":"1 000"}}', "$.boxed.value"),
    (Invoice, '{"id":1,"cents":"one"}', "$.cents"),
    (Invoice, '{"id":1,"share":"nan"}', "$.share"),
    (Invoice, '{"id":1,"share":true}', "$.share"),
    (Invoice, '{"id":1,"share":null}', "$.share"),
    (Invoice, '{"id":1,"share":1e400}', "$.share"),
    (Invoice, '{"id":1,"paid":"false"}', "$.paid"),
    (Invoice, '{"id":1,"paid":2}', "$.paid"),
    (Invoice, '{"id":1,"paid":null}', "$.paid"),
    (Invoice, '{"id":1,"status":"lost"}', "$.status"),
    (Invoice, '{"id":1,"by_name":["1"]}', "$.by_name"),
    (dict[str, int], '"ab"', "$"),
    *[(kind, '"12"', "$") for kind in COLLECTIONS],
    *[(kind, '{"x":1}', "$") for kind in COLLECTIONS],
    *[(kind, "null", "$") for kind in COLLECTIONS],
    (tuple[int, str], "[1]", "$"),
    (tuple[int, str], "[1,2]", "$"),
    (set[int], '[{"id":1}]', "$[0]"),
    (Invoice, '{"id":1,"notes":[{"at":"2025-07-27"},{}]}', "$.notes[0].at"),
    (UUID, '"x"', "$"),
    (Priced, '{"cents":"NaN"}', "$.cents"),
    (Tree, '{"children":[{"children":[{"at":5}]}]}', "$.children[0].children[0].at"),
    (list[Note], '[{"at":"2025-07-27 00:00:00","price":"NaN"}]', "$[0].price"),
    (list[Decimal], '["1","NaN"]', "$[1]"),
    (Decimal, '"NaN"', "$"),
    (dict[str, Decimal], '{"a":"NaN"}', "$"),
]


@pytest.mark.parametrize(("as_type", "wire", "path"), BAD_OWN)
def test_a_callers_own_type_refuses_what_is_no_value_of_it(as_type: Any, wire: str, path: str) -> None:
    """A value that is not of the field's type is refused with its path."""
    with pytest.raises(DecodeError) as caught:
        decode(wire.encode(), as_type, label="x")
    assert caught.value.path.startswith(path)


def test_a_bad_row_of_a_bare_list_is_named() -> None:
    """The error of a bad row in a bare list names its place and id."""
    with pytest.raises(DecodeError, match=r"at \$\[1\]\.amount \(id 9\): it is missing$"):
        decode(b'[{"id":8,"amount":"1"},{"id":9}]', list[BalanceTransaction], label="x")


def test_a_very_deep_tree_is_refused_and_does_not_kill() -> None:
    """A very deep tree of a class that holds itself is a DecodeError."""
    body = b'{"children":[' * 5000 + b"]}" * 5000
    with pytest.raises(DecodeError):
        decode(body, Tree)


# --- encoding


@attrs.frozen
class Sum:
    amount: Any


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("kind", [float, Decimal])
@pytest.mark.parametrize(
    "around",
    [
        lambda x: x,
        lambda x: [x],
        lambda x: (1, (x,)),
        lambda x: {"a": {"b": [0, x]}},
        lambda x: {x},
        Sum,
        lambda x: [Sum(Sum(x))],
    ],
)
def test_a_number_that_json_cannot_say_is_refused(bad: str, kind: Any, around: Callable[[object], object]) -> None:
    """A number that is not finite is refused before it is sent."""
    with pytest.raises(ValueError, match=r"^json must hold finite numbers only$"):
        encode(around(kind(bad)))


@given(st.decimals(allow_nan=False, allow_infinity=False))
@example(Decimal("1E+999"))
@example(Decimal("-0.00"))
def test_a_decimal_is_written_exactly_and_as_a_number(value: Decimal) -> None:
    """A Decimal is written exactly, as a JSON number."""
    assert value == json.loads(encode([value]), parse_float=Decimal, parse_int=Decimal)[0]


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.text(st.characters(codec="utf-8"))),
        lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(st.characters(codec="utf-8")), inner)),
    )
)
def test_json_goes_out_as_it_was_given(value: object) -> None:
    """JSON is written as it was given."""
    assert value == json.loads(encode(value))


def test_a_number_as_a_key_and_a_tuple_have_a_form_in_json() -> None:
    """Numbers as keys, and tuples, are written as JSON."""
    assert b'{"1.5":[1,2.0],"3":null}' == encode({1.5: (1, 2.0), 3: None})


@pytest.mark.parametrize(
    "model", [Customer, AffiliateReferrer, BalanceTransaction, Page, BalanceEdit, AffiliateCodeEdit, Ledger]
)
def test_every_whole_number_of_a_model_fits_64_bits(model: type) -> None:
    """No model has an int without bounds: ids that share a hash would make reading them slow."""
    kinds = get_type_hints(model, include_extras=True).values()
    assert [] == [kind for kind in kinds if int in (kind, *get_args(kind)) and get_origin(kind) is not Annotated]
