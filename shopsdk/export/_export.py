"""``export_customers``: one shop's customers into a file, a stream or a sink."""

import os
from collections.abc import Sequence
from contextlib import ExitStack, aclosing
from typing import Unpack, cast

from shopsdk import AsyncSession, CustomerFilters, OrderColumn, OrderDirection
from shopsdk.export._disk import state_of
from shopsdk.export._file import Job, assemble, write_part
from shopsdk.export._pages import write_pages
from shopsdk.export._part import IfExists, check_if_exists, check_target, put_in_place, remove_leftovers
from shopsdk.export._plan import Layout, Query, make_layout, target_of
from shopsdk.export._report import Counters, Report, counting
from shopsdk.export._rows import Format, customer_rows, plain_value
from shopsdk.export._stream import BinaryWriter, Stream, is_sink
from shopsdk.export._summary import CustomerSink, ExportSummary, OnProgress
from shopsdk.export._worker import Worker

Destination = str | os.PathLike[str] | BinaryWriter | CustomerSink
"""The type of ``destination``: a file's name, anything with a ``write`` for bytes, or a ``CustomerSink``."""


async def export_customers(
    session: AsyncSession,
    destination: Destination,
    *,
    format: Format | None = None,
    shop_id: int | None = None,
    concurrency: int = 4,
    resume: bool = False,
    on_progress: OnProgress | None = None,
    if_exists: IfExists = "refuse",
    columns: Sequence[str] | None = None,
    bom: bool = False,
    escape_formulas: bool = True,
    per_page: int = 100,
    order_column: OrderColumn = "id",
    order_direction: OrderDirection = "asc",
    **filters: Unpack[CustomerFilters],
) -> ExportSummary:
    """Export every customer of a shop, once each, in flat memory.

    A file gets its name only when it is whole. Until then ``.NAME.part`` and ``.NAME.part.checkpoint`` lie beside it;
    the dot hides them from programs that read all files of a folder. ``resume=True`` goes on with an export that was
    interrupted, and the file comes out the same. It asks again for the last page alone; after a kill -9, also for what
    the last quarter of a second, or the last 2,000 rows, had brought.

    **Files.** Working files are created with mode 0600 whatever the umask, and are never written through a link. A
    working file of an earlier run is used only if it is a regular file of this user, with one name, that nobody else
    may write to. A file that is replaced passes on its mode and, where this user may give it, its group. A new file
    follows the umask. A link at the final name, or on the way to it, is followed, unless it is another user's (root
    excepted) in a folder that others may write to.

    **Streams.** A thread calls ``write`` with bytes, and ``flush`` after each page if there is one; nothing else is
    called, so a stream need neither seek nor tell, and is the caller's to close. ``write`` may take a part: a number
    from 1 to the length that it returns is what it took, and it gets the rest. Anything else that it returns counts as
    all. Parquet is written in row groups of 16,384 rows as they fill, with the same bytes as in a file. An exception
    of ``write`` is raised as it is. After any failure the stream stays as it is, with whole pages or row groups, and
    Parquet without its index. A cancelled export does not wait for a ``write`` that is under way, and begins no other.

    **Limits.** File systems without hard links, locks or modes are accepted, and so are those that cannot sync files or
    folders. Where the file system has no locks, two exports to one name at once are not kept apart: the later one
    takes over, and the earlier one ends in an error. On Windows they must not happen.

    ```python
    def show(progress: ExportProgress) -> None:
        print(progress.rows, "of", progress.total)

    name = "customers-{shop_id}.ndjson.gz"
    summary = await export_customers(session, name, resume=True, on_progress=show)
    print(summary.path, summary.rows)
    ```

    Args:
        session: the session to ask through.
        destination: a file's name, in which ``{shop_id}`` stands for the shop; or a ``CustomerSink``, whose ``write``
            is an ``async def``; or anything else with a ``write`` for bytes, such as ``sys.stdout.buffer``, a
            ``NamedTemporaryFile``, a socket's file or an upload.
        format: "ndjson", "csv" or "parquet" (extra ``parquet``); default: by the ending of the name, which for the text
            formats may be followed by ``.gz`` or ``.zst`` (compression); "ndjson" for a stream.
        shop_id: the shop's id, at least 1; default: the session's.
        concurrency: the most pages in flight, at least 1.
        resume: go on with an earlier export to the same name, if there is one. For files only.
        on_progress: called with an ``ExportProgress`` after every page and before every wait; it should be quick.
        if_exists: what to do if the file, or an unfinished export beside it, exists: "refuse" raises; "replace"
            replaces it; "same" raises unless the file holds the same bytes as the new one.
        columns: the columns, in this order; default: all. ``shop_id`` may be among them.
        bom: begin a CSV file with a byte order mark, for Excel.
        escape_formulas: put an apostrophe into the text of a CSV file wherever a spreadsheet would begin a formula;
            ``unescape_formula`` takes it out again. False leaves text alone, for readers that are no spreadsheets.
        per_page: rows to a request, 1 to 100.
        order_column: the column to order by; see ``iter_customers`` for what other columns than "id" cost.
        order_direction: "asc" or "desc".
        filters: any of ``shopsdk.CustomerFilters``.

    Raises:
        ExportError: an extra is missing, a value does not fit the format, or (``CheckpointError``) what an earlier run
            left cannot be used: it had other parameters, is damaged, belongs to another user, or another export is at
            work on it.
        FileExistsError: the file, or an unfinished export, exists; see ``if_exists``.
        PermissionError: the name leads over another user's link, in a folder that others may write to.
        OSError: the file cannot be written.
        ShopError: a request failed; for a file, what was read is kept for ``resume=True``.
        ValueError: an argument out of its bounds; nothing was sent.
        TypeError: an argument of the wrong type; nothing was sent.
    """
    name = destination if isinstance(destination, str | os.PathLike) else None
    stream = Stream(destination) if name is None and not is_sink(destination) else None
    query = await Query(
        session=session,
        shop_id=shop_id,
        concurrency=concurrency,
        per_page=per_page,
        order_column=order_column,
        order_direction=order_direction,
        filters=filters,
    ).checked()
    report = Report(query.shop_id, on_progress)
    with Worker() as worker, counting(session, report.wait) as counters:
        if name is not None:
            layout = make_layout(
                plain_value(os.fspath(name)), format, columns, bom=bom, escape_formulas=escape_formulas
            )
            return await to_file(
                query,
                name,
                layout,
                worker=worker,
                report=report,
                counters=counters,
                resume=resume,
                if_exists=if_exists,
            )
        if resume:
            raise ValueError("resume is for files: what went to a stream or a sink cannot be taken back")
        if stream is not None:
            layout = make_layout(None, format, columns, bom=bom, escape_formulas=escape_formulas)
            return await _to_stream(query, stream, layout, worker=worker, report=report, counters=counters)
        if format is not None or columns is not None or bom or not escape_formulas:
            raise ValueError(
                "format, columns, bom and escape_formulas are for files and streams: a sink takes whole customers"
            )
        return await _to_sink(query, cast(CustomerSink, destination), report=report, counters=counters)


async def to_file(
    query: Query,
    destination: str | os.PathLike[str],
    layout: Layout,
    *,
    worker: Worker,
    report: Report,
    counters: Counters,
    resume: bool,
    if_exists: IfExists,
    keep_checkpoint: bool = False,
) -> ExportSummary:
    """Export into a file of its own; ``keep_checkpoint`` keeps the checkpoint, which tells that it is finished."""
    if_exists = check_if_exists(if_exists)
    target = target_of(destination, query.shop_id)
    encoder = await worker.run(layout.encoder, query.shop_id)  # may import pyarrow, which takes its time
    parameters = query.parameters() | layout.parameters()
    taken = state_of(target) is not None
    done = await worker.run(check_target, target, parameters, resume=resume, if_exists=if_exists)
    if done is None:
        job = Job(
            target=target,
            query=query,
            encoder=encoder,
            parameters=parameters,
            prefix=encoder.prefix,
            resume=resume,
            worker=worker,
            report=report,
        )
        part = await write_part(job)
        with ExitStack() as opened:
            opened.callback(part.close)  # until then no other export can begin it anew
            report.tell("assembling")
            file = await worker.run(assemble, [part], target, layout, None, opened)
            size = await worker.run(
                put_in_place, file, target, part, if_exists=if_exists, taken=taken, keep_checkpoint=keep_checkpoint
            )
    else:  # an earlier run finished it, and ended before it cleared up
        report.begin(done)
        size = target.stat().st_size
        if not keep_checkpoint:
            await worker.run(remove_leftovers, target)
    report.tell("done")
    return report.summary(counters, path=target, format=layout.format, size=size)


async def _to_stream(
    query: Query, stream: Stream, layout: Layout, *, worker: Worker, report: Report, counters: Counters
) -> ExportSummary:
    encoder = await worker.run(layout.stream_encoder, query.shop_id)  # may import pyarrow, which takes its time

    try:
        await worker.start(stream.put, encoder.prefix)
        await write_pages(query, encoder, lambda data, _: stream.put(data), worker=worker, report=report)
        await worker.start(lambda: stream.put(encoder.end()))
    except Exception:
        await worker.start(stream.leave)  # after the page that is being written
        raise
    finally:
        stream.leave()  # when cancelled, nobody waits: the stream may be a pipe that nobody reads
    report.tell("done")
    return report.summary(counters, path=None, format=layout.format, size=stream.size)


async def _to_sink(query: Query, sink: CustomerSink, *, report: Report, counters: Counters) -> ExportSummary:
    async with aclosing(query.pages()) as pages:
        async for page in pages:
            await sink.write(customer_rows(page.data))
            report.page(page, all_ids=False)
            report.tell("reading")
    report.tell("done")
    return report.summary(counters, path=None, format="rows", size=0)
