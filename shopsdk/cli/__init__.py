"""The command ``shopsdk``, made of the same public functions that a user has.

Data goes to stdout, everything else to stderr. The key comes from the environment or a file, never from an argument,
which every user of the machine could read. ``shopsdk --help`` lists the exit codes.
"""

import sys
from typing import NoReturn

from shopsdk.cli._signals import signals
from shopsdk.cli._stdio import say, standard_streams

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command with the process's arguments, and exit with its code."""
    with standard_streams(), signals.caught():
        try:
            _command()
        except KeyboardInterrupt:
            say("shopsdk: stopped")
            sys.exit(signals.code)
    sys.exit(0)  # not reached: the command exits


def _command() -> None:
    try:
        from shopsdk.cli._app import app  # noqa: PLC0415 - it needs an extra
        from shopsdk.cli._runner import NO_READER, exit_with_code  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"typer", "rich", "click", "dotenv"}:
            raise
        say("shopsdk: the command needs typer, rich and python-dotenv: pip install 'shopsdk[cli]'")
        sys.exit(1)
    try:
        with exit_with_code(debug=False):  # for --help, for instance: each command has its own
            app(prog_name="shopsdk")
    except SystemExit as end:
        if end.code == 130:  # typer's code for a signal before the command begins
            sys.exit(signals.code)
        if end.code == 1 and isinstance(end.__context__, BrokenPipeError):  # typer's code for --help without a reader
            sys.exit(NO_READER)
        raise
