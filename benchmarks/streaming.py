"""Streaming at zero latency, one page after the other: against the bare loop, and against what a user would pick."""

from typing import Any

from benchmarks._harness import Contender, Row, best, cpu, duel, ratio, wall
from benchmarks._table import quick, run
from benchmarks._tls import certified
from benchmarks.origin import serving
from benchmarks.peers import missing

OURS = "benchmarks.peers.ours:stream"
_EACH = "benchmarks.peers.requests_each:stream"


def rate(what: str, customers: int, origin: dict[str, Any] | None = None, **ours: Any) -> Row:
    """Customers a second: the best round, after one to get warm."""
    with serving(customers, **origin or {}) as url, Contender(OURS, url=url, **ours) as contender:
        contender.round()
        took = min(wall(contender.round()) for _ in range(1 if quick() else 3))
    return Row(what=what, measured=customers / took, unit="customers/s", note=f"{took:.2f} s for {customers:,}")


def measure() -> list[Row]:
    """Rates as multiples of the peers' rates."""
    customers, pairs = (4_950, 6) if quick() else (49_950, 21)
    rows: list[Row] = []
    with serving(customers) as url:
        mine, bare = duel(Contender(OURS, url=url), Contender("benchmarks.peers.bare:stream", url=url), pairs)
        rates = f"{customers / best(mine):,.0f} customers/s against {customers / best(bare):,.0f}"
        rows += [
            Row(what="streaming against the bare loop, wall", measured=ratio(bare, mine, wall), bound=0.85, note=rates),
            Row(what="streaming against the bare loop, CPU", measured=ratio(bare, mine, cpu), bound=0.92),
        ]
        for what, target, packages, bound in (
            ("httpx + pydantic 2 by hand", "benchmarks.peers.httpx_pydantic:stream", ("httpx", "pydantic"), 2.0),
            ("one requests.request a page, no TLS", _EACH, ("requests",), None),
        ):
            if without := missing(*packages):
                rows.append(Row(what=f"streaming against {what}", measured=float("nan"), note=without))
                continue
            mine, other = duel(Contender(OURS, url=url), Contender(target, url=url), pairs // 3)
            rates = f"{customers / best(mine):,.0f} customers/s against {customers / best(other):,.0f}"
            rows.append(
                Row(what=f"streaming against {what}", measured=ratio(other, mine, wall), bound=bound, note=rates)
            )
    return [*rows, *_over_tls(customers, pairs // 3)]


def _over_tls(customers: int, pairs: int) -> list[Row]:
    """The same where both have to shake hands for TLS, as for the real shop: once, or for every page."""
    what = "streaming against one requests.request a page, over TLS"
    if without := missing("requests"):
        return [Row(what=what, measured=float("nan"), note=without)]
    with certified() as certificate, serving(customers, certificate=certificate.chain) as url:
        arguments = {"url": url, "certificate": certificate.trusted}
        mine, other = duel(Contender(OURS, **arguments), Contender(_EACH, **arguments), pairs)
    rates = f"{customers / best(mine):,.0f} customers/s against {customers / best(other):,.0f}"
    return [Row(what=what, measured=ratio(other, mine, wall), bound=8.0, note=rates)]


if __name__ == "__main__":
    run(measure)
