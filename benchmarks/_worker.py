"""A process in which one contender runs, round by round, whenever it is told to.

``python -m benchmarks._worker module:function '{"keyword": ...}'``; a line in is a round, a line out its figures.
"""

import gc
import importlib
import json
import sys
import time

from benchmarks._machine import client_core, peak_memory, pin


def main() -> None:
    """Run a round for every line of standard input."""
    module, _, name = sys.argv[1].partition(":")
    arguments = json.loads(sys.argv[2])
    pin(client_core())
    contender = getattr(importlib.import_module(module), name)
    for _ in sys.stdin:
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        result = contender(**arguments)
        figures = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "result": result}
        print(json.dumps(figures | {"peak": peak_memory()}), flush=True)


if __name__ == "__main__":
    main()
