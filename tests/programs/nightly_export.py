"""A nightly job: every customer of many shops, into a file for each shop and day.

In one shell ``shopsdk sandbox``; paste the three lines that it prints into another, and there::

    python nightly_export.py exports 38

Run it from cron, with the key in the environment. An interrupted run goes on when it is started again. One shop
that fails leaves the others whole, and makes the job end with 1.
"""

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from shopsdk import AsyncSession, RateLimit
from shopsdk.export import export_shops


async def export(folder: Path, shop_ids: Sequence[int]) -> int:
    """Export the shops; return the exit code."""
    name = f"customers-{{shop_id}}-{datetime.now(UTC):%Y-%m-%d}.ndjson.gz"
    async with AsyncSession(rate_limit=RateLimit(5, per_seconds=1)) as session:  # leaves the rest to others
        summary = await export_shops(session, folder / name, shop_ids, resume=True, if_exists="replace")
    for shop_id, made in summary.shops.items():
        print(f"shop {shop_id}: {made.rows} customers in {made.path}")
    for shop_id, error in summary.failed.items():
        print(f"shop {shop_id}: {error}", file=sys.stderr)
    return 1 if summary.failed else 0


if __name__ == "__main__":
    into = Path(sys.argv[1])
    into.mkdir(parents=True, exist_ok=True)
    sys.exit(asyncio.run(export(into, [int(shop_id) for shop_id in sys.argv[2:]])))
