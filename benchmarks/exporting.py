"""Export to a file against plain streaming, format by format: the share of its rate by CPU, and the peak of memory."""

import asyncio
import tempfile
from pathlib import Path

from benchmarks._harness import Row, alone, cpu, ratio
from benchmarks._table import quick, run
from benchmarks.origin import serving
from benchmarks.peers import missing
from benchmarks.streaming import OURS

_CONCURRENCY = 4
_MIB = 2**20


def export(url: str, ending: str) -> int:
    """Export everything into a file that is thrown away."""
    from shopsdk import AsyncSession  # noqa: PLC0415 - only in the contender's own process
    from shopsdk.export import export_customers  # noqa: PLC0415

    async def whole(path: Path) -> int:
        async with AsyncSession("bench-key", shop_id=38, base_url=url) as session:
            return (await export_customers(session, path, concurrency=_CONCURRENCY)).rows

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(whole(Path(folder) / f"customers.{ending}"))


def measure() -> list[Row]:
    """Pairs of a walk and an export, each in a fresh process."""
    customers, pairs = (24_950, 1) if quick() else (1_000_000, 3)
    rows = []
    for ending, bound, package in (("ndjson", 0.70, ""), ("csv", 0.64, ""), ("parquet", 0.57, "pyarrow")):
        what = f"export of {customers:,} to {ending} against plain streaming, CPU"
        if package and (without := missing(package)):
            rows.append(Row(what=what, measured=float("nan"), note=without))
            continue
        with serving(customers) as url:
            rounds = [
                (
                    alone(OURS, url=url, concurrency=_CONCURRENCY),
                    alone("benchmarks.exporting:export", url=url, ending=ending),
                )
                for _ in range(pairs)
            ]
        plain, ours = [pair[0] for pair in rounds], [pair[1] for pair in rounds]
        rates = f"{customers / ours[-1].wall:,.0f} customers/s against {customers / plain[-1].wall:,.0f}"
        rows += [
            Row(what=what, measured=ratio(plain, ours, cpu), bound=bound, note=rates),
            Row(
                what=f"peak memory, {customers:,} customers to {ending}",
                measured=max(one.peak for one in ours) / _MIB,
                bound=150.0,
                at_least=False,
                unit="MiB",
            ),
        ]
    return rows


if __name__ == "__main__":
    run(measure)
