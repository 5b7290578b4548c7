"""A thousand shops: a worker function for any engine, and the engine that Python has, a pool of processes.

``export`` takes shops and a folder, writes one Parquet file a shop, and returns a report. An engine needs no more, if
it can import this module. Each shop has a key of its own, in the environment of whoever runs the function::

    export SHOPSDK_API_KEY_38='12345|...' SHOPSDK_API_KEY_39='12346|...'
    python shops.py lake 38 39

A shop that fails leaves the others whole, and makes the job end with 1. Started again, it goes on with what an
interrupted run left unfinished.
"""

import asyncio
import multiprocessing
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

from shopsdk import AsyncSession
from shopsdk.export import COLUMNS, export_customers


def connect(shop_id: int) -> AsyncSession:
    """Make the session of a shop. The key is read where this runs, so it travels nowhere."""
    return AsyncSession(os.environ[f"SHOPSDK_API_KEY_{shop_id}"], shop_id=shop_id)


def export(shop_ids: Sequence[int], folder: str) -> dict[int, int | str]:
    """Write one file for each shop; return its number of customers, or why there is no file."""

    async def work() -> dict[int, int | str]:
        report: dict[int, int | str] = {}
        for shop_id in shop_ids:
            try:
                async with connect(shop_id) as session:
                    file, columns = Path(folder, f"{shop_id}.parquet"), ["shop_id", *COLUMNS]
                    made = await export_customers(session, file, columns=columns, resume=True, if_exists="replace")
                    report[shop_id] = made.rows
            except Exception as error:  # noqa: BLE001 - it goes into the report
                report[shop_id] = f"{type(error).__name__}: {error}"
        return report

    return asyncio.run(work())


def split(shop_ids: Sequence[int], tasks: int) -> list[list[int]]:
    """Deal the shops out to so many tasks: several shops to a task, since to start one takes its time."""
    return [list(shop_ids[n::tasks]) for n in range(min(tasks, len(shop_ids)))]


def show(report: dict[int, int | str]) -> int:
    """Print a report; return the exit code."""
    for shop_id, outcome in sorted(report.items()):
        print(f"shop {shop_id}: {outcome}")
    return 1 if any(isinstance(outcome, str) for outcome in report.values()) else 0


def main(folder: str, shop_ids: Sequence[int]) -> dict[int, int | str]:
    """Export the shops by a process for each core; return the report."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    report: dict[int, int | str] = {}
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        for part in pool.map(export, split(shop_ids, 4 * (os.cpu_count() or 1)), repeat(folder)):
            report |= part
    return report


if __name__ == "__main__":
    sys.exit(show(main(sys.argv[1], [int(shop_id) for shop_id in sys.argv[2:]])))
