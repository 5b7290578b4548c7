"""Where rows can go that is not a file: anything that takes them."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable


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
