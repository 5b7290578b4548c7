"""One session on many event loops: nothing is left when a loop ends, and walks end with it silently."""

import asyncio
import gc
import os
import sys
import textwrap
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest

from shopsdk import (
    AsyncSession,
    SessionStateError,
    edit_customer_balance,
    get_customer,
    iter_customers,
)
from shopsdk._http.session import core_of
from tests.support.needs import need
from tests.support.proxy import certificate_file, client_tls, tls_server
from tests.support.servers import CUSTOMER, ReceivedRequest, Wire, answer, page_of, raw_server, silence


def shop(heard: ReceivedRequest, wire: Wire) -> None:
    """Answer pages of a list of 20 customers, or one customer."""
    if not heard.target.partition("?")[0].endswith("/customers"):
        wire.send(answer(CUSTOMER))
        return
    page, size = heard.json["page"], heard.json["perPage"]
    rows = [{"id": n, "email": "a@b"} for n in range(1, 21)][(page - 1) * size : page * size]
    wire.send(answer(page_of(rows, page, last=-(-20 // size), per_page=size, total=20)))


@attrs.frozen
class Ended:
    """The exit code and the output of a program."""

    code: int | None
    out: str
    err: str


async def run(program: str, *options: str, **environment: str) -> Ended:
    """Run a program while this loop serves it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *options,
        "-c",
        textwrap.dedent(program),
        env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return Ended(process.returncode, out.decode(), err.decode())


TWENTY_RUNS = """
    import asyncio, gc, logging, os, sys, threading
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # a busy machine makes callbacks slow, and -X dev tells
    if os.environ["AIODNS"] == "absent":
        sys.modules["aiodns"] = None
    from shopsdk import *

    sessions = [AsyncSession("key", shop_id=38, base_url=url) for url in os.environ["URLS"].split()]
    left = []

    async def leave(walk):
        async for _ in walk:
            left.append(walk)  # by a bare break, and kept: nobody but the loop can end it
            return

    async def job():
        for session in sessions:
            await get_customer(session, 7)
            await edit_customer_balance(session, 7, 1)
            # uvloop itself complains of a request over TLS that is cancelled while its answer comes in
            if os.environ["LOOP"] == "asyncio" or session.base_url.startswith("http:"):
                await leave(iter_customers(session, per_page=2, concurrency=4))
                await leave(iter_customer_pages(session, per_page=2))

    def counts():
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), threading.active_count()

    run = asyncio.run if os.environ["LOOP"] == "asyncio" else __import__("uvloop").run
    run(job())
    gc.collect()
    gc.disable()
    collections = []
    gc.callbacks.append(lambda phase, info: collections.append(phase))
    before = counts()
    for _ in range(20):
        run(job())
    for _ in range(100_000):  # a thread that has been joined may be in the kernel's list for a moment
        if before == (after := counts()):
            break
        os.sched_yield()
    print(before == after or (before, after), collections, [repr(s).split()[-1] for s in sessions])
    gc.callbacks.clear()
"""


@pytest.mark.slow
@pytest.mark.parametrize("aiodns", ["present", "absent"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_twenty_loops_leave_nothing_behind(loop: str, aiodns: str, tmp_path: Path) -> None:
    """A module-level session leaves no descriptor, thread or task behind a loop, and collects no heap."""
    if loop == "uvloop":
        need("uvloop")
    if aiodns == "present":
        need("aiodns")
    async with raw_server(shop) as plain, tls_server(shop) as tls:
        urls = f"http://localhost:{plain.port}/v1 https://localhost:{tls.port}/v1"
        ended = await run(
            TWENTY_RUNS,
            *("-X", "dev", "-W", "error"),
            URLS=urls,
            LOOP=loop,
            AIODNS=aiodns,
            SSL_CERT_FILE=certificate_file(tmp_path),
        )
    assert Ended(0, "True [] ['unopened>', 'unopened>']\n", "") == ended


LEFT_ALONE = """
    import asyncio, logging, os
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    from shopsdk import *

    session = AsyncSession("key", shop_id=38, base_url=os.environ["URL"])
    kept = []

    async def leave(walk):
        async for _ in walk:
            kept.append(walk)
            break

    async def fail(walk):
        async for _ in walk:
            kept.append(walk)
            raise LookupError

    async def main():
        for concurrency in (1, 4):
            for stop in (leave, fail):
                for walk in (
                    iter_customers(session, per_page=2, concurrency=concurrency),
                    iter_customer_pages(session, per_page=2, concurrency=concurrency),
                    paginate(session, ["shops", 38, "customers"], Customer, per_page=2, concurrency=concurrency),
                ):
                    try:
                        await stop(walk)
                    except LookupError:
                        pass
                    if concurrency == 4:
                        kept.clear()  # the collector, not the loop, is the first to see it
        waiting = asyncio.ensure_future(asyncio.sleep(3600))  # other things that a program leaves to its end
        kept.append(waiting)

    asyncio.run(main())
    asyncio.run(main())
"""


@pytest.mark.slow
async def test_a_walk_that_is_left_alone_ends_with_its_loop_without_a_word() -> None:
    """A walk left by a bare break or an exception ends with its loop, and nothing is printed."""
    async with raw_server(shop) as server:
        ended = await run(LEFT_ALONE, "-X", "dev", "-W", "error", URL=server.base_url)
    assert Ended(0, "", "") == ended


CLOSED_BY_HAND = """
    import asyncio, logging, os
    from shopsdk import *

    session = AsyncSession("key", shop_id=38, base_url=os.environ["URL"])
    for _ in range(3):
        loop = asyncio.new_event_loop()
        print(loop.run_until_complete(get_customer(session, 7)).id)
        loop.close()
    asyncio.run(session.close())
"""


@pytest.mark.slow
async def test_a_loop_that_is_closed_by_hand_is_followed_by_another() -> None:
    """A loop closed without its shutdown leaves its sockets to the collector, and the session goes on in the next."""
    async with raw_server(shop) as server:
        ended = await run(CLOSED_BY_HAND, URL=server.base_url)
    assert Ended(0, "7\n7\n7\n", "") == ended


FORKED = """
    import asyncio, os
    from shopsdk import *

    session = AsyncSession("key", shop_id=38, base_url=os.environ["URL"])
    loop = asyncio.new_event_loop()
    loop.run_until_complete(get_customer(session, 7))

    def watched():
        with open(f"/proc/self/fdinfo/{loop._selector.fileno()}") as kernel:
            return sorted(line for line in kernel if line.startswith("tfd"))

    before = watched()
    connector = session._core._runtime._transport.connector
    child = os.fork()
    if child == 0:
        connector.__del__()  # as the collector may, when the child ends
        os._exit(0)
    os.waitpid(child, 0)
    print(len(before), before == watched())
    loop.run_until_complete(get_customer(session, 7))
    loop.run_until_complete(session.close())
    loop.close()
"""


@pytest.mark.slow
async def test_a_forked_child_that_drops_the_session_leaves_its_parents_selector_alone() -> None:
    """A child that drops the unused session takes no socket of its parent's out of the selector."""
    async with raw_server(shop) as server:
        ended = await run(FORKED, URL=server.base_url)
    assert (0, "2 True\n") == (ended.code, ended.out)
    assert 1 == server.connections


async def test_a_tls_close_that_nobody_answers_is_cut_off() -> None:
    """A TLS connection whose server is silent is gone when the session is closed."""
    over = asyncio.Event()

    async def fall_silent(_heard: ReceivedRequest, wire: Wire) -> None:
        wire.send(answer({}))
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await over.wait()

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    async with tls_server(fall_silent) as server, aiohttp.TCPConnector(ssl=client_tls()) as connector:
        before = descriptors()
        session = AsyncSession("key", shop_id=38, base_url=f"https://localhost:{server.port}/v1", connector=connector)
        await edit_customer_balance(session, 7, 1)
        await session.close()
        assert before + 1 == descriptors()  # the server's end
        over.set()


# --- closing


async def left_by_break(walk: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
    async for _ in walk:
        break
    return walk


async def test_a_second_close_waits_for_the_first() -> None:
    """A second close returns when the first has closed the session."""
    held = asyncio.Event()
    order: list[str] = []

    async def ends_slowly() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await held.wait()
            order.append("the tasks")

    async def close(name: str) -> None:
        await session.close()
        order.append(name)

    async with raw_server(shop) as server:
        session = server.session()
        await get_customer(session, 7)
        core_of(session).runtime().spawn(ends_slowly())
        await asyncio.sleep(0)
        closing = [asyncio.create_task(close(name)) for name in ("first", "second", "third")]
        for _ in range(10):
            await asyncio.sleep(0)
        assert [] == order
        held.set()
        await asyncio.gather(*closing)
        await session.close()
    assert "the tasks" == order[0]
    assert {"first", "second", "third"} == set(order[1:])


async def test_a_closed_session_leaves_the_loop_nothing_to_do() -> None:
    """A closed session leaves the loop no task when it is collected."""
    async with raw_server(shop) as server:
        session = server.session()
        await get_customer(session, 7)
        await session.close()
        before = asyncio.all_tasks()
        del session
        gc.collect()
        for _ in range(3):
            await asyncio.sleep(0)
            assert asyncio.all_tasks() <= before


async def test_a_close_that_is_cancelled_lets_the_second_go_on() -> None:
    """A second close returns though the first is cancelled."""

    async def ends_slowly() -> None:
        await asyncio.get_running_loop().create_future()

    async with raw_server(shop) as server:
        session = server.session()
        core_of(session).runtime().spawn(ends_slowly())
        await asyncio.sleep(0)
        first = asyncio.create_task(session.close())
        await asyncio.sleep(0)
        second = asyncio.create_task(session.close())
        await asyncio.sleep(0)
        first.cancel()
        await second
        await asyncio.gather(first, return_exceptions=True)
        assert repr(session).endswith("closed>")


Closer = Callable[[AsyncSession], Any]


async def close_directly(session: AsyncSession) -> None:
    await session.close()


async def close_in_a_task(session: AsyncSession) -> None:
    await asyncio.create_task(session.close())


@pytest.mark.parametrize("closer", [close_directly, close_in_a_task])
async def test_a_close_from_what_the_first_close_waits_for_returns_at_once(closer: Closer) -> None:
    """A second close, from a trace hook that the first waits for, returns at once."""
    called: list[str] = []

    async def on_exception(*_: object) -> None:
        called.append("second")
        await closer(session)

    trace = aiohttp.TraceConfig()
    trace.on_request_exception.append(on_exception)
    first_page = answer(page_of([CUSTOMER], 1, last=9, per_page=1, total=9))
    async with raw_server(first_page, silence) as server:
        session = server.session(trace_configs=[trace])
        walk = await left_by_break(iter_customers(session, per_page=1, concurrency=3))
        while len(server.heard) < 4:
            await asyncio.sleep(0)
        await session.close()
        assert called
        await walk.aclose()
    assert repr(session).endswith("closed>")


@pytest.mark.parametrize("closer", [close_directly, close_in_a_task])
async def test_a_first_close_from_a_hook_ends_too(closer: Closer) -> None:
    """A trace hook of a call that closes the session ends with that call."""

    async def on_end(*_: object) -> None:
        await closer(session)

    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(on_end)
    async with raw_server(shop) as server:
        session = server.session(trace_configs=[trace])
        await asyncio.gather(get_customer(session, 7), return_exceptions=True)
        assert repr(session).endswith("closed>")
        with pytest.raises(SessionStateError, match="closed"):
            await get_customer(session, 7)


async def test_a_close_in_a_generator_of_the_users_ends_with_the_loop() -> None:
    """A user's own generator can close the session as the loop shuts down."""

    async def fixture(url: str) -> AsyncGenerator[AsyncSession, None]:
        session = AsyncSession("key", shop_id=38, base_url=url)
        try:
            yield session
        finally:
            await session.close()

    problems: list[dict[str, Any]] = []
    kept: list[object] = []

    async def use(url: str) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        for _ in range(5):
            generator = fixture(url)
            await get_customer(await anext(generator), 7)
            kept.append(generator)

    async with raw_server(shop) as server:
        await asyncio.to_thread(asyncio.run, use(server.base_url))
    assert [] == problems


FORKED_AND_USED = """
import asyncio, os, sys
from shopsdk import AsyncSession, get_customer

session = AsyncSession("raw-key", shop_id=38, base_url=sys.argv[1])
loop = asyncio.new_event_loop()


async def use():
    assert 7 == (await get_customer(session, 7)).id


def watched():
    with open(f"/proc/self/fdinfo/{loop._selector.fileno()}") as kernel:
        return sorted(line for line in kernel if line.startswith("tfd"))


loop.run_until_complete(use())
before = watched()
child = os.fork()
if child == 0:
    asyncio.run(use())
    sys.exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), len(before), before == watched())
loop.run_until_complete(use())
loop.run_until_complete(session.close())
loop.close()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's list of what a selector watches")
async def test_a_forked_child_leaves_its_parent_s_connection_and_selector_alone() -> None:
    """A child that uses the session and exits leaves its parent's selector and kept connection as they were."""
    async with raw_server(answer(CUSTOMER)) as server:
        program = await asyncio.create_subprocess_exec(
            sys.executable, "-c", FORKED_AND_USED, server.base_url, stdout=PIPE, stderr=PIPE
        )
        out, err = await program.communicate()
    assert (b"0 2 True\n", b"") == (out, err)
    assert [1, 2, 1] == [heard.connection for heard in server.heard]
