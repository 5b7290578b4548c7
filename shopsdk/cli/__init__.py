"""The command ``shopsdk``: thin, over the same public functions that a user has.

Data goes to stdout, everything else to stderr. The key comes from the environment, never from an argument, where every
user of the machine could read it.

Exit codes: 0 all of it was done; 1 it failed; 2 the command was wrong; 3 the shop refused; 4 a change may or may not
have been made, Ctrl-C or not; 130 stopped by Ctrl-C; 141 the reader of the output went away (``| head``).
"""

import os
import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command with the process's arguments, and exit with its code."""
    _open_streams()
    try:
        from shopsdk.cli._app import app  # noqa: PLC0415 - what it needs is an extra
        from shopsdk.cli._reach import ending  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"typer", "rich", "click"}:
            raise
        sys.exit("shopsdk: the command needs typer and rich: pip install 'shopsdk[cli]'")
    except KeyboardInterrupt:
        sys.stderr.write("shopsdk: stopped\n")
        sys.exit(130)
    with ending(debug=False):  # of --help, say: each command has one of its own
        app(prog_name="shopsdk")
    sys.exit(0)  # not reached: the command exits by itself


def _open_streams() -> None:
    """Give a program that was started without its standard streams (``>&-``) ones of its own.

    Otherwise the first file that is opened takes their number, and what was meant for a terminal goes into an export.
    To stdout nothing can be written: data must not vanish and nobody know.
    """
    streams = (("stdin", "r", os.O_RDONLY), ("stdout", "w", os.O_RDONLY), ("stderr", "w", os.O_WRONLY))
    for number, (name, mode, access) in enumerate(streams):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, access), number)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - to the very end
