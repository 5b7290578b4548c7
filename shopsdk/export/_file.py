"""From pages to a file: read on from where the unfinished file ends, and give it its name when it is whole."""

import asyncio
import shutil
from collections.abc import Callable, Generator, Sequence
from contextlib import aclosing, contextmanager, suppress
from os import fsync
from pathlib import Path

import attrs

from shopsdk import Customer, Page
from shopsdk.export._arrow import assemble
from shopsdk.export._checkpoint import Mark
from shopsdk.export._part import PartFile, open_part, part_path
from shopsdk.export._plan import Layout, Query
from shopsdk.export._report import Report
from shopsdk.export._text import Encoder
from shopsdk.export._worker import Worker, finished

Encode = Callable[[Sequence[Customer]], bytes]
Write = Callable[[bytes, Mark], object]


@attrs.frozen(kw_only=True)
class Job:
    """One unfinished file to bring to its end."""

    target: Path
    """The final name; nothing is written there."""
    query: Query
    encoder: Encoder
    parameters: dict[str, object]
    """What the bytes depend on."""
    prefix: bytes
    """What the file begins with."""
    resume: bool
    """Go on with what an earlier run left?"""
    worker: Worker
    report: Report


async def fill(job: Job) -> PartFile:
    """Bring the unfinished file of a target to its end.

    Whatever goes wrong, what was read stays for a later run, unless it is not even one page.
    """
    worker, report = job.worker, job.report
    opening = worker.start(open_part, job.target, job.parameters, job.prefix, resume=job.resume)
    try:
        part = await finished(opening)
    except asyncio.CancelledError:
        if opening.exception() is None:  # it was opened all the same, and is locked until somebody lets go of it
            await finished(worker.start(opening.result().park))
        raise
    report.begin(part.mark)
    try:
        report.tell("reading")
        if not part.mark.complete:
            seen = part.seen if job.query.order_column != "id" else frozenset[int]()

            def write(data: bytes, mark: Mark) -> None:
                part.add(job.encoder.pack(data), mark)

            await pump(
                job.query, job.encoder.encode, write, worker=worker, report=report, after=part.mark.after(), seen=seen
            )
    except BaseException:
        # The failure is the news; that parking failed as well, on a full disk say, is not.
        with suppress(OSError):
            await finished(worker.start(part.park))
        raise
    await finished(worker.start(part.complete))
    return part


async def pump(
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
    """Write every page, one at a time, while the next is on its way.

    A page is encoded on the event loop, a few tenths of a millisecond. In the thread it would take longer: every call
    of the loop into the system lets go of the interpreter's lock, and would then wait for the encoder to do so too.

    Args:
        query: the customers.
        encode: what turns a page into bytes.
        write: what packs and writes them, in the worker's thread.
        worker: the thread that writes.
        report: what counts.
        after: the page to go on behind.
        seen: ids that were written before, where their order alone cannot tell.
        patient: when cancelled, see the page that is being written through to its end. A disk takes it sooner or
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
                    mark = report.page(new, all_ids=query.order_column != "id")
                    busy = worker.start(write, encode(new.data), mark)
                    report.tell("reading")
    except BaseException:
        if busy is not None and patient:
            await finished(busy)
        raise
    if busy is not None:
        await (finished(busy) if patient else busy)


@contextmanager
def _or_nothing(path: Path) -> Generator[None]:
    """Leave no half a file; the parts that it is made of are kept, and need the room on a full disk."""
    try:
        yield
    except OSError as error:
        path.unlink(missing_ok=True)
        error.filename = error.filename or str(path)  # a full disk does not say which
        raise


def whole(parts: Sequence[Path], target: Path, layout: Layout, prefix: bytes | None) -> Path:
    """Make the whole file out of what was read, and sync it to the disk; gives where it is for now.

    Args:
        parts: the finished parts, in order.
        target: the final name.
        layout: the format.
        prefix: what the file begins with, where the parts lack it; None where the one part is the file already.
    """
    if layout.form == "parquet":
        made = target.with_name(f"{target.name}.whole.part")
        with _or_nothing(made):
            assemble(parts, made, layout.columns or ())
        return made
    if prefix is None:
        return parts[0]
    made = part_path(target)
    with _or_nothing(made), made.open("wb") as file:
        file.write(prefix)
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, file, 2**20)
        file.flush()
        fsync(file.fileno())
    return made
