"""``export_shops``: many shops at once, through one session, into a file each or into one file."""

import asyncio
import io
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, TypeVar, Unpack

import attrs

from shopsdk import AsyncSession, CustomerFilters, OrderColumn, OrderDirection, ShopError
from shopsdk.export._checkpoint import Journal, Position
from shopsdk.export._disk import open_locked, release, remove, state_of
from shopsdk.export._export import to_file
from shopsdk.export._file import Job, assemble, write_part
from shopsdk.export._part import (
    IfExists,
    PartFile,
    check_if_exists,
    check_target,
    checkpoint_path,
    earlier_run,
    open_finished,
    put_in_place,
    remove_leftovers,
)
from shopsdk.export._plan import Layout, Query, make_layout, target_of
from shopsdk.export._report import Report, counting
from shopsdk.export._rows import Format, plain_value
from shopsdk.export._summary import CheckpointError, ExportSummary, OnProgress
from shopsdk.export._worker import Worker

R = TypeVar("R")


@attrs.frozen(kw_only=True)
class ShopsSummary:
    """The outcome of an export of many shops."""

    path: Path | None
    """The one file; None if each shop has its own, or if a shop failed."""
    bytes: int
    """The size of all files together."""
    shops: Mapping[int, ExportSummary]
    """The summaries of the shops that were exported whole."""
    failed: Mapping[int, Exception]
    """The errors of the other shops: ``ShopError`` or ``OSError``."""

    @property
    def rows(self) -> int:
        """Customers of all shops that were exported whole."""
        return sum(summary.rows for summary in self.shops.values())


_ONE_FILE: dict[str, object] = {"one_file": True}
"""The parameters in the checkpoint of the one file, which says that it was made of pieces, and of which size."""


@attrs.frozen(kw_only=True)
class _Many:
    """The arguments that all shops share."""

    name: str
    layout: Layout
    resume: bool
    if_exists: IfExists
    on_progress: OnProgress | None
    at_once: int


async def export_shops(
    session: AsyncSession,
    destination: str | os.PathLike[str],
    shop_ids: Sequence[int],
    *,
    format: Format | None = None,
    concurrency: int = 4,
    shops_at_once: int = 4,
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
) -> ShopsSummary:
    """Export the customers of many shops. A shop that fails does not stop the others.

    If the name holds ``{shop_id}``, each shop has a file of its own. Otherwise all shops share one file, in the order
    given, with the column ``shop_id`` in front. It gets its name only when every shop was read; until then, what was
    read of each is kept for ``resume=True``. Files, modes and links are treated as in ``export_customers``.

    Args:
        session: the session to ask through; its limits hold for all shops together.
        destination: a file's name, as in ``export_customers``.
        shop_ids: the shops; one that is named twice is read once.
        format: as in ``export_customers``.
        concurrency: the most pages of one shop in flight, at least 1.
        shops_at_once: the most shops under way at a time, at least 1.
        resume: go on with an earlier export to the same name; shops that it finished are not read again.
        on_progress: as in ``export_customers``; ``shop_id`` tells whose progress it is.
        if_exists: as in ``export_customers``; all names are checked before anything is sent.
        columns: as in ``export_customers``.
        bom: as in ``export_customers``.
        escape_formulas: as in ``export_customers``.
        per_page: as in ``export_customers``.
        order_column: as in ``export_customers``.
        order_direction: as in ``export_customers``.
        filters: as in ``export_customers``.

    Raises:
        ExportError: an extra is missing, or what an earlier run left cannot be used.
        FileExistsError: a file, or an unfinished export, exists; see ``if_exists``.
        PermissionError: a name leads over another user's link, in a folder that others may write to.
        OSError: the one file cannot be written.
        ValueError: an argument out of its bounds; nothing was sent.
        TypeError: an argument of the wrong type; nothing was sent.
    """
    if not shop_ids:
        raise ValueError("shop_ids must name at least one shop")
    if shops_at_once < 1:
        raise ValueError(f"shops_at_once must be at least 1, not {shops_at_once!r}")
    checked = [
        await Query(
            session=session,
            shop_id=shop_id,
            concurrency=concurrency,
            per_page=per_page,
            order_column=order_column,
            order_direction=order_direction,
            filters=filters,
        ).checked()
        for shop_id in shop_ids
    ]
    queries = {query.shop_id: query for query in checked if query.shop_id is not None}
    name = plain_value(os.fspath(destination))
    each = "{shop_id}" in name
    layout = make_layout(name, format, columns, bom=bom, escape_formulas=escape_formulas, with_shop=not each)
    many = _Many(
        name=name,
        layout=layout,
        resume=resume,
        if_exists=check_if_exists(if_exists),
        on_progress=on_progress,
        at_once=shops_at_once,
    )
    return await (_a_file_each if each else _one_file)(queries, many)


async def _a_file_each(queries: Mapping[int, Query], many: _Many) -> ShopsSummary:
    with Worker() as worker:
        await worker.run(_check_each, queries, many)

    async def export(query: Query) -> ExportSummary:
        report = Report(query.shop_id, many.on_progress)
        with Worker() as worker, counting(query.session, report.wait) as counters:
            return await to_file(
                query,
                many.name,
                many.layout,
                worker=worker,
                report=report,
                counters=counters,
                resume=many.resume,
                if_exists=many.if_exists,
                keep_checkpoint=True,
            )

    made, failed = await _all(queries, export, many.at_once)
    if not failed:
        # The checkpoints told a later run which shops were finished; now all are.
        with Worker() as worker:
            for shop_id in made:
                await worker.run(remove_leftovers, target_of(many.name, shop_id))
    size = sum(summary.bytes for summary in made.values())
    return ShopsSummary(path=None, bytes=size, shops=made, failed=failed)


async def _one_file(queries: Mapping[int, Query], many: _Many) -> ShopsSummary:
    target = target_of(many.name, None)
    taken = state_of(target) is not None
    pieces = {shop_id: target.with_name(f"{target.name}.{shop_id}") for shop_id in queries}
    with Worker() as worker:
        await worker.run(_check_one, target, queries, pieces, many)
        prefix = (await worker.run(many.layout.encoder, None)).prefix

    async def export(query: Query) -> ExportSummary:
        report = Report(query.shop_id, many.on_progress)
        with Worker() as worker, counting(query.session, report.wait) as counters:
            encoder = await worker.run(many.layout.encoder, query.shop_id)
            part = await write_part(
                Job(
                    target=pieces[query.shop_id or 0],
                    query=query,
                    encoder=encoder,
                    parameters=_piece_parameters(query, many),
                    prefix=prefix if many.layout.format == "parquet" else b"",  # a stream needs its schema
                    resume=many.resume,
                    worker=worker,
                    report=report,
                )
            )
            await worker.run(part.close)
        report.tell("done")
        return report.summary(counters, path=None, format=many.layout.format, size=part.position.offset)

    made, failed = await _all(queries, export, many.at_once)
    if failed:
        return ShopsSummary(path=None, bytes=0, shops=made, failed=failed)
    with Worker() as worker, ExitStack() as opened:
        parts = _finished_parts(queries, pieces, many)
        rows = sum(summary.rows for summary in made.values())
        file = await worker.run(_assemble_one, parts, target, many, prefix, rows=rows, opened=opened)
        size = await worker.run(put_in_place, file, target, if_exists=many.if_exists, taken=taken)
        for piece in pieces.values():
            await worker.run(remove_leftovers, piece)
    return ShopsSummary(path=target, bytes=size, shops=made, failed={})


def _piece_parameters(query: Query, many: _Many) -> dict[str, object]:
    return query.parameters() | many.layout.parameters() | {"piece": True}


def _finished_parts(queries: Mapping[int, Query], pieces: Mapping[int, Path], many: _Many) -> Iterator[PartFile]:
    """Open the pieces one at a time: a process may not open the files of a thousand shops at once."""
    for shop_id, piece in pieces.items():
        with closing(open_finished(piece, _piece_parameters(queries[shop_id], many))) as part:
            yield part


def _assemble_one(
    parts: Iterator[PartFile], target: Path, many: _Many, prefix: bytes, *, rows: int, opened: ExitStack
) -> io.FileIO:
    """Make the whole file, and lock its name for this export until ``opened`` is closed."""
    lock = open_locked(checkpoint_path(target), anew=many.if_exists == "replace")
    opened.callback(release, lock)
    journal = Journal(lock)
    parameters, last = journal.parameters(), journal.last()
    if last is not None and last.page and parameters != _ONE_FILE:
        raise CheckpointError(
            f"an export to {target.name!r} was begun meanwhile, and is unfinished; its rows are kept, and so are the"
            " pieces of this one"
        )
    opened.callback(remove, lock)
    file = assemble(parts, target, many.layout, prefix, opened)
    journal.begin(_ONE_FILE)
    size = os.fstat(file.fileno()).st_size
    journal.add(Position(offset=0, rows=rows, complete=True, synced=True, placed=size))
    return file


def _check_each(queries: Mapping[int, Query], many: _Many) -> None:
    """Check every name."""
    targets = {shop_id: target_of(many.name, shop_id) for shop_id in queries}
    if len(set(targets.values())) < len(targets):
        raise ValueError("destination must name a file for each shop, not one file by several links")
    for shop_id, query in queries.items():
        parameters = query.parameters() | many.layout.parameters()
        check_target(targets[shop_id], parameters, resume=many.resume, if_exists=many.if_exists)


def _check_one(target: Path, queries: Mapping[int, Query], pieces: Mapping[int, Path], many: _Many) -> None:
    """Check the one name, and the pieces that an earlier run left beside it."""
    earlier = earlier_run(target) if many.resume else None
    if earlier is not None and earlier.parameters == _ONE_FILE:
        check_target(target, _ONE_FILE, resume=True, if_exists=many.if_exists)
    else:
        going_on = many.resume and any(earlier_run(piece) for piece in pieces.values())
        # Pieces of an earlier run replace the file that is there, but not the unfinished export of one shop.
        if_exists = "same" if going_on and many.if_exists == "refuse" else many.if_exists
        check_target(target, {}, resume=False, if_exists=if_exists)
    for shop_id, piece in pieces.items():
        check_target(piece, _piece_parameters(queries[shop_id], many), resume=many.resume, if_exists=many.if_exists)


async def _all(
    queries: Mapping[int, Query], export: Callable[[Query], Coroutine[Any, Any, R]], at_once: int
) -> tuple[dict[int, R], dict[int, Exception]]:
    """Export all shops, ``at_once`` at a time; returns what was made and what failed."""
    places = asyncio.Semaphore(at_once)
    made: dict[int, R] = {}
    failed: dict[int, Exception] = {}

    async def one(shop_id: int, query: Query) -> None:
        async with places:
            try:
                made[shop_id] = await export(query)
            except (ShopError, OSError) as error:
                failed[shop_id] = error

    try:
        async with asyncio.TaskGroup() as group:
            for shop_id, query in queries.items():
                group.create_task(one(shop_id, query))
    except BaseExceptionGroup as several:  # a callback's error is raised as it is, as with one shop
        raise several.exceptions[0] from None
    return {shop_id: made[shop_id] for shop_id in queries if shop_id in made}, failed
