"""Decoding one page of 100: money exact, times aware; against pydantic 2 without aware times, and json with cattrs."""

from collections.abc import Callable
from functools import cache

from benchmarks._harness import Contender, Round, Row, duel, ratio
from benchmarks._table import quick, run
from benchmarks.origin import render_page
from benchmarks.peers import missing

HERE = "benchmarks.decoding:contend"
_BODY = render_page(7, 100, 100_000)


@cache
def _reader(name: str) -> Callable[[bytes], object]:
    if name == "shopsdk":
        from shopsdk import Customer, Page  # noqa: PLC0415 - only in the contender's own process
        from shopsdk._codec.json import decode  # noqa: PLC0415 - the codec alone is not public

        return lambda body: decode(body, Page[Customer])
    if name == "pydantic":
        from benchmarks.peers import httpx_pydantic  # noqa: PLC0415

        return httpx_pydantic.decode_page
    if name == "pydantic, aware":
        from benchmarks.peers import httpx_pydantic  # noqa: PLC0415

        return httpx_pydantic.decode_page_aware
    if name == "cattrs":
        from benchmarks.peers import plain_cattrs  # noqa: PLC0415

        return plain_cattrs.decode_page
    from benchmarks.peers import bare  # noqa: PLC0415

    return bare.decode_page


def contend(name: str, times: int) -> float:
    """Decode the page so many times; return the same for every contender."""
    read = _reader(name)
    for _ in range(times):
        read(_BODY)
    return 0.0


def _cpu(one: Round) -> float:
    return one.cpu


def measure() -> list[Row]:
    """Ratios of CPU time; the microseconds are those of the same run."""
    times, pairs = (20, 11) if quick() else (200, 31)
    rows = []
    for what, name, bound, note in (
        ("decode of a page against pydantic 2, its times naive", "pydantic", 1.0, missing("pydantic")),
        ("decode of a page against pydantic 2, its times aware", "pydantic, aware", None, missing("pydantic")),
        ("decode of a page against json + plain cattrs", "cattrs", 2.5, ""),
        ("decode of a page against msgspec + times by hand", "bare", None, ""),
    ):
        if note:
            rows.append(Row(what=what, measured=float("nan"), note=note))
            continue
        ours, theirs = duel(
            Contender(HERE, name="shopsdk", times=times), Contender(HERE, name=name, times=times), pairs
        )
        each = [min(map(_cpu, rounds)) / times * 1e6 for rounds in (ours, theirs)]
        rows.append(
            Row(
                what=what,
                measured=ratio(theirs, ours, _cpu),
                bound=bound,
                note=f"{each[0]:.0f} us against {each[1]:.0f} us",
            )
        )
    return rows


if __name__ == "__main__":
    run(measure)
