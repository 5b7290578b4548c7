"""An upsert into PostgreSQL: each page as it comes, by a sink of ``export_customers``.

In one shell ``shopsdk sandbox``; paste the three lines that it prints into another, and there::

    pip install . 'psycopg[binary]'
    export PGHOST=/var/run/postgresql PGDATABASE=shop  # as for psql
    python postgres.py

Each page is a transaction, so a run that fails leaves whole pages, and the next run brings the rest. A customer who has
gone from the shop stays in the table; ``seen_at`` is the time of the last run that saw them.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import attrs
import psycopg

from shopsdk import AsyncSession
from shopsdk.export import export_customers

TABLE = """
CREATE TABLE IF NOT EXISTS customers (
    shop_id bigint, id bigint, email text NOT NULL, discord_id text,
    balance numeric, total_completed bigint, total_spent_usd numeric, -- money is exact
    last_completed_at timestamptz, seen_at timestamptz NOT NULL,
    PRIMARY KEY (shop_id, id)
)"""
UPSERT = """
INSERT INTO customers VALUES (
    %(shop_id)s, %(id)s, %(email)s, %(discord_id)s,
    %(balance)s, %(total_completed)s, %(total_spent_usd)s, %(last_completed_at)s, %(seen_at)s
) ON CONFLICT (shop_id, id) DO UPDATE SET
    email = EXCLUDED.email, discord_id = EXCLUDED.discord_id, balance = EXCLUDED.balance,
    total_completed = EXCLUDED.total_completed, total_spent_usd = EXCLUDED.total_spent_usd,
    last_completed_at = EXCLUDED.last_completed_at, seen_at = EXCLUDED.seen_at"""


@attrs.frozen
class Upsert:
    """The table: a sink for ``export_customers``, which waits for each page to be written before it reads on."""

    db: psycopg.AsyncConnection[Any]
    shop_id: int | None
    seen_at: datetime = attrs.Factory(lambda: datetime.now(UTC))

    async def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Insert or update the customers of one page. PostgreSQL reads money and times from their text."""
        common = {"shop_id": self.shop_id, "seen_at": self.seen_at}
        async with self.db.transaction(), self.db.cursor() as cursor:
            await cursor.executemany(UPSERT, [row | common for row in rows])


async def main() -> None:
    """Bring the table up to date, once."""
    async with AsyncSession() as session, await psycopg.AsyncConnection.connect(autocommit=True) as db:
        await db.execute(TABLE)
        summary = await export_customers(session, Upsert(db, session.shop_id))
    print(f"{summary.rows} customers")


if __name__ == "__main__":
    asyncio.run(main())
