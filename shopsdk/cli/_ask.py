"""Asking on the terminal, outside of any event loop: there, a signal ends a question at once."""

import sys

from shopsdk.cli._reach import FAILED, Quit
from shopsdk.cli._signals import signals
from shopsdk.cli._stdio import say


def ask(question: str) -> None:
    """Ask whether to go on; whatever is no yes, changes nothing.

    Raises:
        Quit: no, or no answer.
    """
    try:
        answer = _answer(question)
    except KeyboardInterrupt:
        say("", "shopsdk: stopped, nothing was changed")
        raise Quit(signals.code) from None
    if answer is None:
        say("", "shopsdk: there was no answer, and nothing was changed")
        raise Quit(FAILED)
    if answer not in {"y", "yes"}:
        say("shopsdk: nothing was changed")
        raise Quit(FAILED)


def _answer(question: str) -> str | None:
    """Ask until there is an answer; None: the terminal was closed, or Ctrl-D pressed."""
    while True:
        sys.stderr.write(f"{question} [y/N]: ")
        sys.stderr.flush()
        signals.wait(sys.stdin)
        line = sys.stdin.readline()
        answer = line.strip().lower()
        if not line or answer in {"", "y", "yes", "n", "no"}:
            return answer if line else None
