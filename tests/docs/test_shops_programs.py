"""A thousand shops: the worker function, on a pool of processes and on a Dask cluster whose worker is killed."""

import asyncio
import itertools
import os
import pickle
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pyarrow.dataset
import pytest
from aiohttp import ClientSession

from shopsdk.arrow import to_record_batch
from shopsdk.sandbox import Fault, Sandbox
from tests.programs import shops as program
from tests.support.gateway import Gateway, gateway
from tests.support.needs import need
from tests.support.programs import PROGRAMS
from tests.support.software import members_of

pytestmark = pytest.mark.slow

CANARY = "canary-in-the-key"
WHOLE = {38: 250, 39: 120, 40: 0, 41: 99}
BUSY, GONE = 42, 43


@pytest.fixture
async def six_shops() -> AsyncIterator[Gateway]:
    """Six shops with six keys: of four sizes, one that answers 429, and one that answers 404."""
    with ExitStack() as stack:
        shops = {
            shop_id: stack.enter_context(Sandbox(size, shop_id=shop_id, api_key=f"{shop_id}|{CANARY}", seed=shop_id))
            for shop_id, size in WHOLE.items()
        }
        limit = [Fault("rate_limit", retry_after=3600)]
        shops[BUSY] = stack.enter_context(Sandbox(9, shop_id=BUSY, api_key=f"42|{CANARY}", faults=limit))
        shops[GONE] = stack.enter_context(Sandbox(9, shop_id=99, api_key=f"43|{CANARY}"))
        async with gateway(shops) as gate:
            yield gate


@asynccontextmanager
async def started(name: str, *options: str, gate: Gateway, folder: Path) -> AsyncIterator[Process]:
    """Start a program as its user does, in a process group of its own, of which nothing may be left in the end."""
    (folder / "tmp").mkdir()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *options,
        PROGRAMS / name,
        "lake",
        *map(str, gate.shops),
        cwd=folder,
        env=os.environ | gate.environment() | {"TMPDIR": str(folder / "tmp")},
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,
    )
    try:
        yield process
        while members_of(process.pid):  # what tracks the resources of processes ends just after them
            await asyncio.sleep(0)
    finally:
        for pid in members_of(process.pid):
            os.kill(pid, signal.SIGKILL)
        await process.wait()


def check_lake(folder: Path, gate: Gateway) -> None:
    """The files hold every customer of each whole shop once, and nothing of the others."""
    files = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    assert [f"{shop_id}.parquet" for shop_id in WHOLE] == files
    table = (
        pyarrow.dataset.dataset(folder, format="parquet")
        .to_table()
        .sort_by([("shop_id", "ascending"), ("id", "ascending")])
    )
    batches = [to_record_batch(gate.shops[shop_id].customers(), shop_id=shop_id) for shop_id in WHOLE]
    assert pyarrow.Table.from_batches(batches).to_pylist() == table.to_pylist()


def check_report(out: str) -> None:
    """The report tells the number of customers, or the error, of each shop."""
    lines = dict(re.findall(r"^shop (\d+): (.*)$", out, re.MULTILINE))
    assert {str(shop_id): str(size) for shop_id, size in WHOLE.items()} == {
        shop_id: outcome for shop_id, outcome in lines.items() if outcome.isdecimal()
    }
    assert lines[str(BUSY)].startswith("RateLimitedError: ")
    assert lines[str(GONE)].startswith("NotFoundError: ")
    assert len(WHOLE) + 2 == len(lines)


def texts(folder: Path) -> Iterator[bytes]:
    """Everything in the files of a folder."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.read_bytes()


async def test_a_pool_of_processes(six_shops: Gateway, tmp_path: Path) -> None:
    """A pool by spawn writes each customer once; the shops that fail stand in the report; no key is told."""
    async with started("shops.py", "-W", "error", gate=six_shops, folder=tmp_path) as process:
        out, err = await process.communicate()
    assert (1, b"") == (process.returncode, err)
    check_report(out.decode())
    check_lake(tmp_path / "lake", six_shops)
    assert CANARY.encode() not in out + b"".join(texts(tmp_path))


def test_a_task_holds_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The function and its arguments travel by name: no key is in the pickle."""
    need("cloudpickle")
    import cloudpickle

    monkeypatch.setenv("SHOPSDK_API_KEY_38", CANARY)
    task = (program.export, [38], "lake")
    for dumps in (pickle.dumps, cloudpickle.dumps):
        pickled = dumps(task)
        assert b"export" in pickled
        assert CANARY.encode() not in pickled
    assert pickle.loads(pickle.dumps(task)) == task


def test_every_shop_is_dealt_out_once() -> None:
    """Each shop is in one task, and no task is empty."""
    for shops in range(7):
        for tasks in (1, 2, 4, 9):
            dealt = program.split(range(shops), tasks)
            assert list(range(shops)) == sorted(itertools.chain(*dealt))
            assert all(dealt)


async def pages_of(dashboard: str) -> dict[str, str]:
    """Read all pages of a scheduler, and those that they lead to."""
    pages: dict[str, str] = {}
    async with ClientSession(dashboard) as client:
        async with client.get("/sitemap.json") as answer:
            paths = [path for path in (await answer.json())["paths"] if "(" not in path]
        while paths:
            path = paths.pop()
            if path not in pages and not path.startswith(("/statics", "/eventstream")):  # no pages, or without an end
                async with client.get(path) as answer:
                    pages[path] = await answer.text()
                links = [urljoin(path, link) for link in re.findall(r'href="([^"]+)"', pages[path])]
                paths += [link for link in links if link.startswith("/")]
    return pages


def pickled_tasks(dask_scheduler: Any) -> bytes:
    """The tasks of a scheduler, as they go to its workers; this runs there."""
    import cloudpickle

    pickled: bytes = cloudpickle.dumps([task.run_spec for task in dask_scheduler.tasks.values()])
    return pickled


async def test_a_dask_cluster_whose_worker_is_killed(six_shops: Gateway, tmp_path: Path) -> None:
    """Each customer is written once though a worker dies; failures are reported; the scheduler knows no key."""
    need("distributed")
    need("dask.dataframe")
    import cloudpickle
    import psutil
    from distributed import Client

    held = six_shops.hold(38, page=2)
    # pandas warns of what dask does with it
    options = ("-W", "error", "-W", "ignore:The inplace keyword:DeprecationWarning")
    async with started("shops_dask.py", *options, gate=six_shops, folder=tmp_path) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        first = (await process.stderr.readline()).decode()
        dashboard = re.search(r"http://127\.0\.0\.1:\d+", first)
        assert dashboard is not None, first + (await process.stderr.read()).decode()
        port = await held.port  # from here on the task is in the middle, and stays there

        pages = await pages_of(dashboard[0])
        (address,) = re.findall(r'"address": "(tcp:[^"]*)", "services"', pages["/json/identity.json"])
        cloudpickle.register_pickle_by_value(sys.modules[__name__])
        try:
            async with Client(address, asynchronous=True) as client:
                tasks = await client.run_on_scheduler(pickled_tasks)
                await client.dump_cluster_state(str(tmp_path / "state"), format="yaml")
        finally:
            cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
        assert b"lake" in tasks
        assert [path for path in pages if path.startswith("/info/task/export-")]

        (worker,) = [
            each
            for each in psutil.Process(process.pid).children(recursive=True)
            if any(connection.laddr.port == port for connection in each.net_connections())
        ]
        worker.kill()
        held.go_on.set()
        out, err = await asyncio.gather(process.stdout.read(), process.stderr.read())
        await process.wait()
    assert 1 == process.returncode, err.decode()
    check_report(out.decode())
    check_lake(tmp_path / "lake", six_shops)
    assert CANARY.encode() not in first.encode() + out + err + tasks + b"".join(texts(tmp_path))
    assert CANARY not in "".join(pages.values())
