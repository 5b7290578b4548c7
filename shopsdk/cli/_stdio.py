"""The standard streams of the command: data to stdout, words to stderr.

What a code page lacks is escaped. A stderr that fails changes nothing; a stdout that fails raises, since data must not
be lost without notice. Neither is left for Python to fail at when it flushes them at its end, which would be exit
code 120.
"""

import codecs
import io
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

_ESCAPE = "shopsdk.escape"


def put(text: str) -> None:
    """Write data to stdout, all of it.

    Raises:
        OSError: stdout does not take it.
        KeyboardInterrupt: a signal came meanwhile.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BaseException:
        _discard(sys.stdout)  # what is left of it must not fail again, or wait again for a reader that reads nothing
        raise


def say(text: str) -> None:
    """Tell something that is not data, on stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@contextmanager
def standard_streams() -> Generator[None]:
    """Set the standard streams up, and settle them at the end."""
    _open_closed_ones()
    codecs.register_error(_ESCAPE, _escape)
    for stream, errors in ((sys.stdin, "replace"), (sys.stdout, _ESCAPE), (sys.stderr, _ESCAPE)):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    stderr = sys.stderr
    sys.stderr = cast(TextIO, _NeverFails(stderr))
    try:
        yield
    finally:
        sys.stderr = stderr
        for stream in (sys.stdout, stderr):
            try:
                stream.flush()
            except (OSError, ValueError):  # ValueError: it was closed
                _discard(stream)


class _NeverFails:
    """A text stream whose ``write`` and ``flush`` raise nothing. Without ``buffer``, by which others would pass it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":
            raise AttributeError(name)
        return getattr(self._stream, name)


def _discard(stream: TextIO) -> None:
    """Let what is buffered, and what is still written, go nowhere."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Write what cannot be encoded as JSON escapes it, so that JSON stays JSON."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2)), error.end


def _open_closed_ones() -> None:
    """Give a program that was started without its standard streams (``>&-``) ones of its own.

    Otherwise the first file that is opened takes their number, and what was meant for a terminal goes into an export.
    To stdout nothing can be written: data must not vanish and nobody know.
    """
    streams = (("stdin", "r", os.O_RDONLY), ("stdout", "w", os.O_RDONLY), ("stderr", "w", os.O_WRONLY))
    for number, (name, mode, access) in enumerate(streams):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, access), number)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - to the very end
