"""``python -m benchmarks [--quick] [--plot]``: every row with its bound beside it, and the machine."""

import argparse
import sys
import time

from benchmarks import (
    chart,
    decoding,
    editing,
    exporting,
    fairness,
    importing,
    latency,
    memory,
    page_sizes,
    scaling,
    single_call,
    streaming,
)
from benchmarks._harness import Row
from benchmarks._table import QUICK, show
from benchmarks.peers import unpinned

_ALL = (
    streaming,
    decoding,
    latency,
    memory,
    importing,
    single_call,
    editing,
    fairness,
    exporting,
    scaling,
    page_sizes,
)


def main() -> None:
    """Run them all; exit with 1 where a bound is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(QUICK, action="store_true", help="rougher figures, in about a minute")
    parser.add_argument("--plot", action="store_true", help="also draw chart.svg")
    options = parser.parse_args()
    rows: list[Row] = []
    for module in _ALL:
        started = time.perf_counter()
        rows += module.measure()
        name = module.__name__.partition(".")[2]
        print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    show([row for row in rows if row.bound is not None] + [row for row in rows if row.bound is None])
    if note := unpinned():
        print(note)
    if options.plot:
        print(f"drawn: {chart.plot()}")
    missed = [row.what for row in rows if not row.holds]
    if missed:
        raise SystemExit(f"missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
