"""Memory and cost, whatever the number: ten times the customers, streamed at concurrency 8."""

from benchmarks._harness import Round, Row, alone
from benchmarks._table import quick, run
from benchmarks.origin import serving
from benchmarks.streaming import OURS

_MIB = 2**20


def walked(customers: int) -> Round:
    """Stream that many in a fresh process."""
    with serving(customers) as url:
        one = alone(OURS, url=url, concurrency=8)
    if one.result != customers:
        raise SystemExit(f"{one.result} of {customers} customers came")
    return one


def measure() -> list[Row]:
    """The peak's growth, and what one customer costs in a long walk against a short one."""
    many = 250_000 if quick() else 1_000_000
    few = many // 10
    rounds = [(walked(few), walked(many)) for _ in range(1 if quick() else 3)]
    short, long = min(rounds, key=lambda pair: pair[1].cpu)
    growth = max(long.peak - short.peak for short, long in rounds)
    drift = (long.cpu / many) / (short.cpu / few)
    return [
        Row(
            what=f"memory: peak of {many:,} customers less that of {few:,}",
            measured=growth / _MIB,
            bound=8.0,
            at_least=False,
            unit="MiB",
            note=f"{long.peak / _MIB:.1f} MiB at the most",
        ),
        Row(
            what=f"cost per customer, {many:,} against {few:,}",
            measured=drift,
            bound=1.10,
            at_least=False,
            note=f"{long.cpu / many * 1e6:.2f} us of CPU a customer",
        ),
    ]


if __name__ == "__main__":
    run(measure)
