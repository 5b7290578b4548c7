"""The checkpoint: a journal that tells which part of an unfinished file can be trusted.

**Problem.** A killed process may leave half a page. A power loss may lose the end of the file, of the journal, or of
both.

**Format.** The first line of the journal is JSON with the parameters of the export. Each page adds a line: where the
page ends, the checksum of its bytes, and what the walk needs to go on. The line is written after its page.

**Invariant.** Every few seconds the file is synced to the disk, and then a line that says so (``synced``). A later run
trusts the last such line, if the file reaches that far. It trusts a line behind it only if the checksum of its page
agrees. So it trusts no page that the disk might not have.
"""

import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, TypeVar

import attrs
import msgspec

from shopsdk import Customer, Page
from shopsdk.export._disk import (
    BLOCK,
    has_locks,
    open_existing,
    path_of,
    release,
    remove,
    sync,
    take_over,
    unlock,
    write_all,
)
from shopsdk.export._summary import CheckpointError

_VERSION = 1
_MAX_BYTES = 256 * 2**20
"""The most bytes of a checkpoint that is read: room for 100 million customers ordered by id (23 KB for 100 pages of
100), or for 20 million in another order, which keeps all ids. A larger one would take gigabytes of memory."""
_MAX_LINE = 2**20
"""The most bytes of a line. A line of 2,000 ids has 50,000; the first line holds the filters, too."""
_BLOCK = 2**16
_MAX_UNSYNCED = 2**31
"""The most bytes that are trusted by checksum: what is written between two syncs, which are two seconds apart."""

_T = TypeVar("_T")
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**50)]
"""A size or a count; its bound is above the bytes of any file and the customers of any shop."""
_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""A number from the shop, in no narrower bounds than the walk takes."""
_Ids = Annotated[list[_Int64], msgspec.Meta(max_length=2_100)]
_Parameter = None | bool | int | str | list[str] | dict[str, str]


@attrs.frozen(kw_only=True)
class Position:
    """A place in the file where a write ends, and with it a page."""

    offset: _Count
    """Bytes of the file up to here."""
    rows: _Count = 0
    pages: _Count = 0
    repeats: _Count = 0
    reread: _Count = 0
    page: _Count = 0
    """The page's number, as the walk counts; 0 before the first."""
    last_page: _Int64 = 0
    per_page: _Count = 0
    total: _Int64 = 0
    ids: _Ids = attrs.Factory(list[int])
    """Ordered by id: the last id of the page. In any other order: all ids since the position before, so that no row
    comes twice."""
    crc: _Count = 0
    """The checksum of the bytes since the position before."""
    synced: bool = False
    """Whether all bytes up to here were on the disk before this line was written."""
    complete: bool = False
    """Whether this is the end of the list."""
    placed: _Count | None = None
    """The size of the whole file; set just before the file gets its final name."""

    def after(self) -> Page[Customer] | None:
        """Make the page that the walk goes on behind; None: it begins at the first page."""
        if not self.page:
            return None
        rows = [Customer(id=number, email="") for number in self.ids]
        return Page(
            data=rows, current_page=self.page, last_page=self.last_page, per_page=self.per_page, total=self.total
        )


@attrs.frozen
class _Head:
    shopsdk_export: int
    parameters: dict[str, _Parameter]


class Journal:
    """The journal of an export, in an open and locked file; see ``open_locked``."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file

    @classmethod
    def existing(cls, path: Path) -> "Journal | None":
        """Open the journal of an earlier run; None if there is none.

        Raises:
            CheckpointError: another export has it open, or it may not be ours.
            OSError: it cannot be opened.
        """
        file = open_existing(path)
        return None if file is None else cls(file)

    def parameters(self) -> dict[str, _Parameter] | None:
        """Read the parameters of the earlier run; None if it ended before it wrote them.

        Raises:
            CheckpointError: it is damaged, too large, or of another version.
        """
        if os.fstat(self._file.fileno()).st_size > _MAX_BYTES:
            raise self.damaged(f"it has more than {_MAX_BYTES} bytes")
        for line, _ in self._lines(0):
            head = self._decode(line, _Head)
            if head is not None and head.shopsdk_export != _VERSION:
                raise CheckpointError(
                    f"{str(path_of(self._file))!r} is a checkpoint of another version, which this one cannot read"
                )
            return None if head is None else head.parameters
        return None

    def positions(self, start: int | None = None) -> Iterator[tuple[Position, int]]:
        """Read the positions, each with the offset at which its line ends. A torn line ends them.

        Args:
            start: where to begin, the end of a line; default: behind the parameters.

        Raises:
            CheckpointError: no export writes such lines.
        """
        lines = self._lines(start or 0)
        if start is None:
            next(lines, None)
        offset = 0
        for line, end in lines:
            position = self._decode(line, Position)
            if position is None:
                return
            if position.offset < offset:
                raise self.damaged("its offsets fall")
            offset = position.offset
            yield position, end

    def last(self) -> Position | None:
        """Read the last position; None if there is none.

        Raises:
            CheckpointError: it is damaged, or no export writes such lines.
        """
        last: Position | None = None
        if self.parameters() is not None:
            for position, _ in self.positions():
                last = position
        return last

    def _lines(self, start: int) -> Iterator[tuple[bytes, int]]:
        """Read whole lines, each with the offset at which it ends."""
        self._file.seek(start)
        rest = b""
        while data := self._file.read(_BLOCK):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                start += len(line) + 1
                yield line, start
            if len(rest) > _MAX_LINE:
                if b"\0" in rest:  # a hole, which a power loss may leave
                    return
                raise self.damaged(f"a line has more than {_MAX_LINE} bytes")

    def _decode(self, line: bytes, kind: type[_T]) -> _T | None:
        """Decode a line; None for a torn one, which is not JSON.

        Raises:
            CheckpointError: it is JSON of another shape, which somebody else wrote.
        """
        try:
            return msgspec.json.decode(line, type=kind)
        except (msgspec.ValidationError, RecursionError):
            pass
        except ValueError:
            return None
        raise self.damaged("a line is not what an export writes")

    def damaged(self, why: str) -> CheckpointError:
        """Make the error for a damaged checkpoint."""
        return CheckpointError(
            f"{str(path_of(self._file))!r} is damaged, or not a checkpoint: {why}; remove it, or begin anew with"
            " if_exists='replace' and without resume=True"
        )

    def last_good(self, part: IO[bytes]) -> tuple[Position, int] | None:
        """Find the last position up to which the file can be trusted, and the end of its line; None if there is none.

        Raises:
            CheckpointError: no export writes such lines.
        """
        size = os.fstat(part.fileno()).st_size
        good: tuple[Position, int] | None = None
        for position, end in self.positions():
            if position.synced and position.offset <= size:
                good = position, end
        offset, start = (0, None) if good is None else (good[0].offset, good[1])
        part.seek(offset)
        budget = _MAX_UNSYNCED
        for position, end in self.positions(start):
            length = position.offset - offset
            budget -= length
            if budget < 0 or length < 0 or _checksum(part, length) != position.crc:
                break
            good, offset = (position, end), position.offset
        return good

    def ids(self, end: int) -> frozenset[int]:
        """Read the ids of all positions up to the end of a line."""
        return frozenset(number for position, ends in self.positions() if ends <= end for number in position.ids)

    def begin(self, parameters: dict[str, object]) -> None:
        """Empty the journal and write the parameters."""
        self.keep(0)
        write_all(self._file, msgspec.json.encode({"shopsdk_export": _VERSION, "parameters": parameters}) + b"\n")

    def keep(self, size: int) -> None:
        """Keep the first ``size`` bytes, and go on behind them."""
        self._file.truncate(size)
        self._file.seek(size)

    def add(self, position: Position) -> None:
        """Write a line, and sync it if it says that the file is synced."""
        write_all(self._file, msgspec.json.encode(position) + b"\n")
        if position.synced:
            sync(self._file)

    def remove(self) -> None:
        """Remove it from the disk."""
        remove(self._file)

    def is_locked(self) -> bool:
        """Whether no other export can be at work on it; a file system without locks cannot tell."""
        return has_locks(self._file)

    def take_over(self) -> None:
        """Go on in a copy of it, which takes its name."""
        self._file = take_over(self._file)

    def unlock(self) -> None:
        """Unlock it, to look at it without keeping an export waiting."""
        unlock(self._file)

    def close(self) -> None:
        """Unlock and close it; it stays on the disk."""
        release(self._file)


def _checksum(part: IO[bytes], length: int) -> int | None:
    """Read so many bytes and return their checksum; None if the file ends before."""
    crc = 0
    while length:
        data = part.read(min(length, BLOCK))
        if not data:
            return None
        crc = zlib.crc32(data, crc)
        length -= len(data)
    return crc
