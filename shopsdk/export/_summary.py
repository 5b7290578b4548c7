"""What an export tells: while it runs, and at its end."""

from pathlib import Path
from typing import Literal

import attrs

Stage = Literal["reading", "waiting", "assembling", "done"]
"""Where an export is: reading pages, waiting to be let on, putting the file together, done."""


@attrs.frozen(kw_only=True)
class ExportProgress:
    """How far an export is; ``on_progress`` gets one after every page, before every wait, and at the end."""

    shop_id: int | None
    """The shop; None where neither the call nor the session names one."""
    stage: Stage
    """What it is doing."""
    rows: int
    """Customers written, those of an earlier run that is gone on with included."""
    total: int
    """Customers in the list, as the newest page counts them; 0 before the first."""
    page: int
    """The number of the newest page; 0 before the first."""
    last_page: int
    """The number of the last page, as the newest one counts them; 0 before the first."""
    resumed: int
    """How many of the rows an earlier run had written."""
    seconds: float
    """Seconds since this run began."""
    waiting: float = 0.0
    """While ``stage`` is "waiting": for how many seconds."""
    rate_limited: bool = False
    """While ``stage`` is "waiting": is it for the shop's rate limit, or else after a failure?"""

    @property
    def rate(self) -> float:
        """Customers per second, of this run."""
        return (self.rows - self.resumed) / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """A guess at the seconds that are left; None where there is nothing to go by."""
        return max(0, self.total - self.rows) / self.rate if self.rate > 0 else None


@attrs.frozen(kw_only=True)
class ExportSummary:
    """What a finished export came to."""

    shop_id: int | None
    """The shop; None where neither the call nor the session names one."""
    path: Path | None
    """The file; None for a stream or a sink."""
    format: str
    """"ndjson", "csv" or "parquet"; "rows" for a sink."""
    rows: int
    """Customers written, those of an earlier run that was gone on with included."""
    resumed: int
    """How many of them an earlier run had written; they were not asked for again."""
    pages: int
    """Pages that held new rows, those of an earlier run included."""
    requests: int
    """Requests sent by this run."""
    retries: int
    """How many of them were sent again."""
    waited: float
    """Seconds spent waiting, for the shop's rate limit or after failures."""
    repeats: int
    """Rows that came twice, because others moved them, and were dropped."""
    reread: int
    """Pages read again because rows had slipped onto them."""
    seconds: float
    """How long this run took."""
    bytes: int
    """The size of the file, or what was streamed; 0 for a sink."""
