"""From ten thousand customers to a million: the rate must not fall."""

from benchmarks._harness import Row, alone
from benchmarks._table import quick, run
from benchmarks.origin import serving
from benchmarks.streaming import OURS


def measure() -> list[Row]:
    """Customers a second at concurrency 4, no latency."""
    rows = []
    for customers in (10_000, 30_000) if quick() else (10_000, 100_000, 1_000_000):
        with serving(customers) as url:
            one = alone(OURS, url=url, concurrency=4)
        note = f"{one.wall:.2f} s, {one.cpu / customers * 1e6:.2f} us of CPU each, peak {one.peak / 2**20:.0f} MiB"
        what = f"{customers:,} customers, concurrency 4"
        rows.append(Row(what=what, measured=customers / one.wall, unit="customers/s", note=note))
    return rows


if __name__ == "__main__":
    run(measure)
