"""The display of an export's progress: bars on a terminal, else a line every ten seconds, or nothing."""

import math
import sys
import time
from typing import Any, Protocol, Self, TextIO, cast

import attrs
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.segment import Segment
from rich.table import Column
from rich.text import Text

from shopsdk.cli._console import SafeConsole
from shopsdk.cli._stdio import Printable, noun, retry, say
from shopsdk.export import ExportProgress

_LINE_SECONDS = 10.0


class View(Protocol):
    """A display of progress. It is a context: leaving it restores the terminal."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...
    def show(self, progress: ExportProgress) -> None:
        """Show the newest progress of one shop."""
        ...


def view(*, quiet: bool, data_on_terminal: bool = False) -> View:
    """Choose a display. Bars would overwrite rows that are written to the same terminal."""
    if quiet or data_on_terminal:
        return Silence()
    return Bars() if sys.stderr.isatty() and not SafeConsole(sys.stderr).is_dumb_terminal else Lines()


class Silence:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def show(self, progress: ExportProgress) -> None:
        """Do nothing."""


class Lines(Silence):
    """Prints a line every ten seconds."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _LINE_SECONDS

    def show(self, progress: ExportProgress) -> None:
        """Print a line if one is due, or before a wait until when the next one would be due."""
        now = time.monotonic()
        waits = progress.stage == "waiting" and progress.waiting >= 1
        if now < self._next and not (waits and now + progress.waiting > self._next):
            return
        self._next = now + _LINE_SECONDS
        told = [_rows(progress), _pages(progress), _rate(progress), _state(progress, progress.waiting)]
        say(f"{_name(progress)}: {', '.join(filter(None, told))}")


class Bars:
    """A bar for each shop."""

    def __init__(self) -> None:
        self._tasks: dict[int | None, TaskID] = {}
        cropped: Any = {"no_wrap": True, "overflow": "crop"}
        self._progress = _Progress(
            # Cropped, because an encoding may lack the ellipsis, which would then be escaped, and be wider.
            TextColumn("{task.description}", table_column=Column(**cropped, min_width=len("shop 12345"))),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%", table_column=Column(**cropped)),
            _State(table_column=Column(**cropped)),
            console=SafeConsole(sys.stderr),
            expand=True,
            redirect_stdout=False,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        # rich replaces the stream, to print above the bars, and would keep the colours of foreign text. The stream of
        # rich 13.9 does not say that it is a terminal.
        sys.stderr = cast(TextIO, Printable(sys.stderr))
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def show(self, progress: ExportProgress) -> None:
        """Move the shop's bar."""
        task = self._tasks.get(progress.shop_id)
        if task is None:
            task = self._tasks[progress.shop_id] = self._progress.add_task(_name(progress), total=None)
        fields: dict[str, Any] = {"newest": progress, "until": time.monotonic() + progress.waiting}
        total = progress.total or (1 if progress.stage == "done" else None)
        completed = total if progress.stage == "done" else progress.rows
        self._progress.update(task, completed=completed, total=total, **fields)


class _Progress(Progress):
    """Bars that are narrower than the terminal, and leave room for the ^C that it echoes.

    If the echo began another line, the bar above it would never be erased.
    """

    def get_renderable(self) -> RenderableType:
        """Return the bars."""
        return _Narrower(super().get_renderable())


@attrs.frozen
class _Narrower:
    bars: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in console.render_lines(self.bars, options.update_width(options.max_width - len("^C")), pad=False):
            yield from line
            yield Segment.line()


class _State(ProgressColumn):
    """The state of an export on one line, the most important first: a narrow terminal cuts off the end."""

    def render(self, task: Task) -> Text:
        """Make the text at every refresh, so that a wait counts down."""
        newest: ExportProgress | None = task.fields.get("newest")
        if newest is None:
            return Text("")
        waits = newest.stage == "waiting"
        state = _state(newest, task.fields["until"] - time.monotonic())
        told = [_rows(newest), state, *([] if waits else [_pages(newest), _rate(newest)])]
        return Text(", ".join(filter(None, told)), style="yellow" if waits else "")


def _name(progress: ExportProgress) -> str:
    return "customers" if progress.shop_id is None else f"shop {progress.shop_id}"


def _rows(progress: ExportProgress) -> str:
    rows = f"{progress.rows:,}/{progress.total:,}" if progress.total else f"{progress.rows:,}"
    return f"{rows} {noun('customer', progress.total or progress.rows)}"


def _pages(progress: ExportProgress) -> str:
    return f"page {progress.page:,}/{progress.last_page:,}" if progress.page else "page 0"


def _rate(progress: ExportProgress) -> str:
    return f"{progress.rate:,.0f}/s"


def _state(progress: ExportProgress, waiting: float) -> str:
    """Return what the export is doing, or its time left. ``waiting``: the seconds that are left of a wait."""
    if progress.stage == "waiting":
        if progress.status == 429 and waiting > 0:
            return f"waiting {math.ceil(waiting)} s for the rate limit"
        return retry(waiting, progress.reason, progress.status)
    if progress.stage == "reading":
        left = progress.seconds_left
        return "" if left is None else f"{_span(left)} left"
    return {"assembling": "putting the file together", "done": "done"}[progress.stage]


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
