"""The unfinished file: ``customers.csv.part`` beside ``customers.csv``, and its checkpoint beside that."""

import os
import time
import zlib
from pathlib import Path
from typing import IO

import attrs

from shopsdk.export._checkpoint import Journal, Mark, last_good, sync_folder, write_all
from shopsdk.export._errors import CheckpointError

_SYNC_SECONDS = 2.0
"""How much work a power loss may cost; a killed process loses one page at most."""


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
    seen: frozenset[int]
    """The ids that its marks name."""
    _file: IO[bytes]
    _journal: Journal
    _synced_at: float = attrs.field(factory=time.monotonic)

    @property
    def path(self) -> Path:
        """Where the bytes are."""
        return part_path(self.target)

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
        """Say that the list has been read to its end, and let go."""
        self._file_away(complete=True)

    def park(self) -> None:
        """Keep what there is for a later run, or nothing if that is not one page; and let go."""
        if self.mark.page:
            self._file_away(complete=False)
        else:
            self.discard()

    def discard(self) -> None:
        """Remove the file and its checkpoint."""
        self._file.close()
        self.path.unlink(missing_ok=True)
        self._journal.path.unlink(missing_ok=True)  # while it is ours: afterwards it may be another's
        self._journal.close()

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        sync_folder(self.target.parent)
        self._synced_at = time.monotonic()

    def _file_away(self, *, complete: bool) -> None:
        try:
            self._sync()
            self.mark = attrs.evolve(self.mark, crc=0, synced=True, complete=complete)
            self._journal.add(self.mark)
        finally:
            self._file.close()
            self._journal.close()


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
    journal = Journal(checkpoint_path(target))
    try:
        if resume and (part := _reopen(target, journal, parameters)) is not None:
            return part
        file = part_path(target).open("w+b", buffering=0)
        try:
            journal.begin(parameters)
            part = PartFile(target, Mark(offset=0), frozenset(), file, journal)
            part.add(prefix, part.mark)
        except BaseException:
            file.close()
            raise
    except BaseException:
        journal.close()
        raise
    else:
        return part


def _reopen(target: Path, journal: Journal, parameters: dict[str, object]) -> PartFile | None:
    found = journal.read()
    if found is None or not found.marks:
        return None
    check_parameters(target, found.parameters, parameters)
    try:
        file = part_path(target).open("r+b", buffering=0)
    except FileNotFoundError:
        return None
    try:
        place = last_good(found.marks, file)
        if place is None:
            file.close()
            return None
        mark = found.marks[place]
        file.truncate(mark.offset)
        file.seek(mark.offset)
        journal.keep(found.ends[place])
    except BaseException:
        file.close()
        raise
    seen = frozenset(number for earlier in found.marks[: place + 1] for number in earlier.ids)
    return PartFile(target, mark, seen, file, journal)


def check_parameters(target: Path, earlier: dict[str, object], now: dict[str, object]) -> None:
    """Refuse to go on with an export that was asked for differently.

    Raises:
        CheckpointError: they differ; says in what.
    """
    changed = sorted(name for name in earlier.keys() | now.keys() if earlier.get(name) != now.get(name))
    if changed:
        told = ", ".join(f"{name} (was {earlier.get(name)!r}, now {now.get(name)!r})" for name in changed)
        raise CheckpointError(
            f"{part_path(target).name} was begun with other parameters: {told}; ask for the same again,"
            " or begin anew with if_exists='replace' and without resume=True"
        )
