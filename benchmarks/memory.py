"""Memory and cost, whatever the number: ten times the customers, streamed at concurrency 8."""

from benchmarks._harness import Contender, Round, Row, cpu
from benchmarks._table import quick, run
from benchmarks.origin import serving
from benchmarks.streaming import OURS

_MIB = 2**20


def walked(customers: int, times: int) -> list[Round]:
    """Stream that many, again and again, in a process of its own."""
    with serving(customers) as url, Contender(OURS, url=url, concurrency=8) as contender:
        rounds = [contender.round() for _ in range(times)]
    if any(one.result != customers for one in rounds):
        raise SystemExit(f"{rounds[0].result} of {customers} customers came")
    return rounds


def measure() -> list[Row]:
    """The peak's growth, and what one customer costs in a long walk against a short one, each at its best."""
    many = 150_000 if quick() else 1_000_000
    few = many // 10
    short = min(walked(few, 5 if quick() else 10), key=cpu)
    long = min(walked(many, 2 if quick() else 4), key=cpu)
    growth = long.peak - short.peak
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
