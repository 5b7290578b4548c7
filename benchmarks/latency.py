"""Walks over a link of 50 ms, against the ideal pipeline, which waits for nothing but the link; the rate by latency."""

import math
import socket
import time
from statistics import median
from urllib.parse import urlsplit

from benchmarks._harness import Contender, Row, alone, wall
from benchmarks._table import quick, run
from benchmarks.origin import serving
from benchmarks.streaming import OURS, rate

LATENCY = 0.05


def bounce(url: str, times: int) -> float:
    """Measure the link with a bare socket: the median of the seconds from a request to its answer."""
    address = urlsplit(url)
    taken = []
    with socket.create_connection((address.hostname, address.port)) as line:
        for _ in range(times):
            started = time.perf_counter()
            line.sendall(b"GET / HTTP/1.1\r\n\r\n")
            line.recv(65_536)
            taken.append(time.perf_counter() - started)
    return median(taken)


def against_ideal() -> list[Row]:
    """The best round over the ideal, (1 + ceil((pages - 1) / concurrency)) * latency; other work can only add to it."""
    rows = []
    for concurrency, pages in ((1, 17), (4, 65), (16, 193)) if quick() else ((1, 65), (4, 257), (16, 1_025)):
        ideal = (1 + math.ceil((pages - 1) / concurrency)) * LATENCY
        with (
            serving(pages * 100 - 50, latency=LATENCY) as url,
            Contender(OURS, url=url, concurrency=concurrency) as contender,
        ):
            contender.round()
            took = min(wall(contender.round()) for _ in range(2 if quick() else 7))
            measured = alone("benchmarks.latency:bounce", url=url, times=9).result
        rows.append(
            Row(
                what=f"a link of 50 ms, concurrency {concurrency}: wall against the ideal",
                measured=took / ideal,
                bound=1.10,
                at_least=False,
                note=f"{took:.3f} s for {pages:,} pages; a bare socket sees a link of {measured * 1e3:.1f} ms",
            )
        )
    return rows


def with_stalls() -> list[Row]:
    """A link where every 50th answer stalls, as after a lost packet: the rest of the walk goes on meanwhile."""
    concurrency, pages = 8, 129 if quick() else 513
    ideal = (1 + math.ceil((pages - 1) / concurrency)) * LATENCY
    with (
        serving(pages * 100 - 50, latency=LATENCY, stall_every=50) as url,
        Contender(OURS, url=url, concurrency=concurrency) as contender,
    ):
        contender.round()
        took = min(wall(contender.round()) for _ in range(2 if quick() else 5))
    return [
        Row(
            what="the same, concurrency 8, every 50th answer 200 ms late",
            measured=took / ideal,
            bound=1.20,
            at_least=False,
            note=f"{took:.3f} s for {pages:,} pages; a slot that is held for 200 ms longer makes 1.08 of it",
        )
    ]


def by_latency() -> list[Row]:
    """Links of 0 to 200 ms at concurrency 8."""
    customers = 1_650 if quick() else 9_950
    return [
        rate(f"latency {ms} ms, concurrency 8", customers, {"latency": ms / 1000}, concurrency=8)
        for ms in ((50,) if quick() else (0, 10, 50, 100, 200))
    ]


def measure() -> list[Row]:
    """All of them."""
    return [*against_ideal(), *with_stalls(), *by_latency()]


if __name__ == "__main__":
    run(measure)
