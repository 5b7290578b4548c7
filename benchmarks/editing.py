"""Balance edits over TLS, each on a connection of its own, against the same edits on connections that are kept open."""

from benchmarks._harness import Contender, Row, best, ratio, wall
from benchmarks._table import quick, run
from benchmarks._tls import certified
from benchmarks.origin import FIRST_ID, serving

ROUND_TRIP = 0.05


def measure() -> list[Row]:
    """Wall time of ours over that of bare aiohttp, which keeps its connections."""
    return [_row(round_trip, at_once=at_once) for round_trip in (0.0, ROUND_TRIP) for at_once in (False, True)]


def _row(round_trip: float, *, at_once: bool) -> Row:
    count = 10 if quick() and round_trip and not at_once else 200
    rounds = 1 if round_trip else 2 if quick() else 11  # on a link, a round takes half a minute and hardly varies
    ids = [FIRST_ID + number for number in range(count)]
    with certified() as certificate, serving(1_000, certificate=certificate.chain, round_trip=round_trip) as url:
        arguments = {"url": url, "certificate": certificate.trusted, "ids": ids, "at_once": at_once}
        with (
            Contender("benchmarks.peers.ours:edits", **arguments) as ours,
            Contender("benchmarks.peers.bare:edits", **arguments) as bare,
        ):
            pairs = [(ours.round(), bare.round()) for _ in range(rounds)]
    if any(one.result != count for pair in pairs for one in pair):
        raise SystemExit("the contenders did not make the same edits")
    mine, other = [mine for mine, _ in pairs], [other for _, other in pairs]
    each = [best(one) / count * 1e3 for one in (mine, other)]
    how = "at once" if at_once else "in a row"
    return Row(
        what=f"{count} edits {how} over TLS, {round_trip * 1e3:.0f} ms: a connection each against kept ones, wall",
        measured=ratio(mine, other, wall),
        bound=3.2 if round_trip else None,  # to connect and to shake hands are two round trips more
        at_least=False,
        note=f"{each[0]:.1f} ms an edit against {each[1]:.1f} ms",
    )


if __name__ == "__main__":
    run(measure)
