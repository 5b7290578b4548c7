"""An export, seen from a chair: bars on a terminal, a line now and then where there is none, or silence."""

import sys
import time
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from shopsdk.cli._reach import say
from shopsdk.export import ExportProgress

_LINE_SECONDS = 10.0


class View(Protocol):
    """What shows how far an export is. A context: on leaving it, the terminal is as it was."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...
    def show(self, progress: ExportProgress) -> None:
        """Show the newest of one shop."""
        ...


def view(*, quiet: bool) -> View:
    """Choose how to show it."""
    if quiet:
        return Silence()
    return Bars() if sys.stderr.isatty() else Lines()


class Silence:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def show(self, progress: ExportProgress) -> None:
        """Do nothing."""


class Lines(Silence):
    """A line now and then."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _LINE_SECONDS

    def show(self, progress: ExportProgress) -> None:
        """Print a line, if it is time for one, or if there is something to wait for."""
        now = time.monotonic()
        waits = progress.stage == "waiting" and progress.waiting >= 1
        if now < self._next and not (waits and now + progress.waiting > self._next):
            return
        self._next = now + _LINE_SECONDS
        say(f"{_name(progress)}: {_rows(progress)} customers, {_pages(progress)}, {_rate(progress)}{_state(progress)}")


class Bars:
    """A bar for each shop."""

    def __init__(self) -> None:
        self._tasks: dict[int | None, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[told]}", markup=False),
            _State(),
            console=Console(stderr=True),
            expand=True,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def show(self, progress: ExportProgress) -> None:
        """Move the shop's bar."""
        task = self._tasks.get(progress.shop_id)
        if task is None:
            task = self._progress.add_task(_name(progress), total=None, told="", state="", until=0.0)
            self._tasks[progress.shop_id] = task
        fields: dict[str, Any] = {
            "told": f"{_rows(progress)} customers · {_pages(progress)} · {_rate(progress)}",
            "state": _state(progress),
            "until": time.monotonic() + progress.waiting if progress.stage == "waiting" else 0.0,
        }
        total = progress.total or (1 if progress.stage == "done" else None)
        completed = total if progress.stage == "done" else progress.rows
        self._progress.update(task, completed=completed, total=total, **fields)


class _State(ProgressColumn):
    """The time left, or what is waited for, counting down."""

    def render(self, task: Task) -> Text:
        """Make the text, anew at every refresh."""
        left = task.fields["until"] - time.monotonic()
        if left > 0:
            return Text(f"waiting {left:.0f} s{task.fields['state'].partition(' s')[2]}", style="yellow")
        return Text(task.fields["state"].removeprefix(", "))


def _name(progress: ExportProgress) -> str:
    return "customers" if progress.shop_id is None else f"shop {progress.shop_id}"


def _rows(progress: ExportProgress) -> str:
    return f"{progress.rows:,}/{progress.total:,}" if progress.total else f"{progress.rows:,}"


def _pages(progress: ExportProgress) -> str:
    return f"page {progress.page:,}/{progress.last_page:,}" if progress.page else "page 0"


def _rate(progress: ExportProgress) -> str:
    return f"{progress.rate:,.0f}/s"


def _state(progress: ExportProgress) -> str:
    if progress.stage == "waiting":
        return f", waiting {progress.waiting:.0f} s " + (
            "for the rate limit" if progress.rate_limited else "to try again"
        )
    if progress.stage == "assembling":
        return ", putting the file together"
    if progress.stage == "done":
        return ", done"
    left = progress.seconds_left
    return "" if left is None else f", {_span(left)} left"


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
