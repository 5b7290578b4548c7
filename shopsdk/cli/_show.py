"""Print data: tables for people, JSON for programs."""

import json
import sys
from collections.abc import Sequence
from typing import cast

from rich import box
from rich.table import Table
from rich.text import Text

from shopsdk import Page
from shopsdk.cli._console import SafeConsole
from shopsdk.cli._stdio import drawing, printable, put
from shopsdk.export import to_plain

_UNLIMITED = 10_000


def show_json(value: object, **more: object) -> None:
    """Print a model, or a list or page of models, as JSON; ``more`` adds fields to a model's own."""
    data = to_plain(value)
    if more:
        data |= more
    if isinstance(value, Page):
        data = {name: data[name] for name in ("current_page", "last_page", "per_page", "total", "data")}
    put(f"{json.dumps(data, indent=2, ensure_ascii=False)}\n")  # msgspec would refuse a lone surrogate


def show_table(rows: Sequence[object], columns: Sequence[str], *, spare: Sequence[str] = ()) -> list[str]:
    """Print models as a table, and return the columns that were left out. In a file or a pipe, nothing is cut off.

    Args:
        rows: the models.
        columns: the fields to show.
        spare: the columns to leave out, in this order, if a terminal is too narrow for all.
    """
    terminal = sys.stdout.isatty()
    left_out: list[str] = []
    for name in spare if terminal else ():
        if _width(rows, columns) > SafeConsole(sys.stdout).width:
            columns = [kept for kept in columns if kept != name]
            left_out.append(name)
    table = Table(box=box.SIMPLE_HEAD if terminal else None, pad_edge=False)
    for name in columns:
        table.add_column(name.replace("_", " "), overflow="fold", no_wrap=not terminal)
    for row in rows:
        data = to_plain(row)
        table.add_row(*[cell(data[name]) for name in columns])
    _print(table)
    return left_out


def _width(rows: Sequence[object], columns: Sequence[str]) -> int:
    """Return the width of a table with one line per row, gaps included."""
    table = [to_plain(row) for row in rows]
    return sum(max(len(name), *(cell(row[name]).cell_len for row in table), 0) + 3 for name in columns)


def show_record(record: object) -> None:
    """Print one model, one field per line."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in to_plain(record).items():
        table.add_row(Text(name.replace("_", " "), style="bold"), cell(value))
    _print(table)


def cell(value: object) -> Text:
    """Make text without markup, in which a replacement stands for each character that is not printable."""
    if isinstance(value, dict):
        value = " ".join(map(str, cast("dict[str, object]", value).values()))
    text = "" if value is None else str(value)
    return Text("".join(c if printable(c) == c else "\N{REPLACEMENT CHARACTER}" for c in text))


def _print(table: Table) -> None:
    """Print a table through ``sys.stdout``: rich itself ends the process if the reader goes away."""
    width = None if sys.stdout.isatty() else _UNLIMITED
    console = SafeConsole(sys.stdout, width=width)
    with console.capture() as drawn:
        console.print(table)
    put(drawn.get(), drawing(sys.stdout))
