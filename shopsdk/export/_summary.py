"""What users of the export see beside its functions: errors, progress, the summary, and the sink."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import attrs

from shopsdk import ShopError

Stage = Literal["reading", "waiting", "assembling", "done"]
"""Where an export is: reading pages, waiting to be let on, putting the file together, done."""


class ExportError(ShopError):
    """The export cannot be made as asked: an extra is missing, or a value does not fit the format."""


class CheckpointError(ExportError):
    """What an earlier export left behind cannot be gone on with: other parameters, damage, or another one at work."""


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


OnProgress = Callable[[ExportProgress], object]
"""The type of ``on_progress``; it is called on the event loop, so it should be quick."""


@runtime_checkable
class CustomerSink(Protocol):
    """What ``export_customers`` can write to instead of a file: one method, such as this one into a database.

    ```python
    import sqlite3

    class Mirror:
        def __init__(self, db):
            self.db = db

        async def write(self, rows):
            statement = "INSERT INTO customers VALUES (:id, :email, :balance)"
            self.db.executemany(statement, rows)

    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE customers (id, email, balance)")
    await export_customers(session, Mirror(db))
    assert db.execute("SELECT count(*) FROM customers").fetchone() == (250,)
    db.close()
    ```
    """

    async def write(self, rows: Sequence[dict[str, Any]], /) -> None:
        """Take one page of customers; the next comes when this has returned. What it raises ends the export.

        Args:
            rows: customers by rising id (or as ordered), as dicts of plain data: money as exact text, times as
                ISO 8601 text with a Z, the referrer as a dict or None.
        """
        ...
