"""Finding one customer, and one edit: the whole text, over all pages, and never somebody else."""

import copy
import logging
import pickle
from collections.abc import Iterable
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shopsdk import (
    AsyncSession,
    BalanceTransaction,
    Customer,
    MultipleCustomersError,
    NotFoundError,
    PaginationError,
    ShopError,
    edit_customer_balance,
    find_balance_edit,
    find_customer,
)
from shopsdk._api.customers import same_but_case
from shopsdk.sandbox import Sandbox
from tests.support.servers import ReceivedRequest, Wire, answer, page_of, raw_server

ADA = Customer(id=7, email="ada@example.com", discord_id="8035", discord_username="ada", affiliate_code="ADA10")


def shop_of(*customers: Customer) -> Sandbox:
    return Sandbox(customers)


def crowd(text: str, count: int) -> Iterable[Customer]:
    """Customers whose addresses hold a text, so that a filter by it has several pages."""
    return (Customer(id=number, email=f"{number}.{text}") for number in range(1000, 1000 + count))


@pytest.mark.parametrize(
    "by",
    [
        {"email": "ada@example.com"},
        {"email": "ADA@Example.COM"},
        {"email": " \tada@example.com\n"},
        {"discord_id": "8035"},
        {"discord_id": 8035},
        {"discord_username": "Ada"},
        {"affiliate_code": "ADA10"},
        {"email": "ada@example.com", "discord_id": None, "discord_username": None, "affiliate_code": None},
    ],
)
async def test_the_one_customer_is_found(by: dict[str, Any]) -> None:
    """A person is found by the whole text, e-mail and names in any case, white space around it ignored."""
    longer = Customer(
        id=3, email="xada@example.com", discord_id="80351", discord_username="ada2", affiliate_code="ADA100"
    )
    async with shop_of(longer, ADA) as shop, shop.session() as session:
        assert ADA == await find_customer(session, **by)


@pytest.mark.parametrize(
    "by",
    [
        {"email": "da@example.com"},
        {"email": "ada@example.co"},
        {"email": "ada%example.com"},
        {"email": "ada_example.com"},
        {"discord_id": "803"},
        {"discord_id": "08035"},
        {"discord_id": 803},
        {"discord_username": "ad"},
        {"affiliate_code": "ada10"},
        {"affiliate_code": "ADA1"},
    ],
)
async def test_nobody_else_is_found(by: dict[str, Any]) -> None:
    """None comes back where only a part, a pattern, or another case of an exact field matches."""
    async with shop_of(ADA) as shop, shop.session() as session:
        assert await find_customer(session, **by) is None


async def test_whoever_registers_a_longer_address_is_not_found_first() -> None:
    """The person is found behind any number of customers whose addresses only hold theirs."""
    with shop_of(*crowd("ada@example.com", 250), Customer(id=5000, email="Ada@example.com")) as full:
        async with full.session() as session:
            found = await find_customer(session, email="ada@example.com")
        assert found is not None
        assert 5000 == found.id
        assert [1, 2, 3] == [request.json["page"] for request in full.requests]


async def test_more_than_one_is_an_error_that_names_them_all() -> None:
    """Two customers with one address are told apart by nobody, so neither is chosen, whichever pages they stand on."""
    twins = [Customer(id=500, email="ada@example.com"), Customer(id=5000, email="ADA@example.com")]
    async with shop_of(*crowd("ada@example.com", 150), *twins) as shop, shop.session() as session:
        with pytest.raises(MultipleCustomersError, match=r"^expected 1 customer, found 2$") as caught:
            await find_customer(session, email="ada@example.com")
    assert (500, 5000) == caught.value.customer_ids
    assert not caught.value.maybe_applied


@pytest.mark.parametrize("remake", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_the_error_survives_copies(remake: Any) -> None:
    """A worker process can hand the error to its parent."""
    error: MultipleCustomersError = remake(MultipleCustomersError("expected 1 customer, found 2", customer_ids=(1, 2)))
    assert ("expected 1 customer, found 2", (1, 2)) == (str(error), error.customer_ids)
    assert isinstance(error, ShopError)


@pytest.mark.parametrize(
    ("by", "kind", "message"),
    [
        ({}, TypeError, "give exactly one of email, discord_id, discord_username, affiliate_code, not none of them"),
        ({"email": None}, TypeError, "give exactly one of .*, not none of them"),
        ({"email": "a", "discord_id": 1}, TypeError, "give exactly one of .*, not email, discord_id"),
        ({"email": ""}, ValueError, "email must not be empty"),
        ({"email": " \u200b"}, ValueError, "email must not be empty"),
        ({"email": 5}, TypeError, "email must be a str, not int"),
        ({"email": b"a"}, TypeError, "email must be a str, not bytes"),
        ({"email": "\ud800"}, ValueError, "email must be Unicode text, without lone surrogates"),
        ({"discord_id": True}, TypeError, "discord_id must be a str or an int, not bool"),
        ({"discord_id": 1.5}, TypeError, "discord_id must be a str or an int, not float"),
        ({"discord_id": 0}, ValueError, "discord_id must be at least 1, not 0"),
        ({"discord_username": 5}, TypeError, "discord_username must be a str, not int"),
        ({"affiliate_code": ""}, ValueError, "affiliate_code must not be empty"),
        ({"email": "a", "shop_id": 0}, ValueError, "shop_id must be at least 1, not 0"),
    ],
)
async def test_a_wrong_criterion_is_named_and_nothing_is_sent(
    by: dict[str, Any], kind: type[Exception], message: str
) -> None:
    """A mistake of the caller's reaches no shop."""
    async with raw_server(answer({})) as server, server.session() as session:
        with pytest.raises(kind, match=f"^{message}$"):
            await find_customer(session, **by)
    assert [] == server.heard


@pytest.mark.parametrize("email", [r"a\b@example.com", "a\\", r"\%_"])
async def test_a_backslash_is_searched_for_by_a_pattern_that_has_none(email: str) -> None:
    """The filter holds no backslash, which MySQL takes for an escape, and the customer is found all the same."""
    customer = Customer(id=7, email=email)
    async with shop_of(customer) as shop, shop.session() as session:
        assert customer == await find_customer(session, email=email)
        assert "\\" not in shop.requests[0].json["email"]


@pytest.mark.parametrize(
    ("one", "other"),
    [("\u212a", "k"), ("\u212a", "K"), ("\u017f", "s"), ("\u0131", "i"), ("\u0130", "i"), ("ß", "ss"), ("a", "b")],
)
def test_letters_that_share_one_case_only_are_different(one: str, other: str) -> None:
    """The Kelvin sign is no k and the long s no s: another address is another person."""
    assert not same_but_case(one, other)


@given(st.text(st.characters(max_codepoint=127)))
@example("Ada@Example.com")
def test_case_is_no_difference(text: str) -> None:
    """Every text is the same as itself in the other case."""
    assert same_but_case(text, text.swapcase())


async def test_rows_without_the_field_are_passed_over() -> None:
    """A server that ignores the filter answers everybody; who has no Discord account is nobody's match."""
    rows = [{"id": 1, "email": "x@example.com"}, {"id": 2, "email": "y@example.com", "discord_id": "5"}]
    async with raw_server(answer(page_of(rows))) as server, server.session() as session:
        found = await find_customer(session, discord_id=5)
    assert found is not None
    assert 2 == found.id


async def test_a_page_that_was_not_asked_for_ends_the_search() -> None:
    """An answer that cannot be trusted is an error, never a None."""
    async with raw_server(answer(page_of([], per_page=10))) as server, server.session() as session:
        with pytest.raises(PaginationError):
            await find_customer(session, email="a")


async def test_the_search_leaves_nothing_behind(session: AsyncSession) -> None:
    """A failing search closes its walk; the fixture counts the tasks that are left."""
    with pytest.raises(NotFoundError):
        await find_customer(session, email="a", shop_id=5)


# --- one edit


def line(number: int, amount: str, description: str | None) -> dict[str, object]:
    return {"id": number, "amount": amount, "description": description, "created_at": None}


@pytest.mark.parametrize("as_text", [False, True])
async def test_an_edit_is_found_by_its_reference(shop: Sandbox, as_text: bool) -> None:
    """The ledger's line comes back, and of another reference none does."""
    customer = shop.customers()[0].id
    async with shop.session() as session:
        await edit_customer_balance(session, customer, "2.50", reference="refund-1187", description="sorry")
        await edit_customer_balance(session, customer, 1)
        asked: int | str = str(customer) if as_text else customer
        found = await find_balance_edit(session, asked, "refund-1187")
        assert shop.transactions(customer)[1] == found
        for other in ("refund-118", "refund-11870", "REFUND-1187"):
            assert await find_balance_edit(session, asked, other) is None


async def test_the_newest_line_is_found_and_repeats_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """Of several lines the newest comes back in whichever order they stand, and the log warns of equal amounts."""
    lines = [line(5, "1.00", "[ref:r]"), line(9, "1.00", "[ref:r]"), line(7, "2.00", "[ref:r]")]
    with caplog.at_level(logging.WARNING, "shopsdk"):
        async with raw_server(answer(lines)) as server, server.session() as session:
            found = await find_balance_edit(session, 7, "r")
    assert BalanceTransaction(id=9, amount=Decimal("1.00"), description="[ref:r]") == found
    assert ["reference 'r' stands 2 times with the amount 1.00"] == [
        record.getMessage().partition(" in the ledger")[0] for record in caplog.records
    ]


async def test_every_page_of_the_ledger_is_searched_past_caches() -> None:
    """An edit on the second page is found, and each request is one that no cache has an answer to."""

    def ledger(heard: ReceivedRequest, wire: Wire) -> None:
        number = int(parse_qs(urlsplit(heard.target).query).get("page", ["1"])[0])
        rows = [line(2, "1", "a")] if number == 1 else [line(1, "1", "[ref:r]")]
        wire.send(answer(page_of(rows, number, last=2, per_page=1, total=2)))

    async with raw_server(ledger) as server, server.session() as session:
        found = await find_balance_edit(session, 7, "r")
    assert found is not None
    nonces = [parse_qs(urlsplit(heard.target).query)["_"] for heard in server.heard]
    assert 2 == len(nonces)
    assert nonces[0] != nonces[1]


@pytest.mark.parametrize(
    ("customer_id", "reference", "kind"),
    [
        (0, "r", ValueError),
        (True, "r", TypeError),
        ("", "r", ValueError),
        ("7x", "r", ValueError),
        (7, "a b", ValueError),
        (7, "", ValueError),
        (7, None, TypeError),
        (7, 5, TypeError),
    ],
)
async def test_a_wrong_edit_is_refused_and_nothing_is_sent(
    customer_id: Any, reference: Any, kind: type[Exception]
) -> None:
    """A reference that no edit can have is a mistake of the caller's, not an edit that was not made."""
    async with raw_server(answer([])) as server, server.session() as session:
        with pytest.raises(kind):
            await find_balance_edit(session, customer_id, reference)
    assert [] == server.heard


@pytest.mark.parametrize(
    ("kept", "given"), [("josé@example.com", "JOSÉ@example.com"), ("Ünal@example.com", "ünal@EXAMPLE.com")]
)
async def test_letters_beyond_ascii_are_found_in_either_case(kept: str, given: str) -> None:
    """A server that folds ASCII letters alone hides nobody whose name has others."""
    with Sandbox([Customer(id=7, email=kept), Customer(id=8, email=kept + "x")]) as shop:
        async with shop.session() as session:
            found = await find_customer(session, email=given)
    assert found is not None
    assert 7 == found.id
