"""The checkpoint: what of an unfinished file can be trusted, page by page.

A journal beside the file, one line of JSON per page: how far the file reaches, the checksum of what that page added,
and what the walk needs to go on. A line is written after its page, so a killed process leaves at most one page without
a line. A power loss may lose either of them, in any order; therefore both are synced to the disk every few seconds, the
file first, and the line that follows says so. On resumption such a line is believed, if the file reaches that far, and
every later one only if the checksum of its page agrees. No page is believed on the word of the journal alone that the
disk might not have.
"""

import os
import sys
import zlib
from pathlib import Path
from typing import IO

import attrs
import msgspec

from shopsdk import Customer, Page
from shopsdk.export._errors import CheckpointError

if sys.platform != "win32":
    import fcntl

_VERSION = 1
_BINARY: int = getattr(os, "O_BINARY", 0)
"""Windows wants to be told."""


@attrs.frozen(kw_only=True)
class Mark:
    """A place in the file where a page ends."""

    offset: int
    """Bytes of the file up to here."""
    rows: int = 0
    pages: int = 0
    repeats: int = 0
    reread: int = 0
    page: int = 0
    """The page's number, as the walk counts; 0 before the first."""
    last_page: int = 0
    per_page: int = 0
    total: int = 0
    ids: list[int] = attrs.Factory(list[int])
    """Ordered by id: the last one of the page; else all of its ids, so that no row comes twice."""
    crc: int = 0
    """Of the bytes since the mark before."""
    synced: bool = False
    """Was all of it on the disk before this line was written?"""
    complete: bool = False
    """Is this the end of the list?"""

    def after(self) -> Page[Customer] | None:
        """Make what the walk goes on behind; None: begin at the beginning."""
        if not self.page:
            return None
        rows = [Customer(id=number, email="") for number in self.ids]
        return Page(
            data=rows, current_page=self.page, last_page=self.last_page, per_page=self.per_page, total=self.total
        )


@attrs.frozen
class _Head:
    shopsdk_export: int
    parameters: dict[str, object]


@attrs.frozen
class Found:
    """What the journal of an earlier run says."""

    parameters: dict[str, object]
    marks: list[Mark]
    ends: list[int]
    """Where each mark's line ends in the journal."""


def last_good(marks: list[Mark], part: IO[bytes]) -> int | None:
    """Find the last mark up to which the file can be trusted; None where not even the first can."""
    size = os.fstat(part.fileno()).st_size
    synced = [place for place, mark in enumerate(marks) if mark.synced and mark.offset <= size]
    good = synced[-1] if synced else None
    offset = 0 if good is None else marks[good].offset
    part.seek(offset)
    for place in range(0 if good is None else good + 1, len(marks)):
        mark = marks[place]
        data = part.read(mark.offset - offset) if mark.offset >= offset else b""
        if len(data) != mark.offset - offset or zlib.crc32(data) != mark.crc:
            break
        good, offset = place, mark.offset
    return good


class Journal:
    """The journal of an export. While it is open, no other process can open it.

    Raises:
        CheckpointError: another process has it open.
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Not truncated before it is ours alone.
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | _BINARY, 0o666), "r+b", buffering=0)
        try:
            _lock(self._file, path)
        except BaseException:
            self._file.close()
            raise

    def read(self) -> Found | None:
        """Read what an earlier run wrote; None if that is nothing. A torn line and what follows it are left out.

        Raises:
            CheckpointError: it is a journal of another version.
        """
        self._file.seek(0)
        lines = self._file.read().splitlines(keepends=True)
        if not lines or not lines[0].endswith(b"\n"):
            return None
        try:
            head = msgspec.json.decode(lines[0], type=_Head)
        except msgspec.DecodeError:
            return None  # torn, and with its head went all it says
        if head.shopsdk_export != _VERSION:
            raise CheckpointError(f"{self.path} is a checkpoint of another version, which this one cannot read")
        found = Found(head.parameters, [], [])
        end = len(lines[0])
        for line in lines[1:]:
            if not line.endswith(b"\n"):
                break  # the next line would be written onto it
            try:
                mark = msgspec.json.decode(line, type=Mark)
            except msgspec.DecodeError:
                break
            end += len(line)
            found.marks.append(mark)
            found.ends.append(end)
        return found

    def begin(self, parameters: dict[str, object]) -> None:
        """Begin anew."""
        self.keep(0)
        write_all(self._file, msgspec.json.encode(_Head(_VERSION, parameters)) + b"\n")

    def keep(self, size: int) -> None:
        """Keep the first bytes of it and go on behind them."""
        self._file.truncate(size)
        self._file.seek(size)

    def add(self, mark: Mark) -> None:
        """Write a line; one that speaks of synced bytes is synced itself."""
        write_all(self._file, msgspec.json.encode(mark) + b"\n")
        if mark.synced:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of it; it stays on the disk."""
        self._file.close()


def write_all(file: IO[bytes], data: bytes) -> None:
    """Write without a buffer in between: all of it, though the system may take it in pieces."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def sync_folder(folder: Path) -> None:
    """Make the names in it last through a power loss."""
    if sys.platform != "win32":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _lock(file: IO[bytes], path: Path) -> None:
    if sys.platform != "win32":
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CheckpointError(f"another export is at work on {path.name}") from error
