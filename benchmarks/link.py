"""A link of 50 ms: the wall time against that of the ideal pipeline, which waits for the link and for nothing else."""

import math
import socket
import time
from statistics import median
from urllib.parse import urlsplit

from benchmarks._harness import Contender, Row, alone, wall
from benchmarks._table import quick, run
from benchmarks.origin import serving
from benchmarks.streaming import OURS

LATENCY = 0.05


def bounce(url: str, times: int) -> float:
    """Measure the link itself with a bare socket: seconds from a question to its answer, the median."""
    address = urlsplit(url)
    taken = []
    with socket.create_connection((address.hostname, address.port)) as line:
        for _ in range(times):
            started = time.perf_counter()
            line.sendall(b"GET / HTTP/1.1\r\n\r\n")
            line.recv(65_536)
            taken.append(time.perf_counter() - started)
    return median(taken)


def measure() -> list[Row]:
    """The best round over the ideal, (1 + ceil((pages - 1) / concurrency)) * latency: what else runs can only add."""
    rows = []
    for concurrency, pages in ((1, 17), (4, 65), (16, 193)) if quick() else ((1, 65), (4, 257), (16, 1_025)):
        ideal = (1 + math.ceil((pages - 1) / concurrency)) * LATENCY
        with (
            serving(pages * 100 - 50, latency=LATENCY) as url,
            Contender(OURS, url=url, concurrency=concurrency) as contender,
        ):
            contender.round()
            took = min(wall(contender.round()) for _ in range(2 if quick() else 7))
            link = alone("benchmarks.link:bounce", url=url, times=9).result
        rows.append(
            Row(
                what=f"a link of 50 ms, concurrency {concurrency}: wall against the ideal",
                measured=took / ideal,
                bound=1.10,
                at_least=False,
                note=f"{took:.3f} s for {pages:,} pages; a bare socket sees a link of {link * 1e3:.1f} ms",
            )
        )
    return rows


if __name__ == "__main__":
    run(measure)
