"""Printing of rows as a table."""

import sys
from collections.abc import Callable, Iterable, Sequence

from benchmarks._harness import Row
from benchmarks._machine import describe

QUICK = "--quick"


def quick() -> bool:
    """Whether a short run was asked for."""
    return QUICK in sys.argv[1:]


def lines(rows: Iterable[Row]) -> Iterable[str]:
    """Set rows in columns: what, measured, bound, whether it holds."""
    cells = [("what", "measured", "bound", "")]
    for row in rows:
        bound = "" if row.bound is None else f"{'>=' if row.at_least else '<='} {_figure(row.bound, row.unit)}"
        verdict = "" if row.bound is None else "holds" if row.holds else "MISSED"
        cells.append((row.what, _figure(row.measured, row.unit), bound, f"{verdict}  {row.note}".strip()))
    widths = [max(len(line[i]) for line in cells) for i in range(3)]
    for what, measured, bound, verdict in cells:
        yield f"{what:<{widths[0]}}  {measured:>{widths[1]}}  {bound:<{widths[2]}}  {verdict}".rstrip()


def _figure(value: float, unit: str) -> str:
    if unit == "x":
        return f"{value:.2f} x"
    return f"{value:,.0f} {unit}" if abs(value) >= 100 else f"{value:.1f} {unit}"


def show(rows: Sequence[Row]) -> None:
    """Print a table, and the machine that it was measured on."""
    print(*lines(rows), "", describe(), sep="\n")


def run(measure: Callable[[], list[Row]]) -> None:
    """Run one benchmark alone."""
    unknown = [argument for argument in sys.argv[1:] if argument != QUICK]
    if unknown:
        raise SystemExit(f"{measure.__module__}: only {QUICK} is known here, not {' '.join(unknown)}")
    show(measure())
