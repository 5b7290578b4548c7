"""``export_shops``: many shops at once, through one session, into a file each or into one."""

import asyncio
import io
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, TypeVar, Unpack

import attrs

from shopsdk import AsyncSession, CustomerFilters, OrderColumn, OrderDirection, ShopError
from shopsdk.export._disk import open_locked, release, remove, state_of
from shopsdk.export._export import to_file
from shopsdk.export._file import Job, assemble, write_part
from shopsdk.export._part import (
    IfExists,
    PartFile,
    check_if_exists,
    check_target,
    checkpoint_path,
    open_finished,
    put_in_place,
    remove_leftovers,
)
from shopsdk.export._plan import Layout, Query, make_layout, target_of
from shopsdk.export._report import Report, counting
from shopsdk.export._rows import Format, plain_value
from shopsdk.export._summary import ExportSummary, OnProgress
from shopsdk.export._worker import Worker

R = TypeVar("R")


@attrs.frozen(kw_only=True)
class ShopsSummary:
    """What an export of many shops came to."""

    path: Path | None
    """The one file, if it was to be one and all shops could be read; None for a file each."""
    bytes: int
    """The size of all files together."""
    shops: Mapping[int, ExportSummary]
    """The shops that were exported whole."""
    failed: Mapping[int, Exception]
    """The shops that were not, and why: an error of the tree, or an ``OSError``."""

    @property
    def rows(self) -> int:
        """Customers of all shops that were exported whole."""
        return sum(summary.rows for summary in self.shops.values())


@attrs.frozen(kw_only=True)
class _Many:
    """What all the shops share."""

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
    per_page: int = 100,
    order_column: OrderColumn = "id",
    order_direction: OrderDirection = "asc",
    **filters: Unpack[CustomerFilters],
) -> ShopsSummary:
    """Export the customers of many shops. One that fails leaves the others whole.

    Into a file each, where the name has ``{shop_id}`` in it. Otherwise into one file, shop after shop in the order
    given, with the column ``shop_id`` in front; it has its name only when every shop could be read, and until then
    what was read of each is kept, to be gone on with by ``resume=True``. Files, modes and links are treated as in
    ``export_customers``.

    Args:
        session: the session to ask through; its limits hold for all shops together.
        destination: a file's name, as in ``export_customers``.
        shop_ids: the shops; one that is named twice is read once.
        format: as in ``export_customers``.
        concurrency: pages of one shop in flight at most, at least 1.
        shops_at_once: shops under way at a time, at least 1.
        resume: go on with what an earlier export to the same name left; shops that it finished are left alone.
        on_progress: as in ``export_customers``; ``shop_id`` tells whose progress it is.
        if_exists: as in ``export_customers``; all names are looked at before anything is sent.
        columns: as in ``export_customers``.
        bom: as in ``export_customers``.
        per_page: as in ``export_customers``.
        order_column: as in ``export_customers``.
        order_direction: as in ``export_customers``.
        filters: as in ``export_customers``.

    Raises:
        ExportError: an extra is missing, or what an earlier run left cannot be gone on with.
        FileExistsError: a file, or an unfinished export, is there already; see ``if_exists``.
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
    layout = make_layout(name, format, columns, bom=bom, with_shop=not each)
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
        # Until now they told what had been finished already, had it come to going on.
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
        file = await worker.run(_assemble_one, parts, target, many, prefix, opened)
        size = await worker.run(put_in_place, file, target, if_exists=many.if_exists, taken=taken)
        for piece in pieces.values():
            await worker.run(remove_leftovers, piece)
    return ShopsSummary(path=target, bytes=size, shops=made, failed={})


def _piece_parameters(query: Query, many: _Many) -> dict[str, object]:
    return query.parameters() | many.layout.parameters() | {"piece": True}


def _finished_parts(queries: Mapping[int, Query], pieces: Mapping[int, Path], many: _Many) -> Iterator[PartFile]:
    """Open the pieces, one at a time: a thousand shops have more files than a process may open."""
    for shop_id, piece in pieces.items():
        with closing(open_finished(piece, _piece_parameters(queries[shop_id], many))) as part:
            yield part


def _assemble_one(parts: Iterator[PartFile], target: Path, many: _Many, prefix: bytes, opened: ExitStack) -> io.FileIO:
    """Make the whole file, and keep other exports off its name until ``opened`` is closed."""
    lock = open_locked(checkpoint_path(target), anew=many.if_exists == "replace")
    opened.callback(release, lock)
    opened.callback(remove, lock)
    return assemble(parts, target, many.layout, prefix, opened)


def _check_each(queries: Mapping[int, Query], many: _Many) -> None:
    """See whether every name is free."""
    for query in queries.values():
        parameters = query.parameters() | many.layout.parameters()
        check_target(target_of(many.name, query.shop_id), parameters, resume=many.resume, if_exists=many.if_exists)


def _check_one(target: Path, queries: Mapping[int, Query], pieces: Mapping[int, Path], many: _Many) -> None:
    """See whether the one name is free, and what of an earlier run lies in pieces beside it."""
    going_on = many.resume and any(state_of(checkpoint_path(piece)) for piece in pieces.values())
    # Pieces of an earlier run replace the file that is there, but not the unfinished export of one shop.
    if_exists = "same" if going_on and many.if_exists == "refuse" else many.if_exists
    check_target(target, {}, resume=False, if_exists=if_exists)
    for shop_id, piece in pieces.items():
        check_target(piece, _piece_parameters(queries[shop_id], many), resume=many.resume, if_exists=many.if_exists)


async def _all(
    queries: Mapping[int, Query], export: Callable[[Query], Coroutine[Any, Any, R]], at_once: int
) -> tuple[dict[int, R], dict[int, Exception]]:
    """Export all shops, a few at a time; what befalls one is kept from the others."""
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
    except BaseExceptionGroup as several:  # a callback's own error, say: as with one shop, it comes as it is
        raise several.exceptions[0] from None
    return {shop_id: made[shop_id] for shop_id in queries if shop_id in made}, failed
