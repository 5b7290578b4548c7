"""``import shopsdk`` against importing what it stands on, each in a fresh interpreter."""

import subprocess
import sys
from statistics import median

from benchmarks._harness import Row
from benchmarks._table import quick, run

_DEPENDENCIES = "aiohttp, aiolimiter, attrs, cattrs, msgspec"


def _seconds(modules: str) -> float:
    program = f"import time; start = time.process_time(); import {modules}; print(time.process_time() - start)"
    return float(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)


def measure() -> list[Row]:
    """The median of the pairs' ratios, CPU time of the import statement alone."""
    _seconds("shopsdk")  # byte-compiles it
    pairs = [(_seconds("shopsdk"), _seconds(_DEPENDENCIES)) for _ in range(9 if quick() else 41)]
    ours, theirs = min(ours for ours, _ in pairs), min(theirs for _, theirs in pairs)
    return [
        Row(
            what="import shopsdk against importing its dependencies",
            measured=median(ours / theirs for ours, theirs in pairs),
            bound=1.10,
            at_least=False,
            note=f"{ours * 1e3:.0f} ms against {theirs * 1e3:.0f} ms",
        )
    ]


if __name__ == "__main__":
    run(measure)
