"""The fixtures for users' tests, in the cases that ``tests/consumer`` leaves out."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from shopsdk import Customer, RateLimit, RetryPolicy, Timeout, get_customer
from shopsdk.sandbox import Sandbox
from shopsdk.testing import InstantClock
from tests.support.examples import README, blocks
from tests.support.needs import is_installed, need


@pytest.fixture(autouse=True)
def _processes_are_not_measured() -> None:
    """Have coverage measure processes: the fixtures run in them alone."""


def run_suite(folder: Path, test: str, *, conftest: str = "", ini: str = "", **others: str) -> str:
    """Run a suite of one file, or more, as its owner would; return pytest's output."""
    (folder / "pytest.ini").write_text(
        f"[pytest]\naddopts = --strict-markers\nasyncio_default_fixture_loop_scope = session\n{ini}\n"
    )
    (folder / "conftest.py").write_text('pytest_plugins = ["shopsdk.testing"]\n' + conftest)
    for name, text in ({"it": test} | others).items():
        (folder / f"test_{name}.py").write_text("import asyncio, os, sys, pytest\n" + text)
    command = [sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout


README_TEST = next(block for block in blocks(README.read_text(encoding="utf-8"), "python") if "shop_session" in block)

NOTHING_IS_LEFT = """
import os, threading, pytest
from pathlib import Path

def held():
    files = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    connections = {line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]}
    return sum(name.partition("socket:")[2].strip("[]") in connections for name in files), threading.active_count()

@pytest.fixture(autouse=True)
def nothing_is_left():  # the first that is set up, and so the last that ends
    before = held()
    yield
    assert before == held()
"""

USES = """
from shopsdk import get_customer, iter_customers

pytestmark = pytest.mark.shop(customers=50)

async def use(shop, session, clock):
    shop.fail_next("rate_limit", retry_after=60)
    async for customer in iter_customers(session, per_page=5, concurrency=4):
        break
    assert customer == await get_customer(session, customer.id)
    assert clock.slept[0] >= 60
"""

SCOPES = """
@pytest.mark.asyncio
@pytest.mark.parametrize("time", [1, 2])
async def test_function(time, shop_sandbox, shop_session, shop_clock):
    await use(shop_sandbox, shop_session, shop_clock)

@pytest.mark.asyncio(loop_scope="class")
class TestClass:
    async def test_class(self, shop_sandbox, shop_session, shop_clock):
        await use(shop_sandbox, shop_session, shop_clock)

    async def test_class_again(self, shop_sandbox, shop_session, shop_clock):
        await use(shop_sandbox, shop_session, shop_clock)

@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("time", [1, 2])
async def test_module(time, shop_sandbox, shop_session, shop_clock):
    await use(shop_sandbox, shop_session, shop_clock)

@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("time", [1, 2])
async def test_session(time, shop_sandbox, shop_session, shop_clock):
    await use(shop_sandbox, shop_session, shop_clock)
"""

ANYIO = """
@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"

@MARK
async def test_loop_of_its_own(shop_sandbox, shop_session, shop_clock):
    await use(shop_sandbox, shop_session, shop_clock)

@pytest.fixture(scope="module")
async def kept(anyio_backend):
    yield asyncio.get_running_loop()

@MARK
@pytest.mark.parametrize("time", [1, 2])
async def test_loop_of_the_module(time, kept, shop_sandbox, shop_session, shop_clock):
    assert kept is asyncio.get_running_loop()
    await use(shop_sandbox, shop_session, shop_clock)
"""

BY_HAND = """
@pytest.mark.parametrize("run", [asyncio.run, asyncio.new_event_loop().run_until_complete])
def test_by_hand(run, shop_sandbox, shop_session, shop_clock):
    run(use(shop_sandbox, shop_session, shop_clock))

def test_not_at_all(shop_session):
    assert "unopened" in repr(shop_session)
"""


@pytest.mark.slow
def test_the_session_serves_every_loop_scope(tmp_path: Path) -> None:
    """``shop_session`` serves every loop scope of pytest-asyncio, anyio's plugin and bare loops; nothing is left.

    The README's own test is among them, where fixtures run on the loop of the whole session by default.
    """
    anyio = {"anyio": USES + ANYIO.replace("MARK", "pytest.mark.anyio")} if is_installed("anyio") else {}
    output = run_suite(
        tmp_path,
        USES + SCOPES,
        conftest=NOTHING_IS_LEFT,
        readme=README_TEST,
        by_hand=USES + BY_HAND,
        **anyio,
    )
    assert f" {12 + 3 * len(anyio)} passed in " in output, output


@pytest.mark.slow
def test_the_session_serves_anyio_s_auto_mode(tmp_path: Path) -> None:
    """``shop_session`` works where anyio's plugin runs every coroutine, the README's own test included."""
    need("anyio")
    output = run_suite(
        tmp_path,
        USES + ANYIO.replace("@MARK", ""),
        conftest=NOTHING_IS_LEFT,
        ini="anyio_mode = auto",
        readme=README_TEST,
    )
    assert " 4 passed in " in output, output


async def test_waits_take_no_time_and_are_recorded() -> None:
    """Waits take no time, and the clock records each of them."""
    clock = InstantClock(chance=0.0)
    with Sandbox([Customer(id=7, email="x@example.com")]) as shop:
        async with shop.session(clock=clock, retry=RetryPolicy(attempts=9)) as session:
            shop.fail_next("rate_limit", retry_after=60)
            await get_customer(session, 7)
            clock.chance = 0.5
            shop.fail_next("error_500", times=6)
            await get_customer(session, 7)
    assert [60.0, 0.25, 0.5, 1.0, 2.0, 4.0, 4.0] == clock.slept
    assert (71.75, 71.75) == (clock.time, clock.now())
    assert f"<InstantClock at 71.75 s, slept {clock.slept}>" == repr(clock)


async def test_turns_of_a_session_s_own_rate_limit_take_no_time() -> None:
    """A session's own rate limit is paced on its clock."""
    clock = InstantClock()
    with Sandbox([Customer(id=7, email="x@example.com")]) as shop:
        hourly, patient = RateLimit(max_requests=1, per_seconds=3600), Timeout(deadline=7200)
        async with shop.session(clock=clock, rate_limit=hourly, timeout=patient) as session:
            for _ in range(3):
                await get_customer(session, 7)
    assert [3600.0, 3600.0] == clock.slept


async def test_sleepers_wake_in_the_order_of_their_times() -> None:
    """Tasks that wait side by side wake in the order of their times."""
    clock = InstantClock()
    woke: list[tuple[str, float]] = []

    async def sleeper(name: str, *naps: float) -> None:
        for nap in naps:
            await clock.sleep(nap)
            woke.append((name, clock.now()))

    async with asyncio.TaskGroup() as tasks:
        for name, naps in (("long", [10.0]), ("short", [1.0, 2.0, 3.0]), ("none", [0.0]), ("back", [-5.0])):
            tasks.create_task(sleeper(name, *naps))
    assert [("none", 0.0), ("back", 0.0), ("short", 1.0), ("short", 3.0), ("short", 6.0), ("long", 10.0)] == woke


async def test_a_cancelled_sleeper_delays_no_other() -> None:
    """A sleeper that is cancelled delays no other."""
    clock = InstantClock()
    first = asyncio.ensure_future(clock.sleep(1.0))
    second = asyncio.ensure_future(clock.sleep(2.0))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert ([1.0, 2.0], 2.0) == (clock.slept, clock.time)


@pytest.mark.slow
def test_the_environment_leads_to_the_sandbox(tmp_path: Path) -> None:
    """The environment names a test's sandbox while it runs; the next test has its own, or none."""
    test = """
names = ("SHOPSDK_API_KEY", "SHOPSDK_SHOP_ID", "SHOPSDK_BASE_URL")

@pytest.mark.shop(shop_id=39)
def test_one(shop_sandbox):
    assert [shop_sandbox.api_key, "39", shop_sandbox.base_url] == [os.environ[name] for name in names]

def test_two():
    assert [None] * 3 == [os.environ.get(name) for name in names]
"""
    again = """
from decimal import Decimal
from shopsdk import AsyncSession, Customer, get_customer

async def read_balance():
    async with AsyncSession() as session:
        return (await get_customer(session, 7)).balance

class app:
    session = AsyncSession("12345|real", shop_id=1)

    async def read_balance():
        return (await get_customer(app.session, 7)).balance

@pytest.mark.parametrize("balance", [1, 2, 3])
def test_one_after_the_other(balance, shop_sandbox, shop_session, monkeypatch):
    assert [] == shop_sandbox.customers()
    shop_sandbox.add_customer(Customer(id=7, email="ada@example.com"), balance=Decimal(balance))
    assert balance == asyncio.run(read_balance())
    monkeypatch.setattr(app, "session", shop_session)
    assert balance == asyncio.run(app.read_balance())
    assert 2 == len(shop_sandbox.requests)

@pytest.mark.shop(customers=3, shop_id=[38, 39])
@pytest.mark.parametrize("time", [1, 2])
def test_several_shops(time, shop_sandbox, shop_session):
    assert "38" == os.environ["SHOPSDK_SHOP_ID"]
    other = shop_sandbox.customers(shop_id=39)[0]
    assert other == asyncio.run(get_customer(shop_session, other.id, shop_id=39))
    shop_sandbox.remove_customer(other.id, shop_id=39)
"""
    assert "7 passed" in run_suite(tmp_path, test, again=again)


@pytest.mark.slow
def test_a_marker_that_makes_no_sense_says_so(tmp_path: Path) -> None:
    """The marker is known to ``--strict-markers``, and wrong arguments of it are errors with the reason."""
    marked = {"one": "50", "two": "customer=50", "three": "customers=-1", "right": "customers=3"}
    tests = [f"@pytest.mark.shop({given})\ndef test_{name}(shop_sandbox): pass\n" for name, given in marked.items()]
    output = run_suite(tmp_path, "".join(tests))
    assert "1 passed, 3 errors" in output
    for name, words in (("one", "takes its arguments by name"), ("two", "unexpected keyword"), ("three", "0 or more")):
        assert re.search(f"ERROR at setup of test_{name} (?s:.*?)^E .*{words}", output, re.MULTILINE), output


@pytest.mark.slow
def test_pytest_tells_that_a_shop_is_empty_by_default(tmp_path: Path) -> None:
    """``pytest --fixtures`` and ``pytest --markers`` say that the shop has no customers unless they are asked for."""
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["shopsdk.testing"]\n')
    (tmp_path / "test_it.py").write_text("def test_it(): pass\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", "--rootdir", "."]
    for option, words in (
        ("--fixtures", "It has no customers unless marked: ``@pytest.mark.shop(customers=50)``"),
        ("--markers", "Without customers= the shop has no customers."),
    ):
        told = subprocess.run([*command, option], cwd=tmp_path, capture_output=True, text=True, check=False).stdout
        assert words in told


def loaded_by(statement: str) -> set[str]:
    """Find the modules that a statement loads."""
    program = f"import sys; before = set(sys.modules); {statement}; print(*set(sys.modules) - before)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


@pytest.mark.slow
def test_who_does_not_use_the_sandbox_does_not_load_it() -> None:
    """The fixtures load neither the sandbox nor the export until they are used."""
    assert set() == loaded_by("import shopsdk.testing") & {
        "shopsdk.sandbox",
        "shopsdk.export",
        "aiohttp.web",
        "sqlite3",
    }


@pytest.mark.slow
def test_who_does_not_test_loads_no_fixtures() -> None:
    """``import shopsdk`` loads no fixtures, no sandbox, no export and no extra."""
    ours = {"shopsdk.testing", "shopsdk.sandbox", "shopsdk.export", "shopsdk.arrow", "shopsdk.cli"}
    extras = {"pytest", "pytest_asyncio", "typer", "rich", "dotenv", "pyarrow", "sqlite3", "aiohttp.web"}
    assert set() == loaded_by("import shopsdk") & (ours | extras)
