"""The rate by the number of customers, concurrency, a rate limit and the event loop."""

from benchmarks._harness import Contender, Row, alone, cpu, duel, ratio, wall
from benchmarks._table import quick, run
from benchmarks.origin import serving
from benchmarks.peers import missing
from benchmarks.streaming import OURS, rate


def by_customers() -> list[Row]:
    """Ten thousand customers to a million, at concurrency 4, no latency: the rate must not fall."""
    rows = []
    for customers in (10_000, 30_000) if quick() else (10_000, 100_000, 1_000_000):
        with serving(customers) as url:
            one = alone(OURS, url=url, concurrency=4)
        note = f"{one.wall:.2f} s, {one.cpu / customers * 1e6:.2f} us of CPU each, peak {one.peak / 2**20:.0f} MiB"
        what = f"{customers:,} customers, concurrency 4"
        rows.append(Row(what=what, measured=customers / one.wall, unit="customers/s", note=note))
    return rows


def by_concurrency() -> list[Row]:
    """Concurrency 1 to 64, with a latency of 20 ms and with none."""
    customers = 3_250 if quick() else 25_050
    return [
        rate(f"concurrency {n}, latency {ms} ms", customers, {"latency": ms / 1000}, concurrency=n)
        for ms in ((20,) if quick() else (0, 20))
        for n in ((1, 8) if quick() else (1, 2, 4, 8, 16, 32, 64))
    ]


def by_rate_limit() -> list[Row]:
    """The same walk without a limit, and with one that answers 429 to part of its requests."""
    pages, limit, window = (20, 12, 1.0) if quick() else (60, 25, 2.0)
    customers = pages * 100 - 50
    free = rate("no rate limit, concurrency 8", customers, concurrency=8)
    with serving(customers, rate_limit=(limit, window)) as url, Contender(OURS, url=url, concurrency=8) as contender:
        took = wall(contender.round())
    limited = Row(
        what=f"a limit of {limit} requests in {window:.0f} s, concurrency 8",
        measured=customers / took,
        unit="customers/s",
        note=f"{took:.2f} s for {pages} pages; the limit alone takes {(pages - 1) // limit * window:.0f} s",
    )
    return [free, limited]


def by_loop() -> list[Row]:
    """Uvloop against asyncio's own event loop."""
    if without := missing("uvloop"):
        return [Row(what="uvloop against asyncio's own loop", measured=float("nan"), note=without)]
    customers, pairs = (4_950, 3) if quick() else (24_950, 11)
    rows = []
    with serving(customers) as url:
        for concurrency in (1, 8):
            ours = {"url": url, "concurrency": concurrency}
            fast, slow = duel(Contender(OURS, **ours, uvloop=True), Contender(OURS, **ours), pairs)
            what = f"uvloop against asyncio's own loop, concurrency {concurrency}"
            rows.append(Row(what=what, measured=ratio(slow, fast, wall), note=f"CPU {ratio(slow, fast, cpu):.2f} x"))
    return rows


def measure() -> list[Row]:
    """All of them."""
    return [*by_customers(), *by_concurrency(), *by_rate_limit(), *by_loop()]


if __name__ == "__main__":
    run(measure)
