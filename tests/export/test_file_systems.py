"""File systems that refuse to sync or to lock, names that are nearly too long, and who else reads the folder."""

import asyncio
import errno
import fcntl
import io
import itertools
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from shopsdk import AsyncSession
from shopsdk.export import CheckpointError, ExportProgress, _disk, _part, export_customers, export_shops
from shopsdk.export._disk import path_of
from shopsdk.export._part import checkpoint_path, open_part, part_path, whole_path
from shopsdk.sandbox import Sandbox
from tests.support.export import StopHereError, name_nothing, stop_at

pytestmark = pytest.mark.usefixtures("page_by_page")

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}
ACCEPTED = {
    "fsync of a file": NO_SYNC,
    "fsync of a folder": NO_SYNC | {errno.EACCES},
    "open of a folder": NO_SYNC | {errno.EACCES},
    "flock": NO_LOCKS,
}


@pytest.fixture
def small() -> Iterator[Sandbox]:
    with Sandbox(60) as shop:
        yield shop


def refuse(what: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a call fail with an error number."""

    def fail(*_: object) -> Any:
        raise OSError(number, os.strerror(number))

    def fail_for(real: Callable[..., Any], is_refused: Callable[[Any], bool]) -> Callable[..., Any]:
        return lambda first, *more, **options: fail() if is_refused(first) else real(first, *more, **options)

    def is_folder(descriptor: int) -> bool:
        return stat.S_ISDIR(os.fstat(descriptor).st_mode)

    if what == "flock":
        monkeypatch.setattr(fcntl, "flock", fail)
    elif what == "open of a folder":
        monkeypatch.setattr(os, "open", fail_for(os.open, os.path.isdir))
    elif what == "fsync of a folder":
        monkeypatch.setattr(os, "fsync", fail_for(os.fsync, is_folder))
    else:
        monkeypatch.setattr(os, "fsync", fail_for(os.fsync, lambda descriptor: not is_folder(descriptor)))


@pytest.mark.parametrize("what", ACCEPTED)
async def test_what_cannot_be_done_is_done_without_and_what_failed_is_an_error(
    what: str, small: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each error number either says that a file system cannot sync or lock, or ends the export."""
    done: set[int] = set()
    async with small.session() as session:
        for number in sorted(errno.errorcode):
            with monkeypatch.context() as refused:
                refuse(what, number, refused)
                target = tmp_path / f"{number}.csv"
                try:
                    await export_customers(session, target, columns=["id"])
                except (OSError, CheckpointError) as error:
                    assert isinstance(error, CheckpointError) or error.errno == number  # noqa: PT017
                    assert not target.exists()
                else:
                    assert target.read_bytes().count(b"\r\n") == 61
                    done.add(number)
    assert done == ACCEPTED[what]


@pytest.mark.parametrize("name", ["c.csv", "c.parquet", "all.csv", "all.parquet"])
async def test_an_export_does_without_all_of_it(
    name: str, small: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing can be synced or locked, an export is interrupted, resumed and finished all the same."""
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.EINVAL, "")))
    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOLCK, "")))
    options: dict[str, Any] = {"per_page": 10, "columns": ["id", "email"]}

    async def export(session: AsyncSession, folder: Path, **more: Any) -> None:
        if name.startswith("all"):
            await export_shops(session, folder / name, [38], **options, **more)
        else:
            await export_customers(session, folder / name, **options, **more)

    (tmp_path / "whole").mkdir()
    async with small.session() as session:
        await export(session, tmp_path / "whole")
        with pytest.raises(StopHereError):
            await export(session, tmp_path, on_progress=stop_at(3))
        small.requests.clear()
        await export(session, tmp_path, resume=True, concurrency=1)
    pages = [request.json["page"] for request in small.requests if request.json]
    assert pages[-4:] == [4, 5, 6, 7]  # one of the interrupted run may come before
    assert (tmp_path / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(os.listdir(tmp_path)) == [name, "whole"]


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("name", ["c.csv", "c.parquet", "c.ndjson.gz"])
async def test_without_locks_the_later_export_takes_over(
    name: str, resume: bool, small: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without locks, a second export takes over; the first one ends in an error and changes none of its bytes."""
    refuse("flock", errno.ENOLCK, monkeypatch)
    target = tmp_path / name
    real, made, writes = _disk.write_all, list[bytes](), itertools.count()

    async def second() -> None:
        for customer in small.customers():  # so that no page of the two is the same
            small.update_customer(customer.id, email=f"another{customer.id}{'x' * (customer.id % 7)}@example.com")
        more: dict[str, Any] = {"resume": True} if resume else {"if_exists": "replace"}
        async with small.session() as session:
            await export_customers(session, target, per_page=10, **more)
        made.append(target.read_bytes())

    def write_all(file: io.FileIO, data: bytes) -> None:
        # The first export is about to write its fourth page: prefix and page 1 to 3 are written, each with its line.
        if path_of(file) == part_path(target) and not made and next(writes) == 4:
            with monkeypatch.context() as unwatched:
                unwatched.setattr(_part, "write_all", real)
                thread = threading.Thread(target=lambda: asyncio.run(second()))
                thread.start()
                thread.join()
        real(file, data)

    monkeypatch.setattr(_part, "write_all", write_all)
    async with small.session() as session:
        with pytest.raises(FileNotFoundError, match="removed or replaced while the export ran"):
            await export_customers(session, target, per_page=10)
    assert [target.read_bytes()] == made
    if resume:
        assert b"another" in made[0] or name != "c.csv"
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("where", ["journal", "part"])
def test_a_copy_that_fails_leaves_what_was_there(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk while a resumed export is copied, for want of locks, leaves the export as it was."""
    refuse("flock", errno.ENOLCK, monkeypatch)
    target = tmp_path / "c.csv"
    part = open_part(target, {}, b"begun", resume=False)
    part.close()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    copies = itertools.count()

    def full(file: io.FileIO, data: bytes) -> None:
        if next(copies) == ["journal", "part"].index(where):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(file, data)

    real = _disk.write_all
    with monkeypatch.context() as disk:
        disk.setattr(_disk, "write_all", full)
        with pytest.raises(OSError, match="No space left"):
            open_part(target, {}, b"begun", resume=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    part = open_part(target, {}, b"begun", resume=True)
    assert part.position.offset == 5
    part.close()


@pytest.mark.parametrize("name", ["c.csv", "c.parquet"])
async def test_an_export_that_lost_its_file_ends_before_it_has_read_all(
    name: str, small: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unfinished file that is removed ends its export at the next sync, not at the end."""
    monkeypatch.setattr(_part, "_SYNC_SECONDS", 0.0)
    target = tmp_path / name

    def lose(progress: ExportProgress) -> None:
        if progress.page == 2:
            part_path(target).unlink(missing_ok=True)

    async with small.session() as session:
        with pytest.raises(FileNotFoundError, match="removed or replaced while the export ran"):
            await export_customers(session, target, per_page=1, concurrency=1, on_progress=lose)
    assert len(small.requests) < 30
    assert not target.exists()


NAME_MAX = 255


@pytest.mark.parametrize("letter", ["c", "\N{CJK UNIFIED IDEOGRAPH-9867}"])
@pytest.mark.parametrize("options", [{}, {"if_exists": "replace"}, {"resume": True}])
@pytest.mark.parametrize("kind", ["c.csv", "c.parquet", "all.csv", "all.parquet", "{shop_id}.csv"])
async def test_a_name_is_short_enough_or_refused_before_anything_is_sent(
    kind: str, options: dict[str, Any], letter: str, tmp_path: Path
) -> None:
    """A name is exported to, or is an error that says that it is too long, before anything is sent or written."""
    worked: list[int] = []
    with Sandbox(3) as shop:
        async with shop.session() as session:
            for size in range(225, NAME_MAX + 2):
                stem, _, ending = kind.rpartition(".")
                stem = stem if "{" in stem else ""
                fill = size - len(f"{stem.format(shop_id=38)}.{ending}")
                name = f"{stem}{letter * (fill // len(letter.encode()))}{'x' * (fill % len(letter.encode()))}.{ending}"
                assert len(name.format(shop_id=38).encode()) == size
                shop.requests.clear()
                try:
                    if kind == "c.csv" or kind == "c.parquet":
                        await export_customers(session, tmp_path / name, **options)
                    else:
                        made = await export_shops(session, tmp_path / name, [38], **options)
                        assert not made.failed
                except OSError as error:
                    assert error.errno == errno.ENAMETOOLONG  # noqa: PT017
                    assert (shop.requests, os.listdir(tmp_path)) == ([], [])
                else:
                    assert os.listdir(tmp_path) == [name.format(shop_id=38)]
                    (tmp_path / name.format(shop_id=38)).unlink()
                    worked.append(size)
    assert worked == list(range(225, worked[-1] + 1))
    assert worked[-1] >= NAME_MAX - len("..38.part.checkpoint")


async def test_a_stray_unfinished_export_breaks_nobody_who_reads_the_folder(
    small: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of Parquet files is read as a whole while unfinished exports of every stage lie there."""
    async with small.session() as session:
        await export_customers(session, tmp_path / "january.parquet")
        await export_shops(session, tmp_path / "all.parquet", [38])
        for name in ("february.parquet", "march.parquet"):
            with pytest.raises(StopHereError):
                await export_customers(session, tmp_path / name, per_page=5, on_progress=stop_at(3))
        with monkeypatch.context() as broken:
            name_nothing(broken)
            with pytest.raises(StopHereError):
                await export_shops(session, tmp_path / "april.parquet", [38])
    part_path(tmp_path / "march.parquet").rename(whole_path(tmp_path / "march.parquet"))  # as a kill leaves it
    left = set(os.listdir(tmp_path)) - {"january.parquet", "all.parquet"}
    assert len(left) >= 5
    assert all(name.startswith(".") for name in left)
    table = ds.dataset(tmp_path, format="parquet").to_table(columns=["id"])
    assert table.num_rows == 120
    with pytest.raises(pa.ArrowInvalid):  # this is what the dot is for
        part_path(tmp_path / "february.parquet").rename(tmp_path / "february.parquet.part")
        ds.dataset(tmp_path, format="parquet").to_table()


async def test_working_files_without_the_dot_are_nobodys(small: Sandbox, tmp_path: Path) -> None:
    """A file that is named as the target with ``.part`` behind is neither gone on with nor removed."""
    names = ["c.csv.part", "c.csv.part.checkpoint", "c.csv.38.part", "c.csv.38.part.checkpoint"]
    for name in names:
        (tmp_path / name).write_text("somebody's")
    async with small.session() as session:
        await export_customers(session, tmp_path / "c.csv", resume=True)
        await export_shops(session, tmp_path / "c.csv", [38], if_exists="replace")
    assert sorted(os.listdir(tmp_path)) == sorted(["c.csv", *names])
    assert {(tmp_path / name).read_text() for name in names} == {"somebody's"}


def test_working_files_have_hidden_names(tmp_path: Path) -> None:
    """Every working file is hidden, beside its target, and has a name of its own."""
    for name in ("c.csv", ".c.csv", "c.csv.38"):
        paths = [named(tmp_path / name) for named in (part_path, checkpoint_path, whole_path)]
        assert [path.name for path in paths] == [f".{name}.part", f".{name}.part.checkpoint", f".{name}.whole.part"]
        assert {path.parent for path in paths} == {tmp_path}
