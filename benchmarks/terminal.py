"""The picture of a terminal that the README shows: ``python -m benchmarks.terminal`` runs the commands and draws it."""

import io
import os
import pty
import re
import shlex
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.text import Text

from shopsdk.sandbox import Sandbox

PICTURE = Path(__file__).with_name("terminal.svg")
COMMANDS = {
    "shopsdk export customers.parquet --concurrency 8": "every answer takes 20 ms",
    "shopsdk balance 1001 5.00 --reference parcel-17 --yes -v": "its answer is lost",
    "shopsdk balance 1001 5.00 --reference parcel-17 --yes": "the same again",
}
"""Each command, with what happens to it."""
_COLUMNS = 98
_LATENCY = 0.02
_NO_COLOUR = re.compile(r"\x1b\[[?\d;]*[A-Za-ln-z]")
"""Codes that move the cursor or erase; those that colour end in m."""
_TEMPLATE = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font: {char_height}px/{line_height}px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; white-space: pre;
}}
.{unique_id}-title {{ font: bold 18px sans-serif }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""Rich's own loads its font from the network."""


def draw() -> str:
    """Run the commands in a terminal, one after the other, and draw what they print."""
    console = Console(record=True, width=_COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    with (
        tempfile.TemporaryDirectory() as folder,
        Sandbox(customers=100_000, latency=_LATENCY, api_key="the-key") as shop,
    ):
        shop.fail_next("drop_after", method="POST")
        for command, what in COMMANDS.items():
            console.print(Text.assemble(("$ ", "bold green"), (command, "bold"), (f"  # {what}", "dim")))
            for line in _run(command, folder, shop):
                console.print(Text.from_ansi(line), overflow="fold")
            console.print()
    return console.export_svg(title="shopsdk", code_format=_TEMPLATE, unique_id="shopsdk")


def _run(command: str, folder: str, shop: Sandbox) -> list[str]:
    """Run a command in a terminal; return each line as it stood at the end."""
    ours, theirs = pty.openpty()
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "COLUMNS": str(_COLUMNS),
        "SHOPSDK_API_KEY": shop.api_key,
        "SHOPSDK_SHOP_ID": str(shop.shop_id),
        "SHOPSDK_BASE_URL": shop.base_url,
    }
    for name in ("NO_COLOR", "FORCE_COLOR"):
        environment.pop(name, None)
    with subprocess.Popen(
        shlex.split(command), cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        output = b""
        with suppress(OSError):  # Linux says at the end of a terminal that it is gone
            while chunk := os.read(ours, 65536):
                output += chunk
        os.close(ours)
    if process.returncode:
        raise SystemExit(output.decode())
    text = _NO_COLOUR.sub("", output.decode()).replace("\r\n", "\n").replace(folder, "~")
    return [line.rpartition("\r")[2] for line in text.rstrip("\n").split("\n")]


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
    print(f"drawn: {PICTURE}")
