"""``import shopsdk`` against importing its dependencies, byte-compiled, each in a fresh interpreter."""

import os
import subprocess
import sys
import tempfile
from statistics import median

from benchmarks._harness import Row
from benchmarks._table import quick, run

_DEPENDENCIES = "aiohttp, attrs, cattrs, msgspec"
_PROGRAM = "import time; start = time.process_time(); import {}; print(time.process_time() - start)"


def _seconds(modules: str, cache: str) -> float:
    command = [sys.executable, "-X", f"pycache_prefix={cache}", "-c", _PROGRAM.format(modules)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return float(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _pair(cache: str, *, ours_first: bool) -> tuple[float, float]:
    modules = ["shopsdk", _DEPENDENCIES] if ours_first else [_DEPENDENCIES, "shopsdk"]
    first, second = (_seconds(name, cache) for name in modules)
    return (first, second) if ours_first else (second, first)


def measure() -> list[Row]:
    """The median of the pairs' ratios, CPU time of the import statement alone."""
    with tempfile.TemporaryDirectory() as cache:
        _seconds(f"{_DEPENDENCIES}, shopsdk", cache)  # compiles everything
        pairs = [_pair(cache, ours_first=bool(i % 2)) for i in range(4 if quick() else 60)]
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
