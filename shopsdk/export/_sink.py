"""Where rows can go that is not a file: anything that takes them."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class CustomerSink(Protocol):
    """What ``export_customers`` can write to instead of a file: one method, such as this one into a database.

    ::

        class Mirror:
            async def write(self, rows):
                await db.executemany("INSERT INTO customers VALUES (:id, :email, :balance)", rows)
    """

    async def write(self, rows: Sequence[dict[str, Any]], /) -> None:
        """Take one page of customers; the next comes when this has returned. What it raises ends the export.

        Args:
            rows: customers by rising id (or as ordered), as dicts of plain data: money as exact text, times as
                ISO 8601 text with a Z, the referrer as a dict or None.
        """
        ...
