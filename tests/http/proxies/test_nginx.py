"""nginx between a session and its shop: TLS, reloads, kills, rate limits, a second upstream, a cache."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager
from pathlib import Path
from typing import Any, Literal

import aiohttp
import attrs
import pytest

from shopsdk import (
    AsyncSession,
    Clock,
    RateLimitedError,
    ResponseError,
    RetryPolicy,
    ServerError,
    TransportError,
    UnknownOutcomeError,
    edit_customer_affiliate_code,
    edit_customer_balance,
    find_balance_edit,
    get_customer,
    get_customer_balance_transactions,
    iter_customer_pages,
)
from shopsdk.export import ExportProgress, export_customers
from shopsdk.sandbox import Sandbox
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
    ids_of,
)
from tests.security.test_secrecy import KEY, key_stays_in, watching
from tests.support.software import (
    Program,
    fill,
    find_program,
    port_of,
    reserve_ports,
    running,
    session_by,
    write_certificate,
)

pytestmark = pytest.mark.proxies

TEMPLATE = Path(__file__).parent / "nginx.conf"
SERVERS = ("tls", "first_503", "first_429", "some_503", "some_429", "two", "two_resend", "cache")


@attrs.frozen
class Nginx:
    """nginx before a shop."""

    shop: Sandbox
    program: Program
    ports: dict[str, int]

    def session(self, server: str = "tls", **options: Any) -> AbstractAsyncContextManager[AsyncSession]:
        return session_by(self.shop, self.ports[server], tls=server == "tls", **options)

    def workers(self) -> set[int]:
        """The worker processes that take new connections."""
        lines = self.program.members().items()
        return {pid for pid, line in lines if "worker process" in line and "shutting down" not in line}

    async def both_workers(self) -> set[int]:
        """Wait until it has both of its workers, and so heeds signals."""
        while len(workers := self.workers()) < 2:
            await asyncio.sleep(0.001)
        return workers

    async def kill_workers(self, once: Callable[[], Awaitable[None]] | None = None) -> None:
        """Kill all workers, old ones included, once something has happened; nginx starts others."""
        await self.both_workers()
        workers = [pid for pid, line in self.program.members().items() if "worker process" in line]
        if once is not None:
            await once()
        self.program.kill(workers)

    async def reload(self) -> None:
        """Read the configuration anew; return when new workers have replaced the old ones."""
        old = await self.both_workers()
        os.kill(self.program.pid, signal.SIGHUP)
        while await self.both_workers() & old:
            await asyncio.sleep(0.001)


@pytest.fixture
def nginx(shop: Sandbox, tmp_path: Path) -> Iterator[Nginx]:
    """Run nginx before the shop."""
    with nginx_before(shop, tmp_path) as nginx:
        yield nginx


@contextmanager
def nginx_before(shop: Sandbox, folder: Path) -> Iterator[Nginx]:
    program = find_program("nginx")
    chain, key = write_certificate(folder)
    with reserve_ports(*SERVERS) as ports:
        config = fill(TEMPLATE, folder, folder=folder, chain=chain, key=key, shop=port_of(shop), **ports)
        command = [program, "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(config)]
        with running(command, ports=list(ports.values()), folder=folder) as started:
            yield Nginx(shop, started, ports)


# --- TLS, gzip, connections that are closed soon


async def test_every_operation_does_what_it_says(nginx: Nginx) -> None:
    """Every operation does the same by way of nginx with TLS, gzip and kept connections as without."""
    encodings: list[str | None] = []

    async def note(_session: object, _context: object, params: aiohttp.TraceRequestEndParams) -> None:
        encodings.append(params.response.headers.get("Content-Encoding"))

    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(note)
    async with nginx.session(trace_configs=[trace]) as session:
        await check_every_operation(session, nginx.shop)
    assert "gzip" in encodings


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
async def test_a_walk_delivers_everybody(nginx: Nginx, concurrency: int) -> None:
    """A walk by way of nginx delivers everybody once and in order, at any concurrency, while customers are deleted."""
    async with nginx.session() as session:
        await check_walks(session, nginx.shop, concurrency)
        await check_walk_over_deletions(session, nginx.shop, concurrency)


def block_the_loop(seconds: float) -> None:
    time.sleep(seconds)


@pytest.mark.slow
async def test_no_edit_is_lost_on_a_connection_that_was_closed_unseen(nginx: Nginx) -> None:
    """Every edit is made, though nginx has closed all kept connections while the event loop was blocked."""
    people = range(1, 17)
    async with nginx.session() as session:
        await asyncio.gather(*(get_customer(session, number) for number in people))
        block_the_loop(1.5)  # longer than nginx's keepalive_timeout
        await asyncio.gather(
            *(edit_customer_balance(session, number, 1, method=METHODS[number % 2]) for number in people)
        )
        assert [1] * len(people) == [len(nginx.shop.transactions(number)) for number in people]
        await asyncio.gather(*(get_customer(session, number) for number in people))
        block_the_loop(1.5)
        assert list(people) == [c.id for c in await asyncio.gather(*(get_customer(session, n) for n in people))]


# --- reloads and kills


@pytest.mark.slow
async def test_references_make_each_edit_once_through_reloads_and_kills(tmp_path: Path) -> None:
    """Jobs that call again with their reference until they succeed leave each edit once, whatever becomes of nginx."""
    with Sandbox(PEOPLE, latency=LATENCY) as shop, nginx_before(shop, tmp_path) as nginx:

        async def disturb(jobs: Jobs) -> None:
            await jobs.more(10)
            await nginx.reload()
            for _ in range(3):
                await jobs.more(20)
                await nginx.kill_workers(jobs.arriving)
            await jobs.more(20)
            await nginx.both_workers()
            nginx.program.kill([nginx.program.pid])  # its workers go on without it
            await jobs.more(20)
            await jobs.arriving()
            nginx.program.kill()
            await jobs.failing()
            await asyncio.to_thread(nginx.program.start)
            await jobs.more(10)
            await nginx.reload()
            await nginx.kill_workers(jobs.arriving)
            nginx.program.kill()
            await jobs.failing()
            await asyncio.to_thread(nginx.program.start)

        async with nginx.session(retry=RetryPolicy(attempts=2)) as session:
            await check_references(session, shop, disturb)


@pytest.mark.parametrize("method", METHODS)
async def test_an_edit_under_way_when_workers_are_killed_is_found(
    nginx: Nginx, shop: Sandbox, method: Literal["POST", "PUT"]
) -> None:
    """An edit whose answer dies with nginx's worker is looked up and found, and is made once."""
    async with nginx.session() as session:
        shop.fail_next("slow", method=method, seconds=60)
        task = asyncio.create_task(edit_customer_balance(session, 7, 5, reference="gift", method=method))
        while method not in [request.method for request in shop.requests]:
            await asyncio.sleep(0.001)
        await nginx.kill_workers()
        edit = await task
    assert [edit.transaction] == shop.transactions(7)
    assert (None, False, False) == (edit.message, edit.replayed, edit.duplicated)


async def test_an_edit_under_way_when_workers_are_killed_is_in_doubt_without_a_reference(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An edit without a reference whose answer dies with nginx's worker is sent once, is in doubt, and shows no key."""
    with Sandbox(PEOPLE, api_key=KEY) as shop, nginx_before(shop, tmp_path) as nginx:
        async with nginx.session() as session:
            shop.fail_next("slow", method="POST", seconds=60)
            task = asyncio.create_task(edit_customer_balance(session, 7, 5))
            while not shop.requests:
                await asyncio.sleep(0.001)
            await nginx.kill_workers()
            async with watching(caplog) as seen:
                await task
        assert isinstance(seen.caught, UnknownOutcomeError)
        assert seen.caught.maybe_applied
        assert 1 == len(shop.transactions(7)) == len(shop.requests)
        key_stays_in(seen, deep=False)  # the frames hold the shop, which knows the key


async def test_an_edit_under_way_at_a_reload_is_answered(nginx: Nginx, shop: Sandbox) -> None:
    """An edit that is under way when nginx reloads is answered by the old worker, and is made once."""
    async with nginx.session() as session:
        shop.fail_next("slow", method="POST", seconds=0.3)
        task = asyncio.create_task(edit_customer_balance(session, 7, 5))
        while not shop.requests:
            await asyncio.sleep(0.001)
        await nginx.reload()
        assert (await task).message
    assert 1 == len(shop.transactions(7)) == len(shop.requests)


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
async def test_a_walk_survives_a_reload_and_the_death_of_workers(nginx: Nginx, concurrency: int) -> None:
    """A walk goes on past a reload, and past workers that are killed under it: everybody comes once."""
    came: list[int] = []
    async with nginx.session(retry=RetryPolicy(attempts=8)) as session:  # one page may be hit each time
        async with aclosing(iter_customer_pages(session, per_page=10, concurrency=concurrency)) as pages:
            async for page in pages:
                came += [customer.id for customer in page.data]
                if page.current_page == 5:
                    await nginx.reload()
                if page.current_page in {9, 13, 17}:
                    await nginx.kill_workers()
    assert [customer.id for customer in nginx.shop.customers()] == came


@pytest.mark.parametrize("name", ["customers.ndjson", "customers.csv.gz"])
async def test_an_export_that_nginx_broke_off_goes_on(tmp_path: Path, name: str) -> None:
    """An export broken off by the death of nginx goes on afterwards: the same bytes, and no page asked for twice."""
    straight, broken = tmp_path / f"straight-{name}", tmp_path / name
    with Sandbox(2_500) as shop, nginx_before(shop, tmp_path) as nginx:
        async with shop.session() as session:
            await export_customers(session, straight)

        def kill_at_page_6(progress: ExportProgress) -> None:
            if progress.page == 6:
                nginx.program.kill()

        async with nginx.session() as session:
            with pytest.raises(TransportError):
                await export_customers(session, broken, on_progress=kill_at_page_6)
            assert not broken.exists()
            shop.requests.clear()
            await asyncio.to_thread(nginx.program.start)
            summary = await export_customers(session, broken, resume=True)
        assert 2_500 == summary.rows
        assert straight.read_bytes() == broken.read_bytes()
        asked = [int(request.query["page"]) for request in shop.requests]
        assert min(asked) >= 6
        assert len(asked) == len(set(asked))


# --- limit_req


@pytest.mark.parametrize(
    ("server", "kind", "status"), [("first_503", ServerError, 503), ("first_429", RateLimitedError, 429)]
)
@pytest.mark.parametrize("concurrency", CONCURRENCIES)
async def test_a_walk_that_a_limit_ends_says_where(
    nginx: Nginx, server: str, kind: type[ResponseError], status: int, concurrency: int
) -> None:
    """A walk that nginx's limit ends raises a ServerError for a 503, a RateLimitedError for a 429, with the page."""
    came: list[int] = []
    async with nginx.session(server) as session:
        with pytest.raises(kind) as caught:
            async with aclosing(iter_customer_pages(session, per_page=10, concurrency=concurrency)) as pages:
                async for page in pages:
                    came += [customer.id for customer in page.data]
    assert (status, 2, 4, False) == (
        caught.value.status,
        caught.value.page,
        caught.value.attempts,
        caught.value.maybe_applied,
    )
    assert caught.value.retry_after is None
    assert list(range(1, 11)) == came  # every page before it


@pytest.mark.slow
@pytest.mark.parametrize("server", ["some_503", "some_429"])
async def test_a_walk_gets_past_a_limit_with_patience(nginx: Nginx, server: str) -> None:
    """A walk at concurrency 16 comes whole past nginx's limit, where its attempts reach for longer than the limit."""
    patient = RetryPolicy(attempts=60, wait_initial=0.05, wait_max=0.5)
    async with nginx.session(server, retry=patient, clock=Clock()) as session:
        everybody = [customer.id for customer in nginx.shop.customers()]
        assert everybody == await ids_of(session, per_page=10, concurrency=16)


@pytest.mark.parametrize(("server", "in_doubt"), [("first_503", True), ("first_429", False)])
async def test_an_edit_that_a_limit_refuses_is_not_made(nginx: Nginx, server: str, in_doubt: bool) -> None:
    """An edit that nginx's limit refuses is not made; a 429 says so, and a 503 leaves doubt and is not repeated."""
    async with nginx.session(server) as session:
        await get_customer(session, 7)
        with pytest.raises(ResponseError) as caught:
            await edit_customer_balance(session, 7, 5)
    assert (in_doubt, 1 if in_doubt else 4) == (caught.value.maybe_applied, caught.value.attempts)
    assert [] == nginx.shop.transactions(7)


# --- a second upstream


async def test_a_lost_answer_to_a_post_makes_one_edit(nginx: Nginx, shop: Sandbox) -> None:
    """A POST whose answer is lost is not passed on to nginx's next upstream: it is made once, and found."""
    async with nginx.session("two") as session:
        shop.fail_next("drop_after", method="POST")
        edit = await edit_customer_balance(session, 7, 5, reference="gift")
        assert (False, False) == (edit.replayed, edit.duplicated)
        assert [edit.transaction] == shop.transactions(7)


@pytest.mark.parametrize(("server", "method"), [("two", "PUT"), ("two_resend", "POST"), ("two_resend", "PUT")])
async def test_an_edit_that_nginx_made_twice_is_told(
    nginx: Nginx, shop: Sandbox, server: str, method: Literal["POST", "PUT"], caplog: pytest.LogCaptureFixture
) -> None:
    """An edit that nginx sends to a second upstream is made twice behind one success; the reference tells it."""
    async with nginx.session(server) as session:
        shop.fail_next("drop_after", method=method)
        first = await edit_customer_balance(session, 7, 5, reference="gift", method=method)
        assert first.message
        assert 2 == len(shop.transactions(7))
        again = await edit_customer_balance(session, 7, 5, reference="gift", method=method)
        assert (True, True) == (again.replayed, again.duplicated)
        assert shop.transactions(7)[0] == await find_balance_edit(session, 7, "gift")
    assert 2 == len(shop.transactions(7))
    assert "stands 2 times" in caplog.text


@pytest.mark.parametrize("method", METHODS)
async def test_an_edit_that_was_lost_on_a_kept_upstream_connection_is_told_truly(
    nginx: Nginx, shop: Sandbox, method: Literal["POST", "PUT"]
) -> None:
    """A reference tells how often an edit was made, whether or not nginx repeats it on losing a kept connection."""
    async with nginx.session() as session:
        await asyncio.gather(*(get_customer(session, number) for number in range(1, 61)))  # so that some are kept
        shop.fail_next("drop_after", method=method)
        await edit_customer_balance(session, 7, 5, reference="gift", method=method)
        again = await edit_customer_balance(session, 7, 5, reference="gift", method=method)
    made = len(shop.transactions(7))
    assert (True, made > 1) == (again.replayed, again.duplicated)
    assert made == 1 or (method, made) == ("PUT", 2)


async def test_reads_and_codes_get_past_lost_answers(nginx: Nginx, shop: Sandbox) -> None:
    """A read, and an affiliate code that is set, succeed though the first upstream's answer is lost."""
    async with nginx.session("two") as session:
        for number in (1, 2, 3):
            shop.fail_next("drop_after", method="GET")
            assert number == (await get_customer(session, number)).id
            shop.fail_next("drop_after", method="PUT")
            await edit_customer_affiliate_code(session, number, f"CODE{number}")
    assert ["CODE1", "CODE2", "CODE3"] == [customer.affiliate_code for customer in shop.customers()[:3]]


# --- a cache


async def test_a_cache_that_heeds_nobody_makes_no_reference_two_edits(nginx: Nginx, shop: Sandbox) -> None:
    """A reference stays one edit, pages and filters stay apart, though nginx keeps each URL for long."""
    async with nginx.session("cache") as session:
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
