"""``export_shops``: many shops at once, through one session or one for each, into a file each or into one file."""

import asyncio
import io
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, TypeVar, Unpack
from weakref import WeakKeyDictionary

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
    """The errors of the other shops: ``ShopError``, ``OSError``, or whatever ``connect`` raised."""

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
    connect: Callable[[int], AsyncSession] | None
    """Makes the session of a shop; None if they share one."""


async def export_shops(
    session_or_connect: AsyncSession | Callable[[int], AsyncSession],
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

    Where each shop has a key of its own, give a function that makes the session of a shop. It is called once for each
    shop, when its turn comes. Whatever it raises is the error of that shop alone. The export closes what it returns.

    ```python
    import os

    def connect(shop_id: int) -> AsyncSession:
        return AsyncSession(os.environ[f"SHOP_KEY_{shop_id}"])

    summary = await export_shops(connect, "customers-{shop_id}.csv", [38, 39])
    for shop_id, error in summary.failed.items():
        print(shop_id, repr(error))
    ```

    Args:
        session_or_connect: the session to ask through, whose limits hold for all shops together, and which stays open;
            or a function that takes a shop's id and returns a session for that shop alone. A default shop of that
            session does not count. A session that several shops share is passed as the session.
        destination: a file's name, as in ``export_customers``.
        shop_ids: the shops, at least one, none twice.
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
    connect: Callable[[int], AsyncSession] | None = None
    if isinstance(session_or_connect, AsyncSession):
        session = session_or_connect
    elif callable(session_or_connect):
        connect, session = session_or_connect, _unused_session()
        if None in shop_ids:  # would be the default shop of a session
            raise TypeError("shop_ids must be whole numbers: connect takes the id of a shop")
    else:
        kind = type(session_or_connect).__name__
        del session_or_connect  # it may be the key, by mistake, which a traceback could show
        raise TypeError(f"session_or_connect must be an AsyncSession, or a function that makes one, not {kind}")
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
    if len(queries) < len(checked):
        raise ValueError("shop_ids must name no shop twice")
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
        connect=connect,
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

    made, failed = await _all(queries, export, many)
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
    finished: dict[Path, dict[str, object]] = {}
    """The parameters of the pieces that were read to their end."""
    with Worker() as worker:
        await worker.run(_check_one, target, queries, pieces, many)
        prefix = (await worker.run(many.layout.encoder, None)).prefix

    async def export(query: Query) -> ExportSummary:
        report = Report(query.shop_id, many.on_progress)
        with Worker() as worker, counting(query.session, report.wait) as counters:
            encoder = await worker.run(many.layout.encoder, query.shop_id)
            piece, parameters = pieces[query.shop_id or 0], _piece_parameters(query, many)
            if many.connect is not None:  # now the address of the API is known
                await worker.run(check_target, piece, parameters, resume=many.resume, if_exists=many.if_exists)
            part = await write_part(
                Job(
                    target=piece,
                    query=query,
                    encoder=encoder,
                    parameters=parameters,
                    prefix=prefix if many.layout.format == "parquet" else b"",  # a stream needs its schema
                    resume=many.resume,
                    worker=worker,
                    report=report,
                )
            )
            await worker.run(part.close)
            finished[piece] = parameters
        report.tell("done")
        return report.summary(counters, path=None, format=many.layout.format, size=part.position.offset)

    made, failed = await _all(queries, export, many)
    if failed:
        return ShopsSummary(path=None, bytes=0, shops=made, failed=failed)
    with Worker() as worker, ExitStack() as opened:
        parts = _finished_parts({piece: finished[piece] for piece in pieces.values()})
        rows = sum(summary.rows for summary in made.values())
        file = await worker.run(_assemble_one, parts, target, many, prefix, rows=rows, opened=opened)
        size = await worker.run(put_in_place, file, target, if_exists=many.if_exists, taken=taken)
        for piece in pieces.values():
            await worker.run(remove_leftovers, piece)
    return ShopsSummary(path=target, bytes=size, shops=made, failed={})


def _piece_parameters(query: Query, many: _Many) -> dict[str, object]:
    return query.parameters() | many.layout.parameters() | {"piece": True}


def _finished_parts(pieces: Mapping[Path, Mapping[str, object]]) -> Iterator[PartFile]:
    """Open the pieces one at a time: a process may not open the files of a thousand shops at once."""
    for piece, parameters in pieces.items():
        with closing(open_finished(piece, parameters)) as part:
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
        target, parameters = targets[shop_id], query.parameters() | many.layout.parameters()
        check_target(target, _as_earlier(target, parameters, many), resume=many.resume, if_exists=many.if_exists)


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
        parameters = _as_earlier(piece, _piece_parameters(queries[shop_id], many), many)
        check_target(piece, parameters, resume=many.resume, if_exists=many.if_exists)


def _as_earlier(target: Path, parameters: dict[str, object], many: _Many) -> dict[str, object]:
    """Leave the address of the API to the earlier run: ``connect`` tells it when the shop's turn comes.

    Then it is compared too, and another one is the error of that shop.
    """
    # What will be replaced is not read: it may be damaged, or not ours.
    if many.connect is None or not (many.resume or many.if_exists == "same"):
        return parameters
    earlier = earlier_run(target)
    return parameters if earlier is None else parameters | {"base_url": earlier.parameters.get("base_url")}


def _unused_session() -> AsyncSession:
    """Make a session that only takes part in the check of arguments. It needs no environment, and is never opened."""
    return AsyncSession("unused", shop_id=1, base_url="http://localhost")


async def _all(
    queries: Mapping[int, Query], export: Callable[[Query], Coroutine[Any, Any, R]], many: _Many
) -> tuple[dict[int, R], dict[int, Exception]]:
    """Export all shops, ``many.at_once`` at a time; returns what was made and what failed."""
    places = asyncio.Semaphore(many.at_once)
    made: dict[int, R] = {}
    failed: dict[int, Exception] = {}
    connected: WeakKeyDictionary[AsyncSession, int] = WeakKeyDictionary()

    async def one(shop_id: int, query: Query) -> None:
        async with places:
            try:
                session = None if many.connect is None else _connect(many.connect, shop_id, connected)
            except Exception as error:  # noqa: BLE001 - kept for the caller
                failed[shop_id] = error
                return
            try:
                if session is None:
                    outcome = await export(query)
                else:
                    async with session:
                        outcome = await export(attrs.evolve(query, session=session))
            except (ShopError, OSError) as error:
                failed[shop_id] = error
            else:
                made[shop_id] = outcome

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(shop_id, query)) for shop_id, query in queries.items()]
    except BaseExceptionGroup as several:  # a callback's error is raised as it is, as with one shop
        raise several.exceptions[0] from None
    if any(task.cancelled() for task in tasks):  # by what a callback raised; the group takes no notice
        raise asyncio.CancelledError
    return _in_order(made, queries), _in_order(failed, queries)


def _in_order(outcomes: Mapping[int, R], queries: Mapping[int, Query]) -> dict[int, R]:
    """Bring the shops into the order in which they were given."""
    return {shop_id: outcomes[shop_id] for shop_id in queries if shop_id in outcomes}


def _connect(
    connect: Callable[[int], object], shop_id: int, connected: WeakKeyDictionary[AsyncSession, int]
) -> AsyncSession:
    """Make the session of a shop, and note it in ``connected``.

    Raises:
        TypeError: ``connect`` returned something else.
        ValueError: it returned the session of an earlier shop, which is closed with that shop.
    """
    session = connect(shop_id)
    if not isinstance(session, AsyncSession):
        kind = type(session).__name__
        del session  # it may be the key, by mistake, which a traceback could show
        raise TypeError(f"connect must return an AsyncSession, not {kind}")
    earlier = connected.setdefault(session, shop_id)
    if earlier != shop_id:
        raise ValueError(
            f"connect must return a new session for each shop, not that of shop {earlier} again: pass a session that"
            " several shops share in the place of connect"
        )
    return session
