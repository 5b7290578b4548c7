"""The chart that the README shows: rates of the peers, and of this library by concurrency and latency."""

from pathlib import Path

from benchmarks._harness import Contender, wall
from benchmarks._machine import describe
from benchmarks._table import quick
from benchmarks.origin import serving
from benchmarks.peers import missing
from benchmarks.streaming import OURS

CHART = Path(__file__).with_name("chart.svg")
_PEERS = (
    ("shopsdk", OURS, ()),
    ("bare aiohttp + msgspec\n(no checks, no retry)", "benchmarks.peers.bare:stream", ()),
    ("httpx + pydantic 2", "benchmarks.peers.httpx_pydantic:stream", ("httpx", "pydantic")),
    ("requests.request, dicts", "benchmarks.peers.requests_each:stream", ("requests",)),
)


def _rate(customers: int, target: str, latency: float = 0.0, **arguments: object) -> float:
    with serving(customers, latency=latency) as url, Contender(target, url=url, **arguments) as contender:
        contender.round()
        return customers / min(wall(contender.round()) for _ in range(2 if quick() else 5))


def plot() -> Path:
    """Measure and draw.

    Raises:
        SystemExit: matplotlib is missing.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415 - only for this
    except ImportError:
        raise SystemExit("--plot needs matplotlib: pip install 'shopsdk[programs]'") from None
    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "shopsdk", "svg.fonttype": "none", "font.size": 9})
    import matplotlib.pyplot as plt  # noqa: PLC0415

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    customers = 4_950 if quick() else 24_950
    found = [(name, _rate(customers, target)) for name, target, packages in _PEERS if not missing(*packages)]
    bars = left.barh([name for name, _ in found], [rate for _, rate in found], color=["#2f6f4f", *["#9aa5a0"] * 3])
    left.bar_label(bars, labels=[f"{rate:,.0f}" for _, rate in found], padding=3)
    left.invert_yaxis()
    left.set_title("customers a second, no latency")
    left.set_xticks([])
    left.set_xlim(right=max(rate for _, rate in found) * 1.2)
    steps = (1, 4, 16) if quick() else (1, 2, 4, 8, 16, 32)
    for milliseconds, colour in ((10, "#2f6f4f"), (50, "#c07a2c"), (200, "#7a4fa0")):
        pages = 33 if quick() else 97
        rates = [_rate(pages * 100 - 50, OURS, milliseconds / 1000, concurrency=step) for step in steps]
        right.plot(steps, rates, marker="o", color=colour, label=f"{milliseconds} ms")
    right.set_xscale("log", base=2)
    right.set_yscale("log")
    right.set_xticks(steps, [str(step) for step in steps])
    right.set_xlabel("concurrency")
    right.set_title("customers a second, by concurrency and latency")
    right.legend(title="latency")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(" · ".join(describe().splitlines()[::2]), fontsize=7, color="#666666")
    figure.savefig(CHART, metadata={"Date": None})
    return CHART


if __name__ == "__main__":
    print(f"drawn: {plot()}")
