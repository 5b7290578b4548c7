"""The unfinished file: ``customers.csv.part`` beside ``customers.csv``, and its checkpoint beside that."""

import io
import os
import time
import zlib
from collections.abc import Mapping
from pathlib import Path

import attrs

from shopsdk.export._checkpoint import Journal, Mark, write_all
from shopsdk.export._disk import create, open_locked, remove, reopen, sync_folder
from shopsdk.export._errors import CheckpointError

_SYNC_SECONDS = 2.0
"""How much work a power loss may cost; a killed process loses one page at most."""
_MAX_SHOWN = 200
"""Characters of a value, and 10 names, that a message shows of a checkpoint."""


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
    mark: Mark
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

    def add(self, data: bytes, mark: Mark) -> None:
        """Write one page and make it known; ``mark`` lacks only what this knows better."""
        try:
            write_all(self._file, data)
        except OSError as error:  # a full disk does not say which
            error.filename = str(self.path)
            raise
        due = time.monotonic() - self._synced_at >= _SYNC_SECONDS
        if due:
            self._sync()
        offset = self.mark.offset + len(data)
        self.mark = attrs.evolve(mark, offset=offset, crc=zlib.crc32(data), synced=due)
        self._journal.add(self.mark)

    def complete(self) -> None:
        """Say that the list has been read to its end; it stays open, so that no other export begins it anew."""
        self._file_away(complete=True)

    def will_place(self, size: int) -> None:
        """Say that the whole file, of that size, gets its final name now: a later run can tell it from another file."""
        self._file_away(complete=True, placed=size)

    def park(self) -> None:
        """Keep what there is for a later run, or nothing if that is not one page; and let go."""
        try:
            if self.mark.page and not self.mark.complete:
                self._file_away(complete=False)
        finally:
            if self.mark.page or self.mark.complete:
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

    def _file_away(self, *, complete: bool, placed: int | None = None) -> None:
        self._sync()
        self.mark = attrs.evolve(self.mark, crc=0, synced=True, complete=complete, placed=placed)
        self._journal.add(self.mark)


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
            part = PartFile(target, Mark(offset=0), file, journal)
            part.add(prefix, part.mark)
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
            if part is not None and part.mark.complete:
                return part
        except BaseException:
            journal.close()
            raise
        (part or journal).close()
    raise CheckpointError(f"{str(part_path(target))!r} was changed by another export")


def _reopen(target: Path, journal: Journal, parameters: Mapping[str, object]) -> PartFile | None:
    earlier = journal.parameters()
    if earlier is None or next(journal.marks(), None) is None:
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
        mark, end = good
        if mark.page and (not mark.ids or mark.per_page != parameters.get("per_page")):
            raise journal.damaged("its last page is none")  # noqa: TRY301
        file.truncate(mark.offset)
        file.seek(mark.offset)
        journal.keep(end)
    except BaseException:
        file.close()
        raise
    return PartFile(target, mark, file, journal, end)


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
