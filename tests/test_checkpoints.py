"""What a checkpoint promises to an export that is killed, torn or interrupted again and again."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shopsdk import AsyncSession
from shopsdk.export import ExportProgress, export_customers, export_shops
from shopsdk.export._part import checkpoint_path, part_path
from shopsdk.sandbox import Sandbox
from tests.support import Heard, RawServer, Wire, answer, page_of, raw_server
from tests.support_export import StopHereError, read_rows, stop_at
from tests.support_programs import environment
from tests.test_export_shops import SHOPS, mall

KILLED = """
import asyncio, os, signal, sys
from shopsdk import AsyncSession
from shopsdk.export import export_customers

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
    """Export in a process that kills itself as soon as it has read a page; gives the pages that the shop served."""
    with Sandbox(145) as shop:  # of its own, so that no request of another run can still be on its way to it
        command = [sys.executable, "-c", KILLED, target.name, str(page)]
        died = subprocess.run(command, cwd=target.parent, env=environment(shop), check=False)
        assert -signal.SIGKILL == died.returncode
        return [request.json["page"] for request in shop.requests]


@pytest.mark.parametrize("name", ["c.csv.gz", "c.parquet"])
async def test_the_checkpoint_is_on_the_disk_at_once(name: str, tmp_path: Path) -> None:
    """After a kill at any request the checkpoint lags by the page that was being written, and by no more."""
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


def list_of_customers(heard: Heard, wire: Wire) -> None:
    """Answer a page of a list of fifteen."""
    page = heard.json["page"]
    rows = [{"id": number, "email": f"c{number}@example.com"} for number in range(1, ROWS + 1)]
    mine = rows[(page - 1) * PER_PAGE : page * PER_PAGE]
    wire.send(answer(page_of(mine, page, last=-(-ROWS // PER_PAGE), per_page=PER_PAGE, total=ROWS)))


async def asked_by(target: Path, on_progress: Callable[[ExportProgress], None] | None = None) -> list[int]:
    """Go on with an export, at a server that only this run can reach; gives the pages that it asked for."""
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
    """A shop that was finished stays so through any number of interruptions of the others."""

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
    """An export that was read to its end and got no name asks for nothing, however often it is resumed."""

    def fail(*_: object) -> None:
        raise StopHereError

    for name in ("c.csv", "c.parquet"):
        with monkeypatch.context() as broken:
            broken.setattr(os, "replace", fail)
            for _ in range(3):
                with pytest.raises(StopHereError):
                    await export_customers(session, tmp_path / name, resume=True)
        assert len(shop.requests) == 3
        await export_customers(session, tmp_path / name, resume=True)
        assert len(shop.requests) == 3
        assert read_rows(tmp_path / name) == shop.customers()
        shop.requests.clear()
