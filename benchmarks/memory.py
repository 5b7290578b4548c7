"""Memory and cost by the number of customers: ten times as many, streamed at concurrency 8."""

from statistics import median

from benchmarks._harness import Contender, Round, Row, cpu
from benchmarks._table import quick, run
from benchmarks.origin import serving
from benchmarks.streaming import OURS

_MIB = 2**20


def walk(contender: Contender, customers: int) -> Round:
    """Stream them all, once."""
    one = contender.round()
    if one.result != customers:
        raise SystemExit(f"{one.result} of {customers} customers came")
    return one


def measure() -> list[Row]:
    """The growth of the peak; and one long walk against ten short ones before it, the median of such pairs."""
    many, pairs = (100_000, 2) if quick() else (1_000_000, 3)
    few = many // 10
    with (
        serving(few) as near,
        serving(many) as far,
        Contender(OURS, url=near, concurrency=8) as short,
        Contender(OURS, url=far, concurrency=8) as long,
    ):
        walk(short, few)  # connects, compiles, imports
        rounds = [([walk(short, few) for _ in range(10)], walk(long, many)) for _ in range(pairs)]
    pieces, whole = rounds[-1]
    risen = whole.peak - pieces[-1].peak
    drift = median(one.cpu / sum(map(cpu, ten)) for ten, one in rounds)
    return [
        Row(
            what=f"memory: peak of {many:,} customers less that of {few:,}",
            measured=risen / _MIB,
            bound=8.0,
            at_least=False,
            unit="MiB",
            note=f"{whole.peak / _MIB:.1f} MiB at the most",
        ),
        Row(
            what=f"cost per customer, {many:,} against {few:,}",
            measured=drift,
            bound=1.10,
            at_least=False,
            note=f"{whole.cpu / many * 1e6:.2f} us of CPU a customer",
        ),
    ]


if __name__ == "__main__":
    run(measure)
