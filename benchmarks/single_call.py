"""One ``get_customer`` after the other, against bare aiohttp and a decoder."""

from benchmarks._harness import Contender, Row, best, cpu, duel, ratio, wall
from benchmarks._table import quick, run
from benchmarks.origin import FIRST_ID, serving


def measure() -> list[Row]:
    """CPU of ours over CPU of theirs."""
    count, pairs = (200, 9) if quick() else (1_000, 21)
    ids = [FIRST_ID + i for i in range(count)]
    with serving(1_000) as url:
        ours, bare = duel(
            Contender("benchmarks.peers.ours:one_by_one", url=url, ids=ids),
            Contender("benchmarks.peers.bare:one_by_one", url=url, ids=ids),
            pairs,
        )
    each = [best(rounds, cpu) / count * 1e6 for rounds in (ours, bare)]
    return [
        Row(
            what="one get_customer against bare aiohttp + decode, CPU",
            measured=ratio(ours, bare, cpu),
            bound=1.20,
            at_least=False,
            note=f"{each[0]:.0f} us against {each[1]:.0f} us; wall {ratio(ours, bare, wall):.2f} x",
        )
    ]


if __name__ == "__main__":
    run(measure)
