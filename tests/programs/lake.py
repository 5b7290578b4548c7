"""A lake: one Parquet file a shop, read by polars as if it were one table.

In one shell ``shopsdk sandbox``; paste the three lines that it prints into another, and there::

    pip install '.[parquet]' polars
    python lake.py lake 38

Each run replaces the file of each shop as a whole. Who reads meanwhile sees the old file or the new one: an unfinished
file has another name (``.38.parquet.part``). Only the columns and rows that a query needs are read.
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from shopsdk import AsyncSession
from shopsdk.export import COLUMNS, export_shops


async def update(folder: Path, shop_ids: Sequence[int]) -> int:
    """Write the file of each shop anew; return the exit code."""
    name, columns = folder / "{shop_id}.parquet", ["shop_id", *COLUMNS]
    async with AsyncSession() as session:
        summary = await export_shops(session, name, shop_ids, columns=columns, resume=True, if_exists="replace")
    for shop_id, error in summary.failed.items():
        print(f"shop {shop_id} keeps its old file: {error}", file=sys.stderr)
    return 1 if summary.failed else 0


def credit(folder: Path) -> pl.DataFrame:
    """Sum up the store credit of each shop."""
    lake = pl.scan_parquet(folder / "*.parquet")
    by_shop = lake.group_by("shop_id").agg(pl.len().alias("customers"), pl.col("balance").sum())
    return by_shop.sort("shop_id").collect()


if __name__ == "__main__":
    where = Path(sys.argv[1])
    where.mkdir(parents=True, exist_ok=True)
    code = asyncio.run(update(where, [int(shop_id) for shop_id in sys.argv[2:]]))
    print(credit(where))
    sys.exit(code)
