"""Fixtures for all tests."""

import asyncio
import gc
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from shopsdk import AsyncSession, Customer
from shopsdk.sandbox import Sandbox
from tests.support.cli import Shell

# A gate that runs in the background ignores Ctrl-C, and the commands under test would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
for each in (signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):  # the same under nohup
    if signal.getsignal(each) is signal.SIG_IGN:
        signal.signal(each, signal.SIG_DFL)

collect_ignore = ["consumer"]  # a suite of its own, which a test here runs beside the built wheel

settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("tests")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put slow tests first, then files of many tests, or one worker would be left with one at the end."""
    sizes = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.get_closest_marker("slow") is None, -sizes[item.path]))


def _freeze() -> None:
    """Keep what is loaded so far out of garbage collections: tests ask for many, and each would take 60 ms or more."""
    gc.collect()
    gc.freeze()


def pytest_collection_finish() -> None:
    """Freeze the tests themselves."""
    _freeze()


@pytest.fixture(autouse=True, scope="module")
def _what_a_module_leaves_is_frozen() -> Iterator[None]:
    """Freeze what the tests of a module have loaded, lest those that come later be slower."""
    yield
    _freeze()


@pytest.fixture(autouse=True)
def _no_shop_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove a developer's own key and proxy from the environment of every test."""
    proxies = [f"{kind}_PROXY" for kind in ("HTTP", "HTTPS", "ALL", "NO")]
    for name in ("SHOPSDK_API_KEY", "SHOPSDK_SHOP_ID", "SHOPSDK_BASE_URL", *proxies, *map(str.lower, proxies)):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _processes_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the processes that a test starts out of coverage, which costs each 0.15 s and memory.

    Where nothing but such a process runs the code, the tests override this fixture.
    """
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture
def shop() -> Iterator[Sandbox]:
    """A shop of 250 customers."""
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
async def session(shop: Sandbox) -> AsyncIterator[AsyncSession]:
    """A session on that shop, which may leave no task when it has closed."""
    async with shop.session() as session:
        yield session
    assert {asyncio.current_task()} == asyncio.all_tasks()


@pytest.fixture
def shell(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shop: Sandbox) -> Shell:
    """A shell in an empty folder, whose commands reach ``shop``."""
    monkeypatch.chdir(tmp_path)
    made = Shell(capfd, monkeypatch, tmp_path)
    made.enter(shop)
    return made


@pytest.fixture
async def readers_shop(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sandbox]:
    """A shop for the README's programs: it has a customer 42, and the environment names it."""
    people = [
        Customer(id=number, email=f"reader{number}@example.com", balance=Decimal("20.00")) for number in range(1, 251)
    ]
    async with Sandbox(people) as shop:
        monkeypatch.setenv("SHOPSDK_API_KEY", shop.api_key)
        monkeypatch.setenv("SHOPSDK_SHOP_ID", str(shop.shop_id))
        monkeypatch.setenv("SHOPSDK_BASE_URL", shop.base_url)
        yield shop


@pytest.fixture
def page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have exports write and journal page by page, as they do where a page has 2,000 rows."""
    monkeypatch.setattr("shopsdk.export._file._ROWS_AT_ONCE", 1)
