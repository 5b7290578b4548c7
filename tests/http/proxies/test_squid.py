"""squid between a session and its shop: as a forward proxy that tunnels, with a password, and as an accelerator."""

import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import attrs
import pytest

from shopsdk import (
    AsyncSession,
    NotSentError,
    ResponseError,
    edit_customer_affiliate_code,
    edit_customer_balance,
    get_customer,
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
from tests.http.proxies.test_nginx import nginx_before
from tests.security.test_secrecy import KEY, TRACE, key_stays_in, strings, watching
from tests.support.software import fill, find_program, port_of, reserve_ports, running, session_by

pytestmark = pytest.mark.proxies

TEMPLATE = Path(__file__).parent / "squid.conf"
PASSWORDS = {"nobody": "", "a stranger": "ann:hunter2-wrong@", "ann": "ann:hunter2-right@"}
"""What stands before the proxy's host in its URL."""

Call = Callable[[AsyncSession], Awaitable[object]]
CALLS: dict[str, Call] = {
    "read": lambda session: get_customer(session, 7),
    "post": lambda session: edit_customer_balance(session, 7, 1),
    "put": lambda session: edit_customer_balance(session, 7, 1, method="PUT", reference="gift"),
    "code": lambda session: edit_customer_affiliate_code(session, 7, "A"),
}


@attrs.frozen
class Squid:
    """squid before a shop, and before an nginx with TLS that stands before that shop."""

    shop: Sandbox
    ports: dict[str, int]

    def tunnelled(self, who: str = "ann", to: str = "tls", **options: Any) -> AbstractAsyncContextManager[AsyncSession]:
        """A session that asks squid for a tunnel to a port."""
        proxy = f"http://{PASSWORDS[who]}127.0.0.1:{self.ports['forward']}"
        return session_by(self.shop, self.ports[to], tls=True, proxy=proxy, **options)

    def accelerated(self, **options: Any) -> AbstractAsyncContextManager[AsyncSession]:
        """A session that takes squid for the shop."""
        return session_by(self.shop, self.ports["accelerator"], **options)


@pytest.fixture
def squid(shop: Sandbox, tmp_path: Path) -> Iterator[Squid]:
    """Run squid, and nginx for TLS."""
    program, sed = find_program("squid"), find_program("sed")
    (tmp_path / "nginx").mkdir()
    with (
        nginx_before(shop, tmp_path / "nginx") as nginx,
        reserve_ports("forward", "accelerator", "dead", "forbidden") as ports,
    ):
        ports["tls"] = nginx.ports["tls"]
        names = {name: port for name, port in ports.items() if name != "forbidden"}
        config = fill(TEMPLATE, tmp_path, sed=sed, shop=port_of(shop), **names)
        memory = f"tests{ports['forward']}"
        command = [program, "-N", "-n", memory, "-f", str(config)]
        try:
            # Squid takes two seconds to stop politely. Killed, it leaves its shared memory behind.
            with running(
                command,
                ports=[ports["forward"], ports["accelerator"]],
                folder=tmp_path,
                stop_signal=signal.SIGKILL,
            ):
                yield Squid(shop, ports)
        finally:
            for left in Path("/dev/shm").glob(f"{memory}-*.shm"):
                left.unlink()


# --- the forward proxy


async def test_every_operation_does_what_it_says_through_a_tunnel(squid: Squid) -> None:
    """Every operation does the same through squid's tunnels, password included, as without."""
    async with squid.tunnelled() as session:
        await check_every_operation(session, squid.shop)


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
async def test_a_walk_through_tunnels_delivers_everybody(squid: Squid, concurrency: int) -> None:
    """A walk through tunnels delivers everybody once and in order, at any concurrency, while customers are deleted."""
    async with squid.tunnelled() as session:
        await check_walks(session, squid.shop, concurrency)
        await check_walk_over_deletions(session, squid.shop, concurrency)


REFUSALS = {
    "forbidden": ("ann", "forbidden", "403", 1),
    "nobody there": ("ann", "dead", "503", 4),
    "no password": ("nobody", "tls", "407", 1),
    "wrong password": ("a stranger", "tls", "407", 1),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("refusal", REFUSALS)
async def test_what_got_no_tunnel_was_not_sent_and_shows_no_password(
    squid: Squid, refusal: str, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that squid refuses a tunnel was not sent; its error has squid's status, and no password and no key."""
    who, to, status, attempts = REFUSALS[refusal]
    async with squid.tunnelled(who, to, api_key=KEY) as session:
        async with watching(caplog) as seen:
            await CALLS[call](session)
        assert [] == [text for text in strings(session) if TRACE in text]
    error = seen.caught
    assert isinstance(error, NotSentError)
    assert f"{status} to CONNECT" in str(error)
    assert (attempts, attempts > 1, False) == (error.attempts, error.repeatable, error.maybe_applied)
    assert [] == squid.shop.requests
    key_stays_in(seen)  # the passwords and the key begin with the same word


# --- the accelerator


async def test_every_operation_does_what_it_says_behind_an_accelerator(squid: Squid) -> None:
    """Every operation does the same behind squid as without, where lists travel in the query."""
    async with squid.accelerated(list_params="query") as session:
        await check_every_operation(session, squid.shop)


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
async def test_a_walk_behind_an_accelerator_delivers_everybody(squid: Squid, concurrency: int) -> None:
    """A walk behind squid delivers everybody once and in order, at any concurrency, where lists travel in the query."""
    async with squid.accelerated(list_params="query") as session:
        await check_walks(session, squid.shop, concurrency)
        await check_walk_over_deletions(session, squid.shop, concurrency)


@pytest.mark.parametrize("mode", ["both", "body"])
async def test_a_body_that_squid_refuses_is_told_by_its_status(squid: Squid, mode: str) -> None:
    """A list whose GET squid refuses for its body names squid's page and what to try; the rest goes through."""
    async with squid.accelerated(list_params=mode) as session:
        with pytest.raises(
            ResponseError, match=r"titled \".*\"; .*try AsyncSession\(list_params=\"query\"\)"
        ) as caught:
            await get_customers(session)
        assert 411 == caught.value.status
        with pytest.raises(ResponseError) as caught:
            await ids_of(session, concurrency=16)
        assert (411, 1) == (caught.value.status, caught.value.page)
        assert 7 == (await get_customer(session, 7)).id
        assert not (await edit_customer_balance(session, 7, 5, reference="gift")).replayed
        assert (await edit_customer_balance(session, 7, 5, reference="gift")).replayed
