"""The console on which rich draws tables and bars."""

import shutil
from collections.abc import Iterable
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from shopsdk.cli._stdio import drawing, printable_lines


class SafeConsole(Console):
    """A rich console that escapes control characters in text; its own styles and cursor movements pass."""

    def __init__(self, stream: TextIO, **options: Any) -> None:
        super().__init__(file=drawing(stream), highlight=False, markup=False, emoji=False, **options)
        if self.is_dumb_terminal and options.get("width") is None:  # rich takes it for 80 columns wide
            self.size = shutil.get_terminal_size()

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render it, and escape what is not printable. Segments with ``control`` come from rich alone."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable_lines(segment.text), segment.style)
