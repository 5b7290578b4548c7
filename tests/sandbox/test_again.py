"""Sandboxes one after the other, and side by side."""

import asyncio
from pathlib import Path

import pytest

from shopsdk import (
    AsyncSession,
    Customer,
    NotSentError,
    RetryPolicy,
    edit_customer_balance,
    get_customer,
    get_customers,
)
from shopsdk.sandbox import Fault, Sandbox

ADA = Customer(id=7, email="ada@example.com")


async def test_entered_again_it_begins_anew() -> None:
    """A sandbox in memory that is entered again has its customers of the start, and nothing else of the first run."""
    shop = Sandbox([ADA], faults=[Fault("error_500", first=1, path="/customers/7")])
    retry = RetryPolicy(wait_initial=0)
    shop.fail_next("html_502")
    for faults in (["html_502", "error_500", None, None], ["error_500", None, None]):
        async with shop, shop.session(retry=retry) as session:
            assert shop.requests == []
            await get_customer(session, 7)
            await edit_customer_balance(session, 7, 5)
            shop.add_customer()
            shop.fail_next("drop_before", times=9)
        assert [request.fault for request in shop.requests] == faults, "they can be looked at afterwards"
    with shop:
        assert (shop.customers(), shop.transactions(7)) == ([ADA], [])


async def test_entered_again_a_file_is_as_it_was(tmp_path: Path) -> None:
    """A sandbox in a file that is entered again has what the first run left."""
    shop = Sandbox([ADA], database=tmp_path / "shop.db")
    async with shop, shop.session() as session:
        await edit_customer_balance(session, 7, 5)
        before = shop.add_customer(), shop.transactions(7)
    async with shop, shop.session() as session:
        assert (shop.customers()[1], shop.transactions(7)) == before
        assert (await get_customer(session, 7)).balance == 5


def test_requests_stay_bounded_when_it_is_entered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of requests that are kept is bounded in each run."""
    monkeypatch.setattr("shopsdk.sandbox._server._MAX_REQUESTS", 3)
    shop = Sandbox([ADA])
    for _ in range(2):
        with shop:
            asyncio.run(read(shop, 5))
            assert len(shop.requests) == 3


async def read(shop: Sandbox, times: int) -> None:
    async with shop.session() as session:
        for _ in range(times):
            await get_customer(session, 7)


async def test_two_at_once_do_not_know_of_each_other() -> None:
    """Two sandboxes at once have customers, requests and faults of their own."""
    async with Sandbox([ADA]) as one, Sandbox([ADA]) as other:
        other.fail_next("error_500")
        async with one.session() as session:
            await edit_customer_balance(session, 7, 5)
        assert one.customers()[0].balance == 5
        assert other.customers() == [ADA]
        assert (len(one.requests), other.requests) == (1, [])


async def test_a_port_serves_one_sandbox_after_the_other() -> None:
    """A port is free at once for the next sandbox, and a session that stays open reaches that one."""
    async with Sandbox([ADA]) as first:
        session = first.session()
        await get_customer(session, 7)
        port = int(first.base_url.split(":")[2].split("/")[0])
    async with session:
        for balance in (1, 2, 3):
            async with Sandbox([ADA], port=port) as shop:
                await edit_customer_balance(session, 7, balance)
                assert (await get_customer(session, 7)).balance == balance
                assert [request.method for request in shop.requests] == ["POST", "GET"]


def test_one_session_at_module_level_serves_one_test_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that took its shop from the environment once serves every sandbox at that address, in any loop."""
    with Sandbox(0) as shop:
        port = int(shop.base_url.split(":")[2].split("/")[0])
        monkeypatch.setenv("SHOPSDK_API_KEY", shop.api_key)
        monkeypatch.setenv("SHOPSDK_SHOP_ID", str(shop.shop_id))
        monkeypatch.setenv("SHOPSDK_BASE_URL", shop.base_url)
    session = AsyncSession(retry=RetryPolicy(attempts=1))
    for customers in (1, 2):
        with Sandbox(customers, port=port):
            assert asyncio.run(get_customers(session)).total == customers
    with pytest.raises(NotSentError):
        asyncio.run(get_customers(session))
