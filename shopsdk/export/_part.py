"""The unfinished file: ``customers.csv.part`` beside ``customers.csv``, and its checkpoint beside that."""

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

from shopsdk.export._checkpoint import Journal, Position, write_all
from shopsdk.export._disk import create, holds_same, open_locked, path_of, place, remove, reopen, state_of, sync_folder
from shopsdk.export._rows import plain_value
from shopsdk.export._summary import CheckpointError

IfExists = Literal["refuse", "same", "replace"]
"""What becomes of a file that is there already, and of an unfinished export beside it."""

_SYNC_SECONDS = 2.0
"""How much work a power loss may cost; a killed process loses one page at most."""
_MAX_SHOWN = 200
"""Characters of a value, and 10 names, that a message shows of a checkpoint."""


def check_if_exists(value: object) -> IfExists:
    """Check ``if_exists``.

    Raises:
        ValueError: it is none of its values.
    """
    choices: tuple[IfExists, ...] = get_args(IfExists)
    for known in choices:
        if value == known:
            return known
    raise ValueError(f"if_exists must be 'refuse', 'same' or 'replace', not {plain_value(value)!r}")


def part_path(target: Path) -> Path:
    """Where the unfinished file is."""
    return target.with_name(f"{target.name}.part")


def checkpoint_path(target: Path) -> Path:
    """Where its checkpoint is."""
    return target.with_name(f"{target.name}.part.checkpoint")


@attrs.define
class PartFile:
    """A file being written, page by page, and never half a page further than its journal can tell."""

    target: Path
    """The name that the file will have; nothing is written there."""
    position: Position
    """How far it is."""
    _file: io.FileIO
    _journal: Journal
    _resumed_at: int = 0
    """Where the journal of an earlier run ends."""
    _synced_at: float = attrs.field(factory=time.monotonic)

    @property
    def path(self) -> Path:
        """Where the bytes are."""
        return part_path(self.target)

    def seen(self) -> frozenset[int]:
        """Read the ids of the rows that an earlier run wrote. Before anything is added: it is read from the journal."""
        return self._journal.ids(self._resumed_at)

    def rewound(self) -> io.FileIO:
        """Give the file, from its beginning."""
        self._file.seek(0)
        return self._file

    def add(self, data: bytes, position: Position) -> None:
        """Write one page and make it known; ``mark`` lacks only what this knows better."""
        try:
            write_all(self._file, data)
        except OSError as error:  # a full disk does not say which
            error.filename = str(self.path)
            raise
        due = time.monotonic() - self._synced_at >= _SYNC_SECONDS
        if due:
            self._sync()
        offset = self.position.offset + len(data)
        self.position = attrs.evolve(position, offset=offset, crc=zlib.crc32(data), synced=due)
        self._journal.add(self.position)

    def complete(self) -> None:
        """Say that the list has been read to its end; it stays open, so that no other export begins it anew."""
        self._write_position(complete=True)

    def will_place(self, size: int) -> None:
        """Say that the whole file, of that size, gets its final name now: a later run can tell it from another file."""
        self._write_position(complete=True, placed=size)

    def suspend(self) -> None:
        """Keep what there is for a later run, or nothing if that is not one page; and let go."""
        try:
            if self.position.page and not self.position.complete:
                self._write_position(complete=False)
        finally:
            if self.position.page or self.position.complete:
                self.close()
            else:
                self.discard()

    def discard(self, *, keep_checkpoint: bool = False) -> None:
        """Remove the file and its checkpoint, the bytes first."""
        remove(self._file)
        self._file.close()
        if not keep_checkpoint:
            self._journal.remove()  # while it is ours: afterwards it may be another's
        self._journal.close()

    def close(self) -> None:
        """Let go of it; it stays on the disk."""
        self._file.close()
        self._journal.close()

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        sync_folder(self.target.parent)
        self._synced_at = time.monotonic()

    def _write_position(self, *, complete: bool, placed: int | None = None) -> None:
        self._sync()
        self.position = attrs.evolve(self.position, crc=0, synced=True, complete=complete, placed=placed)
        self._journal.add(self.position)


def open_part(target: Path, parameters: dict[str, object], prefix: bytes, *, resume: bool) -> PartFile:
    """Open the unfinished file: the one that an earlier run left, if that is wanted and there is one, else a new one.

    Args:
        target: the name that the file will have.
        parameters: what the bytes depend on; an earlier run must have had the same.
        prefix: what the file begins with.
        resume: go on with what an earlier run left.

    Raises:
        CheckpointError: what there is cannot be gone on with.
        OSError: it cannot be written.
    """
    journal = Journal(open_locked(checkpoint_path(target), anew=not resume))
    try:
        if resume and (part := _reopen(target, journal, parameters)) is not None:
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


def _reopen(target: Path, journal: Journal, parameters: Mapping[str, object]) -> PartFile | None:
    earlier = journal.parameters()
    if earlier is None or next(journal.positions(), None) is None:
        return None
    check_parameters(target, earlier, parameters)
    try:
        file = reopen(part_path(target))
    except FileNotFoundError:
        return None
    try:
        good = journal.last_good(file)
        if good is None:
            file.close()
            return None
        position, end = good
        if position.page and (not position.ids or position.per_page != parameters.get("per_page")):
            raise journal.damaged("its last page is none")  # noqa: TRY301
        file.truncate(position.offset)
        file.seek(position.offset)
        journal.keep(end)
    except BaseException:
        file.close()
        raise
    return PartFile(target, position, file, journal, end)


def check_parameters(target: Path, earlier: Mapping[str, object], now: Mapping[str, object]) -> None:
    """Refuse to go on with an export that was asked for differently.

    Raises:
        CheckpointError: they differ; says in what.
    """
    changed = sorted(name for name in earlier.keys() | now.keys() if earlier.get(name) != now.get(name))
    if changed:
        told = ", ".join(
            # What an earlier run is said to have been asked for may be anybody's words.
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
    """See whether the name is free, or may be taken. Gives the end of an export that an earlier run has put in place.

    Raises:
        FileExistsError: a file, or an unfinished export, is there and may not be replaced.
        IsADirectoryError: a folder is there.
        FileNotFoundError: there is no folder for it.
        CheckpointError: another process is at it, or (to be resumed) it was asked for differently.
    """
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(target.parent))
    there = state_of(target)
    if there is not None and stat.S_ISDIR(there.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(target))
    if there is not None and not stat.S_ISREG(there.st_mode):
        raise FileExistsError(errno.EEXIST, "it is no regular file; it can only be written as a stream", str(target))
    # What is to be begun anew is not read: it may be damaged, or not ours.
    earlier = _earlier(target) if resume or if_exists != "replace" else None
    if resume and earlier is not None:
        asked, position = earlier
        if not position.complete or there is None or _is_unfinished(part_path(target), there):
            return None
        if position.placed == there.st_size:
            check_parameters(target, asked, parameters)
            return position
        if if_exists == "refuse":
            why = "it is not the file that an earlier run of this export made; if_exists='replace' replaces it"
            raise FileExistsError(errno.EEXIST, why, str(target))
        return None
    if there is not None and if_exists == "refuse":
        why = "it exists, and there is nothing beside it to go on with" if resume else "it exists already"
        raise FileExistsError(errno.EEXIST, f"{why}; if_exists='replace' replaces it", str(target))
    if earlier is not None and if_exists != "replace" and not (if_exists == "same" and earlier[0] == parameters):
        raise FileExistsError(
            errno.EEXIST,
            f"an unfinished export of {earlier[1].rows} rows is there; resume=True goes on with it,"
            " if_exists='replace' begins anew",
            str(part_path(target)),
        )
    return None


def _earlier(target: Path) -> tuple[Mapping[str, object], Position] | None:
    """Find what an earlier run left that is worth keeping: its parameters and its last mark."""
    journal = Journal.existing(checkpoint_path(target))
    if journal is None:
        return None
    try:
        parameters = journal.parameters()
        last = journal.last()
    finally:
        journal.close()
    return None if parameters is None or last is None or not (last.page or last.complete) else (parameters, last)


def _is_unfinished(part: Path, there: os.stat_result) -> bool:
    """Tell whether there is a file that lacks its final name; between a hard link and the removal, it has both."""
    state = state_of(part)
    return state is not None and not os.path.samestat(state, there)


def put_in_place(
    file: io.FileIO,
    target: Path,
    part: PartFile | None = None,
    *,
    if_exists: IfExists,
    taken: bool,
    keep_checkpoint: bool = False,
) -> int:
    """Give the whole file its final name, and clear up behind it; gives its size.

    Args:
        file: the file, open, and synced to the disk.
        target: the final name.
        part: the unfinished file of this target, open; it may be the whole file itself.
        if_exists: as in ``check_target``; a file that appeared meanwhile is minded too.
        taken: was a file there when it was checked? Then it was agreed that it be replaced.
        keep_checkpoint: leave the checkpoint, to tell later that this export was finished.

    Raises:
        FileExistsError: the name was taken meanwhile, or its file differs; the export is kept, except for "same".
        OSError: the name cannot be given; the export is kept.
    """
    size = os.fstat(file.fileno()).st_size
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
            place(file, target, replace=taken or if_exists == "replace")
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
    """Remove what an export that was read to its end has left beside its target, unless another one has begun since."""
    with suppress(CheckpointError):
        journal = Journal.existing(checkpoint_path(target))
        if journal is None:
            return
        try:
            last = journal.last()
            if last is not None and last.complete:
                part_path(target).unlink(missing_ok=True)
                journal.remove()
        finally:
            journal.close()
