"""Export to a file against plain streaming, format by format."""

import asyncio
import tempfile
from pathlib import Path

from benchmarks._harness import Contender, Row, alone, duel, ratio, wall
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


def _is_there() -> bool:
    try:
        from shopsdk.export import export_customers  # noqa: F401, PLC0415
    except ImportError:
        return False
    return True


def measure() -> list[Row]:
    """Rates as shares of plain streaming; then the peak of one long export each."""
    if not _is_there():
        return [Row(what="export", measured=float("nan"), note="not measured: no shopsdk.export")]
    customers, pairs = (4_950, 2) if quick() else (49_950, 9)
    many = 24_950 if quick() else 1_000_000
    rows = []
    for ending, bound, package in (("ndjson", 1 / 2, ""), ("csv", 1 / 3, ""), ("parquet", 1 / 3, "pyarrow")):
        what = f"export to {ending} against plain streaming"
        if package and (without := missing(package)):
            rows.append(Row(what=what, measured=float("nan"), note=without))
            continue
        target = "benchmarks.exporting:export"
        with serving(customers) as url:
            theirs = Contender(OURS, url=url, concurrency=_CONCURRENCY)
            ours, plain = duel(Contender(target, url=url, ending=ending), theirs, pairs)
        rows.append(Row(what=what, measured=ratio(plain, ours, wall), bound=bound))
        with serving(many) as url:
            one = alone(target, url=url, ending=ending)
        peak = Row(
            what=f"peak memory, {many:,} customers to {ending}",
            measured=one.peak / _MIB,
            bound=150.0,
            at_least=False,
            unit="MiB",
            note=f"{many / one.wall:,.0f} customers/s",
        )
        rows.append(peak)
    return rows


if __name__ == "__main__":
    run(measure)
