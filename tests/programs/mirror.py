"""A mirror: keeps a SQLite table of all customers up to date, for reports and joins.

In one shell ``shopsdk sandbox``; paste the three lines that it prints into another, and there::

    python mirror.py customers.db
    sqlite3 customers.db 'SELECT count(*), sum(balance) FROM customers'

Run it whenever the table should be updated. Readers see whole pages only, and a run that fails leaves the rows that it
has not reached as they were.
"""

import asyncio
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import attrs

from shopsdk import AsyncSession, NotFoundError, get_customer
from shopsdk.export import export_customers, to_plain

COLUMNS = ("id", "email", "discord_id", "balance", "total_completed", "total_spent_usd", "last_completed_at", "run")
TABLE = """
CREATE TABLE IF NOT EXISTS customers (
    id INTEGER PRIMARY KEY, email TEXT NOT NULL, discord_id TEXT,
    balance TEXT, total_completed INTEGER, total_spent_usd TEXT, -- money as exact text
    last_completed_at TEXT,                                      -- ISO 8601, UTC
    run INTEGER NOT NULL                                         -- the last run that saw this customer
)"""
PUT = f"INSERT OR REPLACE INTO customers ({', '.join(COLUMNS)}) VALUES (:{', :'.join(COLUMNS)})"


@attrs.frozen
class Mirror:
    """The table of customers: a sink for ``export_customers``, which hands it page after page."""

    db: sqlite3.Connection
    run: int

    async def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Put one page into the table; a hundred rows are too few to need a thread."""
        with self.db:
            self.db.executemany(PUT, [{name: row.get(name) for name in COLUMNS} | {"run": self.run} for row in rows])


async def update(session: AsyncSession, db: sqlite3.Connection) -> tuple[int, int]:
    """Bring the table up to date; return how many customers there are, and how many have gone."""
    db.execute(TABLE)
    ((run,),) = db.execute("SELECT 1 + coalesce(max(run), 0) FROM customers")
    mirror = Mirror(db, run)
    await export_customers(session, mirror)
    gone = 0
    # The shop can hide a row from a walk when others come and go meanwhile, so each that was not seen is asked for.
    for (customer_id,) in db.execute("SELECT id FROM customers WHERE run < ?", [run]).fetchall():
        try:
            await mirror.write([to_plain(await get_customer(session, customer_id))])
        except NotFoundError:
            with db:
                gone += db.execute("DELETE FROM customers WHERE id = ?", [customer_id]).rowcount
    ((count,),) = db.execute("SELECT count(*) FROM customers")
    return count, gone


async def main(path: str) -> None:
    """Bring a database up to date, once."""
    async with AsyncSession() as session:
        with closing(sqlite3.connect(path)) as db:
            count, gone = await update(session, db)
    print(f"{count} customers, {gone} gone since the last run")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
