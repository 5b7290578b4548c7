"""Resuming an export that was interrupted."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shopsdk import AsyncSession, RetryPolicy, ServerError
from shopsdk.export import CheckpointError, ExportProgress, _part, export_customers, export_shops
from shopsdk.export._checkpoint import Journal, Position
from shopsdk.export._disk import open_locked, release
from shopsdk.export._part import checkpoint_path, earlier_run, open_part, part_path
from shopsdk.sandbox import Sandbox
from tests.support.export import StopHereError, name_nothing, read_rows, stop_at

TEXT = ["c.ndjson", "c.csv", "c.csv.gz", "c.ndjson.zst"]
ALL = [*TEXT, "c.parquet"]


async def unbroken(session: AsyncSession, folder: Path, name: str, **options: Any) -> bytes:
    """The bytes of an export that nothing interrupts."""
    path = folder / f"unbroken-{name}"
    await export_customers(session, path, **options)
    return path.read_bytes()


@pytest.mark.parametrize("name", ALL)
async def test_going_on_gives_the_same_bytes(name: str, session: AsyncSession, tmp_path: Path) -> None:
    """A resumed export gives the same bytes, and asks for no page twice but the last."""
    whole = await unbroken(session, tmp_path, name, per_page=10)
    with pytest.raises(StopHereError):
        await export_customers(session, tmp_path / name, per_page=10, concurrency=1, on_progress=stop_at(12))
    assert not (tmp_path / name).exists()
    with Sandbox() as same:  # no late request of the first run reaches this one
        async with same.session() as other:
            summary = await export_customers(other, tmp_path / name, per_page=10, resume=True, concurrency=1)
        assert [request.json["page"] for request in same.requests] == [*range(13, 27)]
    assert (tmp_path / name).read_bytes() == whole
    assert (summary.resumed, summary.rows, summary.pages) == (120, 250, 25)
    assert not part_path(tmp_path / name).exists()
    assert not checkpoint_path(tmp_path / name).exists()


@pytest.fixture(scope="module")
def small() -> Iterator[Sandbox]:
    """A shop that is small enough for many examples."""
    with Sandbox(130) as shop:
        yield shop


@pytest.mark.slow
@settings(max_examples=40)
@given(data=st.data())
async def test_whatever_the_disk_lost_is_read_again(
    data: st.DataObject, small: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Pages that a power loss cut off or scrambled are read again, and the file comes out the same."""
    folder = tmp_path_factory.mktemp("power")
    name = data.draw(st.sampled_from(ALL))
    async with small.session() as session:
        whole = await unbroken(session, folder, name, per_page=10)
        page = data.draw(st.integers(1, 13))
        with pytest.raises(StopHereError):
            await export_customers(session, folder / name, per_page=10, on_progress=stop_at(page))
        part, journal = part_path(folder / name), checkpoint_path(folder / name)
        if data.draw(st.booleans()):
            forget_syncs(journal)
            damage(part, data)
            damage(journal, data)
        else:  # synced bytes are still there, or the file was cut short by other means
            content = part.read_bytes()
            part.write_bytes(content[: data.draw(st.integers(0, len(content)))])
        await export_customers(session, folder / name, per_page=10, resume=True)
    assert (folder / name).read_bytes() == whole


def damage(path: Path, data: st.DataObject) -> None:
    """Cut a file short, blank a stretch of it, and append other bytes."""
    content = path.read_bytes()
    kept = content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    begin, end = sorted(data.draw(st.tuples(st.integers(0, len(kept)), st.integers(0, len(kept)))))
    if data.draw(st.booleans()):
        kept = kept[:begin] + bytes(end - begin) + kept[end:]
    path.write_bytes(kept + data.draw(st.sampled_from([b"", b"\0" * 64, b"{", b"\n", b"garbage\n"])))


def forget_syncs(journal: Path) -> None:
    """Rewrite a journal as if nothing had been synced, so that only checksums count."""
    journal.write_bytes(journal.read_bytes().replace(b'"synced":true', b'"synced":false'))


async def test_synced_bytes_are_not_read_again(
    shop: Sandbox, session: AsyncSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes are synced before the line that says so, and are not read again."""
    from shopsdk.export import _part

    order: list[str] = []
    monkeypatch.setattr(_part, "_SYNC_SECONDS", 0.0)
    monkeypatch.setattr(os, "fsync", lambda _: order.append("sync"))
    real = Journal.add

    def add(self: Any, position: Any) -> None:
        order.append(f"line {position.synced}")
        real(self, position)

    monkeypatch.setattr(Journal, "add", add)
    await export_customers(session, tmp_path / "c.csv")
    # The file and its folder, then the line, then the journal.
    assert order[:8] == ["sync", "sync", "line True", "sync"] * 2


async def test_a_finished_part_is_put_in_place_without_asking_again(
    shop: Sandbox, session: AsyncSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash between the last page and the final name, the file is put in place without a request."""
    for name in ("c.csv", "c.parquet"):
        whole = await unbroken(session, tmp_path, name)
        with monkeypatch.context() as broken:
            name_nothing(broken)
            with pytest.raises(StopHereError):
                await export_customers(session, tmp_path / name)
        shop.requests.clear()
        summary = await export_customers(session, tmp_path / name, resume=True)
        assert (summary.resumed, summary.rows, len(shop.requests)) == (250, 250, 0)
        assert (tmp_path / name).read_bytes() == whole


async def test_a_torn_page_at_the_end_is_cut_off(session: AsyncSession, tmp_path: Path) -> None:
    """Half a page at the end of the unfinished file is cut off."""
    whole = await unbroken(session, tmp_path, "c.csv", per_page=10)
    with pytest.raises(StopHereError):
        await export_customers(session, tmp_path / "c.csv", per_page=10, on_progress=stop_at(25))
    with part_path(tmp_path / "c.csv").open("ab") as part:
        part.write(b"99,torn@exam")
    await export_customers(session, tmp_path / "c.csv", per_page=10, resume=True)
    assert (tmp_path / "c.csv").read_bytes() == whole


async def test_a_finished_part_replaces_what_was_to_be_replaced(
    session: AsyncSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash, the finished part replaces the old file that it was to replace."""
    (tmp_path / "c.csv").write_text("old")
    with monkeypatch.context() as broken:
        name_nothing(broken)
        with pytest.raises(StopHereError):
            await export_customers(session, tmp_path / "c.csv", if_exists="replace")
    await export_customers(session, tmp_path / "c.csv", resume=True)
    assert len(read_rows(tmp_path / "c.csv")) == 250


@pytest.mark.parametrize("name", ["c.csv", "c.parquet"])
async def test_another_file_under_the_name_is_not_taken_for_the_export(
    name: str, session: AsyncSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the export is lost, another file under its name is not reported as the export."""
    target = tmp_path / name
    with monkeypatch.context() as broken:
        name_nothing(broken)
        with pytest.raises(StopHereError):
            await export_customers(session, target)
    part_path(target).unlink()
    target.write_text("somebody else's")
    with pytest.raises(FileExistsError, match="is not the file that an earlier run of this export made"):
        await export_customers(session, target, resume=True)
    with pytest.raises(FileExistsError, match="it exists and holds something else"):
        await export_customers(session, target, resume=True, if_exists="same")
    assert target.read_text() == "somebody else's"
    await export_customers(session, target, resume=True, if_exists="replace")
    assert (len(read_rows(target)), os.listdir(tmp_path)) == (250, [name])


async def test_a_file_that_was_changed_since_is_not_taken_for_the_export(
    session: AsyncSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finished file that was changed since is neither reported as whole nor replaced unasked."""
    target = tmp_path / "c.csv"
    with monkeypatch.context() as broken:
        broken.setattr(_part, "sync_folder", lambda _: _fail() if (tmp_path / "c.csv").exists() else None)
        with pytest.raises(StopHereError):
            await export_customers(session, target)
    edited = target.read_text() + "a line of my own\n"
    target.write_text(edited)
    with pytest.raises(FileExistsError, match="is not the file"):
        await export_customers(session, target, resume=True)
    assert target.read_text() == edited


async def test_a_crash_after_the_final_name_is_only_cleared_up(
    shop: Sandbox, session: AsyncSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash when the file had its final name, the working files are removed, and nothing is asked for."""
    with monkeypatch.context() as broken:
        broken.setattr(_part, "sync_folder", lambda _: _fail() if (tmp_path / "c.csv").exists() else None)
        with pytest.raises(StopHereError):
            await export_customers(session, tmp_path / "c.csv")
    shop.requests.clear()
    summary = await export_customers(session, tmp_path / "c.csv", resume=True)
    assert (summary.rows, len(shop.requests)) == (250, 0)
    assert os.listdir(tmp_path) == ["c.csv"]


def _fail(*_: object) -> None:
    raise StopHereError


async def test_rows_that_slipped_meanwhile_are_found(tmp_path: Path) -> None:
    """Rows that moved between two runs because others were deleted are found."""
    with Sandbox(300) as shop:
        ids = [c.id for c in shop.customers()]
        async with shop.session() as session:
            with pytest.raises(StopHereError):
                await export_customers(session, tmp_path / "c.csv", per_page=50, on_progress=stop_at(3))
            for number in ids[10:40]:
                shop.remove_customer(number)
            await export_customers(session, tmp_path / "c.csv", per_page=50, resume=True)
    assert [c.id for c in read_rows(tmp_path / "c.csv")] == ids


async def test_another_order_repeats_nobody(shop: Sandbox, session: AsyncSession, tmp_path: Path) -> None:
    """In an order that is not by id, a resumed export writes no customer twice."""
    options: dict[str, Any] = {"order_column": "email", "per_page": 10}
    with pytest.raises(StopHereError):
        await export_customers(session, tmp_path / "c.ndjson", **options, on_progress=stop_at(15))
    early = read_rows(part_path(tmp_path / "c.ndjson").rename(tmp_path / "copy.ndjson"))
    (tmp_path / "copy.ndjson").rename(part_path(tmp_path / "c.ndjson"))
    shop.update_customer(early[3].id, email="zzz@example.com")  # moves behind where the first run stopped
    await export_customers(session, tmp_path / "c.ndjson", **options, resume=True)
    ids = [c.id for c in read_rows(tmp_path / "c.ndjson")]
    assert len(ids) == len(set(ids))


async def test_resume_with_nothing_to_go_on_with_begins(session: AsyncSession, tmp_path: Path) -> None:
    """``resume=True`` without an earlier export begins one."""
    summary = await export_customers(session, tmp_path / "c.csv", resume=True)
    assert (summary.resumed, summary.rows) == (0, 250)


async def test_an_outage_keeps_the_checkpoint(shop: Sandbox, tmp_path: Path) -> None:
    """An outage keeps what was read for a resumed export."""
    async with shop.session(retry=RetryPolicy(attempts=1)) as session:

        def break_down(progress: ExportProgress) -> None:
            if progress.page == 10:
                shop.fail_next("html_502")

        with pytest.raises(ServerError):
            await export_customers(session, tmp_path / "c.csv", per_page=10, concurrency=1, on_progress=break_down)
        summary = await export_customers(session, tmp_path / "c.csv", per_page=10, resume=True)
    assert summary.resumed >= 100
    assert read_rows(tmp_path / "c.csv") == shop.customers()


@pytest.mark.parametrize("lost", ["removed", "emptied"])
async def test_a_file_is_not_replaced_where_nothing_is_left_to_go_on_with(
    lost: str, session: AsyncSession, tmp_path: Path
) -> None:
    """``resume`` replaces no existing file if the unfinished one is gone or holds nothing."""
    target = tmp_path / "c.csv"
    with pytest.raises(StopHereError):
        await export_customers(session, target, per_page=10, on_progress=stop_at(3))
    if lost == "removed":
        part_path(target).unlink()
    else:
        part_path(target).write_bytes(b"")
    target.write_text("somebody else's")
    with pytest.raises(FileExistsError, match="no unfinished export is beside it"):
        await export_customers(session, target, per_page=10, resume=True)
    assert target.read_text() == "somebody else's"
    await export_customers(session, target, per_page=10, resume=True, if_exists="replace")
    assert len(read_rows(target)) == 250


async def test_the_checkpoint_of_a_file_that_was_moved_away_is_no_unfinished_export(
    session: AsyncSession, tmp_path: Path
) -> None:
    """The checkpoint of a finished file that was moved away does not stop a new export."""
    name = str(tmp_path / "c-{shop_id}.csv")
    made = await export_shops(session, name, [38, 39])
    assert list(made.failed) == [39]
    (tmp_path / "c-38.csv").rename(tmp_path / "processed.csv")
    assert checkpoint_path(tmp_path / "c-38.csv").exists()
    await export_customers(session, tmp_path / "c-38.csv")
    assert (tmp_path / "c-38.csv").read_bytes() == (tmp_path / "processed.csv").read_bytes()


async def test_a_part_that_was_cut_short_gets_no_name(
    session: AsyncSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that lost bytes while it was open is not placed as whole, and is read again."""
    target = tmp_path / "c.csv"
    whole = await unbroken(session, tmp_path, "c.csv")

    def cut(progress: ExportProgress) -> None:
        if progress.stage == "assembling":
            os.truncate(part_path(target), 30)

    with pytest.raises(CheckpointError, match="was changed while the export ran"):
        await export_customers(session, target, on_progress=cut)
    assert not target.exists()
    await export_customers(session, target, resume=True)
    assert target.read_bytes() == whole


def test_an_export_waits_for_a_look_at_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export waits while a look at its checkpoint holds the lock for a moment."""
    part = open_part(tmp_path / "c.csv", {}, b"", resume=False)
    part.add(b"page", attrs.evolve(part.position, page=1, ids=[1], rows=1))
    part.suspend()
    looking = Journal.existing(checkpoint_path(tmp_path / "c.csv"))
    assert looking is not None
    monkeypatch.setattr("shopsdk.export._disk.time.sleep", lambda _: looking.unlock())
    open_part(tmp_path / "c.csv", {}, b"", resume=False).close()
    looking.close()


def test_looking_at_an_earlier_run_holds_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export can begin while an earlier run is looked at, however long that takes."""
    target = tmp_path / "c.csv"
    part = open_part(target, {}, b"", resume=False)
    part.add(b"page", attrs.evolve(part.position, page=1, ids=[1], rows=1))
    part.suspend()
    real = Journal.last

    def last(journal: Journal) -> Position | None:
        release(open_locked(checkpoint_path(target), anew=False))
        return real(journal)

    monkeypatch.setattr(Journal, "last", last)
    found = earlier_run(target)
    assert found is not None
    assert (found.resumable, found.position.rows) == (True, 1)
