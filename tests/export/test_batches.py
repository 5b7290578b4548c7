"""Pages are written by 2,000 rows or a quarter of a second, and whatever was read outlives a failure."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from shopsdk import AsyncSession, Customer, Page, RetryPolicy, ServerError
from shopsdk.export import ExportProgress, export_customers
from shopsdk.export._pages import _Writer  # pyright: ignore[reportPrivateUsage]
from shopsdk.export._part import checkpoint_path
from shopsdk.export._report import Report
from shopsdk.export._text import Encoder
from shopsdk.export._worker import Worker
from shopsdk.sandbox import Fault, Sandbox
from tests.support.export import StopHereError, read_rows, stop_at
from tests.support.servers import ReceivedRequest, Wire, answer, page_of, raw_server, silence

ONCE = RetryPolicy(attempts=1)
FORMATS = ["c.ndjson", "c.csv", "c.csv.gz", "c.parquet"]


def journal(target: Path) -> list[dict[str, Any]]:
    """Read the positions of an unfinished export's journal."""
    lines = checkpoint_path(target).read_bytes().splitlines()[1:]
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("order", ["id", "email"])
@pytest.mark.parametrize("name", FORMATS)
async def test_pages_are_written_by_two_thousand_rows(
    name: str, order: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal has a line for every 2,000 rows, and what was read since, when an export is interrupted."""
    monkeypatch.setattr("shopsdk.export._pages._SECONDS", 3600)  # however busy the machine is
    target = tmp_path / name
    with Sandbox(4_850) as shop:
        async with shop.session() as session:
            with pytest.raises(StopHereError):
                await export_customers(session, target, order_column=order, on_progress=stop_at(45))
            rows = [line["rows"] for line in journal(target) if line["rows"]]
            assert rows[:2] == [2_000, 4_000]
            assert set(rows[2:]) == {4_500}
            summary = await export_customers(session, target, order_column=order, resume=True)
            assert (summary.resumed, summary.rows, summary.requests) == (4_500, 4_850, 4)
            whole = tmp_path / f"whole-{name}"
            await export_customers(session, whole, order_column=order)
    assert target.read_bytes() == whole.read_bytes()


async def interrupted_by_an_error(session: AsyncSession, target: Path, shop: Sandbox) -> None:
    with pytest.raises(ServerError):
        await export_customers(session, target)


async def interrupted_by_a_cancellation(session: AsyncSession, target: Path, shop: Sandbox) -> None:
    task: asyncio.Task[object]

    def cancel(progress: ExportProgress) -> None:
        if progress.page == 9:
            task.cancel()

    task = asyncio.create_task(export_customers(session, target, on_progress=cancel))
    with pytest.raises(asyncio.CancelledError):
        await task


async def interrupted_by_a_callback(session: AsyncSession, target: Path, shop: Sandbox) -> None:
    with pytest.raises(StopHereError):
        await export_customers(session, target, on_progress=stop_at(9))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "interrupted", [interrupted_by_an_error, interrupted_by_a_cancellation, interrupted_by_a_callback]
)
async def test_what_was_read_is_kept_whatever_ends_an_export(
    interrupted: Callable[[AsyncSession, Path, Sandbox], Any], name: str, tmp_path: Path
) -> None:
    """An error, a cancellation and a callback's exception keep every page that was read, less than 2,000 rows too."""
    target = tmp_path / name
    faults = [Fault("error_500", every=10)] if interrupted is interrupted_by_an_error else []
    with Sandbox(1_500, faults=faults) as shop:
        async with shop.session(retry=ONCE) as session:
            await interrupted(session, target, shop)
            kept = journal(target)[-1]["rows"]
            assert 900 <= kept < 1_500
        shop.requests.clear()
    with Sandbox(1_500) as shop:
        async with shop.session() as session:
            summary = await export_customers(session, target, resume=True)
        assert summary.resumed == kept
        assert read_rows(target) == shop.customers()


@pytest.mark.parametrize("name", FORMATS)
async def test_pages_do_not_wait_for_a_slow_shop(name: str, tmp_path: Path) -> None:
    """Pages are written while the next one is waited for, though they are few."""
    target = tmp_path / name

    async def serve(heard: ReceivedRequest, wire: Wire) -> None:
        page = heard.json["page"]
        if page == 3:
            await silence(heard, wire)
        rows = [{"id": page * 100 + number, "email": "a@b"} for number in range(100)]
        wire.send(answer(page_of(rows, page, last=3, total=300)))

    async with raw_server(serve) as server, server.session() as session:
        task = asyncio.create_task(export_customers(session, target))
        while not checkpoint_path(target).exists() or [line["rows"] for line in journal(target)][-1:] != [200]:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


class StuckWorker:
    """A worker whose disk never finishes."""

    def __init__(self) -> None:
        self.started = 0

    def start(self, _job: object) -> "asyncio.Future[object]":
        self.started += 1
        return asyncio.get_running_loop().create_future()


async def test_a_slow_disk_is_given_one_write_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one write is under way, no timer starts another: what is read would pile up in memory."""
    monkeypatch.setattr("shopsdk.export._pages._SECONDS", 0)
    worker = StuckWorker()
    writer = _Writer(
        encoder=Encoder(b"", lambda _: b"x"),
        write=lambda _data, _position: None,
        worker=cast("Worker", worker),
        report=Report(38, None),
        all_ids=False,
        rows_at_once=2_000,
    )
    for number in range(1, 20):
        rows = [Customer(id=number * 100 + each, email="") for each in range(100)]
        page = Page(data=rows, current_page=number, last_page=99, per_page=100, total=9_900)
        await writer.add(page)
        for _ in range(5):
            await asyncio.sleep(0)
    assert worker.started == 1
    assert writer._timer is not None
    writer._timer.cancel()
