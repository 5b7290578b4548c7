"""How the rate follows concurrency, page size, latency, a rate limit and the event loop."""

from typing import Any

from benchmarks._harness import Contender, Row, cpu, duel, ratio, wall
from benchmarks._table import quick, run
from benchmarks.origin import serving
from benchmarks.peers import missing
from benchmarks.streaming import OURS


def rate(what: str, customers: int, origin: dict[str, Any] | None = None, **ours: Any) -> Row:
    """Customers a second: the best round, after one to get warm."""
    with serving(customers, **origin or {}) as url, Contender(OURS, url=url, **ours) as contender:
        contender.round()
        took = min(wall(contender.round()) for _ in range(1 if quick() else 3))
    return Row(what=what, measured=customers / took, unit="customers/s", note=f"{took:.2f} s for {customers:,}")


def by_concurrency() -> list[Row]:
    """Concurrency 1 to 64, on a link of 20 ms and on none."""
    customers = 3_250 if quick() else 25_050
    return [
        rate(f"concurrency {n}, latency {ms} ms", customers, {"latency": ms / 1000}, concurrency=n)
        for ms in ((20,) if quick() else (0, 20))
        for n in ((1, 8) if quick() else (1, 2, 4, 8, 16, 32, 64))
    ]


def by_page_size() -> list[Row]:
    """Pages of 10 to 100."""
    customers = 2_005 if quick() else 20_005
    return [rate(f"pages of {n}", customers, per_page=n) for n in ((10, 100) if quick() else (10, 25, 50, 100))]


def by_latency() -> list[Row]:
    """Links of 0 to 200 ms at concurrency 8."""
    customers = 1_650 if quick() else 9_950
    return [
        rate(f"latency {ms} ms, concurrency 8", customers, {"latency": ms / 1000}, concurrency=8)
        for ms in ((50,) if quick() else (0, 10, 50, 100, 200))
    ]


def by_rate_limit() -> list[Row]:
    """The same walk without a limit and with one that it runs into: 429s, waited out by the gate."""
    pages, limit, window = (20, 12, 1.0) if quick() else (60, 25, 2.0)
    customers = pages * 100 - 50
    free = rate("no rate limit, concurrency 8", customers, concurrency=8)
    with serving(customers, rate_limit=(limit, window)) as url, Contender(OURS, url=url, concurrency=8) as contender:
        took = wall(contender.round())
    held = Row(
        what=f"a limit of {limit} requests in {window:.0f} s, concurrency 8",
        measured=customers / took,
        unit="customers/s",
        note=f"{took:.2f} s for {pages} pages; the limit alone takes {(pages - 1) // limit * window:.0f} s",
    )
    return [free, held]


def by_loop() -> list[Row]:
    """What uvloop brings."""
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
    return [*by_concurrency(), *by_page_size(), *by_latency(), *by_rate_limit(), *by_loop()]


if __name__ == "__main__":
    run(measure)
