"""Fifty shops with fifty keys in one table: a session for each, eight at a time.

The keys stand in the environment, one for each shop::

    export SHOPSDK_API_KEY_38='12345|...' SHOPSDK_API_KEY_39='12346|...'
    pip install '.[parquet]'
    python fifty_shops.py customers.parquet

A shop that fails is named on stderr, is not in the table, and makes the program end with 1.
"""

import asyncio
import os
import sys

import pyarrow.parquet as pq

from shopsdk import AsyncSession
from shopsdk.arrow import read_shops

PREFIX = "SHOPSDK_API_KEY_"


def connect(shop_id: int) -> AsyncSession:
    """Make the session of a shop; ``read_shops`` closes it."""
    return AsyncSession(os.environ[f"{PREFIX}{shop_id}"], shop_id=shop_id)


async def main(path: str) -> int:
    """Write the customers of all shops into one file; return the exit code."""
    shop_ids = sorted(int(name.removeprefix(PREFIX)) for name in os.environ if name.startswith(PREFIX))
    made = await read_shops(connect, shop_ids)
    pq.write_table(made.table, path)
    print(f"{made.table.num_rows} customers of {len(shop_ids) - len(made.failed)} shops")
    for shop_id, error in made.failed.items():
        print(f"shop {shop_id}: {error}", file=sys.stderr)
    return 1 if made.failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1])))
