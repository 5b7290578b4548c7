"""Arguments and settings: accepted values, and errors that name the argument and its bound before anything is sent."""

import decimal
import json
import re
from collections.abc import Awaitable, Callable
from decimal import Decimal
from operator import attrgetter
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shopsdk import (
    AsyncSession,
    Customer,
    CustomerFilters,
    Page,
    RateLimit,
    RetryPolicy,
    Timeout,
    edit_customer_affiliate_code,
    edit_customer_balance,
    get_customer,
    get_customer_balance_transactions,
    get_customers,
    iter_customer_pages,
    iter_customers,
    paginate,
)
from shopsdk._api.arguments import (
    balance_amount,
    balance_description,
    check_affiliate_code,
    check_customer_id,
    customer_filters,
    edit_reference,
    reference_marker,
)
from shopsdk._codec.json import encode
from tests.support.servers import answer, raw_server

CENTS = st.integers(-100_000, 100_000)


# --- money


@given(CENTS)
def test_every_amount_in_range_is_taken_and_sent_exactly(cents: int) -> None:
    """Every amount from -1000 to 1000 with at most two decimals is sent to the cent."""
    value = Decimal(cents).scaleb(-2)
    for given_as in (value, str(value), f"{value:+}", value.normalize(), Decimal(f"{value}000")):
        sent = encode({"amount": balance_amount(given_as)})
        assert value == json.loads(sent, parse_float=Decimal, parse_int=Decimal)["amount"]
        assert re.fullmatch(rb'\{"amount":-?[0-9]+(\.[0-9]+)?\}', sent)


@given(st.integers(-1000, 1000))
def test_whole_amounts_are_taken(amount: int) -> None:
    """An int is taken, with its sign."""
    assert amount == balance_amount(amount)


@given(st.integers().filter(lambda n: not -100_000 <= n <= 100_000))
@example(100_001)
@example(-100_001)
def test_amounts_out_of_range_are_refused(cents: int) -> None:
    """An amount beyond the documented 1000 is refused."""
    value = Decimal(cents).scaleb(-2, decimal.Context(prec=500))
    for amount in (value, format(value, "f")):
        with pytest.raises(ValueError, match=r"^amount must be (-1000 to 1000|a plain decimal number)"):
            balance_amount(amount)


@given(CENTS, st.integers(1, 9), st.integers(3, 24))  # what 28 digits hold, or the sum itself is rounded
def test_a_third_decimal_is_refused(cents: int, digit: int, place: int) -> None:
    """An amount with a third decimal is refused, not rounded."""
    value = Decimal(cents).scaleb(-2) + Decimal(digit).scaleb(-place)
    with pytest.raises(ValueError, match=r"^amount must (have at most two decimals|be -1000 to 1000)$"):
        balance_amount(value)


@pytest.mark.parametrize("amount", ["NaN", "sNaN", "Infinity", "-Infinity", "1E+999999", "-1E+999999"])
def test_an_amount_that_is_no_number_is_refused(amount: str) -> None:
    """NaN and infinity are refused."""
    with pytest.raises(ValueError, match=r"^amount must be -1000 to 1000$"):
        balance_amount(Decimal(amount))


@pytest.mark.parametrize(
    "amount", ["", " 1", "1 ", "1_000", "1e2", "0x10", "NaN", "inf", "1,5", "--1", "٣", "1.", ".5", "1\n", "1" * 31]
)
def test_a_text_that_is_no_plain_number_is_refused(amount: str) -> None:
    """Text is taken only as a plain number, though Decimal reads "1_000", "1e2", " 1" and Arabic digits."""
    with pytest.raises(ValueError, match=r"^amount must be a plain decimal number, such as '-12.50'$"):
        balance_amount(amount)


@pytest.mark.parametrize("amount", [1.5, 0.0, float("nan"), True, False, None, b"1", [1], 1j])
def test_an_amount_that_is_not_exact_is_refused(amount: Any) -> None:
    """Floats and booleans are refused."""
    with pytest.raises(
        TypeError,
        match=rf"^amount must be a Decimal, an int or a str, not {type(amount).__name__}(: floats are not exact)?$",
    ):
        balance_amount(amount)


@pytest.mark.parametrize("sent", ["0", "-0", "0.00", "-0.00"])
def test_nothing_is_sent_as_plain_zero(sent: str) -> None:
    """A zero is sent as 0, whatever its sign and exponent."""
    assert b"0" == encode(balance_amount(sent))


@pytest.mark.parametrize("context", [decimal.Context(prec=3), decimal.Context(prec=3, traps=[decimal.Inexact])])
def test_the_callers_decimal_context_changes_nothing(context: decimal.Context) -> None:
    """Amounts are checked and sent the same under any decimal context of the caller's."""
    with decimal.localcontext(context):
        assert b"999.99" == encode(balance_amount("999.99"))
        assert b"-1000.00" == encode(balance_amount(Decimal("-1000.00")))
        with pytest.raises(ValueError, match=r"^amount must have at most two decimals$"):
            balance_amount("999.999")


# --- descriptions and references


@pytest.mark.parametrize(
    ("description", "reference", "expected"),
    [
        (None, None, None),
        ("", None, ""),
        (" as it is ", None, " as it is "),
        (None, "r-1", "[ref:r-1]"),
        ("", "r-1", "[ref:r-1]"),
        ("Refund", "r-1", "Refund [ref:r-1]"),
        (" Refund \n", "r-1", "Refund [ref:r-1]"),
    ],
)
def test_the_marker_ends_the_description(description: str | None, reference: str | None, expected: str | None) -> None:
    """The reference's marker stands at the end of the description, where the search looks for it."""
    assert expected == balance_description(description, reference)


@given(
    st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=300)),
    st.one_of(st.none(), st.from_regex(r"[A-Za-z0-9._:-]{1,64}", fullmatch=True)),
)
@example("x" * 255, None)
@example("x" * 256, None)
@example("x" * 244, "abcd")
@example("x" * 245, "abcd")
def test_a_description_is_at_most_255_characters_marker_included(
    description: str | None, reference: str | None
) -> None:
    """A description of more than 255 characters, marker included, is refused: the shop could cut the marker off."""
    marker = "" if reference is None else reference_marker(reference)
    whole = description or "" if not marker else f"{(description or '').strip()} {marker}".lstrip()
    long = len(whole) > 255
    try:
        text = balance_description(description, reference)
    except ValueError as error:
        message = str(error)
        assert long
    else:
        message = "description must be at most 255 characters"
        assert not long
        assert whole == (text or "")
    assert message.startswith("description must be at most 255 characters")
    assert not long or ("of the reference's marker included" in message) == bool(marker)


@pytest.mark.parametrize("reference", ["", " ", "a b", "a]", "a\n", "é", "٣", "x" * 65, "a/b", "[ref:a"])
def test_a_reference_that_could_be_mistaken_is_refused(reference: str) -> None:
    """A reference holds no white space and no brackets, so that its marker can be found again."""
    with pytest.raises(ValueError, match=r"^reference must be 1 to 64 characters of A-Z a-z 0-9 \. _ : -$"):
        edit_reference(reference)


# --- filters

FILTERS = list(CustomerFilters.__annotations__)
NOTHING = ["", " ", "\n", "\x00", "\u200b", "\ufeff", "\u00a0\u2003", "\u3164", "\u00ad \u200e"]
"""Texts that Laravel, or a newer Laravel, trims to nothing."""


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("value", NOTHING)
def test_an_empty_filter_is_refused(name: str, value: str) -> None:
    """A filter that is empty, or that Laravel would trim to nothing, is refused."""
    with pytest.raises(ValueError, match=f"^{name} must not be empty: the server would ignore it and list everybody$"):
        customer_filters({name: value})


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("value", [None, 1.5, b"x", ["x"], Decimal(1)])
def test_a_filter_of_another_type_is_refused(name: str, value: object) -> None:
    """A filter of another type is refused, None included."""
    kinds = {"id": "an int or a str", "subscribed": "a bool or a str"}.get(name, "a str")
    with pytest.raises(TypeError, match=f"^{name} must be {kinds}, not {type(value).__name__}; leave it out to ask"):
        customer_filters({name: value})


@pytest.mark.parametrize("name", [name for name in FILTERS if name not in {"id", "subscribed"}])
@pytest.mark.parametrize("value", [True, 5])
def test_only_the_id_may_be_a_number_in_a_filter(name: str, value: object) -> None:
    """A number or boolean is refused where the API documents text, which MySQL compares in surprising ways."""
    with pytest.raises(TypeError, match=f"^{name} must be a str, not {type(value).__name__}; "):
        customer_filters({name: value})


@pytest.mark.parametrize("text", ["1312x", " 1312", "1312 ", "01312", "+1312", "-1", "0", "1.0", "1e3", ".5"])
def test_a_text_that_only_begins_like_an_id_is_refused(text: str) -> None:
    """An id that is given as text with something else than its digits is refused."""
    with pytest.raises(ValueError, match=r"^customer_id must be an id as it stands"):
        check_customer_id(text)


@pytest.mark.parametrize("text", ["1312", "9" * 19, "abc", "x1"])
def test_another_text_is_for_the_shop_to_judge(text: str) -> None:
    """A text that is no number is sent as an id, since the vendor documents ids as text."""
    assert check_customer_id(text) == text


def test_a_boolean_id_and_a_numeric_subscription_are_refused() -> None:
    """A boolean is refused as an id, and a number as a subscription."""
    with pytest.raises(TypeError, match=r"^id must be an int or a str, not bool; "):
        customer_filters({"id": True})
    with pytest.raises(TypeError, match=r"^subscribed must be a bool or a str, not int; "):
        customer_filters({"subscribed": 7})


def test_an_unknown_filter_is_named() -> None:
    """A misspelt filter is an error that names it, since the server would ignore it and list everybody."""
    with pytest.raises(TypeError, match=r"^'e_mail' is not a filter; the filters are id, email, discord_id, "):
        customer_filters({"e_mail": "anna@example.com"})


@given(st.dictionaries(st.sampled_from(FILTERS), st.text(st.characters(codec="utf-8"), min_size=1)))
def test_a_filter_that_is_taken_travels_unchanged(filters: dict[str, str]) -> None:
    """A filter is sent as it was given, neither trimmed nor folded."""
    try:
        taken = customer_filters(filters)
    except ValueError:
        assert any(not text.strip() or not text.isprintable() or not text.isascii() for text in filters.values())
    else:
        assert filters == taken


# --- codes


@pytest.mark.parametrize("code", ["A", "x" * 50, " A ", "Ä-10"])
def test_a_code_is_taken_as_it_is(code: str) -> None:
    """An affiliate code is sent as it was given."""
    assert code == check_affiliate_code(code)


@pytest.mark.parametrize("code", NOTHING)
def test_an_empty_code_is_refused(code: str) -> None:
    """An empty code is refused: Laravel would read it as null, and clear the old one."""
    with pytest.raises(ValueError, match=r"^affiliate_code must not be empty: None clears it$"):
        check_affiliate_code(code)


# --- every endpoint: nothing is sent


Call = Callable[[AsyncSession], Awaitable[object]]


def walk_of(**kwargs: Any) -> Call:
    """Begin a walk of each kind; all of them check at the call, not at the first step."""

    async def call(session: AsyncSession) -> None:
        try:
            iter_customers(session, **kwargs)
        except (TypeError, ValueError) as error:
            with pytest.raises(type(error), match=f"^{re.escape(str(error))}$"):
                iter_customer_pages(session, **kwargs)
            raise

    return call


async def pages_after(session: AsyncSession) -> None:
    iter_customer_pages(session, after=3)  # type: ignore[arg-type]


def lists(**kwargs: Any) -> Call:
    return lambda session: get_customers(session, **kwargs)


def balance(customer_id: Any = 7, amount: Any = 1, **kwargs: Any) -> Call:
    return lambda session: edit_customer_balance(session, customer_id, amount, **kwargs)


def code(customer_id: Any = 7, affiliate_code: Any = "A", **kwargs: Any) -> Call:
    return lambda session: edit_customer_affiliate_code(session, customer_id, affiliate_code, **kwargs)


def paginated(path: Any = ("shops", 38, "x"), **kwargs: Any) -> Call:
    async def call(session: AsyncSession) -> None:
        paginate(session, path, Customer, **kwargs)

    return call


def request(*args: Any, **kwargs: Any) -> Call:
    return lambda session: session.request(*args, **kwargs)


def one(customer_id: Any = 7, **kwargs: Any) -> Call:
    return lambda session: get_customer(session, customer_id, **kwargs)


def ledger(customer_id: Any = 7, **kwargs: Any) -> Call:
    return lambda session: get_customer_balance_transactions(session, customer_id, **kwargs)


LOOP: list[object] = []
LOOP.append(LOOP)

PAGE = Page[Customer](data=[], current_page=1, last_page=1, per_page=50, total=0)

REFUSED: list[tuple[Call, type[Exception], str]] = [
    *(
        (make(**bad), kind, message)
        for make in (lists, walk_of)
        for bad, kind, message in (
            ({"per_page": 0}, ValueError, "per_page must be at least 1, not 0"),
            ({"per_page": 101}, ValueError, "per_page must be 1 to 100, not 101"),
            ({"per_page": "50"}, TypeError, "per_page must be an int, not str"),
            ({"per_page": True}, TypeError, "per_page must be an int, not bool"),
            ({"shop_id": 0}, ValueError, "shop_id must be at least 1, not 0"),
            ({"shop_id": "38"}, TypeError, "shop_id must be an int, not str"),
            ({"order_column": "name"}, ValueError, "order_column must be one of id, email, .*, not 'name'"),
            ({"order_column": 1}, ValueError, "order_column must be one of id, email, .*, not 1"),
            ({"order_direction": "up"}, ValueError, "order_direction must be one of asc, desc, not 'up'"),
            ({"email": ""}, ValueError, "email must not be empty: .*"),
            ({"email": None}, TypeError, "email must be a str, not NoneType; leave it out to ask for all"),
            ({"name": "x"}, TypeError, "'name' is not a filter; .*"),
            ({"email": "\ud800a"}, ValueError, "email must be Unicode text, without lone surrogates"),
        )
    ),
    (pages_after, TypeError, "after must be a Page that was delivered, not int"),
    (lambda _: get_customer(7, 7), TypeError, "session must be an AsyncSession, not int"),  # type: ignore[arg-type]
    (lambda _: edit_customer_balance(None, 7, 1), TypeError, "session must be .*NoneType"),  # type: ignore[arg-type]
    (lists(page=0), ValueError, "page must be at least 1, not 0"),
    (lists(page=-1), ValueError, "page must be at least 1, not -1"),
    (lists(page=1.0), TypeError, "page must be an int, not float"),
    (walk_of(start_page=0), ValueError, "(start_)?page must be at least 1, not 0"),
    (walk_of(concurrency=0), ValueError, "concurrency must be at least 1, not 0"),
    (walk_of(concurrency=2.0), TypeError, "concurrency must be an int, not float"),
    (one(0), ValueError, "customer_id must be at least 1, not 0"),
    (one("7"), TypeError, "customer_id must be an int, not str"),
    (one(True), TypeError, "customer_id must be an int, not bool"),
    (one(shop_id=-1), ValueError, "shop_id must be at least 1, not -1"),
    (ledger(0), ValueError, "customer_id must be at least 1, not 0"),
    (ledger("7"), TypeError, "customer_id must be an int, not str"),
    (ledger(shop_id=0), ValueError, "shop_id must be at least 1, not 0"),
    *(
        (make(bad), kind, message)
        for make in (balance, code)
        for bad, kind, message in (
            (0, ValueError, "customer_id must be at least 1, not 0"),
            (True, TypeError, "customer_id must be an int, not bool"),
            ("", ValueError, "customer_id must not be empty: it would name the whole list"),
            ("..", ValueError, r"customer_id must not be '\.' or '\.\.'"),
            ("7\n", ValueError, "customer_id must not hold control characters"),
            (7.0, TypeError, "customer_id must be a str or an int, not float"),
            (None, TypeError, "customer_id must be a str or an int, not NoneType"),
        )
    ),
    (balance(amount=1.5), TypeError, "amount must be a Decimal, an int or a str, not float: floats are not exact"),
    (balance(amount="1001"), ValueError, "amount must be -1000 to 1000"),
    (balance(amount="0.001"), ValueError, "amount must have at most two decimals"),
    (balance(method="DELETE"), ValueError, "method must be one of POST, PUT, not 'DELETE'"),
    (balance(method="post"), ValueError, "method must be one of POST, PUT, not 'post'"),
    (balance(description=5), TypeError, "description must be a str, not int"),
    (balance(description="\ud800"), ValueError, "description must be Unicode text, without lone surrogates"),
    (
        balance(description="\udc00", reference="r"),
        ValueError,
        "description must be Unicode text, without lone surrogates",
    ),
    (balance(description="x" * 256), ValueError, "description must be at most 255 characters; this makes 256"),
    (
        balance(description="x" * 250, reference="r-1"),
        ValueError,
        "description must be at most 255 characters, the 9 of the reference's marker included; this makes 260",
    ),
    (balance(reference="a b"), ValueError, "reference must be 1 to 64 characters .*"),
    (balance(reference=5), TypeError, "reference must be a str, not int"),
    (balance(shop_id=0), ValueError, "shop_id must be at least 1, not 0"),
    (code(affiliate_code="x" * 51), ValueError, "affiliate_code must be at most 50 characters, not 51"),
    (code(affiliate_code=""), ValueError, "affiliate_code must not be empty: None clears it"),
    (code(affiliate_code=5), TypeError, "affiliate_code must be a str or None, not int"),
    (code(affiliate_code="\ud800"), ValueError, "affiliate_code must be Unicode text, without lone surrogates"),
    (code(shop_id=0), ValueError, "shop_id must be at least 1, not 0"),
    (paginated("shops"), TypeError, "path must be a sequence of segments, .*"),
    (paginated([]), ValueError, "path must have at least one segment"),
    (paginated(["shops", ""]), ValueError, "a path segment must not be empty: .*"),
    (paginated(per_page=101), ValueError, "per_page must be 1 to 100, not 101"),
    (paginated(start_page=0), ValueError, "(start_)?page must be at least 1, not 0"),
    (paginated(concurrency=0), ValueError, "concurrency must be at least 1, not 0"),
    (paginated(params={"page": 2}), ValueError, "params must not hold page: the walk sets that itself"),
    (request("GET", "shops"), TypeError, "path must be a sequence of segments, .*"),
    (request("GET", ["shops", ".."]), ValueError, r"a path segment must not be '\.' or '\.\.'"),
    (request("TRACE", ["shops"]), ValueError, "method must be one of .*, not 'TRACE'"),
    (request("GET", ["x"], params={"a": None}), TypeError, r"params\['a'\] must be a str, .*, not NoneType"),
    (request("GET", ["x"], params={"a": "\ud800"}), ValueError, r"params\['a'\] must be Unicode text, .*"),
    (request("POST", ["x"], json={"a": float("nan")}), ValueError, "json must hold finite numbers only"),
    (request("POST", ["x"], json={"a": "\ud800"}), ValueError, "json holds text that is not Unicode .*"),
    (request("POST", ["x"], json=LOOP), ValueError, "json is nested too deeply"),
    (request("POST", ["x"], json={"a": object()}), TypeError, ".*object.*"),
]


@pytest.mark.parametrize(("call", "kind", "message"), REFUSED)
@pytest.mark.parametrize("list_params", ["both", "body", "query"])
async def test_bad_arguments_are_named_and_nothing_is_sent(
    call: Call, kind: type[Exception], message: str, list_params: Any
) -> None:
    """A wrong argument is refused by name, before anything is sent."""
    async with raw_server(answer({})) as server, server.session(list_params=list_params) as session:
        with pytest.raises(kind, match=f"^{message}$") as caught:
            await call(session)
    assert kind is type(caught.value)
    assert [] == server.heard


@pytest.mark.parametrize(
    "call",
    [lists(), walk_of(), one(), ledger(), balance(), code()],
    ids=["lists", "walk", "one", "ledger", "balance", "code"],
)
async def test_a_missing_shop_is_asked_for_by_name(call: Call) -> None:
    """A call without a shop says that shop_id is missing."""
    async with raw_server(answer({})) as server:
        async with AsyncSession("key", base_url=server.base_url) as session:
            with pytest.raises(ValueError, match=r"^shop_id is missing: .* or set SHOPSDK_SHOP_ID$"):
                await call(session)
    assert [] == server.heard


async def test_after_goes_with_its_own_walk() -> None:
    """``after`` is taken only with the page size of the walk that delivered the page, and without start_page."""
    async with raw_server(answer({})) as server, server.session() as session:
        for wrong in ({}, {"per_page": 50, "start_page": 2}):
            with pytest.raises(ValueError, match=r"^after goes with the per_page of the walk"):
                iter_customer_pages(session, after=PAGE, **wrong)  # type: ignore[arg-type]
    assert [] == server.heard


def test_a_key_of_a_walk_is_any_function() -> None:
    """Any function may be the key of a walk, such as attrgetter."""
    session = AsyncSession("key", shop_id=38)
    assert paginate(session, ["x"], Customer, key=attrgetter("id"), params={"a": 1}) is not None


# --- settings


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"max_in_flight": 0}, ValueError, "max_in_flight must be at least 1, not 0"),
        ({"max_in_flight": True}, TypeError, "max_in_flight must be an int, not bool"),
        ({"max_response_bytes": 0}, ValueError, "max_response_bytes must be at least 1, not 0"),
        ({"shop_id": 0}, ValueError, "shop_id must be at least 1, not 0"),
        ({"shop_id": "38"}, TypeError, "shop_id must be an int, not str"),
        ({"list_params": "form"}, ValueError, "list_params must be one of both, body, query, not 'form'"),
    ],
)
def test_bad_settings_are_refused_at_once(settings: dict[str, Any], kind: type[Exception], message: str) -> None:
    """A wrong setting is refused when it is made, by name."""
    with pytest.raises(kind, match=f"^{message}$"):
        AsyncSession("key", **settings)


NUMBERS: list[tuple[Callable[[Any], object], str]] = [
    (lambda n: Timeout(connect=n), "connect"),
    (lambda n: Timeout(total=n), "total"),
    (lambda n: Timeout(deadline=n), "deadline"),
    (lambda n: RetryPolicy(wait_initial=n), "wait_initial"),
    (lambda n: RetryPolicy(wait_max=n), "wait_max"),
    (lambda n: RetryPolicy(retry_after_max=n), "retry_after_max"),
]


@pytest.mark.parametrize(("make", "name"), NUMBERS)
def test_seconds_are_finite_numbers(make: Callable[[Any], object], name: str) -> None:
    """A timeout is a finite number: None, nan and inf are refused."""
    for bad, kind in ((None, TypeError), ("5", TypeError), (True, TypeError), (float("nan"), ValueError)):
        with pytest.raises(kind, match=f"^{name} must be "):
            make(bad)
    for bad in (float("inf"), -1):
        with pytest.raises(ValueError, match=f"'?{name}'? must be "):
            make(bad)
    assert make(5) == make(5.0)


@pytest.mark.parametrize("name", ["connect", "total", "deadline"])
def test_no_timeout_is_zero(name: str) -> None:
    """A timeout of zero is refused, since aiohttp takes it as no limit."""
    with pytest.raises(ValueError, match=f"'{name}' must be > 0"):
        Timeout(**{name: 0})


@pytest.mark.parametrize("attempts", [0, -1])
def test_there_is_at_least_one_attempt(attempts: int) -> None:
    """A retry policy makes at least one attempt."""
    with pytest.raises(ValueError, match=r"'attempts' must be >= 1"):
        RetryPolicy(attempts=attempts)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: RateLimit(0), ValueError),
        (lambda: RateLimit(1.5), TypeError),  # type: ignore[arg-type]
        (lambda: RateLimit(1, 0), ValueError),
        (lambda: RetryPolicy(attempts=1.5), TypeError),  # type: ignore[arg-type]
        (lambda: RateLimit(1, "1"), TypeError),  # type: ignore[arg-type]
    ],
)
def test_limits_are_numbers_above_zero(make: Callable[[], object], kind: type[Exception]) -> None:
    """A rate limit is above zero, in requests and in seconds."""
    with pytest.raises(kind):
        make()
