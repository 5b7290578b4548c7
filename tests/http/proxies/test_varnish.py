"""Varnish between a session and its shop: with its defaults, and as a cache that goes by the URL."""

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import attrs
import pytest

from shopsdk import (
    AsyncSession,
    PaginationError,
    edit_customer_balance,
    get_customer_balance_transactions,
    get_customers,
)
from shopsdk.sandbox import Sandbox
from tests.http.proxies.calls import (
    CONCURRENCIES,
    check_every_operation,
    check_walk_over_deletions,
    check_walks,
    ids_of,
)
from tests.support.software import Program, fill, find_program, port_of, reserve_ports, running, session_by

pytestmark = pytest.mark.proxies

TEMPLATE = Path(__file__).parent / "varnish.vcl"


@attrs.frozen
class Varnish:
    """Varnish before a shop."""

    shop: Sandbox
    program: Program
    ports: dict[str, int]

    def session(self, port: str = "plain", **options: Any) -> AbstractAsyncContextManager[AsyncSession]:
        return session_by(self.shop, self.ports[port], **options)


@pytest.fixture
def varnish(shop: Sandbox, tmp_path: Path) -> Iterator[Varnish]:
    """Run Varnish before the shop."""
    program = find_program("varnishd")
    with reserve_ports("plain", "caching") as ports:
        config = fill(TEMPLATE, tmp_path, shop=port_of(shop))
        command = [program, "-F", "-j", "none", "-T", "none", "-n", str(tmp_path / "varnish"), "-s", "malloc,16m"]
        for name, port in ports.items():
            command += ["-a", f"{name}=127.0.0.1:{port}"]
        command += ["-f", str(config)]
        with running(command, ports=list(ports.values()), folder=tmp_path) as started:
            yield Varnish(shop, started, ports)


async def test_every_operation_does_what_it_says(varnish: Varnish) -> None:
    """Every operation does the same by way of Varnish as without."""
    async with varnish.session() as session:
        await check_every_operation(session, varnish.shop)


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
async def test_a_walk_delivers_everybody(varnish: Varnish, concurrency: int) -> None:
    """A walk by way of Varnish delivers everybody once and in order, at any concurrency, also under deletions."""
    for mode in ("both", "query"):
        async with varnish.session(list_params=mode) as session:
            await check_walks(session, varnish.shop, concurrency)
    async with varnish.session() as session:
        await check_walk_over_deletions(session, varnish.shop, concurrency)


async def test_bodies_that_varnish_drops_are_noticed(varnish: Varnish) -> None:
    """A walk whose parameters Varnish drops with the body raises a PaginationError, and delivers nobody for another."""
    async with varnish.session(list_params="body") as session:
        for concurrency in CONCURRENCIES:
            with pytest.raises(PaginationError):
                await ids_of(session, concurrency=concurrency)
        with pytest.raises(PaginationError):
            await get_customers(session, email="ann")


async def test_a_cache_by_the_url_makes_no_reference_two_edits(varnish: Varnish, shop: Sandbox) -> None:
    """A reference stays one edit, pages and filters stay apart, though Varnish keeps each URL for an hour."""
    async with varnish.session("caching") as session:
        for concurrency in CONCURRENCIES:
            await check_walks(session, shop, concurrency)
        asked = len(shop.requests)
        await check_walks(session, shop, 4)
        assert asked == len(shop.requests)  # all of it came from the cache
        assert [] == await get_customer_balance_transactions(session, 7)
        for again in (False, True, True):
            assert again is (await edit_customer_balance(session, 7, 5, reference="gift")).replayed
        shop.fail_next("drop_after", method="POST")
        lost = await edit_customer_balance(session, 7, 5, reference="other")
        assert [lost.transaction] == shop.transactions(7)[:1]
        assert [] == await get_customer_balance_transactions(session, 7)  # as the cache has it
    assert ["[ref:other]", "[ref:gift]"] == [line.description for line in shop.transactions(7)]
