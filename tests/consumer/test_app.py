"""A consumer's tests of asynchronous code, with pytest-asyncio."""

from decimal import Decimal

import pytest

from shopsdk import AsyncSession, RateLimitedError, UnknownOutcomeError, get_customer
from shopsdk.sandbox import Sandbox
from shopsdk.testing import InstantClock

from .refunds import refund

pytestmark = [pytest.mark.asyncio, pytest.mark.shop(customers=50, seed=1)]


async def test_a_lost_answer_is_looked_up(shop_sandbox: Sandbox, shop_session: AsyncSession) -> None:
    """A refund whose answer is lost is found in the ledger, and counts as made."""
    customer = shop_sandbox.customers()[0]
    shop_sandbox.fail_next("drop_after", method="POST")
    assert "refunded" == await refund(shop_session, customer.email, Decimal("5.00"), "41")
    assert [Decimal("5.00")] == [line.amount for line in shop_sandbox.transactions(customer.id)]


async def test_a_lost_request_is_looked_for_in_no_time(
    shop_sandbox: Sandbox, shop_session: AsyncSession, shop_clock: InstantClock
) -> None:
    """The search of the ledger takes no time on the fixture's clock."""
    customer = shop_sandbox.customers()[0]
    shop_sandbox.fail_next("drop_before", method="POST")
    with pytest.raises(UnknownOutcomeError):
        await refund(shop_session, customer.email, Decimal("5.00"), "41")
    assert [0.0, 0.5, 1.0, 2.0, 4.0] == shop_clock.slept
    assert [] == shop_sandbox.transactions(customer.id)


async def test_a_rate_limit_is_waited_out_in_no_time(
    shop_sandbox: Sandbox, shop_session: AsyncSession, shop_clock: InstantClock
) -> None:
    """A Retry-After of a minute takes no time on the fixture's clock."""
    customer = shop_sandbox.customers()[0]
    shop_sandbox.fail_next("rate_limit", retry_after=60)
    assert customer == await get_customer(shop_session, customer.id)
    assert [63.0] == shop_clock.slept
    shop_sandbox.fail_next("rate_limit", retry_after=3600)
    with pytest.raises(RateLimitedError):
        await get_customer(shop_session, customer.id)
    assert [63.0] == shop_clock.slept
