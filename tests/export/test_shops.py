"""Exports of many shops: a file for each shop, or one file for all."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pyarrow.parquet as pq
import pytest

from shopsdk import AsyncSession, NotFoundError
from shopsdk.export import CheckpointError, ExportProgress, export_customers, export_shops
from shopsdk.export._part import PartFile, checkpoint_path, open_part, part_path
from tests.support.export import StopHereError, read_rows
from tests.support.servers import RawServer, ReceivedRequest, Wire, answer, page_of, raw_server

SHOPS = (11, 22, 33)


@attrs.define
class Mall:
    """Several shops behind one address: shop n has 2n customers; one may be closed."""

    server: RawServer
    closed: set[int] = attrs.Factory(set)
    busy: int = 0
    """A shop that refuses its first request for the rate limit, once all shops have been asked."""
    held: list[tuple[ReceivedRequest, Wire]] = attrs.Factory(list)

    def answer(self, heard: ReceivedRequest, wire: Wire) -> None:
        shop, page = int(heard.target.split("/")[3]), heard.json["page"]
        per_page = heard.json["perPage"]
        if shop in self.closed:
            wire.send(answer({"message": f"No query results for model [Shop] {shop}"}, status=404))
            return
        if self.busy:
            self.held.append((heard, wire))
            if len(self.held) == len(SHOPS):
                self.let_go()
            return
        ids = range(1, 2 * shop + 1)
        rows = [{"id": i, "email": f"{shop}-{i}@example.com"} for i in ids[(page - 1) * per_page : page * per_page]]
        wire.send(answer(page_of(rows, page, last=-(-len(ids) // per_page), per_page=per_page, total=len(ids))))

    def let_go(self) -> None:
        busy, self.busy = self.busy, 0
        for heard, wire in sorted(self.held, key=lambda held: f"/{busy}/" not in held[0].target):
            if f"/{busy}/" in heard.target:
                wire.send(answer({"message": "Too Many Attempts."}, status=429, headers={"Retry-After": "0.05"}))
            else:
                self.answer(heard, wire)

    def session(self) -> AsyncSession:
        return self.server.session()


@asynccontextmanager
async def mall() -> AsyncIterator[Mall]:
    async with raw_server() as server:
        made = Mall(server)
        server.behaviours = [made.answer]
        yield made


def expected(shop: int) -> list[str]:
    return [f"{shop}-{i}@example.com" for i in range(1, 2 * shop + 1)]


async def test_a_file_each(tmp_path: Path) -> None:
    """With ``{shop_id}`` in the name, each shop has its own file, and no checkpoint is left."""
    async with mall() as shops, shops.session() as session:
        made = await export_shops(session, tmp_path / "c-{shop_id}.csv", SHOPS, per_page=10)
    assert sorted(os.listdir(tmp_path)) == ["c-11.csv", "c-22.csv", "c-33.csv"]
    assert {shop: [c.email for c in read_rows(tmp_path / f"c-{shop}.csv")] for shop in SHOPS} == {
        shop: expected(shop) for shop in SHOPS
    }
    assert (made.rows, made.failed, list(made.shops)) == (132, {}, [11, 22, 33])


@pytest.mark.parametrize("name", ["c.csv", "c.ndjson", "c.parquet", "c.csv.gz"])
async def test_one_file_in_the_order_given(name: str, tmp_path: Path) -> None:
    """One file holds the shops in the order given, with one header and the shop of each row."""
    async with mall() as shops, shops.session() as session:
        made = await export_shops(session, tmp_path / name, [33, 11, 22, 11], per_page=10)
    assert os.listdir(tmp_path) == [name]
    assert (made.path, made.bytes) == (tmp_path / name, (tmp_path / name).stat().st_size)
    if name == "c.parquet":
        rows = [(row["shop_id"], row["email"]) for row in pq.read_table(tmp_path / name).to_pylist()]
    elif name == "c.ndjson":
        rows = [(row["shop_id"], row["email"]) for row in map(json.loads, (tmp_path / name).read_bytes().splitlines())]
    else:
        import csv
        import gzip

        data = (tmp_path / name).read_bytes()
        text = (gzip.decompress(data) if name.endswith("gz") else data).decode()
        rows = [(int(row["shop_id"]), row["email"]) for row in csv.DictReader(text.splitlines())]
    assert rows == [(shop, email) for shop in (33, 11, 22) for email in expected(shop)]


async def test_a_shop_that_fails_leaves_the_others_whole(tmp_path: Path) -> None:
    """A shop that fails leaves the others whole, and they are not asked for again."""
    async with mall() as shops, shops.session() as session:
        shops.closed.add(22)
        made = await export_shops(session, tmp_path / "c-{shop_id}.csv", SHOPS, per_page=10)
        assert (list(made.shops), list(made.failed)) == ([11, 33], [22])
        assert isinstance(made.failed[22], NotFoundError)
        assert [c.email for c in read_rows(tmp_path / "c-33.csv")] == expected(33)
        shops.closed.clear()
        shops.server.heard.clear()
        made = await export_shops(session, tmp_path / "c-{shop_id}.csv", SHOPS, per_page=10, resume=True)
        assert {heard.target.split("/")[3] for heard in shops.server.heard} == {"22"}
    assert (made.rows, made.failed) == (132, {})
    assert sorted(os.listdir(tmp_path)) == ["c-11.csv", "c-22.csv", "c-33.csv"]


@pytest.mark.parametrize("name", ["c.csv", "c.parquet"])
async def test_one_file_waits_for_the_last_shop(name: str, tmp_path: Path) -> None:
    """The one file gets its name when every shop was read; no shop is read twice."""
    async with mall() as shops, shops.session() as session:
        await export_shops(session, tmp_path / f"unbroken-{name}", SHOPS, per_page=10)
        shops.closed.add(22)
        made = await export_shops(session, tmp_path / name, SHOPS, per_page=10)
        assert (made.path, list(made.failed)) == (None, [22])
        assert not (tmp_path / name).exists()
        with pytest.raises(FileExistsError, match="unfinished"):
            await export_shops(session, tmp_path / name, SHOPS, per_page=10)
        shops.closed.clear()
        shops.server.heard.clear()
        made = await export_shops(session, tmp_path / name, SHOPS, per_page=10, resume=True)
        assert {heard.target.split("/")[3] for heard in shops.server.heard} == {"22"}
    assert (tmp_path / name).read_bytes() == (tmp_path / f"unbroken-{name}").read_bytes()
    assert sorted(os.listdir(tmp_path)) == [name, f"unbroken-{name}"]


async def test_every_export_that_waits_for_the_rate_limit_reports_it(tmp_path: Path) -> None:
    """Every export that a rate limit holds up reports the wait, whichever met it."""
    reports: list[ExportProgress] = []
    async with mall() as shops, shops.session() as session:
        shops.busy = 22
        made = await export_shops(session, tmp_path / "c.csv", SHOPS, per_page=10, on_progress=reports.append)
    waited = [(p.shop_id, p.rate_limited) for p in reports if p.stage == "waiting"]
    assert set(waited) == {(11, True), (22, True), (33, True)}
    assert {shop: summary.retries for shop, summary in made.shops.items()} == {11: 0, 22: 1, 33: 0}
    assert all(summary.waited > 0 for summary in made.shops.values())


async def test_what_a_callback_raises_comes_as_it_is(tmp_path: Path) -> None:
    """An exception from a callback is raised as it is, not in a group, and the pages are kept."""

    def stop(progress: ExportProgress) -> None:
        if progress.shop_id == 33 and progress.page == 2:
            raise StopHereError

    async with mall() as shops, shops.session() as session:
        with pytest.raises(StopHereError):
            await export_shops(session, tmp_path / "c.csv", SHOPS, per_page=10, concurrency=1, on_progress=stop)
        made = await export_shops(session, tmp_path / "c.csv", SHOPS, per_page=10, resume=True)
    assert (made.shops[33].resumed, made.rows) == (20, 132)


async def test_names_are_looked_at_before_anything_is_sent(tmp_path: Path) -> None:
    """All names are checked before anything is sent."""
    (tmp_path / "c-33.csv").write_text("precious")
    (tmp_path / "c.csv").write_text("precious")
    async with mall() as shops, shops.session() as session:
        for name in ("c-{shop_id}.csv", "c.csv"):
            with pytest.raises(FileExistsError):
                await export_shops(session, tmp_path / name, SHOPS)
        assert not shops.server.heard
    assert sorted(os.listdir(tmp_path)) == ["c-33.csv", "c.csv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shop_ids": []}, "at least one shop"),
        ({"shop_ids": [0]}, "shop_id"),
        ({"shop_ids": [1], "shops_at_once": 0}, "shops_at_once"),
        ({"shop_ids": [1], "columns": ["x"]}, "not a column"),
    ],
)
async def test_wrong_arguments(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    """Wrong arguments are refused before anything is sent."""
    async with mall() as shops, shops.session() as session:
        with pytest.raises(ValueError, match=message):
            await export_shops(session, tmp_path / "c.csv", **arguments)
        assert not shops.server.heard


def begin_another(target: Path, *, suspended: bool) -> PartFile:
    """Begin an export to a name as another process would, and leave it at work or suspended."""
    part = open_part(target, {}, b"another's", resume=False)
    if suspended:
        part.add(b" page", attrs.evolve(part.position, page=1, ids=[1], rows=1))
        part.suspend()
    return part


@pytest.mark.parametrize("suspended", [False, True])
async def test_clearing_up_leaves_what_another_export_has_begun_since(tmp_path: Path, suspended: bool) -> None:
    """Once a shop's file is whole, a new export to its name keeps its files when the first one clears up."""
    begun: list[PartFile] = []

    def show(progress: ExportProgress) -> None:
        if progress.stage == "reading" and progress.shop_id == 33 and not begun:
            begun.append(begin_another(tmp_path / "c-11.csv", suspended=suspended))

    async with mall() as shops, shops.session() as session:
        made = await export_shops(
            session, tmp_path / "c-{shop_id}.csv", SHOPS, shops_at_once=1, per_page=10, on_progress=show
        )
    assert (made.failed, len(begun)) == ({}, 1)
    assert sorted(os.listdir(tmp_path)) == [
        *(".c-11.csv.part", ".c-11.csv.part.checkpoint"),
        *("c-11.csv", "c-22.csv", "c-33.csv"),
    ]
    assert part_path(tmp_path / "c-11.csv").read_bytes().startswith(b"another's")
    begun[0].close()


@pytest.mark.parametrize("name", ["all.csv", "all.parquet"])
async def test_one_file_of_many_shops_leaves_another_export_to_its_name_alone(tmp_path: Path, name: str) -> None:
    """The one file is not made over an export to the same name that is under way; its pieces are kept."""
    target = tmp_path / name
    begun: list[PartFile] = []

    def show(progress: ExportProgress) -> None:
        if progress.stage == "done" and progress.shop_id == 33:
            begun.append(begin_another(target, suspended=False))

    async with mall() as shops, shops.session() as session:
        with pytest.raises(CheckpointError, match="another export is at work on"):
            await export_shops(session, target, SHOPS, shops_at_once=1, per_page=10, on_progress=show)
        assert part_path(target).read_bytes() == b"another's"
        begun[0].suspend()
        made = await export_shops(session, target, SHOPS, per_page=10, resume=True)
    assert (made.rows, os.listdir(tmp_path)) == (132, [name])


async def test_one_file_of_many_shops_does_not_undo_an_unfinished_export(tmp_path: Path) -> None:
    """An unfinished export of one shop to the same name is kept when the pieces of many shops are resumed."""
    target = tmp_path / "all.csv"

    def show(progress: ExportProgress) -> None:
        if progress.rows >= 20:
            raise StopHereError

    async with mall() as shops, shops.session() as session:
        with pytest.raises(StopHereError):
            await export_shops(session, target, SHOPS, shops_at_once=1, per_page=10, on_progress=show)
        with pytest.raises(StopHereError):
            await export_customers(session, target, shop_id=11, per_page=10, on_progress=show)
        kept = part_path(target).read_bytes()
        with pytest.raises(FileExistsError, match="an unfinished export of"):
            await export_shops(session, target, SHOPS, per_page=10, resume=True)
        assert part_path(target).read_bytes() == kept
        await export_shops(session, target, SHOPS, per_page=10, resume=True, if_exists="replace")
    assert os.listdir(tmp_path) == ["all.csv"]


@pytest.mark.parametrize("if_exists", ["Refuse", "", None, 1])
@pytest.mark.parametrize("name", ["all.csv", "c-{shop_id}.csv"])
async def test_a_misspelt_if_exists_replaces_nothing(if_exists: Any, name: str, tmp_path: Path) -> None:
    """``if_exists`` is one of three words, and anything else is refused before anything is sent or written."""
    (tmp_path / name).write_text("precious")
    async with mall() as shops, shops.session() as session:
        with pytest.raises(ValueError, match="if_exists must be"):
            await export_shops(session, tmp_path / name, SHOPS, if_exists=if_exists)
        assert not shops.server.heard
    assert (tmp_path / name).read_text() == "precious"


async def test_an_empty_checkpoint_of_a_piece_replaces_nothing(tmp_path: Path) -> None:
    """A checkpoint that holds no work, as a kill may leave it, is nothing to go on with."""
    checkpoint_path(tmp_path / "all.csv.11").touch(mode=0o600)
    (tmp_path / "all.csv").write_text("precious")
    async with mall() as shops, shops.session() as session:
        with pytest.raises(FileExistsError):
            await export_shops(session, tmp_path / "all.csv", SHOPS, resume=True)
    assert (tmp_path / "all.csv").read_text() == "precious"


@pytest.mark.parametrize("name", ["all.csv", "all.parquet"])
@pytest.mark.parametrize("edited", [False, True])
async def test_the_one_file_is_known_after_a_kill_behind_its_name(
    name: str, edited: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a kill between the final name and the end, the file is finished again, unless somebody has changed it."""
    target = tmp_path / name

    def killed(*_: object) -> None:
        raise StopHereError

    async with mall() as shops, shops.session() as session:
        with monkeypatch.context() as broken:
            broken.setattr("shopsdk.export._shops.remove_leftovers", killed)
            broken.setattr("shopsdk.export._shops.remove", lambda _: None)
            with pytest.raises(StopHereError):
                await export_shops(session, target, SHOPS, per_page=10)
        whole = target.read_bytes()
        if edited:
            target.write_bytes(whole + b"mine")
            with pytest.raises(FileExistsError, match="is not the file that an earlier run"):
                await export_shops(session, target, SHOPS, per_page=10, resume=True)
            assert target.read_bytes() == whole + b"mine"
        made = await export_shops(
            session, target, SHOPS, per_page=10, resume=True, if_exists="replace" if edited else "refuse"
        )
    assert (made.rows, target.read_bytes() == whole, os.listdir(tmp_path)) == (132, True, [name])


async def test_an_export_that_was_suspended_meanwhile_is_kept(tmp_path: Path) -> None:
    """An export to the one file's name that began meanwhile, and is unfinished, is not made over."""
    target = tmp_path / "all.csv"

    def show(progress: ExportProgress) -> None:
        if progress.stage == "done" and progress.shop_id == 33:
            begin_another(target, suspended=True)

    async with mall() as shops, shops.session() as session:
        with pytest.raises(CheckpointError, match="was begun meanwhile"):
            await export_shops(session, target, SHOPS, shops_at_once=1, per_page=10, on_progress=show)
        assert part_path(target).read_bytes() == b"another's page"
        assert not target.exists()
        made = await export_shops(session, target, SHOPS, per_page=10, resume=True, if_exists="replace")
    assert (made.rows, os.listdir(tmp_path)) == (132, ["all.csv"])


async def test_two_names_of_one_file_are_refused(tmp_path: Path) -> None:
    """Two shops whose names lead to one file are refused before anything is sent."""
    (tmp_path / "c-11.csv").write_text("old")
    (tmp_path / "c-22.csv").symlink_to("c-11.csv")
    async with mall() as shops, shops.session() as session:
        with pytest.raises(ValueError, match="a file for each shop"):
            await export_shops(session, tmp_path / "c-{shop_id}.csv", [11, 22], if_exists="replace")
        assert not shops.server.heard


async def test_leftovers_that_cannot_be_removed_are_no_failure(tmp_path: Path) -> None:
    """Exports that are whole are reported as whole, though something lies at the name of a working file."""

    def show(progress: ExportProgress) -> None:
        if progress.stage == "reading" and progress.shop_id == 33:
            part_path(tmp_path / "c-11.csv").mkdir(exist_ok=True)

    async with mall() as shops, shops.session() as session:
        made = await export_shops(
            session, tmp_path / "c-{shop_id}.csv", SHOPS, shops_at_once=1, per_page=10, on_progress=show
        )
    assert (made.rows, made.failed) == (132, {})


async def test_a_file_at_the_name_of_a_part_that_is_gone_is_left_alone(tmp_path: Path) -> None:
    """Once a shop's file has its name, a file that somebody puts at the name of its part is not removed."""

    def show(progress: ExportProgress) -> None:
        if progress.stage == "reading" and progress.shop_id == 33:
            part_path(tmp_path / "c-11.csv").write_text("somebody else's")

    async with mall() as shops, shops.session() as session:
        await export_shops(session, tmp_path / "c-{shop_id}.csv", SHOPS, shops_at_once=1, per_page=10, on_progress=show)
    assert part_path(tmp_path / "c-11.csv").read_text() == "somebody else's"
    assert not checkpoint_path(tmp_path / "c-11.csv").exists()
