"""The public types of the export: errors, progress, the summary, and the sink."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import attrs

from shopsdk import ShopError

Stage = Literal["reading", "waiting", "assembling", "done"]
"""The stage of an export: reading pages, waiting for a rate limit or a retry, assembling the file, done."""


class ExportError(ShopError):
    """The export cannot be made as asked: an extra is missing, or a value does not fit the format."""


class CheckpointError(ExportError):
    """An unfinished export cannot be used: other parameters, damage, or another export at work on it."""


@attrs.frozen(kw_only=True)
class ExportProgress:
    """The progress of an export: ``on_progress`` gets one after every page, before every wait, and at the end."""

    shop_id: int | None
    """The shop; None if neither the call nor the session names one."""
    stage: Stage
    """The stage that it is in."""
    rows: int
    """Customers written, those of the resumed run included."""
    total: int
    """Customers in the list, according to the newest page; 0 before the first page."""
    page: int
    """The number of the newest page; 0 before the first page."""
    last_page: int
    """The number of the last page, according to the newest page; 0 before the first page."""
    resumed: int
    """Customers that an earlier run had written."""
    seconds: float
    """Seconds since this run began."""
    waiting: float = 0.0
    """Seconds to wait, while ``stage`` is "waiting"."""
    reason: str | None = None
    """The name of the class of the error after which it waits; None if ``stage`` is not "waiting"."""
    status: int | None = None
    """The status of the answer after which it waits: 429 for the shop's rate limit; None if no whole answer came."""

    @property
    def rate(self) -> float:
        """Customers per second in this run."""
        return (self.rows - self.resumed) / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """The estimated seconds that are left; None before the first page of this run."""
        return max(0, self.total - self.rows) / self.rate if self.rate > 0 else None


@attrs.frozen(kw_only=True)
class ExportSummary:
    """The outcome of a finished export."""

    shop_id: int | None
    """The shop; None if neither the call nor the session names one."""
    path: Path | None
    """The file; None for a stream or a sink."""
    format: str
    """"ndjson", "csv" or "parquet"; "rows" for a sink."""
    rows: int
    """Customers written, those of the resumed run included."""
    resumed: int
    """Customers that an earlier run had written; they were not asked for again."""
    pages: int
    """Pages that held new rows, those of an earlier run included."""
    requests: int
    """Requests sent by this run."""
    retries: int
    """The number of those requests that were repeats."""
    waited: float
    """Seconds spent waiting, for the shop's rate limit or after failures."""
    repeats: int
    """Rows that came twice, because other rows were added or deleted, and were dropped."""
    reread: int
    """Pages read again because rows had moved onto them."""
    seconds: float
    """Seconds that this run took."""
    bytes: int
    """The size of the file or of what was streamed; 0 for a sink."""


OnProgress = Callable[[ExportProgress], object]
"""The type of ``on_progress``. It is called on the event loop, so it should be quick."""


@runtime_checkable
class CustomerSink(Protocol):
    """A destination of ``export_customers`` that is no file: an object with this one method, here for a database.

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
        """Take one page of customers. The next one comes after this has returned. An exception ends the export.

        Args:
            rows: customers by rising id (or as ordered), as dicts of plain data: money as exact text, times as
                ISO 8601 text with a Z, the referrer as a dict or None.
        """
        ...
