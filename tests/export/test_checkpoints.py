"""Checkpoints of exports that are killed, torn or interrupted several times."""

import asyncio
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, cast

import pytest

from shopsdk import AsyncSession
from shopsdk.export import CheckpointError, ExportProgress, _file, _part, export_customers, export_shops
from shopsdk.export._checkpoint import Journal, Position
from shopsdk.export._part import PartFile, checkpoint_path, part_path
from shopsdk.sandbox import Sandbox
from tests.export.test_shops import SHOPS, mall
from tests.support.export import StopHereError, name_nothing, read_rows, stop_at
from tests.support.programs import environment
from tests.support.servers import RawServer, ReceivedRequest, Wire, answer, page_of, raw_server

pytestmark = pytest.mark.usefixtures("page_by_page")

KILLED = """
import asyncio, os, signal, sys
from shopsdk import AsyncSession
from shopsdk.export import _file, export_customers

_file._ROWS_AT_ONCE = 1

name, page = sys.argv[1], int(sys.argv[2])

def die(progress):
    if progress.page == page and progress.stage == "reading":
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    async with AsyncSession() as session:
        await export_customers(session, name, per_page=10, concurrency=1, resume=True, on_progress=die)

asyncio.run(main())
"""


def kill_at(page: int, target: Path) -> list[int]:
    """Export in a process that kills itself once it has read a page; returns the pages that the shop served."""
    with Sandbox(145) as shop:  # of its own, so that no request of another run can still be on its way to it
        command = [sys.executable, "-c", KILLED, target.name, str(page)]
        died = subprocess.run(command, cwd=target.parent, env=environment(shop), check=False)
        assert -signal.SIGKILL == died.returncode
        return [request.json["page"] for request in shop.requests]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c.csv.gz", "c.parquet"])
async def test_the_checkpoint_is_on_the_disk_at_once(name: str, tmp_path: Path) -> None:
    """After a kill at any request, at most the page that was being written is missing from the checkpoint."""
    target = tmp_path / name
    runs = [kill_at(4, target), kill_at(9, target)]
    with Sandbox(145) as shop:
        async with shop.session() as session:
            await export_customers(session, target, per_page=10, concurrency=1, resume=True)
        runs.append([request.json["page"] for request in shop.requests])
        assert read_rows(target) == shop.customers()
    assert runs == [[*range(run[0], run[-1] + 1)] for run in runs]
    # The page that was read last was being written, and the one behind it may have been asked for.
    assert 1 == runs[0][0]
    assert {runs[0][-1], runs[1][0]} <= {4, 5}
    assert {runs[1][-1], runs[2][0]} <= {9, 10}
    assert 15 == runs[2][-1]


ROWS, PER_PAGE = 15, 2


def list_of_customers(heard: ReceivedRequest, wire: Wire) -> None:
    """Answer a page of a list of fifteen customers."""
    page = heard.json["page"]
    rows = [{"id": number, "email": f"c{number}@example.com"} for number in range(1, ROWS + 1)]
    mine = rows[(page - 1) * PER_PAGE : page * PER_PAGE]
    wire.send(answer(page_of(mine, page, last=-(-ROWS // PER_PAGE), per_page=PER_PAGE, total=ROWS)))


async def asked_by(target: Path, on_progress: Callable[[ExportProgress], None] | None = None) -> list[int]:
    """Resume an export against a server that only this run can reach; return the pages that it asked for."""
    async with raw_server(list_of_customers) as server:
        await _export(server, target, on_progress)
        return [heard.json["page"] for heard in server.heard]


async def _export(server: RawServer, target: Path, on_progress: Callable[[ExportProgress], None] | None) -> None:
    async with server.session() as session:
        try:
            await export_customers(
                session, target, per_page=PER_PAGE, concurrency=1, resume=True, on_progress=on_progress
            )
        except StopHereError:
            assert on_progress is not None


async def test_a_torn_journal_asks_for_no_page_twice(tmp_path: Path) -> None:
    """A journal cut at any byte of its last page, resumed, interrupted and resumed again, asks for no page twice."""
    target = tmp_path / "c.csv"
    part, journal = part_path(target), checkpoint_path(target)
    await asked_by(tmp_path / "whole.csv")
    await asked_by(target, stop_at(3))
    lines, bytes_of_part = journal.read_bytes().splitlines(keepends=True), part.read_bytes()
    assert 2 + 3 + 1 == len(lines)  # the head, the file's beginning, three pages, and that it was put aside
    whole = b"".join(lines)
    third_page, put_aside, end = (len(b"".join(lines[:count])) for count in (4, 5, 6))
    at_the_ends = {place + by for place in (third_page, put_aside, end) for by in (-2, -1, 0, 1, 2)}
    for cut in sorted({*range(third_page, end, 23), *at_the_ends} & {*range(third_page, end + 1)}):
        part.write_bytes(bytes_of_part)
        journal.write_bytes(whole[:cut])
        second, third = await asked_by(target, stop_at(5)), await asked_by(target)
        assert second[0] == (4 if cut >= put_aside else 3)
        assert second[-1] in {5, 6}  # the one behind the last is on its way while that is written
        assert third == [*range(6, 9)]
        assert target.read_bytes() == (tmp_path / "whole.csv").read_bytes()
        target.unlink()


@pytest.mark.parametrize("name", ["c-{shop_id}.csv", "c.csv", "c.parquet"])
async def test_a_finished_shop_is_asked_for_nothing_however_often_it_is_resumed(name: str, tmp_path: Path) -> None:
    """A shop that was finished is not asked for again, however often the others are interrupted."""

    def stop(page: int) -> Callable[[ExportProgress], None]:
        def at(progress: ExportProgress) -> None:
            if progress.shop_id == 22 and progress.page == page:
                raise StopHereError

        return at

    options: dict[str, Any] = {"per_page": 10, "concurrency": 1, "resume": True}
    asked: list[set[str]] = []
    async with mall() as shops, shops.session() as session:
        shops.closed.add(22)
        made = await export_shops(session, tmp_path / name, SHOPS, **options)
        assert list(made.failed) == [22]
        for closed, on_progress in (({22}, None), (set(), stop(2)), ({22}, None), (set(), stop(3)), (set(), None)):
            shops.server.heard.clear()
            shops.closed = set(closed)
            try:
                made = await export_shops(session, tmp_path / name, SHOPS, on_progress=on_progress, **options)
            except StopHereError:
                assert on_progress is not None
            asked.append({heard.target.split("/")[3] for heard in shops.server.heard})
    assert asked == [{"22"}] * 5
    assert (made.rows, made.failed) == (132, {})


async def test_a_finished_list_is_asked_for_nothing_however_often_its_name_is_refused(
    session: AsyncSession, shop: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finished export that got no name sends no request, however often it is resumed."""
    for name in ("c.csv", "c.parquet"):
        with monkeypatch.context() as broken:
            name_nothing(broken)
            for _ in range(3):
                with pytest.raises(StopHereError):
                    await export_customers(session, tmp_path / name, resume=True)
        assert len(shop.requests) == 3
        await export_customers(session, tmp_path / name, resume=True)
        assert len(shop.requests) == 3
        assert read_rows(tmp_path / name) == shop.customers()
        shop.requests.clear()


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make an export that ends early leave its files as a killed process would."""

    def let_go(part: PartFile) -> None:
        part._file.close()
        part._journal.close()

    monkeypatch.setattr(PartFile, "suspend", let_go)


async def test_pages_after_the_last_synced_line_are_kept_too(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Pages that were written after the last sync, before a kill, are not asked for again."""
    await asked_by(tmp_path / "c.csv", stop_at(3))  # put aside, so synced
    request.getfixturevalue("killed")
    await asked_by(tmp_path / "c.csv", stop_at(5))
    assert [6, 7, 8] == await asked_by(tmp_path / "c.csv")


@pytest.mark.parametrize("damaged", [1, 2, 3])
async def test_a_page_that_the_disk_scrambled_is_asked_for_again(damaged: int, killed: None, tmp_path: Path) -> None:
    """Bytes that were never synced count by their checksum alone, and the journal drops what followed a wrong one."""
    target = tmp_path / "c.csv"
    await asked_by(tmp_path / "whole.csv")
    await asked_by(target, stop_at(4))
    content = bytearray(part_path(target).read_bytes())
    content[content.index(f"c{2 * damaged}@example.com".encode())] ^= 1
    part_path(target).write_bytes(content)
    again = await asked_by(target, stop_at(damaged))
    assert damaged == again[0]
    assert 2 + damaged == len(checkpoint_path(target).read_bytes().splitlines())
    assert [*range(damaged + 1, 9)] == await asked_by(target)
    assert target.read_bytes() == (tmp_path / "whole.csv").read_bytes()


async def test_lines_say_whether_they_are_synced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every few seconds, and at the end, bytes are synced, then a line that says so is written and synced."""
    order: list[str] = []
    add = Journal.add
    now = time.monotonic()

    def clock() -> float:  # a second and a half pass between two looks at it
        nonlocal now
        now += 1.5
        return now

    def record(journal: Journal, position: Position) -> None:
        order.append("line, synced" if position.synced else "line")
        add(journal, position)

    monkeypatch.setattr(Journal, "add", record)
    monkeypatch.setattr(os, "fsync", lambda _: order.append("sync"))
    monkeypatch.setattr(_part, "time", SimpleNamespace(monotonic=clock))
    await asked_by(tmp_path / "c.csv", stop_at(4))
    # The file and its folder, then the line, then the journal: for every other page, and when it is put aside.
    synced = ["sync", "sync", "line, synced", "sync"]
    assert order == [*(["line", *synced] * 2), "line", *synced]


@pytest.mark.parametrize("name", ["c.csv", "c.parquet", "all.csv", "all.parquet"])
async def test_a_name_is_given_to_synced_bytes_alone(
    name: str, session: AsyncSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file has its final name only once all of its bytes are on the disk."""
    synced: dict[int, int] = {}
    named: list[str] = []
    link = os.link

    def sync(descriptor: int) -> None:
        state = os.fstat(descriptor)
        synced[state.st_ino] = state.st_size

    def put(source: Path, target: Path) -> None:
        state = os.stat(source)
        assert state.st_size == synced[state.st_ino]
        named.append(target.name)
        link(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "link", put)
    if name.startswith("all"):
        await export_shops(session, tmp_path / name, [38])
    else:
        await export_customers(session, tmp_path / name)
    assert [name] == named


async def test_rows_that_slip_again_and_again_are_found(tmp_path: Path) -> None:
    """A walk that went back for rows that moved is resumed where it was, not further on."""
    with Sandbox(60) as shop:
        ids = [customer.id for customer in shop.customers()]
        options: dict[str, Any] = {"per_page": 10, "concurrency": 1, "resume": True}
        async with shop.session() as session:
            with pytest.raises(StopHereError):
                await export_customers(session, tmp_path / "c.csv", on_progress=stop_at(4), **options)
            for number in ids[:20]:
                shop.remove_customer(number)

            def stop(progress: ExportProgress) -> None:
                if progress.stage == "reading" and progress.rows > 40:
                    raise StopHereError

            with pytest.raises(StopHereError):
                await export_customers(session, tmp_path / "c.csv", on_progress=stop, **options)
            summary = await export_customers(session, tmp_path / "c.csv", **options)
    assert 50 == summary.resumed
    assert ids == [customer.id for customer in read_rows(tmp_path / "c.csv")]


async def stopped(target: Path, session: AsyncSession, **options: Any) -> None:
    with pytest.raises(StopHereError):
        await export_customers(session, target, per_page=10, on_progress=stop_at(5), **options)


async def test_a_checkpoint_without_its_file_does_not_pass_for_the_old_file(
    session: AsyncSession, shop: Sandbox, tmp_path: Path
) -> None:
    """A checkpoint whose part is gone does not make the old file count as a finished export."""
    (tmp_path / "c.csv").write_text("old")
    await stopped(tmp_path / "c.csv", session, if_exists="replace")
    part_path(tmp_path / "c.csv").unlink()
    await export_customers(session, tmp_path / "c.csv", per_page=10, resume=True, if_exists="replace")
    assert read_rows(tmp_path / "c.csv") == shop.customers()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
async def test_the_files_of_finished_shops_are_kept(suffix: str, tmp_path: Path) -> None:
    """A finished shop keeps its file and its checkpoint until all shops are finished."""
    names = str(tmp_path / f"c-{{shop_id}}.{suffix}")
    options: dict[str, Any] = {"per_page": 10, "resume": True}
    async with mall() as shops, shops.session() as session:
        shops.closed.add(22)
        await export_shops(session, names, SHOPS, **options)
        kept = {name for shop in (11, 33) for name in (f"c-{shop}.{suffix}", f".c-{shop}.{suffix}.part.checkpoint")}
        assert kept == set(os.listdir(tmp_path))
        with pytest.raises(CheckpointError, match="columns"):
            await export_shops(session, names, SHOPS, columns=["id"], **options)
        (tmp_path / f"c-33.{suffix}").unlink()  # somebody has fetched it
        shops.closed.clear()
        shops.server.heard.clear()
        made = await export_shops(session, names, SHOPS, **options)
        assert {"22", "33"} == {heard.target.split("/")[3] for heard in shops.server.heard}
    assert (132, {}) == (made.rows, made.failed)
    assert {f"c-{shop}.{suffix}" for shop in SHOPS} == set(os.listdir(tmp_path))


async def test_an_empty_shop_is_finished_too(tmp_path: Path) -> None:
    """A shop without customers is not asked for again once it was finished."""

    def empty_but_two(heard: ReceivedRequest, wire: Wire) -> None:
        if "/22/" in heard.target:
            wire.send(answer({"message": "no such shop"}, 404))
        else:
            wire.send(answer(page_of([], per_page=heard.json["perPage"])))

    async with raw_server(empty_but_two) as server, server.session() as session:
        for _ in range(3):
            server.heard.clear()
            made = await export_shops(session, tmp_path / "c-{shop_id}.csv", [11, 22], resume=True)
            assert [11] == list(made.shops)
        assert {"22"} == {heard.target.split("/")[3] for heard in server.heard}


async def test_the_order_counts(session: AsyncSession, tmp_path: Path) -> None:
    """An export is not resumed in another order."""
    await stopped(tmp_path / "c.csv", session)
    with pytest.raises(CheckpointError, match="other parameters: order_column"):
        await export_customers(session, tmp_path / "c.csv", per_page=10, resume=True, order_column="email")


@pytest.mark.parametrize(
    ("written", "instead", "named"), [('"bom":', '"another":1,"bom":', "'another'"), ('"per_page":10,', "", "per_page")]
)
async def test_a_parameter_that_one_version_alone_knows_counts(
    written: str, instead: str, named: str, session: AsyncSession, tmp_path: Path
) -> None:
    """A checkpoint with a parameter more, or one less, than this version has is not resumed."""
    await stopped(tmp_path / "c.csv", session)
    journal = checkpoint_path(tmp_path / "c.csv")
    journal.write_text(journal.read_text().replace(written, instead, 1))
    with pytest.raises(CheckpointError, match=f"other parameters: {named} "):
        await export_customers(session, tmp_path / "c.csv", per_page=10, resume=True)


class Trickle(io.RawIOBase):
    """A stream that takes a few bytes at a time, as a pipe or a full disk does."""

    def __init__(self) -> None:
        self.taken = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.taken += bytes(data[:7])
        return min(7, len(data))


async def test_a_stream_that_takes_little_at_a_time_gets_all(session: AsyncSession, tmp_path: Path) -> None:
    """A stream that takes a few bytes at a time gets all of an export."""
    stream = Trickle()
    await export_customers(session, cast(BinaryIO, stream), format="csv")
    await export_customers(session, tmp_path / "c.csv")
    assert bytes(stream.taken) == (tmp_path / "c.csv").read_bytes()


async def test_an_export_that_is_cancelled_while_it_opens_lets_go(
    session: AsyncSession, shop: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export that is cancelled while its files are opened releases them."""
    await stopped(tmp_path / "c.csv", session)
    loop, open_part = asyncio.get_running_loop(), _part.open_part
    with monkeypatch.context() as slow:

        def open_and_cancel(*args: Any, **options: Any) -> PartFile:
            part = open_part(*args, **options)
            loop.call_soon_threadsafe(export.cancel)
            return part

        slow.setattr(_file, "open_part", open_and_cancel)
        export = asyncio.ensure_future(export_customers(session, tmp_path / "c.csv", per_page=10, resume=True))
        with pytest.raises(asyncio.CancelledError) as caught:
            await export
    summary = await export_customers(session, tmp_path / "c.csv", per_page=10, resume=True)
    assert caught.value.__traceback__ is not None  # its frames keep alive what was not released
    assert 50 == summary.resumed
    assert read_rows(tmp_path / "c.csv") == shop.customers()


async def test_a_cancelled_export_ends_when_nothing_of_it_is_at_work(
    session: AsyncSession, shop: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export that is cancelled while its file gets the final name ends after that."""
    real, began, may_go_on = _part.put_in_place, threading.Event(), threading.Event()

    def put_in_place(*args: Any, **options: Any) -> int:
        began.set()
        may_go_on.wait()
        return real(*args, **options)

    monkeypatch.setattr("shopsdk.export._export.put_in_place", put_in_place)
    export = asyncio.ensure_future(export_customers(session, tmp_path / "c.csv"))
    await asyncio.to_thread(began.wait)
    export.cancel()
    done, _ = await asyncio.wait({export}, timeout=0.1)
    may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await export
    assert not done
    assert os.listdir(tmp_path) == ["c.csv"]
    assert read_rows(tmp_path / "c.csv") == shop.customers()
