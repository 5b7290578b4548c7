"""Asking on the terminal, outside of any event loop: there, Ctrl-C ends a question at once."""

import sys

from shopsdk.cli._reach import FAILED, STOPPED, Quit, say


def ask(question: str) -> None:
    """Ask whether to go on; whatever is no yes, changes nothing.

    Raises:
        Quit: no, or no answer.
    """
    try:
        answer = _answer(question)
    except KeyboardInterrupt:
        say("\nshopsdk: stopped, nothing was changed")
        raise Quit(STOPPED) from None
    if answer is None:
        say("\nshopsdk: there was no answer, and nothing was changed")
        raise Quit(FAILED)
    if answer not in {"y", "yes"}:
        say("shopsdk: nothing was changed")
        raise Quit(FAILED)


def _answer(question: str) -> str | None:
    """Ask until there is an answer; None: the terminal was closed, or Ctrl-D pressed."""
    while True:
        sys.stderr.write(f"{question} [y/N]: ")
        sys.stderr.flush()
        line = sys.stdin.readline()
        answer = line.strip().lower()
        if not line or answer in {"", "y", "yes", "n", "no"}:
            return answer if line else None
