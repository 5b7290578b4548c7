"""A walk of a million customers and thousands of edits, through a shop in which every kind of fault is injected.

``python -m benchmarks.soak [--customers N] [--edits N] [--quick]`` prints which faults were injected and
what was lost; the exit code is 1 if anything was lost.
"""

import argparse
import asyncio
import random
import time
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from decimal import Decimal

import attrs

from benchmarks._machine import describe
from shopsdk import (
    AsyncSession,
    Customer,
    Page,
    RetryPolicy,
    ShopError,
    Timeout,
    edit_customer_balance,
    iter_customer_pages,
)
from shopsdk.sandbox import Fault, Sandbox

_WORKERS = 150
"""Callers that edit at once. Most of them wait: the search for a lost edit takes several seconds."""
_REMOVE_EVERY, _BURST = 20, 5
"""Rows removed during the walk: every 20 pages, 5 rows."""
_PEOPLE = 400
"""Customers whose balance is edited; so few that edits of the same ledger coincide."""
_EDIT = "/balance"
_FAULTS = (
    Fault("drop_before", every=13, path=_EDIT),
    Fault("drop_after", every=17, path=_EDIT),
    Fault("error_500", every=19, path=_EDIT),
    Fault("error_500", every=23, path=_EDIT, applied=True),
    Fault("html_502", every=29, path=_EDIT),
    Fault("html_502", every=31, path=_EDIT, applied=True),
    Fault("truncate", every=37, path=_EDIT),
    Fault("slow", every=101, path=_EDIT, seconds=1.5),
    Fault("rate_limit", every=211, path=_EDIT, retry_after=0),
    Fault("drop_before", every=61),
    Fault("drop_after", every=67),
    Fault("error_500", every=71),
    Fault("html_502", every=73),
    Fault("truncate", every=79),
    Fault("slow", every=503, seconds=1.5),
    Fault("rate_limit", every=307, retry_after=0),
    Fault("ignore_body", every=211, path="/customers"),
)


@attrs.define
class Found:
    """The result."""

    walked: int = 0
    removed: int = 0
    lost: int = 0
    repeated: int = 0
    walk_resumed: int = 0
    edits: int = 0
    edit_calls: int = 0
    replayed: int = 0
    missing: int = 0
    doubled: int = 0
    wrong_sums: int = 0
    wrong_balances: int = 0
    injected: Counter[str] = attrs.Factory(Counter)
    errors: Counter[str] = attrs.Factory(Counter)

    @property
    def losses(self) -> int:
        """The sum of all that must be zero."""
        return self.lost + self.repeated + self.missing + self.doubled + self.wrong_sums + self.wrong_balances


async def _walk(session: AsyncSession, shop: Sandbox, ids: "array[int]", kept: int, found: Found) -> None:
    """Walk to the end, going on behind the last page after each error, while the shop removes rows."""
    after: Page[Customer] | None = None
    removed: set[int] = set()
    chance = random.Random(kept)
    place = 0
    while True:
        pages: AsyncGenerator[Page[Customer], None] = iter_customer_pages(session, concurrency=4, after=after)
        try:
            async with aclosing(pages):
                async for page in pages:
                    after = page
                    for customer in page.data:
                        place = _check(customer.id, ids, place, removed, found)
                    if page.current_page % _REMOVE_EVERY == 0:
                        gone = {ids[chance.randrange(kept, len(ids))] for _ in range(_BURST)} - removed
                        for number in gone:
                            shop.remove_customer(number)
                        removed |= gone
                    _count(shop, found)
        except ShopError as error:
            found.errors[f"walk: {type(error).__name__}"] += 1
            found.walk_resumed += 1
        else:
            break
    found.removed = len(removed)
    found.lost += sum(number not in removed for number in ids[place:])


def _check(number: int, ids: "array[int]", place: int, removed: set[int], found: Found) -> int:
    """Compare the next row with the ids that the shop began with; return the index of the one that must come next."""
    found.walked += 1
    expected = bisect_left(ids, number, place)
    found.lost += sum(ids[i] not in removed for i in range(place, expected))
    if expected < len(ids) and ids[expected] == number:
        return expected + 1
    found.repeated += 1
    return place


def _count(shop: Sandbox, found: Found) -> None:
    """Count what was injected; call it often, since the sandbox keeps only its last requests."""
    seen, shop.requests[:] = list(shop.requests), []
    found.injected.update(record.fault or "none: answered as it should be" for record in seen)


async def _edit(session: AsyncSession, customer: int, amount: Decimal, reference: str, found: Found) -> None:
    """One edit, called again with its reference until it succeeds, as its caller would."""
    while True:
        found.edit_calls += 1
        try:
            made = await edit_customer_balance(session, customer, amount, reference=reference)
        except ShopError as error:
            found.errors[f"edit: {type(error).__name__}"] += 1
            await asyncio.sleep(0.05)
        else:
            found.replayed += made.replayed
            found.edits += 1
            return


async def _edit_all(session: AsyncSession, plan: dict[str, tuple[int, Decimal]], shop: Sandbox, found: Found) -> None:
    todo = iter(plan.items())

    async def work() -> None:
        for reference, (customer, amount) in todo:
            await _edit(session, customer, amount, reference, found)
            _count(shop, found)

    async with asyncio.TaskGroup() as group:
        for _ in range(_WORKERS):
            group.create_task(work())


def _amount(chance: random.Random) -> Decimal:
    return Decimal(chance.choice([-1, 1, 1]) * chance.randint(1, 99_999)) / 100


def _audit(shop: Sandbox, plan: dict[str, tuple[int, Decimal]], opening: dict[int, Decimal], found: Found) -> None:
    """Compare every ledger with the plan: each edit once, with its amount, and the balance its sum to the cent."""
    wanted: dict[int, dict[str, Decimal]] = {}
    for reference, (customer, amount) in plan.items():
        wanted.setdefault(customer, {})[f"[ref:{reference}]"] = amount
    balances = {customer: shop.update_customer(customer).balance for customer in wanted}
    for customer, edits in wanted.items():
        lines = shop.transactions(customer)
        times = Counter(line.description for line in lines)
        found.missing += sum(marker not in times for marker in edits)
        found.doubled += sum(times[marker] - 1 for marker in edits if times[marker] > 1)
        balance = opening[customer] + sum(edits.values())
        found.wrong_sums += sum(line.amount for line in lines) != balance
        found.wrong_balances += balances[customer] != balance


async def soak(customers: int, edits: int, seed: int) -> Found:
    """Walk and edit at once, then compare with the shop's own ledgers."""
    found = Found()
    chance = random.Random(seed)
    async with Sandbox(customers, faults=_FAULTS, seed=seed) as shop:
        ids = array("q", (one.id for one in await asyncio.to_thread(shop.customers)))
        kept = min(_PEOPLE, len(ids) // 2)
        opening = {ids[i]: shop.update_customer(ids[i]).balance or Decimal(0) for i in range(kept)}
        plan = {f"soak-{number}": (chance.choice(ids[:kept]), _amount(chance)) for number in range(edits)}
        retry = RetryPolicy(attempts=4, wait_initial=0.02, wait_max=0.2)
        async with (
            shop.session(timeout=Timeout(total=1.0), retry=retry, max_in_flight=32) as editing,
            shop.session(timeout=Timeout(total=10.0), retry=retry) as walking,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(_walk(walking, shop, ids, kept, found))
            group.create_task(_edit_all(editing, plan, shop, found))
        _count(shop, found)
        await asyncio.to_thread(_audit, shop, plan, opening, found)
    return found


def report(found: Found, seconds: float) -> str:
    """Print it as a table."""
    injected = [(f"  {name}", count) for name, count in sorted(found.injected.items())]
    errors = [(f"  {name}", count) for name, count in sorted(found.errors.items())]
    lost = [
        ("customers lost", found.lost),
        ("customers twice", found.repeated),
        ("edits missing from the ledger", found.missing),
        ("edits in the ledger twice", found.doubled),
        ("ledgers with another sum", found.wrong_sums),
        ("balances with another sum", found.wrong_balances),
    ]
    rows: list[tuple[str, int | str]] = [
        ("customers walked", found.walked),
        ("customers removed under the walk", found.removed),
        ("walks taken up again behind their last page", found.walk_resumed),
        ("edits made", found.edits),
        ("calls it took", found.edit_calls),
        ("of those, found in the ledger before sending", found.replayed),
        ("requests, by what was injected", ""),
        *injected,
        ("errors that reached the caller", ""),
        *errors,
        *lost,
        ("seconds", round(seconds)),
    ]
    return "\n".join(
        f"{name:<48}{count if isinstance(count, str) else f'{count:>12,}'}".rstrip() for name, count in rows
    )


def main() -> None:
    """Run it and judge it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--edits", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="50,000 customers and 300 edits")
    options = parser.parse_args()
    customers, edits = (50_000, 300) if options.quick else (options.customers, options.edits)
    started = time.perf_counter()
    found = asyncio.run(soak(customers, edits, options.seed))
    print(report(found, time.perf_counter() - started), "", describe(), sep="\n")
    if found.losses or found.edits != edits:
        raise SystemExit("something was lost")
    print("nothing was lost")


if __name__ == "__main__":
    main()
