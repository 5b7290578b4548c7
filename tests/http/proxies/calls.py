"""What must hold by way of every proxy: each operation does what it says, and a walk delivers everybody once."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from decimal import Decimal
from typing import Any, Literal

import attrs

from shopsdk import (
    AsyncSession,
    BalanceEdit,
    Customer,
    ShopError,
    edit_customer_affiliate_code,
    edit_customer_balance,
    find_balance_edit,
    find_customer,
    get_customer,
    get_customer_balance_transactions,
    get_customers,
    iter_customer_pages,
    iter_customers,
    paginate,
)
from shopsdk.sandbox import Sandbox
from tests.support.software import has_unread, port_of

PEOPLE = [
    Customer(id=number, email=f"{'ann' if number % 2 else 'bob'}{number}@example.com", balance=Decimal(0))
    for number in range(1, 241)
]
CONCURRENCIES = (1, 4, 16)
METHODS: tuple[Literal["POST", "PUT"], ...] = ("POST", "PUT")
IN_FLIGHT = 16
"""Jobs at a time."""
LATENCY = 0.05
"""Seconds by which a shop holds back its answers, so that edits are under way when something happens to the proxy."""


@attrs.define
class Jobs:
    """Edits that are made side by side, each by calls with its reference until one succeeds."""

    shop: Sandbox
    wanted: list[tuple[int, str]]
    """The customer and the reference of each."""
    made: list[BalanceEdit] = attrs.Factory(list)
    failures: int = 0

    async def more(self, number: int) -> None:
        """Wait until so many more of them, or all, are made."""
        enough = min(len(self.made) + number, len(self.wanted))
        while len(self.made) < enough:
            await asyncio.sleep(0.001)

    async def arriving(self) -> None:
        """Wait until the shop has made several edits whose answers it still holds back."""
        while len(self.made) < len(self.wanted):
            waiting = [request for request in self.shop.requests[-2 * IN_FLIGHT :] if request.elapsed is None]
            if sum(request.method in METHODS for request in waiting) >= IN_FLIGHT // 2:
                return
            await asyncio.sleep(0.001)

    async def failing(self) -> None:
        """Wait until twice as many calls have failed as can be under way."""
        enough = self.failures + 2 * IN_FLIGHT
        while self.failures < enough and len(self.made) < len(self.wanted):
            await asyncio.sleep(0.001)


async def ids_of(session: AsyncSession, **how: Any) -> list[int]:
    """Walk, and return the ids in the order in which they came."""
    async with aclosing(iter_customers(session, **how)) as customers:
        return [customer.id async for customer in customers]


async def check_every_operation(session: AsyncSession, shop: Sandbox) -> None:
    """Try every operation, and compare what it did and said with the shop's own books."""
    path: list[str | int] = ["shops", shop.shop_id, "customers"]
    people = shop.customers()
    page = await get_customers(session, page=2, per_page=10, order_column="id", order_direction="desc", email="ann")
    assert [customer.id for customer in people if "ann" in customer.email][::-1][10:20] == [c.id for c in page.data]
    assert (2, 10, 12, 120) == (page.current_page, page.per_page, page.last_page, page.total)
    assert people[6] == await get_customer(session, 7)
    assert people[6] == await session.request("GET", [*path, 7], as_type=Customer)
    assert people[11] == await find_customer(session, email="bob12@example.com")
    assert await find_customer(session, email="nobody@example.com") is None
    pages = paginate(session, path, Customer, per_page=10, params={"email": "ann7@"})
    assert [[7]] == [[customer.id for customer in page.data] async for page in pages]
    async with aclosing(iter_customer_pages(session, per_page=100)) as walk:
        assert [100, 100, 40] == [len(page.data) async for page in walk]

    assert [] == await get_customer_balance_transactions(session, 7)
    await edit_customer_balance(session, 7, "5.10", description="größer & <kleiner>")
    await edit_customer_balance(session, 7, -1, method="PUT")
    for method in ("POST", "PUT"):
        for again in (False, True):
            edit = await edit_customer_balance(session, 7, "0.07", reference=f"by-{method}", method=method)
            assert (again, False) == (edit.replayed, edit.duplicated)
    ledger = shop.transactions(7)
    assert [Decimal(text) for text in ("0.07", "0.07", "-1", "5.10")] == [line.amount for line in ledger]
    assert ["[ref:by-PUT]", "[ref:by-POST]", None, "größer & <kleiner>"] == [line.description for line in ledger]
    assert ledger == await get_customer_balance_transactions(session, 7)
    assert ledger[0] == await find_balance_edit(session, 7, "by-PUT")
    assert Decimal("4.24") == (await get_customer(session, 7)).balance

    for code in ("SPRING10", None):
        await edit_customer_affiliate_code(session, 7, code)
        assert code == shop.customers()[6].affiliate_code


async def check_walks(session: AsyncSession, shop: Sandbox, concurrency: int) -> None:
    """Walk upwards, downwards and with a filter: everybody comes once and in order."""
    everybody = [customer.id for customer in shop.customers()]
    assert everybody == await ids_of(session, per_page=10, concurrency=concurrency)
    assert everybody[::-1] == await ids_of(session, per_page=10, concurrency=concurrency, order_direction="desc")
    anns = [customer.id for customer in shop.customers() if "ann" in customer.email]
    assert anns == await ids_of(session, per_page=10, concurrency=concurrency, email="ann")


async def check_walk_over_deletions(session: AsyncSession, shop: Sandbox, concurrency: int) -> None:
    """Walk while customers who came already are deleted: everybody else comes once and in order."""
    everybody = [customer.id for customer in shop.customers()]
    came: list[int] = []
    async with aclosing(iter_customers(session, per_page=10, concurrency=concurrency)) as customers:
        async for customer in customers:
            came.append(customer.id)
            if len(came) % 12 == 0:
                for gone in came[-12::2]:
                    shop.remove_customer(gone)
    assert everybody == came
    assert len(everybody) // 2 == len(shop.customers())


async def check_references(session: AsyncSession, shop: Sandbox, disturb: Callable[[Jobs], Awaitable[None]]) -> None:
    """Make edits under a disturbance: each is made exactly once."""
    jobs = Jobs(shop, [(number, f"job-{turn}") for turn in range(16) for number in range(1, 11)])

    async def make(number: int, reference: str) -> BalanceEdit:
        method = METHODS[number % 2]
        while True:
            try:
                return await edit_customer_balance(session, number, "1.25", reference=reference, method=method)
            except ShopError:
                while has_unread(port_of(shop)):  # the earlier request must no longer be on its way
                    await asyncio.sleep(0.001)
                jobs.failures += 1
                await asyncio.sleep(0.005)

    async def work(queue: Iterator[tuple[int, str]]) -> None:
        for job in queue:
            jobs.made.append(await make(*job))

    async with asyncio.TaskGroup() as tasks:
        queue = iter(jobs.wanted)
        for _ in range(IN_FLIGHT):
            tasks.create_task(work(queue))
        await disturb(jobs)
    lines = [(number, str(line.description)) for number in range(1, 11) for line in shop.transactions(number)]
    assert sorted((number, f"[ref:{reference}]") for number, reference in jobs.wanted) == sorted(lines)
    assert not any(edit.duplicated for edit in jobs.made)
