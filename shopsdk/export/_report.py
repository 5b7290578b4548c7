"""The counts of one export, and its reports of progress.

Many exports may share a session, so each counts the requests and waits of its own tasks. A context variable tells them
apart: the tasks of a walk inherit the context of the task that started it. A pause for the rate limit concerns every
export that uses the operation.
"""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import attrs

from shopsdk import (
    AsyncSession,
    AttemptStarted,
    Customer,
    Event,
    Page,
    RateLimitedError,
    RateLimitPaused,
    RequestStarted,
    RetryScheduled,
    ServerError,
)
from shopsdk.export._checkpoint import Position
from shopsdk.export._summary import ExportProgress, ExportSummary, OnProgress, Stage

OnWait = Callable[[float, str, int | None], None]
"""A callback: it gets the seconds of a wait, the name of the class of the error before it, and the status, if any."""


@attrs.define(eq=False)
class Counters:
    """The requests, retries and waits of one export."""

    on_wait: OnWait
    requests: int = 0
    retries: int = 0
    waited: float = 0.0
    _waits_until: float = 0.0
    _operations: set[str] = attrs.Factory(set[str])
    """The operations that this export has used."""
    _pauses: dict[str, tuple[float, int]] = attrs.Factory(dict[str, tuple[float, int]])
    """The end of the pause of each operation, and the status of the answer that asked for it."""

    def on_event(self, event: Event) -> None:
        """Count an event of this export."""
        mine = _current.get() is self
        if isinstance(event, RateLimitPaused):
            self._pauses[event.operation] = time.monotonic() + event.seconds, event.status
            if not mine and event.operation in self._operations:
                self._pause(event.seconds, event.status)
        elif not mine:
            return
        elif isinstance(event, RequestStarted):
            self._operations.add(event.operation)
            paused_until, status = self._pauses.get(event.operation, (0.0, 429))
            if paused_until > max(time.monotonic(), self._waits_until):
                self._pause(paused_until - time.monotonic(), status)
        elif isinstance(event, AttemptStarted):
            self.requests += 1
        elif isinstance(event, RetryScheduled):
            self.retries += 1
            self._wait(event.wait, event.reason, event.status)

    def _pause(self, seconds: float, status: int) -> None:
        """Count a wait that another call was told of."""
        self._wait(seconds, (RateLimitedError if status == 429 else ServerError).__name__, status)

    def _wait(self, seconds: float, reason: str, status: int | None) -> None:
        """Count a wait. Pages wait at the same time, so only what goes beyond earlier waits counts."""
        now = time.monotonic()
        begins, self._waits_until = max(now, self._waits_until), max(now + seconds, self._waits_until)
        self.waited += self._waits_until - begins if self._waits_until > begins else 0.0
        self.on_wait(seconds, reason, status)


_current: ContextVar[Counters | None] = ContextVar("shopsdk_export_counters", default=None)


@contextmanager
def counting(session: AsyncSession, on_wait: OnWait) -> Generator[Counters]:
    """Count the requests and waits of the tasks that are started within."""
    counters = Counters(on_wait)
    token = _current.set(counters)
    try:
        with session.subscribe(counters.on_event):
            yield counters
    finally:
        _current.reset(token)


@attrs.define
class Report:
    """The progress of one export."""

    shop_id: int | None
    on_progress: OnProgress | None
    position: Position = attrs.field(factory=lambda: Position(offset=0))
    resumed: int = 0
    started: float = attrs.field(factory=time.monotonic)
    _raised: Exception | None = None

    def begin(self, position: Position) -> None:
        """Begin at the position of an earlier run, or at the beginning."""
        self.position, self.resumed = position, position.rows

    def page(self, page: Page[Customer], *, all_ids: bool) -> Position:
        """Count a page, and return the position behind it."""
        before = self.position
        covered = (page.current_page - 1) * page.per_page
        expected = max(0, min(page.per_page, page.total - covered))
        self.position = Position(
            offset=0,  # set when it is written
            rows=before.rows + len(page.data),
            pages=before.pages + 1,
            repeats=before.repeats + max(0, expected - len(page.data)),
            reread=before.reread + (page.current_page <= before.page),
            page=page.current_page,
            last_page=page.last_page,
            per_page=page.per_page,
            total=page.total,
            ids=[row.id for row in page.data] if all_ids else [page.data[-1].id],
        )
        return self.position

    def tell(self, stage: Stage, *, waiting: float = 0.0, reason: str | None = None, status: int | None = None) -> None:
        """Call ``on_progress``, if there is one."""
        if self.on_progress is None:
            return
        if self._raised is not None:
            raise self._raised
        self.on_progress(
            ExportProgress(
                shop_id=self.shop_id,
                stage=stage,
                rows=self.position.rows,
                total=max(self.position.total, self.position.rows if stage == "done" else 0),
                page=self.position.page,
                last_page=self.position.last_page,
                resumed=self.resumed,
                seconds=time.monotonic() - self.started,
                waiting=waiting,
                reason=reason,
                status=status,
            )
        )

    def wait(self, seconds: float, reason: str, status: int | None) -> None:
        """Report a wait. This runs within a request, maybe of another export, so an error is kept for later."""
        try:
            self.tell("waiting", waiting=seconds, reason=reason, status=status)
        except Exception as error:  # noqa: BLE001 - raised by the next report of a page
            self._raised = error

    def summary(self, counters: Counters, *, path: Path | None, format: str, size: int) -> ExportSummary:
        """Make the summary."""
        return ExportSummary(
            shop_id=self.shop_id,
            path=path,
            format=format,
            rows=self.position.rows,
            resumed=self.resumed,
            pages=self.position.pages,
            requests=counters.requests,
            retries=counters.retries,
            waited=counters.waited,
            repeats=self.position.repeats,
            reread=self.position.reread,
            seconds=time.monotonic() - self.started,
            bytes=size,
        )
