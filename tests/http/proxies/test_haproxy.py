"""haproxy between a session and its shop: plain, in TCP mode before something dead, and with repeats of its own."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Literal

import aiohttp
import attrs
import pytest

from shopsdk import (
    AsyncSession,
    NotSentError,
    RetryPolicy,
    TransportError,
    UnknownOutcomeError,
    edit_customer_affiliate_code,
    edit_customer_balance,
    get_customer,
)
from shopsdk.sandbox import Sandbox
from shopsdk.testing import InstantClock
from tests.http.proxies.calls import (
    CONCURRENCIES,
    LATENCY,
    METHODS,
    PEOPLE,
    Jobs,
    check_every_operation,
    check_references,
    check_walk_over_deletions,
    check_walks,
)
from tests.support.software import Program, fill, find_program, port_of, reserve_ports, running, session_by

pytestmark = pytest.mark.proxies

TEMPLATE = Path(__file__).parent / "haproxy.cfg"
FRONTENDS = ("web", "tcp", "retries")

Call = Callable[[AsyncSession], Awaitable[object]]
CALLS: dict[str, Call] = {
    "read": lambda session: get_customer(session, 7),
    "post": lambda session: edit_customer_balance(session, 7, 1),
    "put": lambda session: edit_customer_balance(session, 7, 1, method="PUT"),
    "code": lambda session: edit_customer_affiliate_code(session, 7, "A"),
}


@attrs.frozen
class Haproxy:
    """haproxy before a shop."""

    shop: Sandbox
    program: Program
    ports: dict[str, int]

    def session(self, frontend: str = "web", **options: Any) -> AbstractAsyncContextManager[AsyncSession]:
        return session_by(self.shop, self.ports[frontend], **options)

    def workers(self) -> set[int]:
        """Its processes but the first, which starts the others."""
        return set(self.program.members()) - {self.program.pid}

    async def reload(self) -> None:
        """Read the configuration anew; return when there is a new worker."""
        while not (old := self.workers()):
            await asyncio.sleep(0.001)
        os.kill(self.program.pid, signal.SIGUSR2)
        while not self.workers() - old:
            await asyncio.sleep(0.001)

    @asynccontextmanager
    async def tunnelled(self, how: str) -> AsyncIterator[AsyncSession]:
        """A session on a shop over TLS that is, or whose proxy is, what haproxy cannot reach."""
        here = f"127.0.0.1:{self.ports['tcp']}"
        base_url = f"https://{here}/v1" if how == "shop" else "https://shop.example/v1"
        proxy = None if how == "shop" else f"http://{here}"
        async with AsyncSession("key", shop_id=38, base_url=base_url, proxy=proxy, clock=InstantClock()) as session:
            yield session


@pytest.fixture
def haproxy(shop: Sandbox, tmp_path: Path) -> Iterator[Haproxy]:
    """Run haproxy before the shop."""
    with haproxy_before(shop, tmp_path) as haproxy:
        yield haproxy


@contextmanager
def haproxy_before(shop: Sandbox, folder: Path) -> Iterator[Haproxy]:
    program = find_program("haproxy")
    with reserve_ports(*FRONTENDS, "dead") as ports:
        config = fill(TEMPLATE, folder, shop=port_of(shop), **ports)
        listening = [ports[name] for name in FRONTENDS]
        with running([program, "-W", "-db", "-f", str(config)], ports=listening, folder=folder) as started:
            yield Haproxy(shop, started, ports)


@pytest.mark.parametrize("frontend", ["web", "retries"])
async def test_every_operation_does_what_it_says(haproxy: Haproxy, frontend: str) -> None:
    """Every operation does the same by way of haproxy as without."""
    async with haproxy.session(frontend) as session:
        await check_every_operation(session, haproxy.shop)


@pytest.mark.parametrize("frontend", ["web", "retries"])
@pytest.mark.parametrize("concurrency", CONCURRENCIES)
async def test_a_walk_delivers_everybody(haproxy: Haproxy, concurrency: int, frontend: str) -> None:
    """A walk by way of haproxy delivers everybody once and in order, at any concurrency, also under deletions."""
    async with haproxy.session(frontend) as session:
        await check_walks(session, haproxy.shop, concurrency)
        await check_walk_over_deletions(session, haproxy.shop, concurrency)


@pytest.mark.slow
async def test_references_make_each_edit_once_through_reloads_and_kills(tmp_path: Path) -> None:
    """Jobs that call again with their reference until they succeed leave each edit once, whatever haproxy suffers."""
    with Sandbox(PEOPLE, latency=LATENCY) as shop, haproxy_before(shop, tmp_path) as haproxy:

        async def disturb(jobs: Jobs) -> None:
            for _ in range(2):
                await jobs.more(20)
                await haproxy.reload()
                await jobs.more(20)
                await jobs.arriving()
                haproxy.program.kill()
                await jobs.failing()
                await asyncio.to_thread(haproxy.program.start)

        async with haproxy.session(retry=RetryPolicy(attempts=2)) as session:
            await check_references(session, shop, disturb)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("dead", ["shop", "proxy"])
async def test_what_got_no_tls_through_a_dead_backend_was_not_sent(haproxy: Haproxy, dead: str, call: str) -> None:
    """A request is known to be unsent where haproxy accepts the connection and has nobody to pass it on to."""
    async with haproxy.tunnelled(dead) as session:
        with pytest.raises(NotSentError) as caught:
            await CALLS[call](session)
    assert (4, False) == (caught.value.attempts, caught.value.maybe_applied)


@pytest.mark.parametrize("call", CALLS)
async def test_what_was_written_to_a_dead_backend_in_plain_is_in_doubt(haproxy: Haproxy, call: str) -> None:
    """Without TLS a request may be written before haproxy hangs up: an edit is then sent once, and in doubt."""
    written = 0

    async def count(*_: object) -> None:
        nonlocal written
        written += 1

    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(count)
    async with haproxy.session("tcp", trace_configs=[trace]) as session:
        with pytest.raises(TransportError) as caught:
            await CALLS[call](session)
    assert [] == haproxy.shop.requests
    if call in {"post", "put"}:
        assert written <= 1
    if written and call != "read":
        assert isinstance(caught.value, UnknownOutcomeError)
        assert caught.value.maybe_applied
    else:
        assert not caught.value.maybe_applied


@pytest.mark.parametrize("method", METHODS)
async def test_an_edit_that_haproxy_made_twice_is_told(
    haproxy: Haproxy, shop: Sandbox, method: Literal["POST", "PUT"], caplog: pytest.LogCaptureFixture
) -> None:
    """An edit that haproxy repeats is made twice behind one success; the reference tells it."""
    async with haproxy.session("retries") as session:
        shop.fail_next("drop_after", method=method)
        first = await edit_customer_balance(session, 7, 5, reference="gift", method=method)
        assert first.message
        assert 2 == len(shop.transactions(7))
        again = await edit_customer_balance(session, 7, 5, reference="gift", method=method)
        assert (True, True) == (again.replayed, again.duplicated)
    assert 2 == len(shop.transactions(7))
    assert "stands 2 times" in caplog.text


@pytest.mark.parametrize("method", METHODS)
async def test_a_lost_answer_makes_one_edit(haproxy: Haproxy, shop: Sandbox, method: Literal["POST", "PUT"]) -> None:
    """An edit whose answer is lost behind haproxy's defaults, which repeat nothing, is made once, and found."""
    async with haproxy.session() as session:
        shop.fail_next("drop_after", method=method)
        edit = await edit_customer_balance(session, 7, 5, reference="gift", method=method)
        assert (False, False) == (edit.replayed, edit.duplicated)
        assert [edit.transaction] == shop.transactions(7)
