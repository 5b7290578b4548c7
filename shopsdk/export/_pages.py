"""From pages to writes: pages are encoded as they come, and held until they are enough for one write."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import attrs

from shopsdk import Customer, Page
from shopsdk.export._checkpoint import Position
from shopsdk.export._plan import Query
from shopsdk.export._report import Report
from shopsdk.export._text import Encoder
from shopsdk.export._worker import Worker, finished

_SECONDS = 0.25
"""Seconds after which pages are written though they are not enough: what is read must not wait for a rate limit."""

Write = Callable[[bytes, Position], object]


async def write_pages(
    query: Query,
    encoder: Encoder,
    write: Write,
    *,
    worker: Worker,
    report: Report,
    after: Page[Customer] | None = None,
    seen: frozenset[int] = frozenset(),
    rows_at_once: int = 0,
) -> None:
    """Write every page, while the next one is on its way.

    Args:
        query: the customers.
        encoder: turns pages into bytes.
        write: writes them, in the worker's thread.
        worker: the thread that writes.
        report: counts the pages.
        after: the page to go on behind.
        seen: ids that were written before; empty if the order by id tells.
        rows_at_once: the rows to hold before they are written. Then a failure or a cancellation waits until all of them
            are written, as a disk does sooner or later. By default each page is written at once, and a cancellation
            waits for nothing: nobody may read from a pipe.
    """
    writer = _Writer(
        encoder=encoder,
        write=write,
        worker=worker,
        report=report,
        all_ids=query.order_column != "id",
        rows_at_once=rows_at_once,
    )
    try:
        async with aclosing(query.pages(after)) as pages:
            async for page in pages:
                new = page if not seen else attrs.evolve(page, data=[row for row in page.data if row.id not in seen])
                if new.data:
                    await writer.add(new)
    except BaseException:
        if rows_at_once:
            await writer.finish()
        raise
    await writer.finish()


@attrs.define(eq=False, kw_only=True)
class _Writer:
    """Pages on their way to a file.

    Each is encoded when it comes, on the event loop, in a few tenths of a millisecond. In the thread it would take
    longer: each system call of the loop releases the interpreter's lock, and then waits until the encoder releases it.
    Held as models, 2,000 rows would take a third of the time of reading them more, since no memory is used again.
    """

    encoder: Encoder
    write: Write
    worker: Worker
    report: Report
    all_ids: bool
    """Whether positions keep all ids, since the order does not tell which rows were written."""
    rows_at_once: int
    _encoded: list[bytes] = attrs.Factory(list[bytes])
    _rows: int = 0
    _ids: list[int] = attrs.Factory(list[int])
    _writing: "deque[asyncio.Future[object]]" = attrs.field(factory=deque[Any])
    _failed: bool = False
    _timer: asyncio.TimerHandle | None = None

    async def add(self, page: Page[Customer]) -> None:
        """Take a page; write it, with those that are held, if they are enough."""
        await self._wait(for_all=False)
        self._encoded.append(self.encoder.encode(page.data))
        self._ids += self.report.page(page, all_ids=self.all_ids).ids
        self._rows += len(page.data)
        if self._rows >= self.rows_at_once:
            await self._wait(for_all=True)
            self._start()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SECONDS, self._on_time)
        self.report.tell("reading")

    async def finish(self) -> None:
        """Write what is held, and wait until all is written; nothing more, once a write has failed."""
        if self._timer is not None:
            self._timer.cancel()
        if not self._failed:
            await self._wait(for_all=True)
            self._start()
            await self._wait(for_all=True)

    def _on_time(self) -> None:
        self._timer = None
        if self._writing and not self._writing[-1].done():  # a slow disk: more would pile up in memory
            self._timer = asyncio.get_running_loop().call_later(_SECONDS, self._on_time)
        elif not self._failed:
            self._start()

    def _start(self) -> None:
        """Start to write what is held."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._encoded:
            data, pack = self._encoded, self.encoder.pack
            position = attrs.evolve(self.report.position, ids=self._ids if self.all_ids else self._ids[-1:])
            self._encoded, self._rows, self._ids = [], 0, []
            self._writing.append(self.worker.start(lambda: self.write(b"".join(map(pack, data)), position)))

    async def _wait(self, *, for_all: bool) -> None:
        """Wait for what is being written, or take note of what is written already.

        Raises:
            Exception: writing failed.
        """
        while self._writing and (for_all or self._writing[0].done()):
            written = self._writing[0]
            try:
                await (finished(written) if self.rows_at_once else written)
            except Exception:
                self._failed = True
                raise
            finally:
                if written.done():
                    self._writing.popleft()
