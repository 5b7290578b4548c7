"""Balances and ledgers: the sum of a customer's ledger is its balance."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shopsdk import (
    Customer,
    RetryPolicy,
    ServerError,
    ShopError,
    edit_customer_balance,
    get_customer_balance_transactions,
)
from shopsdk.sandbox import Sandbox
from shopsdk.testing import InstantClock

OPENING = "Opening balance"


def check(shop: Sandbox, shop_id: int = 38) -> None:
    """Check that each ledger adds up, newest line first."""
    for customer in shop.customers(shop_id=shop_id):
        lines = shop.transactions(customer.id, shop_id=shop_id)
        assert sum(line.amount for line in lines) == (customer.balance or 0)
        assert [line.id for line in lines] == sorted((line.id for line in lines), reverse=True)


def texts(shop: Sandbox, customer_id: int) -> list[tuple[str, str | None]]:
    return [(str(line.amount), line.description) for line in shop.transactions(customer_id)]


def test_made_up_ledgers_are_believable() -> None:
    """A made-up ledger is a credit, and what orders took of it; it adds up, and none is there without a balance."""
    with Sandbox(1000, shop_id=[38, 39]) as shop:
        shop.add_customer()
        descriptions: set[str | None] = set()
        for shop_id in shop.shop_ids:
            check(shop, shop_id)
            ledgers = {c: shop.transactions(c.id, shop_id=shop_id) for c in shop.customers(shop_id=shop_id)}
            assert {len(lines) for lines in ledgers.values()} == {0, 1, 2, 3}
            assert all(bool(customer.balance) == bool(lines) for customer, lines in ledgers.items())
            for customer, (*orders, credit) in ((c, lines) for c, lines in ledgers.items() if lines):
                assert 0 < credit.amount <= 1000
                assert all(-1000 <= line.amount < 0 and "Order #" in str(line.description) for line in orders)
                assert len(orders) <= (customer.total_completed or 0)
                times = [line.created_at for line in (*orders, credit) if line.created_at is not None]
                assert times == sorted(times, reverse=True)
                assert max(times) < datetime.now(UTC)
                descriptions.add(credit.description)
        assert None in descriptions, "a description may be missing"


def test_made_up_ledgers_are_the_same_for_a_seed() -> None:
    """Made-up ledgers are the same for the same seed, and the first shop's whatever its id."""

    def ledgers(shop: Sandbox) -> list[object]:
        return [shop.transactions(customer.id) for customer in (*shop.customers(), shop.add_customer())]

    with (
        Sandbox(60, seed=1) as one,
        Sandbox(60, seed=1) as again,
        Sandbox(60, seed=1, shop_id=[7, 8]) as elsewhere,
        Sandbox(60, seed=2) as other,
    ):
        made = ledgers(one)
        assert made == ledgers(again)
        assert made[:-1] == ledgers(elsewhere)[:-1]
        assert made != ledgers(other)


@pytest.mark.parametrize("balance", ["0.01", "-3", "1000.01", "-123456789.10", "1.005"])
async def test_a_given_balance_is_one_line(balance: str) -> None:
    """A given balance, of whatever amount, is one line of the ledger, from the time it was given."""
    before = datetime.now(UTC)
    ada = Customer(id=7, email="ada@example.com", balance=Decimal(balance))
    async with Sandbox([ada]) as shop:
        bob = shop.add_customer(Customer(id=8, email="bob@example.com"), balance=ada.balance)
        eve = shop.add_customer(balance=ada.balance)
        for customer in (*shop.customers(), bob, eve):
            (line,) = shop.transactions(customer.id)
            assert (line.amount, line.description) == (customer.balance, OPENING)
            assert line.created_at is not None
            assert before <= line.created_at <= datetime.now(UTC)
        async with shop.session() as session:
            assert await get_customer_balance_transactions(session, 7) == shop.transactions(7)


@pytest.mark.parametrize("balance", [None, Decimal(0), Decimal("0.004")])
def test_no_balance_is_no_line(balance: Decimal | None) -> None:
    """A customer without a balance has an empty ledger."""
    with Sandbox([Customer(id=7, email="ada@example.com", balance=balance)]) as shop:
        shop.add_customer(Customer(id=8, email="bob@example.com", balance=balance))
        shop.add_customer(balance=balance)
        assert [shop.transactions(customer.id) for customer in shop.customers()] == [[], [], []]


def test_a_balance_that_is_set_is_a_line_of_the_difference() -> None:
    """Setting a balance adds a line with the difference; setting the same one, or another field, adds none."""
    with Sandbox([Customer(id=7, email="ada@example.com", balance=Decimal("10.00"))]) as shop:
        shop.update_customer(7, balance=Decimal("4.50"))
        shop.update_customer(7, balance=Decimal("4.50"), email="new@example.com")
        shop.update_customer(7, discord_id="9")
        assert texts(shop, 7) == [("-5.50", "Adjustment"), ("10.00", OPENING)]
        shop.update_customer(7, balance=None)
        shop.update_customer(7, balance=Decimal(0))
        shop.update_customer(7, balance=None)
        assert texts(shop, 7) == [("-4.50", "Adjustment"), ("-5.50", "Adjustment"), ("10.00", OPENING)]
        shop.update_customer(7, balance=Decimal(5000))
        assert texts(shop, 7)[0] == ("5000.00", "Adjustment")
        with pytest.raises(ValueError, match="cannot keep"):
            shop.update_customer(7, balance=Decimal("NaN"))
        check(shop)


def test_a_customer_who_comes_back_has_a_new_ledger() -> None:
    """A removed customer's ledger goes too, and another with the same id begins anew."""
    ada = Customer(id=7, email="ada@example.com", balance=Decimal("10.00"))
    with Sandbox([ada]) as shop:
        before = shop.transactions(7)[0].id
        shop.remove_customer(7)
        shop.add_customer(ada)
        assert texts(shop, 7) == [("10.00", OPENING)]
        assert shop.transactions(7)[0].id > before, "a line's id is never used twice"


def test_ledgers_last_in_a_file(tmp_path: Path) -> None:
    """A file that is opened again has the same ledgers, and opening adds no line."""
    path = tmp_path / "shop.db"
    with Sandbox(60, database=path) as shop:
        shop.update_customer(1001, balance=Decimal("12.34"))
        before = [shop.transactions(customer.id) for customer in shop.customers()]
    with Sandbox(60, database=path) as shop:
        assert [shop.transactions(customer.id) for customer in shop.customers()] == before
        check(shop)


BALANCES = st.none() | st.decimals(-2000, 2000, places=2)
IDS = st.integers(1, 3)
EDITS = st.tuples(
    st.just("edit"), IDS, st.decimals(-1000, 1000, places=2), st.sampled_from(["POST", "PUT"]), st.booleans()
)
FAULTS = st.tuples(
    st.just("fault"),
    st.sampled_from(["drop_before", "drop_after", "error_500", "truncate", "rate_limit", "html_502"]),
    st.sampled_from(["POST", "PUT", "GET", None]),
)
STEPS = st.lists(
    EDITS
    | FAULTS
    | st.tuples(st.just("add"), IDS, BALANCES)
    | st.tuples(st.just("update"), IDS, BALANCES)
    | st.tuples(st.just("remove"), IDS)
    | st.tuples(st.just("reopen")),
    max_size=12,
)


async def take(shop: Sandbox, step: tuple[Any, ...], number: int) -> None:
    """Take one step; one that makes no sense then is refused."""
    what, *details = step
    if what == "fault":
        kind, method = details
        shop.fail_next(kind, method=method)
    elif what == "edit":
        customer_id, amount, method, named = details
        retry = RetryPolicy(attempts=2)
        async with shop.session(clock=InstantClock(), retry=retry) as session:
            with suppress(ShopError):
                reference = f"edit-{number}" if named else None
                await edit_customer_balance(session, customer_id, amount, method=method, reference=reference)
    else:
        customer_id = details[0]
        calls: dict[str, Callable[[], object]] = {
            "add": lambda: shop.add_customer(Customer(id=customer_id, email="x@example.com", balance=details[1])),
            "update": lambda: shop.update_customer(customer_id, balance=details[1]),
            "remove": lambda: shop.remove_customer(customer_id),
        }
        with suppress(KeyError, ValueError):
            calls[what]()


@settings(max_examples=60)
@given(balances=st.lists(BALANCES, min_size=2, max_size=2), steps=STEPS)
def test_ledgers_add_up_whatever_happens(
    balances: list[Decimal | None], steps: list[tuple[Any, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each ledger adds up to its balance after every edit, lost answer, change behind the API's back and restart."""
    people = [Customer(id=n, email=f"{n}@example.com", balance=balance) for n, balance in enumerate(balances, 1)]
    lasts = ("reopen",) in steps
    database = tmp_path_factory.mktemp("shop") / "shop.db" if lasts else ":memory:"
    shop = Sandbox(people, database=database)
    with shop:
        check(shop)
    shop.start()
    try:
        for number, step in enumerate(steps):
            if step == ("reopen",):
                shop.close()
                shop.start()
            else:
                asyncio.run(take(shop, step, number))
            check(shop)
    finally:
        shop.close()


async def edit(shop: Sandbox) -> None:
    async with shop.session() as session:
        await edit_customer_balance(session, 7, "2.50")


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        (edit, "INSERT ON transactions"),
        (edit, "UPDATE OF balance ON customers"),
        (lambda shop: asyncio.to_thread(shop.update_customer, 7, balance=Decimal(9)), "INSERT ON transactions"),
        (lambda shop: asyncio.to_thread(shop.add_customer, balance=Decimal(9)), "INSERT ON transactions"),
        (lambda shop: asyncio.to_thread(shop.remove_customer, 7), "DELETE ON customers"),
        (lambda shop: asyncio.to_thread(shop.remove_customer, 7), "DELETE ON transactions"),
    ],
)
async def test_a_change_whose_second_half_fails_is_not_made(tmp_path: Path, change: Any, refused: str) -> None:
    """A balance and its ledger change both or neither, whichever of the two writes fails."""
    path = tmp_path / "shop.db"
    with Sandbox([Customer(id=7, email="ada@example.com", balance=Decimal("10.00"))], database=path) as shop:
        before = (shop.customers(), shop.transactions(7))
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"CREATE TRIGGER refuse BEFORE {refused} BEGIN SELECT RAISE(ABORT, 'refused'); END")
    with Sandbox(database=path) as shop:
        with pytest.raises((ServerError, sqlite3.IntegrityError)):
            await change(shop)
        assert before == (shop.customers(), shop.transactions(7))
        shop.update_customer(7, email="new@example.com")
    with Sandbox(database=path) as shop:
        assert [("new@example.com", Decimal("10.00"))] == [(one.email, one.balance) for one in shop.customers()]
        assert before[1] == shop.transactions(7)
