"""A consumer's tests of a synchronous script, which need nothing but pytest."""

import asyncio
from decimal import Decimal

import pytest

from shopsdk import AsyncSession, Customer
from shopsdk.sandbox import Fault, Sandbox

from .refunds import refund, refund_all

ADA = Customer(id=7, email="ada@example.com", balance=Decimal(0))


def test_the_shop_is_empty_unless_it_is_seeded(shop_sandbox: Sandbox) -> None:
    """The fixture's shop is empty unless a marker says otherwise."""
    assert [] == shop_sandbox.customers()
    assert {"41": "no customer ada@example.com"} == refund_all({"41": ("ada@example.com", Decimal(5))})


@pytest.mark.shop(customers=[ADA])
def test_an_order_is_refunded_once(shop_sandbox: Sandbox) -> None:
    """A script that is run twice refunds once."""
    orders = {"41": (ADA.email, Decimal("5.00"))}
    assert {"41": "refunded"} == refund_all(orders)
    assert {"41": "already refunded"} == refund_all(orders)
    assert [Decimal("5.00")] == [line.amount for line in shop_sandbox.transactions(7)]


@pytest.mark.shop(customers=[ADA])
def test_one_failure_is_one_line(shop_sandbox: Sandbox) -> None:
    """An order that fails is one line of the script's output, and the next order is made."""
    shop_sandbox.fail_next("error_500")
    orders = {"41": (ADA.email, Decimal(5)), "42": (ADA.email, Decimal(1))}
    outcomes = refund_all(orders, attempts=1)
    assert ["not refunded", "refunded"] == [line.partition(":")[0] for line in outcomes.values()]
    assert [Decimal(1)] == [line.amount for line in shop_sandbox.transactions(7)]


@pytest.mark.shop(customers=[ADA])
def test_the_session_needs_no_plugin(shop_sandbox: Sandbox, shop_session: AsyncSession) -> None:
    """A test may run its coroutines itself, one after the other, on the session of the fixture."""
    outcomes = [asyncio.run(refund(shop_session, ADA.email, Decimal("5.00"), "41")) for _ in range(2)]
    assert ["refunded", "already refunded"] == outcomes
    assert 1 == len(shop_sandbox.transactions(7))


@pytest.mark.shop(customers=50, seed=1)
class TestMarkers:
    """The marker of a class, and of a test in it."""

    def test_a_marker_on_the_class_seeds(self, shop_sandbox: Sandbox) -> None:
        """The marker of a class counts for each test in it."""
        assert 50 == len(shop_sandbox.customers())

    @pytest.mark.shop(seed=2, faults=[Fault("error_500", first=1)])
    def test_a_nearer_marker_goes_before(self, shop_sandbox: Sandbox) -> None:
        """A test's own marker goes before that of its class, argument by argument."""
        with Sandbox(customers=50, seed=2) as expected:
            assert expected.customers() == shop_sandbox.customers()
        assert {"1": "no customer x"} == refund_all({"1": ("x", Decimal(1))})
        assert ["error_500", None] == [request.fault for request in shop_sandbox.requests]
