"""The command ``shopsdk``: thin, over the same public functions that a user has.

Data goes to stdout, everything else to stderr. The key comes from the environment, never from an argument, where every
user of the machine could read it.

Exit codes: 0 all of it was done; 1 it failed; 2 the command was wrong; 3 the shop refused; 4 a change may or may not
have been made, Ctrl-C or not; 130 stopped by Ctrl-C; 141 the reader of the output went away (``| head``).

The 130 is what a shell makes of a process that died of SIGINT, and so this one does: after an exit with that code by
itself, a shell would take the interrupt for dealt with, and go on to the next command.
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
        from shopsdk.cli._reach import STOPPED, ending  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"typer", "rich", "click"}:
            raise
        sys.exit("shopsdk: the command needs typer and rich: pip install 'shopsdk[cli]'")
    except KeyboardInterrupt:
        sys.stderr.write("shopsdk: stopped\n")
        _die_of_the_interrupt()
    try:
        with ending(debug=False):  # of --help, say: each command has one of its own
            app(prog_name="shopsdk")
    except SystemExit as end:
        if end.code != STOPPED:
            raise
    else:
        sys.exit(0)  # not reached: the command exits by itself
    _die_of_the_interrupt()


def _die_of_the_interrupt() -> NoReturn:
    """End as a program ends that SIGINT killed.

    Python does it, once what is to run at exit has run, where nothing takes the KeyboardInterrupt: it gives the signal
    its default action back, and sends it to itself.

    Raises:
        KeyboardInterrupt: always, but on Windows, where no shell asks how a process died.
    """
    if sys.platform == "win32":
        sys.exit(130)
    sys.excepthook = lambda kind, error, trace: None  # noqa: ARG005 - all has been said
    raise KeyboardInterrupt


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
