"""The rate by the size of pages: 10 to 100 customers."""

from benchmarks._harness import Row
from benchmarks._table import quick, run
from benchmarks.streaming import rate


def measure() -> list[Row]:
    """Customers a second at concurrency 1, no latency."""
    customers = 2_005 if quick() else 20_005
    return [rate(f"pages of {n}", customers, per_page=n) for n in ((10, 100) if quick() else (10, 25, 50, 100))]


if __name__ == "__main__":
    run(measure)
