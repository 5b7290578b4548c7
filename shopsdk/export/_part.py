"""The unfinished file (``.customers.csv.part`` beside ``customers.csv``), with its checkpoint beside it.

Their names begin with a dot, so that who reads all files of the folder (pyarrow, Spark) does not read these.
"""

import errno
import io
import os
import stat
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

import attrs

from shopsdk.export._checkpoint import Journal, Position
from shopsdk.export._disk import (
    check_named,
    create,
    holds_same,
    open_locked,
    path_of,
    place,
    remove,
    reopen,
    state_of,
    sync,
    sync_folder,
    take_over,
    write_all,
)
from shopsdk.export._rows import plain_value
from shopsdk.export._summary import CheckpointError

IfExists = Literal["refuse", "same", "replace"]
"""What to do if the file, or an unfinished export beside it, exists; see ``export_customers``."""

_SYNC_SECONDS = 2.0
"""Seconds between two syncs: the work that a power loss may cost. A killed process loses one write at most."""
_MAX_SHOWN = 200
"""The most characters of a checkpoint's value that a message shows."""


def check_if_exists(value: object) -> IfExists:
    """Check ``if_exists``.

    Raises:
        ValueError: it is not one of the three.
    """
    plain = plain_value(value)
    choices: tuple[IfExists, ...] = get_args(IfExists)
    for known in choices:
        if plain == known:
            return known
    raise ValueError(f"if_exists must be 'refuse', 'same' or 'replace', not {plain!r}")


def part_path(target: Path) -> Path:
    """Return the path of the unfinished file."""
    return target.with_name(f".{target.name}.part")


def checkpoint_path(target: Path) -> Path:
    """Return the path of its checkpoint."""
    return target.with_name(f".{target.name}.part.checkpoint")


def whole_path(target: Path) -> Path:
    """Return the path at which a Parquet file is assembled."""
    return target.with_name(f".{target.name}.whole.part")


@attrs.define
class PartFile:
    """A file that is written in pieces that end with a page, and is at most one of them ahead of its journal."""

    target: Path
    """The name that the file will have; nothing is written there."""
    position: Position
    """The end of what was written."""
    _file: io.FileIO
    _journal: Journal
    _resumed_at: int = 0
    """The end of an earlier run's journal."""
    _synced_at: float = attrs.field(factory=time.monotonic)

    @property
    def path(self) -> Path:
        """The path of the unfinished file."""
        return part_path(self.target)

    def seen(self) -> frozenset[int]:
        """Read the ids of the rows that an earlier run wrote. Call it before ``add``, since it reads the journal."""
        return self._journal.ids(self._resumed_at)

    def rewound(self) -> io.FileIO:
        """Return the file, set to its beginning."""
        self._file.seek(0)
        return self._file

    def add(self, data: bytes, position: Position) -> None:
        """Write one or more pages, then the position behind them; offset, checksum and ``synced`` are set here."""
        try:
            write_all(self._file, data)
        except OSError as error:  # the error of a full disk names no file
            error.filename = str(self.path)
            raise
        due = time.monotonic() - self._synced_at >= _SYNC_SECONDS
        if due:
            self._sync()
        offset = self.position.offset + len(data)
        self.position = attrs.evolve(position, offset=offset, crc=zlib.crc32(data), synced=due)
        self._journal.add(self.position)

    def complete(self) -> None:
        """Note that the list was read to its end. The file stays open, so that no other export begins it anew."""
        self._write_position(complete=True)

    def will_place(self, size: int) -> None:
        """Note that the whole file, of this size, gets its final name now. A later run knows it by its size."""
        self._write_position(complete=True, placed=size)

    def suspend(self) -> None:
        """Close it for a later run, or remove it if it does not hold one page."""
        try:
            if self.position.page and not self.position.complete:
                self._write_position(complete=False)
        finally:
            if self.position.page or self.position.complete:
                self.close()
            else:
                self.discard()

    def discard(self, *, keep_checkpoint: bool = False) -> None:
        """Remove the file, and then its checkpoint."""
        remove(self._file)
        self._file.close()
        if not keep_checkpoint:
            self._journal.remove()  # while it is ours: afterwards it may be another's
        self._journal.close()

    def close(self) -> None:
        """Close it; it stays on the disk."""
        self._file.close()
        self._journal.close()

    def _sync(self) -> None:
        check_named(self._file)  # or it would only be noticed at the end
        sync(self._file)
        sync_folder(self.target.parent)
        self._synced_at = time.monotonic()

    def _write_position(self, *, complete: bool, placed: int | None = None) -> None:
        self._sync()
        self.position = attrs.evolve(self.position, crc=0, synced=True, complete=complete, placed=placed)
        self._journal.add(self.position)


def open_part(target: Path, parameters: dict[str, object], prefix: bytes, *, resume: bool) -> PartFile:
    """Open the unfinished file of an earlier run, if ``resume`` is set and there is one; else create it.

    Args:
        target: the name that the file will have.
        parameters: what the bytes depend on; an earlier run must have had the same.
        prefix: what the file begins with.
        resume: go on with what an earlier run left.

    Raises:
        CheckpointError: what an earlier run left cannot be used.
        OSError: it cannot be written.
    """
    journal = Journal(open_locked(checkpoint_path(target), anew=not resume))
    try:
        if resume and (part := _reopen(target, journal, parameters, to_write=True)) is not None:
            return part
        file = create(part_path(target))
        try:
            journal.begin(parameters)
            part = PartFile(target, Position(offset=0), file, journal)
            part.add(prefix, part.position)
        except BaseException:
            file.close()
            raise
    except BaseException:
        journal.close()
        raise
    else:
        return part


def open_finished(target: Path, parameters: Mapping[str, object]) -> PartFile:
    """Open an unfinished file whose list this run has read to its end.

    Raises:
        CheckpointError: another export has taken or changed it meanwhile.
        OSError: it cannot be opened.
    """
    journal = Journal.existing(checkpoint_path(target))
    if journal is not None:
        try:
            part = _reopen(target, journal, parameters)
            if part is not None and part.position.complete:
                return part
        except BaseException:
            journal.close()
            raise
        (part or journal).close()
    raise CheckpointError(f"{str(part_path(target))!r} was changed by another export")


def _reopen(
    target: Path, journal: Journal, parameters: Mapping[str, object], *, to_write: bool = False
) -> PartFile | None:
    earlier = journal.parameters()
    if earlier is None or next(journal.positions(), None) is None:
        return None
    check_parameters(target, earlier, parameters)
    try:
        file = reopen(part_path(target))
    except FileNotFoundError:
        return None
    try:
        if to_write and not journal.is_locked():
            # Another export may be at work on both. The journal goes first, since its lines come after their pages.
            journal.take_over()
            file = take_over(file)
        good = journal.last_good(file)
        if good is None:
            file.close()
            return None
        position, end = good
        if position.page and (not position.ids or position.per_page != parameters.get("per_page")):
            raise journal.damaged("its last page is impossible")  # noqa: TRY301
        file.truncate(position.offset)
        file.seek(position.offset)
        journal.keep(end)
    except BaseException:
        file.close()
        raise
    return PartFile(target, position, file, journal, end)


def check_parameters(target: Path, earlier: Mapping[str, object], now: Mapping[str, object]) -> None:
    """Refuse to go on with an export that was begun with other parameters.

    Raises:
        CheckpointError: they differ; its message names the differences.
    """
    changed = sorted(name for name in earlier.keys() | now.keys() if earlier.get(name) != now.get(name))
    if changed:
        told = ", ".join(
            # Names and values in a checkpoint may have been written by anybody.
            f"{name if name in now else _shown(name)} (was {_shown(earlier.get(name))}, now {_shown(now.get(name))})"
            for name in changed[:10]
        )
        raise CheckpointError(
            f"{part_path(target).name!r} was begun with other parameters: {told}; ask for the same again,"
            " or begin anew with if_exists='replace' and without resume=True"
        )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def check_target(target: Path, parameters: dict[str, object], *, resume: bool, if_exists: IfExists) -> Position | None:
    """Check that a name is free or may be taken. Returns the end of an export that an earlier run put in place, if any.

    Raises:
        FileExistsError: a file, or an unfinished export, exists and may not be replaced.
        IsADirectoryError: the name is a folder's.
        FileNotFoundError: the folder does not exist.
        CheckpointError: another export is at work on it, or it is to be resumed and had other parameters.
    """
    there = _check_kind(target)
    # What will be replaced is not read: it may be damaged, or not ours.
    earlier = earlier_run(target) if resume or if_exists != "replace" else None
    if resume and earlier is not None and (there is None or earlier.resumable):
        return None
    if resume and earlier is not None and earlier.made(there):
        check_parameters(target, earlier.parameters, parameters)
        return earlier.position
    if there is not None and if_exists == "refuse":
        why = "it exists already"
        if resume:
            why = "it exists, and no unfinished export is beside it"
        if resume and earlier is not None and earlier.position.placed is not None:
            why = "it is not the file that an earlier run of this export made"
        raise FileExistsError(errno.EEXIST, f"{why}; if_exists='replace' replaces it", str(target))
    if resume or earlier is None or not earlier.resumable or if_exists == "replace":
        return None
    if if_exists != "same" or earlier.parameters != parameters:
        rows = "1 row" if earlier.position.rows == 1 else f"{earlier.position.rows} rows"
        raise FileExistsError(
            errno.EEXIST,
            f"an unfinished export of {rows} is there; resume=True goes on with it, if_exists='replace' begins anew",
            str(part_path(target)),
        )
    return None


def _check_kind(target: Path) -> os.stat_result | None:
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(target.parent))
    there = state_of(target)
    state_of(checkpoint_path(target))  # the longest name: the file system may find it too long
    if there is not None and stat.S_ISDIR(there.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(target))
    if there is not None and not stat.S_ISREG(there.st_mode):
        raise FileExistsError(errno.EEXIST, "it is no regular file; it can only be written as a stream", str(target))
    return there


@attrs.frozen(eq=False, repr=False)
class EarlierRun:
    """What an earlier run left beside its target."""

    parameters: Mapping[str, object]
    position: Position
    """The last position that it wrote."""
    resumable: bool
    """Whether its unfinished file exists and can be resumed."""

    def made(self, there: os.stat_result | None) -> bool:
        """Whether a file is the one that it made, by its size."""
        return self.position.complete and there is not None and self.position.placed == there.st_size


def earlier_run(target: Path) -> EarlierRun | None:
    """Read what an earlier run left; None if it is not worth keeping. No lock is held meanwhile.

    Raises:
        CheckpointError: another export is at work on it, it is damaged, or it may not be ours.
        OSError: it cannot be read.
    """
    journal = Journal.existing(checkpoint_path(target))
    if journal is None:
        return None
    try:
        journal.unlock()
        parameters = journal.parameters()
        last = journal.last()
        if parameters is None or last is None or not (last.page or last.complete):
            return None
        return EarlierRun(parameters, last, _is_resumable(target, journal))
    finally:
        journal.close()


def _is_resumable(target: Path, journal: Journal) -> bool:
    if state_of(part_path(target)) is None or _has_both_names(target):
        return False
    with reopen(part_path(target)) as file:
        good = journal.last_good(file)
    return good is not None and bool(good[0].page or good[0].complete)


def _has_both_names(target: Path) -> bool:
    """Whether a kill came between the hard link and the removal of the other name."""
    state, there = state_of(part_path(target)), state_of(target)
    return state is not None and there is not None and os.path.samestat(state, there)


def put_in_place(
    file: io.FileIO,
    target: Path,
    part: PartFile | None = None,
    *,
    if_exists: IfExists,
    taken: bool,
    keep_checkpoint: bool = False,
) -> int:
    """Give the whole file its final name, remove its working files, and return its size.

    Args:
        file: the file, open, and synced to the disk.
        target: the final name.
        part: the unfinished file of this target, open; it may be the whole file itself.
        if_exists: as in ``check_target``; a file that appeared since then counts too.
        taken: whether a file was there when the name was checked; then it may be replaced.
        keep_checkpoint: keep the checkpoint, which tells a later run that this export was finished.

    Raises:
        FileExistsError: the name was taken meanwhile, or its file differs; the export is kept, except for "same".
        OSError: the name cannot be given; the export is kept.
    """
    size = os.fstat(file.fileno()).st_size
    if part is not None and path_of(file) == part.path and size != part.position.offset:
        raise CheckpointError(f"{str(part.path)!r} was changed while the export ran")
    same = if_exists == "same" and state_of(target) is not None
    if same and not holds_same(file, target):
        remove(file)
        if part is not None:
            part.discard()
        why = "it exists and holds something else; if_exists='replace' replaces it"
        raise FileExistsError(errno.EEXIST, why, str(target))
    try:
        if part is not None:
            part.will_place(size)
        if same:
            remove(file)
        else:
            place(file, target, replace=if_exists == "replace" or (taken and if_exists != "same"))
    except BaseException as error:
        if part is None or path_of(file) != part.path:
            remove(file)  # it was made of parts, and they are kept
        if isinstance(error, FileExistsError):
            why = "it appeared while the export ran, which is kept; resume=True replaces it"
            raise FileExistsError(errno.EEXIST, why, str(target)) from None
        raise
    sync_folder(target.parent)
    if part is not None:
        part.discard(keep_checkpoint=keep_checkpoint)
    return size


def remove_leftovers(target: Path) -> None:
    """Remove the working files of an export that was read to its end, unless another one has begun since."""
    with suppress(CheckpointError, OSError):  # the export is whole, whatever becomes of these
        journal = Journal.existing(checkpoint_path(target))
        if journal is None:
            return
        try:
            last = journal.last()
            if last is not None and last.complete:
                if last.placed is None or _has_both_names(target):  # else the part is gone, and its name is anybody's
                    part_path(target).unlink(missing_ok=True)
                journal.remove()
        finally:
            journal.close()
