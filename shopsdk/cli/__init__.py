"""The command ``shopsdk``: thin, over the same public functions that a user has.

Data goes to stdout, everything else to stderr. The key comes from the environment, never from an argument, where every
user of the machine could read it.

Exit codes: 0 all of it was done; 1 it failed; 2 the command was wrong; 3 the shop refused; 4 a change may or may not
have been made; 130 stopped by Ctrl-C; 141 the reader of the output went away (``| head``).
"""

import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command with the process's arguments, and exit with its code."""
    try:
        from shopsdk.cli._app import app  # noqa: PLC0415 - what it needs is an extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"typer", "rich", "click"}:
            raise
        sys.exit("shopsdk: the command needs typer and rich: pip install 'shopsdk[cli]'")
    app(prog_name="shopsdk")
    sys.exit(0)  # not reached: the line above exits by itself
