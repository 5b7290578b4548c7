"""Files of an export where other users can reach them: links, locks, owners, modes and damaged checkpoints."""

import ast
import asyncio
import errno
import json
import os
import socket
import stat
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from typing import Any

import attrs
import pytest

import shopsdk.export
from shopsdk import AsyncSession, ShopError
from shopsdk.export import CheckpointError, ExportProgress, _disk, export_customers, export_shops
from shopsdk.export._disk import create, open_locked, release
from shopsdk.export._part import PartFile, checkpoint_path, open_finished, open_part, part_path
from shopsdk.sandbox import Sandbox
from tests.support.export import StopHereError, name_nothing, read_rows, stop_at

ROOT = os.geteuid() == 0
USERS = (None, 12345, 65534)
"""The users that export: the one that runs the tests or, if that is root, also two ordinary users."""
GROUP = 54321


@contextmanager
def as_user(user: int | None, *groups: int) -> Iterator[None]:
    """Act as an ordinary user, if the tests run as root."""
    if user is None or not ROOT:
        yield
        return
    before = os.getgroups()
    os.setgroups(groups)
    os.setegid(user)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(before)


@contextmanager
def masked(umask: int) -> Iterator[None]:
    before = os.umask(umask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.fixture(scope="module")
def small() -> Iterator[Sandbox]:
    with Sandbox(25) as shop:
        yield shop


@pytest.fixture(scope="module", autouse=True)
def _all_is_imported(small: Sandbox) -> None:
    """Import everything first, since an ordinary user may be unable to read where root's Python lies."""

    async def export(folder: str) -> None:
        async with small.session() as session:
            await export_customers(session, Path(folder) / "c.parquet")
            await export_shops(session, Path(folder) / "c.csv.zst", [38])

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(export(folder))


def nowhere() -> AsyncSession:
    """A session on a port where nobody listens: a request would fail with another error."""
    return AsyncSession("key", shop_id=38, base_url="http://127.0.0.1:9/v1")


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that everybody may write to, such as /tmp."""
    folder = Path(os.path.realpath(tempfile.mkdtemp()))
    folder.chmod(0o1777)
    yield folder
    rmtree(folder)


@attrs.define
class Stranger:
    """Another user, to whom files can be given: really if the tests run as root, else by a patched stat."""

    uid: int = 4242
    _given: set[tuple[int, int, int]] = attrs.Factory(set)

    def owns(self, path: Path) -> None:
        if ROOT:
            os.lchown(path, self.uid, self.uid)
        else:
            state = os.lstat(path)
            self._given.add(self._identity(state))

    def pretend(self, look: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def lie(*args: Any, **options: Any) -> os.stat_result:
            state = look(*args, **options)
            given = self._identity(state) in self._given
            return os.stat_result((*state[:4], self.uid, *state[5:])) if given else state

        return lie

    def _identity(self, state: os.stat_result) -> tuple[int, int, int]:
        # A file's number is used again; a folder changes with every file in it.
        return state.st_dev, state.st_ino, 0 if stat.S_ISDIR(state.st_mode) else state.st_mtime_ns


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> Stranger:
    made = Stranger()
    if not ROOT:
        for name in ("lstat", "fstat", "stat"):
            monkeypatch.setattr(os, name, made.pretend(getattr(os, name)))
    return made


@attrs.define
class Trap:
    """A file that somebody put at a name, with a check that nothing went through it."""

    kind: str
    path: Path
    victim: Path
    opened: ExitStack
    reader: int | None = None

    def sprung(self) -> bool:
        """Return whether anything reached the victim, or the reader at the other end of the FIFO."""
        if self.kind == "dangling":
            return self.victim.exists()
        if self.reader is not None:
            with suppress(BlockingIOError):
                return os.read(self.reader, 1) != b""
            return True  # somebody has it open for writing
        return self.victim.read_text() != "precious" or self.victim.stat().st_mode & 0o777 != 0o666


TRAPS = ("link", "dangling", "link to fifo", "link to folder", "fifo", "socket", "hard link", "file", "folder")


def set_trap(kind: str, path: Path, opened: ExitStack) -> Trap:
    """Put something at a name; the victim stands in the same folder."""
    victim = path.with_name("victim")
    trap = Trap(kind, path, victim, opened)
    if kind != "dangling":
        victim.write_text("precious")
        victim.chmod(0o666)
    path.unlink(missing_ok=True)
    if kind in {"link", "dangling"}:
        path.symlink_to(victim)
    elif kind == "hard link":
        os.link(victim, path)
    elif kind == "file":
        path.write_text("mine")
        path.chmod(0o666)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        opened.enter_context(socket.socket(socket.AF_UNIX)).bind(str(path))
    elif kind == "link to folder":
        path.with_name("inner").mkdir()
        path.symlink_to(path.with_name("inner"))
    else:
        fifo = path if kind == "fifo" else path.with_name("elsewhere")
        os.mkfifo(fifo)
        trap.reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        opened.callback(os.close, trap.reader)
        if fifo != path:
            path.symlink_to(fifo)
    return trap


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("foreign", [False, True])
@pytest.mark.parametrize("kind", TRAPS)
@pytest.mark.parametrize(
    ("name", "trapped"),
    [
        ("c.csv", ".c.csv.part"),
        ("c.parquet", ".c.parquet.part"),
        ("c.parquet", ".c.parquet.whole.part"),
        ("all.csv", ".all.csv.part"),
        ("all.csv", ".all.csv.38.part"),
        ("c.csv", ".c.csv.part.checkpoint"),
        ("all.csv", ".all.csv.38.part.checkpoint"),
    ],
)
async def test_nothing_is_written_through_what_lies_at_the_name_of_a_working_file(
    name: str, trapped: str, kind: str, foreign: bool, user: int | None, small: Sandbox, shared: Path,
    stranger: Stranger,
) -> None:  # fmt: skip
    """A file at the name of a working file is removed or named in an error, and neither written nor followed."""
    target, path = shared / name, shared / trapped
    with ExitStack() as opened:
        trap = set_trap(kind, path, opened)
        if foreign:
            stranger.owns(path)
        elif ROOT and user is not None:
            os.lchown(path, user, user)
        stays = kind == "folder" or (foreign and ROOT and user is not None)
        failed: BaseException | None = None
        async with small.session() as session:
            with as_user(user):
                try:
                    if name.startswith("all"):
                        made = await export_shops(session, target, [38], columns=["id"], if_exists="replace")
                        failed = made.failed.get(38)
                    else:
                        await export_customers(session, target, if_exists="replace")
                except OSError as error:
                    failed = error
        assert not trap.sprung()
        if stays:
            assert isinstance(failed, OSError)
            assert failed.filename == str(path)
            assert not target.exists()
        else:
            assert failed is None
            assert stat.S_ISREG(target.lstat().st_mode)
            assert target.lstat().st_nlink == 1
            assert path.name not in os.listdir(shared)


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("kind", [*TRAPS, "foreign", "writable"])
@pytest.mark.parametrize("trapped", ["part", "checkpoint"])
@pytest.mark.parametrize("many", [False, True])
async def test_what_is_not_surely_ours_is_not_gone_on_with(
    many: bool, trapped: str, kind: str, user: int | None, small: Sandbox, shared: Path, stranger: Stranger
) -> None:
    """Only a regular file of this user, with one name, that nobody else may write to, is resumed; others stay."""
    target = shared / "c.csv"
    begun = shared / "c.csv.38" if many else target
    path = part_path(begun) if trapped == "part" else checkpoint_path(begun)

    async def export(session: AsyncSession, **options: Any) -> None:
        async with session:
            with as_user(user):
                if many:
                    made = await export_shops(session, target, [38], per_page=5, resume=True, **options)
                    if made.failed:
                        raise made.failed[38]
                else:
                    await export_customers(session, target, per_page=5, resume=True, **options)

    with pytest.raises(StopHereError):
        await export(small.session(), on_progress=stop_at(2))
    real = path.read_bytes()
    with ExitStack() as opened:
        trap = None
        if kind in TRAPS:
            trap = set_trap(kind, path, opened)
            if kind in {"link", "hard link"}:  # contents that could be resumed
                trap.victim.write_bytes(real)
                trap.victim.chmod(0o600)
            if ROOT and user is not None:
                os.lchown(path, user, user)
        elif kind == "foreign":
            stranger.owns(path)
        else:
            path.chmod(0o620)
        before = {each: os.lstat(shared / each) for each in os.listdir(shared)}
        with pytest.raises(CheckpointError) as caught:
            await export(nowhere())
        assert repr(str(path)) in str(caught.value)
        after = {each: os.lstat(shared / each) for each in os.listdir(shared)}
        states = [(each.st_ino, each.st_size, each.st_mtime_ns, each.st_mode) for each in before.values()]
        assert states == [(each.st_ino, each.st_size, each.st_mtime_ns, each.st_mode) for each in after.values()]
        assert trap is None or trap.reader is None or not trap.sprung()


@pytest.mark.parametrize("resume", [True, False])
async def test_who_could_read_an_earlier_run_reads_nothing_of_the_next(
    resume: bool, small: Sandbox, shared: Path
) -> None:
    """An unfinished export that others may read becomes private when it is resumed, and is replaced otherwise."""
    target = shared / "c.csv"
    async with small.session() as session:
        with pytest.raises(StopHereError):
            await export_customers(session, target, per_page=5, on_progress=stop_at(2))
        with ExitStack() as opened:
            names = part_path(target), checkpoint_path(target)
            for name in names:
                name.chmod(0o644)
            readers = [opened.enter_context(name.open("rb", buffering=0)) for name in names]
            sizes = [os.fstat(reader.fileno()).st_size for reader in readers]

            def look(progress: ExportProgress) -> None:
                assert {0o600} == {name.stat().st_mode & 0o777 for name in names if name.exists()}
                if progress.page == 4:
                    raise StopHereError

            with pytest.raises(StopHereError):
                await export_customers(
                    session, target, per_page=5, resume=resume, if_exists="replace", on_progress=look
                )
            same = [
                os.path.samestat(os.fstat(reader.fileno()), name.stat())
                for reader, name in zip(readers, names, strict=True)
            ]
            assert same == [resume, resume]
            assert resume or sizes == [os.fstat(reader.fileno()).st_size for reader in readers]


@pytest.mark.parametrize("kind", ["link", "fifo", "hard link", "file"])
async def test_what_is_put_there_between_the_look_and_the_opening_is_not_used(
    kind: str, small: Sandbox, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A working file that is exchanged after it was checked is neither written nor used."""
    target = shared / "c.csv"
    async with small.session() as session:
        with pytest.raises(StopHereError):
            await export_customers(session, target, per_page=5, on_progress=stop_at(2))
        real_open, opened_ones = os.open, list[os.stat_result]()
        with ExitStack() as opened:
            traps: list[Trap] = []

            def late(path: Any, flags: int, *mode: Any, **options: Any) -> int:
                if path == str(part_path(target)) and not traps:
                    traps.append(set_trap(kind, part_path(target), opened))
                descriptor = real_open(path, flags, *mode, **options)
                opened_ones.append(os.fstat(descriptor))
                return descriptor

            monkeypatch.setattr(os, "open", late)
            with pytest.raises((CheckpointError, OSError), match=r"c\.csv\.part'"):
                await export_customers(session, target, per_page=5, resume=True)
            assert not traps[0].sprung()
            victim = os.stat(traps[0].victim)
            assert kind != "link" or not any(os.path.samestat(victim, each) for each in opened_ones)


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
@pytest.mark.parametrize("name", ["c.csv", "c.parquet", "all.csv", "all.parquet"])
async def test_unfinished_files_are_private_and_finished_ones_follow_the_umask(
    name: str, umask: int, user: int | None, small: Sandbox, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Working files are 0600 whatever the umask, and can be resumed; the finished file follows the umask."""
    modes: set[int] = set()
    fsync = os.fsync

    def sync(descriptor: int) -> None:
        state = os.fstat(descriptor)
        if stat.S_ISREG(state.st_mode):
            modes.add(state.st_mode)
        fsync(descriptor)

    def look(progress: ExportProgress) -> None:
        modes.update(os.lstat(shared / each).st_mode for each in os.listdir(shared))
        stop_at(3)(progress)

    monkeypatch.setattr(os, "fsync", sync)
    async with small.session() as session:

        async def export(on_progress: Any = None) -> None:
            options: dict[str, Any] = {"per_page": 5, "resume": True, "on_progress": on_progress}
            with as_user(user), masked(umask):
                if name.startswith("all"):
                    await export_shops(session, shared / name, [38], **options)
                else:
                    await export_customers(session, shared / name, **options)

        with pytest.raises(StopHereError):
            await export(look)
        await export()
    assert modes == {stat.S_IFREG | 0o600}
    assert os.listdir(shared) == [name]
    assert (shared / name).stat().st_mode & 0o7777 == 0o666 & ~umask


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o4755])
async def test_a_replaced_file_keeps_its_mode(mode: int, user: int | None, small: Sandbox, shared: Path) -> None:
    """A replaced file keeps its mode, without setuid and setgid."""
    target = shared / "c.csv"
    with as_user(user):
        target.write_text("old")
        target.chmod(mode)
        async with small.session() as session:
            for _ in range(2):
                await export_customers(session, target, if_exists="replace")
    assert target.stat().st_mode & 0o7777 == mode & 0o777
    assert read_rows(target) == small.customers()


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("member", [True, False])
async def test_a_replaced_file_keeps_its_group_where_it_can(
    member: bool, user: int | None, small: Sandbox, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replaced file keeps its group; if it cannot, the new group gets no more rights than everybody."""
    target = shared / "c.csv"
    target.write_text("old")
    own = os.getegid()

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "not a member")

    if ROOT:
        os.chown(target, -1 if user is None else user, GROUP)
        if user is None and not member:  # root is a member of every group
            monkeypatch.setattr(os, "fchown", refuse)
    elif not member:
        lstat = os.lstat

        def lie(path: Any, **options: Any) -> os.stat_result:
            state = lstat(path, **options)
            return os.stat_result((*state[:5], GROUP, *state[6:])) if path == target else state

        monkeypatch.setattr(os, "lstat", lie)
        monkeypatch.setattr(os, "fchown", refuse)
    target.chmod(0o664)
    async with small.session() as session:
        with as_user(user, *([GROUP] if member else [])):
            await export_customers(session, target, if_exists="replace")
    state = target.stat()
    assert state.st_mode & 0o7777 == (0o664 if member else 0o644)
    if ROOT:
        assert state.st_gid == (GROUP if member else user or own)


async def test_a_strangers_file_widens_nothing(small: Sandbox, shared: Path, stranger: Stranger) -> None:
    """The mode of a stranger's file, in a folder for all, gives nobody more rights to the export."""
    for mode, expected in ((0o666, 0o644), (0o600, 0o600)):
        target = shared / f"{mode}.csv"
        target.write_text("old")
        target.chmod(mode)
        stranger.owns(target)
        async with small.session() as session:
            with masked(0o022):
                await export_customers(session, target, if_exists="replace")
        assert target.stat().st_mode & 0o7777 == expected
        assert target.stat().st_gid == os.getegid()


async def test_the_file_of_a_folders_owner_widens_nothing(small: Sandbox, tmp_path: Path, stranger: Stranger) -> None:
    """In another user's folder, the mode of their file gives nobody more rights to the export."""
    target = tmp_path / "c.csv"
    target.write_text("old")
    target.chmod(0o666)
    stranger.owns(target)
    stranger.owns(tmp_path)
    os.chmod(tmp_path, 0o755)
    async with small.session() as session:
        with masked(0o077):
            await export_customers(session, target, if_exists="replace")
    assert target.stat().st_mode & 0o7777 == 0o600


@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("hard_links", [True, False])
@pytest.mark.parametrize("put", ["file", "link", "fifo"])
@pytest.mark.parametrize("name", ["c.csv", "c.parquet"])
async def test_what_appears_at_the_very_last_moment_is_not_replaced(
    name: str,
    put: str,
    hard_links: bool,
    windows: bool,
    small: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file that must replace no other gets its name by calls that cannot replace."""
    target = tmp_path / name

    def appear() -> None:
        if put == "file":
            target.write_text("precious")
        elif put == "link":
            target.symlink_to("nowhere")
        else:
            os.mkfifo(target)

    link, real_open = os.link, os.open

    def late_link(source: Path, named: Path) -> None:
        appear()
        link(source, named)

    def late_open(path: Any, flags: int, *mode: Any, **options: Any) -> int:
        if path == str(target) and flags & os.O_EXCL:
            appear()
        return real_open(path, flags, *mode, **options)

    async with small.session() as session:
        with monkeypatch.context() as late:
            if hard_links:
                late.setattr(os, "link", late_link)
            else:
                late.delattr(os, "link")
                late.setattr(os, "open", late_open)
            for lacking in WINDOWS if windows else ():
                late.delattr(os, lacking)
            with pytest.raises(FileExistsError, match="it appeared while the export ran"):
                await export_customers(session, target)
        kinds = {"file": stat.S_IFREG, "link": stat.S_IFLNK, "fifo": stat.S_IFIFO}
        assert stat.S_IFMT(target.lstat().st_mode) == kinds[put]
        assert put != "file" or target.read_text() == "precious"
        assert sorted(os.listdir(tmp_path)) == [f".{name}.part", f".{name}.part.checkpoint", name]
        assert part_path(target).stat().st_mode & 0o777 == 0o600
        target.unlink()
    async with nowhere() as session:
        await export_customers(session, target, resume=True)
    assert read_rows(target) == small.customers()


async def test_a_file_that_differs_is_left_though_it_appears_late(
    small: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With "same", a file that appears late is compared, and stays."""
    link = os.link

    def late(source: Path, target: Path) -> None:
        target.write_text("precious")
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    async with small.session() as session:
        with pytest.raises(FileExistsError):
            await export_customers(session, tmp_path / "c.csv", if_exists="same")
    assert (tmp_path / "c.csv").read_text() == "precious"


@pytest.mark.parametrize("kind", ["link", "hard link", "file"])
async def test_a_part_that_was_exchanged_gets_no_name(kind: str, small: Sandbox, shared: Path) -> None:
    """The final name is given to the file that was written, and to none that was put in its place."""
    target = shared / "c.csv"
    with ExitStack() as opened:

        def exchange(progress: ExportProgress) -> None:
            if progress.stage == "assembling":
                set_trap(kind, part_path(target), opened)

        async with small.session() as session:
            with pytest.raises(FileNotFoundError, match="removed or replaced while the export ran") as caught:
                await export_customers(session, target, on_progress=exchange)
        assert caught.value.filename == str(part_path(target))
        assert not target.exists()


@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "hard link", "file"])
@pytest.mark.parametrize("name", ["c.csv", "c.parquet"])
async def test_a_piece_that_was_exchanged_is_not_put_in(kind: str, name: str, small: Sandbox, shared: Path) -> None:
    """Pieces are checked like any working file when they are assembled."""
    piece = shared / f"{name}.38"
    with ExitStack() as opened:

        def exchange(progress: ExportProgress) -> None:
            if progress.stage == "done":
                set_trap(kind, part_path(piece), opened)

        async with small.session() as session:
            with pytest.raises(CheckpointError, match="38"):
                await export_shops(session, shared / name, [38], on_progress=exchange)
    assert not (shared / name).exists()
    assert not part_path(shared / name).exists()


@pytest.mark.parametrize("taken", ["at work", "begun", "gone"])
async def test_a_piece_that_another_export_took_is_not_put_in(taken: str, small: Sandbox, tmp_path: Path) -> None:
    """A piece that another export has begun anew is not assembled."""
    piece = tmp_path / "c.csv.38"
    begun: list[PartFile] = []

    def take(progress: ExportProgress) -> None:
        if progress.stage == "done" and taken == "gone":
            part_path(piece).unlink()
        elif progress.stage == "done":
            parameters = json.loads(checkpoint_path(piece).read_bytes().splitlines()[0])["parameters"]
            begun.append(open_part(piece, parameters, b"", resume=False))
            if taken == "begun":
                begun.pop().close()

    async with small.session() as session:
        with pytest.raises(CheckpointError, match=r"at work on '\.c\.csv\.38|c\.csv\.38\.part' was changed"):
            await export_shops(session, tmp_path / "c.csv", [38], on_progress=take)
    for part in begun:
        part.close()
    assert not (tmp_path / "c.csv").exists()


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("where", ["name", "chain", "folder"])
@pytest.mark.parametrize("meant", ["file", "nothing", "fifo"])
async def test_a_strangers_link_leads_nowhere(
    meant: str, where: str, user: int | None, shared: Path, stranger: Stranger
) -> None:
    """In a folder that others may write to, a link that is neither ours nor root's is refused."""
    inner = shared / "inner"
    inner.mkdir()
    inner.chmod(0o777)
    real = inner / "real.csv"
    if meant == "file":
        real.write_text("precious")
    elif meant == "fifo":
        os.mkfifo(real)
    name = shared / "c.csv"
    if where == "name":
        name.symlink_to(real)
        stranger.owns(name)
    elif where == "chain":
        (shared / "second").symlink_to(real)
        stranger.owns(shared / "second")
        name.symlink_to("second")
    else:
        (shared / "second").symlink_to(inner)
        stranger.owns(shared / "second")
        name = shared / "second" / "real.csv"
    before = sorted(os.listdir(inner))
    async with nowhere() as session:
        with as_user(user), pytest.raises(PermissionError, match="another user's link"):
            await export_customers(session, name, if_exists="replace")
        with as_user(user), pytest.raises(PermissionError, match="another user's link"):
            await export_shops(session, name, [38], if_exists="replace")
    assert sorted(os.listdir(inner)) == before
    assert meant != "file" or real.read_text() == "precious"


@pytest.mark.parametrize("owner", ["own", "root's", "stranger's, in a folder of ours"])
async def test_a_link_that_can_be_trusted_is_followed(
    owner: str, small: Sandbox, shared: Path, stranger: Stranger
) -> None:
    """Our links, root's links, and links in a folder that we alone may write to are followed."""
    user = USERS[1] if owner == "root's" else None
    (shared / "data").mkdir()
    (shared / "data").chmod(0o777)
    (shared / "c.csv").symlink_to("second")
    (shared / "second").symlink_to(shared / "." / "data" / ".." / "data" / "real.csv")
    if owner.startswith("stranger"):
        stranger.owns(shared / "c.csv")
        os.chmod(shared, 0o755)
    async with small.session() as session:
        with as_user(user):
            await export_customers(session, shared / "c.csv")
    assert (shared / "c.csv").is_symlink()
    assert read_rows(shared / "data" / "real.csv") == small.customers()


async def test_the_owner_of_a_folder_is_trusted_with_the_way_and_not_with_the_name(
    small: Sandbox, shared: Path, stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another user's folder, their link at the final name is refused, and their link on the way is followed."""
    (shared / "2026").mkdir()
    (shared / "now").symlink_to("2026")
    (shared / "c.csv").symlink_to("precious")
    os.chmod(shared, 0o2775)
    for path in (shared / "now", shared / "c.csv", shared):
        stranger.owns(path)
    if not ROOT:
        monkeypatch.setattr(os, "stat", stranger.pretend(os.stat))
    async with nowhere() as session:
        with pytest.raises(PermissionError, match="another user's link"):
            await export_customers(session, shared / "c.csv", if_exists="replace")
    async with small.session() as session:
        await export_customers(session, shared / "now" / "c.csv")
    assert read_rows(shared / "2026" / "c.csv") == small.customers()


async def test_links_in_a_circle_are_named(small: Sandbox, tmp_path: Path) -> None:
    """Links that lead in a circle are an error that names the file."""
    (tmp_path / "a.csv").symlink_to("b.csv")
    (tmp_path / "b.csv").symlink_to("a.csv")
    async with small.session() as session:
        with pytest.raises(OSError, match="ymbolic link") as caught:
            await export_customers(session, tmp_path / "a.csv")
    assert caught.value.filename == str(tmp_path / "a.csv")


async def whole_life(shop: Sandbox, folder: Path) -> None:
    """Begin, resume, refuse and replace exports of each kind."""
    async with shop.session() as session:
        for name in ("c.csv", "c.parquet"):
            target = folder / name
            with pytest.raises(StopHereError):
                await export_customers(session, target, per_page=5, on_progress=stop_at(2))
            summary = await export_customers(session, target, per_page=5, resume=True)
            assert (summary.resumed > 0, summary.bytes) == (True, target.stat().st_size)
            whole = target.read_bytes()
            with pytest.raises(FileExistsError):
                await export_customers(session, target, per_page=5)
            await export_customers(session, target, per_page=5, if_exists="same")
            target.write_text("old")
            with pytest.raises(FileExistsError, match="something else"):
                await export_customers(session, target, per_page=5, if_exists="same")
            await export_customers(session, target, per_page=5, if_exists="replace")
            assert target.read_bytes() == whole
            assert read_rows(target) == shop.customers()
            for each in (f"all-{name}", f"{{shop_id}}-{name}"):
                assert not (await export_shops(session, folder / each, [38])).failed
                assert not (await export_shops(session, folder / each, [38], if_exists="replace")).failed
            with pytest.raises(ShopError):
                await export_customers(session, folder / f"no-{name}", shop_id=39)
    expected = {f"{before}{name}" for name in ("c.csv", "c.parquet") for before in ("", "all-", "38-")}
    assert set(os.listdir(folder)) == expected


WINDOWS = ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "geteuid", "getuid", "fchmod", "fchown")


@pytest.mark.parametrize("lacking", [*WINDOWS, "link", "fcntl", "flock"])
async def test_an_export_does_without_what_a_platform_lacks(
    lacking: str, small: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exports work on a platform that lacks a call or a flag."""
    if lacking == "fcntl":
        monkeypatch.setitem(sys.modules, "fcntl", None)
    elif lacking == "flock":
        monkeypatch.delattr("fcntl.flock")
    else:
        monkeypatch.delattr(os, lacking)
    await whole_life(small, tmp_path)


@pytest.mark.parametrize("hard_links", [True, False])
async def test_an_export_does_as_windows_does(
    hard_links: bool, small: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exports work without POSIX, where open files can be neither renamed nor removed."""

    def open_files() -> set[str]:
        found: set[str] = set()
        for each in os.listdir("/proc/self/fd"):
            with suppress(FileNotFoundError):
                found.add(os.readlink(f"/proc/self/fd/{each}"))
        return found

    def careful(call: Callable[..., None]) -> Callable[..., None]:
        def refuse(*paths: Any, **options: Any) -> None:
            if {os.path.realpath(path) for path in paths} & open_files():
                raise PermissionError(errno.EACCES, "it is being used by another process", str(paths[0]))
            call(*paths, **options)

        return refuse

    for name in ("unlink", "rename", "replace"):
        monkeypatch.setattr(os, name, careful(getattr(os, name)))
    for name in WINDOWS if hard_links else (*WINDOWS, "link"):
        monkeypatch.delattr(os, name)
    monkeypatch.setitem(sys.modules, "fcntl", None)
    await whole_life(small, tmp_path)


REFUSED = [
    ("fsync", errno.EINVAL), ("fsync", errno.ENOTSUP), ("fsync", errno.EACCES), ("open", errno.EACCES),
    ("flock", errno.ENOLCK), ("flock", errno.ENOTSUP), ("link", errno.EPERM), ("link", errno.ENOTSUP),
    ("link", errno.EOPNOTSUPP), ("link", errno.EMLINK), ("fchmod", errno.EPERM), ("fchown", errno.EPERM),
]  # fmt: skip


@pytest.mark.parametrize(("call", "number"), REFUSED)
async def test_an_export_does_without_what_a_file_system_refuses(
    call: str, number: int, small: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exports work on a file system that refuses locks, hard links, modes or syncing a folder."""
    refuse_calls(call, number, monkeypatch)
    await whole_life(small, tmp_path)


def refuse_calls(call: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make calls fail; ``open`` and ``fsync`` fail for folders."""
    name = f"fcntl.{call}" if call == "flock" else f"os.{call}"
    real = getattr(sys.modules[name.partition(".")[0]], call)

    def refuse(*args: Any, **options: Any) -> Any:
        if call == "open" and not (isinstance(args[0], Path) and args[0].is_dir()):
            return real(*args, **options)
        if call == "fsync" and not stat.S_ISDIR(os.fstat(args[0]).st_mode):
            return real(*args, **options)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(name, refuse)


@pytest.mark.parametrize("call", ["fsync", "flock", "fchmod"])
async def test_a_failing_disk_ends_the_export(
    call: str, small: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the disk ends the export, unlike a call that a file system does not support."""
    refuse_calls(call, errno.EIO, monkeypatch)
    async with small.session() as session:
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            await export_customers(session, tmp_path / "c.csv")


async def test_a_file_system_without_owners_can_be_gone_on_with(
    small: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exports are resumed on a file system that shows all files as one user's, writable for all."""

    def without_owners(look: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def look_at(*args: Any, **options: Any) -> os.stat_result:
            state = look(*args, **options)
            if not stat.S_ISREG(state.st_mode):
                return state
            return os.stat_result((stat.S_IFREG | 0o777, *state[1:4], 4242, 4242, *state[6:]))

        return look_at

    for name in ("lstat", "fstat"):
        monkeypatch.setattr(os, name, without_owners(getattr(os, name)))
    await whole_life(small, tmp_path)


async def test_a_copy_of_the_descriptor_holds_no_lock(small: Sandbox, tmp_path: Path) -> None:
    """A process that was forked during an export does not keep it locked."""
    copies: list[int] = []

    def copy(progress: ExportProgress) -> None:
        if progress.page < 2:
            return
        journal = os.stat(checkpoint_path(tmp_path / "c.csv"))
        for each in os.listdir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"):
            with suppress(OSError):
                if os.path.samestat(os.fstat(int(each)), journal):
                    copies.append(os.dup(int(each)))
        raise StopHereError

    async with small.session() as session:
        with pytest.raises(StopHereError):
            await export_customers(session, tmp_path / "c.csv", per_page=5, on_progress=copy)
        await export_customers(session, tmp_path / "c.csv", per_page=5, resume=True)
    assert copies
    for each in copies:
        os.close(each)
    assert read_rows(tmp_path / "c.csv") == small.customers()


@pytest.mark.parametrize("anew", [True, False])
@pytest.mark.parametrize("existing", [True, False])
@pytest.mark.parametrize("exchanged", ["removed", "replaced"])
def test_a_lock_on_a_file_that_lost_its_name_is_none(
    exchanged: str, existing: bool, anew: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock counts only on a file that has its name: one that was removed in between is opened anew."""
    path = tmp_path / "lock"
    if existing:
        create(path).close()
    real = _disk._lock
    turns = iter(("others first", *[""] * 9))

    def late(file: Any) -> None:
        if next(turns):
            path.unlink()
            if exchanged == "replaced":
                create(path).close()
        real(file)

    monkeypatch.setattr(_disk, "_lock", late)
    file = open_locked(path, anew=anew)
    assert os.path.samestat(os.fstat(file.fileno()), path.stat())
    with pytest.raises(CheckpointError, match="another export is at work on 'lock'"):
        open_locked(path, anew=anew)
    release(file)


async def test_an_export_is_locked_until_it_has_its_name(small: Sandbox, tmp_path: Path) -> None:
    """An export is locked until its file has the final name."""

    def begin(progress: ExportProgress) -> None:
        if progress.stage == "assembling":
            with pytest.raises(CheckpointError, match="another export is at work"):
                open_part(tmp_path / "c.csv", {}, b"", resume=False)
            raise StopHereError

    async with small.session() as session:
        with pytest.raises(StopHereError):
            await export_customers(session, tmp_path / "c.csv", on_progress=begin)
        await export_customers(session, tmp_path / "c.csv", resume=True)
    assert read_rows(tmp_path / "c.csv") == small.customers()


async def test_a_kill_between_the_two_names_is_only_cleared_up(
    small: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export that was killed while its file had both names is finished without a request."""
    link = os.link

    def link_and_die(source: Path, target: Path) -> None:
        link(source, target)
        raise StopHereError

    async with small.session() as session:
        with monkeypatch.context() as dying:
            dying.setattr(os, "link", link_and_die)
            with pytest.raises(StopHereError):
                await export_customers(session, tmp_path / "c.csv")
    async with nowhere() as session:
        await export_customers(session, tmp_path / "c.csv", resume=True)
    assert os.listdir(tmp_path) == ["c.csv"]
    assert read_rows(tmp_path / "c.csv") == small.customers()


DEEP = b"[" * 100_000
NASTY: list[Any] = [
    -1, 0, 1, 2**31, 2**50, 2**62, 2**63, 2**64, 10**400, -(10**400), 1.0, 1.5, 1e300, True, False, None, "", "x",
    "1", "\x1b[31m", "\ud800", [], [1], ["x"], [None], [2**64], [1] * 101, [[]], {}, {"a": {}}, {"\x1b": "\u202e"},
]  # fmt: skip
FIELDS = ("offset", "rows", "pages", "repeats", "reread", "page", "last_page", "per_page", "total", "ids", "crc",
          "synced", "complete")  # fmt: skip


@pytest.fixture
async def begun(small: Sandbox, tmp_path: Path) -> Path:
    """Stop an export at its second page; return its target."""
    async with small.session() as session:
        with pytest.raises(StopHereError):
            await export_customers(
                session, tmp_path / "c.csv", per_page=5, order_column="email", on_progress=stop_at(2)
            )
    return tmp_path / "c.csv"


async def go_on(session: AsyncSession, target: Path) -> None:
    """Resume an export in bounded memory; an error must be a ``ShopError`` with a printable message."""
    failed: ShopError | None = None
    tracemalloc.start()
    try:
        async with session:
            await export_customers(session, target, per_page=5, order_column="email", resume=True)
    except ShopError as error:
        failed = error
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 * 2**20
    if failed is not None:
        assert str(failed).isprintable()
        raise failed


@pytest.mark.parametrize("field", FIELDS)
async def test_no_value_in_a_position_is_taken_on_trust(field: str, small: Sandbox, begun: Path) -> None:
    """The export goes on or ends in a ``ShopError``, whatever value a line of its checkpoint holds."""
    journal, part = checkpoint_path(begun), part_path(begun)
    lines, content = journal.read_bytes().splitlines(keepends=True), part.read_bytes()
    last = json.loads(lines[-1])
    for place in (-1, -2):
        for value in NASTY:
            part.write_bytes(content)
            changed = json.dumps({**last, "synced": place == -1, field: value}).encode() + b"\n"
            journal.write_bytes(b"".join([*lines[: place - 1], changed, *lines[place + 1 :][: -place - 1]]))
            with suppress(ShopError):
                await go_on(small.session(), begun)
            assert all(each.stat().st_size < 10_000 for each in begun.parent.iterdir())
            with suppress(FileNotFoundError):
                os.unlink(begun)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(
    "value", [-(10**400), 10**400, 2**64, 1.5, "x", None, [[]], {}], ids=lambda value: f"{value}"[:20]
)
def test_a_position_of_another_shape_is_damage(field: str, value: Any, begun: Path) -> None:
    """A value that no export writes is a ``CheckpointError``, and the files stay as they are."""
    journal = checkpoint_path(begun)
    lines = journal.read_bytes().splitlines(keepends=True)
    parameters = json.loads(lines[0])["parameters"]
    lines[-1] = json.dumps({**json.loads(lines[-1]), field: value}).encode() + b"\n"
    journal.write_bytes(b"".join(lines))
    before = part_path(begun).read_bytes()
    for finished in (False, True):
        with pytest.raises(CheckpointError, match=r"checkpoint' is damaged, or not a checkpoint: .* begin anew"):
            if finished:
                open_finished(begun, parameters)
            else:
                open_part(begun, parameters, b"", resume=True)
    assert (part_path(begun).read_bytes(), journal.read_bytes()) == (before, b"".join(lines))


HOSTILE: dict[str, Callable[[list[bytes]], bytes]] = {
    "deep nesting in a line": lambda lines: lines[0] + b'{"offset":1,"x":' + DEEP + b"\n",
    "deep nesting in the parameters": lambda lines: (
        b'{"shopsdk_export":1,"parameters":{"a":' + DEEP + b"}}\n" + lines[1]
    ),
    "a huge line": lambda lines: lines[0] + b'{"offset":1,"ids":[' + b"1," * 2**20 + b"1]}\n",
    "a huge first line": lambda lines: b'{"shopsdk_export":1,"parameters":{"a":"' + b"x" * 2**21 + b'"}}\n',
    "no object": lambda lines: lines[0] + b"[1]\n",
    "a first line that is no head": lambda lines: b"{}\n" + lines[1],
    "a version that is no number": lambda lines: b'{"shopsdk_export":"1","parameters":{}}\n',
    "a version of 400 digits": lambda lines: b'{"shopsdk_export":1' + b"0" * 400 + b',"parameters":{}}\n',
    "offsets that fall": lambda lines: b"".join(lines) + b'{"offset":1}\n',
    "strange parameters": lambda lines: (
        lines[0].replace(b'"bom"', b'"\\u001b[2J\\u202e":"\\u001b]0;x","bom"') + lines[1]
    ),
    "huge parameters": lambda lines: lines[0].replace(b'"bom"', b'"y":"' + b"x" * 10**5 + b'","bom"') + lines[1],
    "parameters by the thousand": lambda lines: (
        lines[0].replace(b'"bom"', b"".join(b'"y%d":1,' % n for n in range(9999)) + b'"bom"') + lines[1]
    ),
    "numbers of 4000 digits": lambda lines: lines[0].replace(b'"bom"', b'"y":' + b"9" * 4000 + b',"bom"') + lines[1],
}


@pytest.mark.parametrize("kind", HOSTILE)
async def test_a_hostile_checkpoint_is_refused(kind: str, small: Sandbox, begun: Path) -> None:
    """A checkpoint that no export wrote is a ``CheckpointError`` with a short, printable message, at once."""
    journal = checkpoint_path(begun)
    journal.write_bytes(HOSTILE[kind](journal.read_bytes().splitlines(keepends=True)))
    before = part_path(begun).read_bytes()
    with pytest.raises(CheckpointError) as caught:
        await go_on(nowhere(), begun)
    assert len(str(caught.value)) < 5000
    assert part_path(begun).read_bytes() == before
    async with small.session() as session:  # as the message advises
        await export_customers(session, begun, if_exists="replace")
    assert read_rows(begun) == small.customers()


async def test_sparse_files_take_neither_memory_nor_time(small: Sandbox, begun: Path) -> None:
    """A checkpoint of a terabyte is refused unread; that much of a part is trusted only if it was synced."""
    journal, part = checkpoint_path(begun), part_path(begun)
    line = journal.read_bytes()
    os.truncate(journal, 2**40)
    with pytest.raises(CheckpointError, match="more than 268435456 bytes"):
        await go_on(small.session(), begun)
    lines = line.splitlines(keepends=True)
    far = {**json.loads(lines[-1]), "offset": 2**40, "synced": False}
    journal.write_bytes(b"".join(lines) + json.dumps(far).encode() + b"\n")
    os.truncate(part, 2**40)
    await go_on(small.session(), begun)
    assert os.stat(begun).st_size < 10_000


async def test_a_hole_at_the_end_of_a_checkpoint_is_torn(small: Sandbox, begun: Path) -> None:
    """A hole that a power loss leaves, of any size, costs no page that was written before."""
    with checkpoint_path(begun).open("ab") as journal:
        journal.write(bytes(3 * 2**20))
    with Sandbox(25) as same:  # no late request of the first run reaches this one
        await go_on(same.session(), begun)
        assert min(request.json["page"] for request in same.requests) > 2


def test_positions_by_the_hundred_thousand_take_no_memory(begun: Path) -> None:
    """Reading a checkpoint takes the memory of one line."""
    journal = checkpoint_path(begun)
    lines = journal.read_bytes().splitlines(keepends=True)
    parameters = json.loads(lines[0])["parameters"]
    journal.write_bytes(b"".join([*lines[:-1], lines[-1] * 100_000]))
    tracemalloc.start()
    part = open_part(begun, parameters, b"", resume=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20
    assert len(part.seen()) == 10
    part.close()


@pytest.mark.parametrize("damage", ["noise", "another schema", "huge message"])
async def test_a_part_that_is_no_arrow_stream_is_damage(
    damage: str, small: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Parquet export whose synced bytes are damaged is a ``CheckpointError`` that names the file."""
    target = tmp_path / "c.parquet"
    async with small.session() as session:
        with monkeypatch.context() as broken:
            name_nothing(broken)
            with pytest.raises(StopHereError):
                await export_customers(session, target)
        size = part_path(target).stat().st_size
        if damage == "another schema":
            other = tmp_path / "other.parquet"
            with pytest.raises(StopHereError):
                await export_customers(session, other, columns=["id"], on_progress=stop_at(1))
            content = part_path(other).read_bytes()
            content += b"\0" * (size - len(content))
        elif damage == "noise":
            content = bytes(255 - number % 251 for number in range(size))
        else:
            content = b"\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(size - 8)
        part_path(target).write_bytes(content)
        with pytest.raises(CheckpointError, match=r"c\.parquet\.part' does not hold what its checkpoint says"):
            await export_customers(session, target, resume=True)
    assert not target.exists()
    assert not (tmp_path / ".c.parquet.whole.part").exists()


async def test_zstd_is_nobody_elses(small: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with the name of a later Python's zstd is not imported."""
    (tmp_path / "compression").mkdir()
    (tmp_path / "compression" / "__init__.py").touch()
    (tmp_path / "compression" / "zstd.py").write_text("raise ZeroDivisionError")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    async with small.session() as session:
        await export_customers(session, tmp_path / "c.csv.zst")
    assert read_rows(tmp_path / "c.csv.zst") == small.customers()


def test_one_module_opens_files() -> None:
    """Only one module of the export opens files."""
    opens = {
        "open",
        "OSFile",
        "memory_map",
        "fdopen",
        "FileIO",
        "write_bytes",
        "write_text",
        "read_bytes",
        "read_text",
    }
    found: set[str] = set()
    for path in Path(shopsdk.export.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if called in opens:
                    found.add(path.name)
    assert found == {Path(_disk.__file__).name}
