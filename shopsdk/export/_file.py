"""From pages to a file: write the unfinished file to its end, and assemble the whole one."""

import asyncio
import io
import shutil
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

import attrs

from shopsdk.export._arrow import assemble_parquet
from shopsdk.export._disk import BLOCK, create, path_of, remove, sync
from shopsdk.export._pages import write_pages
from shopsdk.export._part import PartFile, open_part, part_path, whole_path
from shopsdk.export._plan import Layout, Query
from shopsdk.export._report import Report
from shopsdk.export._text import Encoder
from shopsdk.export._worker import Worker, finished

_ROWS_AT_ONCE = 2_000
"""Rows that are written and journalled together: by page, they take a third of an export's time."""


@attrs.frozen(kw_only=True)
class Job:
    """One unfinished file to write to its end."""

    target: Path
    """The final name; nothing is written there."""
    query: Query
    encoder: Encoder
    parameters: dict[str, object]
    """The parameters that the bytes depend on."""
    prefix: bytes
    """What the file begins with."""
    resume: bool
    """Whether to go on with what an earlier run left."""
    worker: Worker
    report: Report


async def write_part(job: Job) -> PartFile:
    """Write the unfinished file of a target to its end, and return it, open.

    On any failure, what was read is kept for a later run, if it is at least one page.
    """
    worker, report = job.worker, job.report
    opening = worker.start(open_part, job.target, job.parameters, job.prefix, resume=job.resume)
    try:
        part = await finished(opening)
    except asyncio.CancelledError:
        if opening.exception() is None:  # it was opened all the same, and is locked until it is closed
            await worker.run(opening.result().suspend)
        raise
    report.begin(part.position)
    try:
        report.tell("reading")
        if not part.position.complete:
            by_id = job.query.order_column == "id"
            seen = frozenset[int]() if by_id else await worker.run(part.seen)

            await write_pages(
                job.query,
                job.encoder,
                part.add,
                worker=worker,
                report=report,
                after=part.position.after(),
                seen=seen,
                rows_at_once=_ROWS_AT_ONCE,
            )
        await worker.run(part.complete)
    except BaseException:
        # The failure is raised, not a second one of suspending, on a full disk for instance.
        with suppress(OSError):
            await worker.run(part.suspend)
        raise
    return part


def assemble(
    parts: Iterable[PartFile], target: Path, layout: Layout, prefix: bytes | None, opened: ExitStack
) -> io.FileIO:
    """Make the whole file from its parts, sync it to the disk, and return it, open, under a name of its own.

    Args:
        parts: the finished parts, in order.
        target: the final name.
        layout: the format, columns and compression.
        prefix: what the file begins with, if the parts lack it; None if the one part is the file already.
        opened: closes the file at its end.
    """
    if layout.format == "parquet":
        with _new(whole_path(target)) as (file, buffer):
            assemble_parquet(parts, buffer, layout.columns or ())
        return _close_at_end(opened, file)
    if prefix is None:
        (part,) = parts
        return part.rewound()
    with _new(part_path(target)) as (file, buffer):
        buffer.write(prefix)
        for part in parts:
            shutil.copyfileobj(part.rewound(), buffer, BLOCK)
    return _close_at_end(opened, file)


def _close_at_end(opened: ExitStack, file: io.FileIO) -> io.FileIO:
    """Have a file closed at the end, and removed if it has no other name by then."""
    opened.enter_context(file)
    opened.callback(remove, file)
    return file


@contextmanager
def _new(path: Path) -> Generator[tuple[io.FileIO, IO[bytes]]]:
    """Create a file and sync it at the end. On an error it is removed: the parts are kept, and need the room."""
    file = create(path)
    buffer = io.BufferedWriter(file, BLOCK)
    try:
        yield file, buffer
        buffer.flush()
        sync(file)
    except BaseException as error:
        remove(file)
        with suppress(OSError, ValueError):  # it writes what it holds, to a full disk or a closed file
            buffer.close()
        if isinstance(error, OSError):
            error.filename = error.filename or str(path_of(file))  # the error of a full disk names no file
        raise
    buffer.detach()
