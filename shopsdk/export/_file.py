"""From pages to a file: write the unfinished file to its end, and assemble the whole one."""

import asyncio
import io
import shutil
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, aclosing, contextmanager, suppress
from pathlib import Path
from typing import IO

import attrs

from shopsdk import Customer, Page
from shopsdk.export._arrow import assemble_parquet
from shopsdk.export._checkpoint import Position
from shopsdk.export._disk import BLOCK, create, path_of, remove, sync
from shopsdk.export._part import PartFile, open_part, part_path, whole_path
from shopsdk.export._plan import Layout, Query
from shopsdk.export._report import Report
from shopsdk.export._text import Encoder
from shopsdk.export._worker import Worker, finished

Encode = Callable[[Sequence[Customer]], bytes]
Write = Callable[[bytes, Position], object]


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

            def write(data: bytes, position: Position) -> None:
                part.add(job.encoder.pack(data), position)

            await write_pages(
                job.query,
                job.encoder.encode,
                write,
                worker=worker,
                report=report,
                after=part.position.after(),
                seen=seen,
            )
        await worker.run(part.complete)
    except BaseException:
        # The failure is raised, not a second one of suspending, on a full disk for instance.
        with suppress(OSError):
            await worker.run(part.suspend)
        raise
    return part


async def write_pages(
    query: Query,
    encode: Encode,
    write: Write,
    *,
    worker: Worker,
    report: Report,
    after: Page[Customer] | None = None,
    seen: frozenset[int] = frozenset(),
    patient: bool = True,
) -> None:
    """Write every page, one at a time, while the next one is on its way.

    A page is encoded on the event loop, in a few tenths of a millisecond. In the thread it would take longer: each
    system call of the loop releases the interpreter's lock, and then waits until the encoder releases it.

    Args:
        query: the customers.
        encode: turns a page into bytes.
        write: packs and writes them, in the worker's thread.
        worker: the thread that writes.
        report: counts the pages.
        after: the page to go on behind.
        seen: ids that were written before; empty if the order by id tells.
        patient: when cancelled, wait until the page that is being written is written. A disk takes it sooner or
            later; a pipe that nobody reads does not.
    """
    busy: asyncio.Future[object] | None = None
    try:
        async with aclosing(query.pages(after)) as pages:
            async for page in pages:
                new = page if not seen else attrs.evolve(page, data=[row for row in page.data if row.id not in seen])
                if busy is not None:
                    written, busy = busy, None
                    await (finished(written) if patient else written)
                if new.data:
                    position = report.page(new, all_ids=query.order_column != "id")
                    busy = worker.start(write, encode(new.data), position)
                    report.tell("reading")
    except BaseException:
        if busy is not None and patient:
            await finished(busy)
        raise
    if busy is not None:
        await (finished(busy) if patient else busy)


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
