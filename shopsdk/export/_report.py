"""Keeping count of an export, and telling of it."""

import time
from collections.abc import Callable
from pathlib import Path

import attrs

from shopsdk import Customer, Page
from shopsdk.export._checkpoint import Mark
from shopsdk.export._summary import ExportProgress, ExportSummary, Stage
from shopsdk.export._tally import Tally

OnProgress = Callable[[ExportProgress], object]
"""What is told of an export's progress; it runs on the event loop, so it should be quick."""


@attrs.define
class Report:
    """One export's count."""

    shop_id: int | None
    on_progress: OnProgress | None
    mark: Mark = attrs.field(factory=lambda: Mark(offset=0))
    resumed: int = 0
    started: float = attrs.field(factory=time.monotonic)
    _raised: Exception | None = None

    def begin(self, mark: Mark) -> None:
        """Begin at a mark of an earlier run, or at the beginning."""
        self.mark, self.resumed = mark, mark.rows

    def page(self, page: Page[Customer], *, all_ids: bool) -> Mark:
        """Count a page; gives the mark behind it."""
        before = self.mark
        covered = (page.current_page - 1) * page.per_page
        expected = max(0, min(page.per_page, page.total - covered))
        self.mark = Mark(
            offset=0,  # known when it has been written
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
        return self.mark

    def tell(self, stage: Stage, *, waiting: float = 0.0, rate_limited: bool = False) -> None:
        """Tell of it, if anyone asked."""
        if self.on_progress is None:
            return
        if self._raised is not None:
            raise self._raised
        self.on_progress(
            ExportProgress(
                shop_id=self.shop_id,
                stage=stage,
                rows=self.mark.rows,
                total=max(self.mark.total, self.mark.rows if stage == "done" else 0),
                page=self.mark.page,
                last_page=self.mark.last_page,
                resumed=self.resumed,
                seconds=time.monotonic() - self.started,
                waiting=waiting,
                rate_limited=rate_limited,
            )
        )

    def wait(self, seconds: float, rate_limited: bool) -> None:  # noqa: FBT001 - a callback of fixed shape
        """Tell of a wait. Told within a request, which may be another export's: what it raises is kept for later."""
        try:
            self.tell("waiting", waiting=seconds, rate_limited=rate_limited)
        except Exception as error:  # noqa: BLE001 - raised again when the next page is told of
            self._raised = error

    def summary(self, tally: Tally, *, path: Path | None, form: str, size: int) -> ExportSummary:
        """Sum it up."""
        return ExportSummary(
            shop_id=self.shop_id,
            path=path,
            format=form,
            rows=self.mark.rows,
            resumed=self.resumed,
            pages=self.mark.pages,
            requests=tally.requests,
            retries=tally.retries,
            waited=tally.waited,
            repeats=self.mark.repeats,
            reread=self.mark.reread,
            seconds=time.monotonic() - self.started,
            bytes=size,
        )
