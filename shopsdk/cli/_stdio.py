"""The standard streams of the command: data to stdout, messages to stderr.

**Failures.** Characters that the encoding lacks are escaped. A stderr that fails is ignored. A stdout that fails
raises, because data must not be lost unnoticed. Both are flushed here: if Python's own flush at its end failed, the
exit code would be 120.

**Terminals.** Text from a shop, a customer, a file's name or an argument must not control a terminal. So a stdout or
stderr that is a terminal is replaced by a stream that escapes every character that is not printable as JSON does: JSON
stays the same document, and the parser's errors, tracebacks and warnings are covered too. The command's own colours and
cursor movements pass through ``drawing``, which only ``SafeConsole`` uses. Files and pipes get every byte unchanged.
"""

import codecs
import io
import math
import os
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import BinaryIO, TextIO, cast

from shopsdk import NotSentError

_ESCAPE = "shopsdk.escape"
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Characters that draw nothing, though ``str.isprintable`` accepts them: fillers, joiners, variation selectors."""


def printable(text: str) -> str:
    """Escape what is not printable, ends of lines and tabs included, as JSON does.

    Of white space, only the plain space stays. Format characters (bidi, zero-width) and characters that this Python's
    Unicode does not know are escaped too.
    """
    if text.isprintable() and not _INVISIBLE.search(text):
        return text
    return "".join(c if c.isprintable() and not _INVISIBLE.match(c) else _escaped(c) for c in text)


def printable_lines(text: str) -> str:
    """Escape what is not printable, but leave ends of lines and tabs as they are."""
    return re.sub(r"[^\n\t]+", lambda found: printable(found[0]), text)


def put(text: str, stream: TextIO | None = None) -> None:
    """Write all of the data to stdout.

    Args:
        text: the data.
        stream: the stream to write to; default: ``sys.stdout``.

    Raises:
        OSError: stdout did not take it.
        KeyboardInterrupt: a signal came meanwhile.
    """
    out: TextIO = stream or sys.stdout
    try:
        out.write(text)
        out.flush()
    except BaseException:
        _discard(out)  # or the rest would be flushed at the end, and fail or wait again
        raise


def say(*lines: str) -> None:
    """Print messages on stderr, each argument on a line."""
    sys.stderr.write("".join(f"{one_line(line)}\n" for line in lines))
    sys.stderr.flush()


def counted(number: int, singular: str) -> str:
    """Write a number of things: ``1 customer``, ``2,000 customers``."""
    return f"{number:,} {noun(singular, number)}"


def noun(singular: str, number: int) -> str:
    """Return the form of a noun that stands behind a number."""
    return singular if number == 1 else f"{singular}s"


def retry(seconds: float, reason: str | None, status: int | None) -> str:
    """Write when a request is tried again, and why.

    Args:
        seconds: the seconds until then.
        reason: the name of the class of the error.
        status: the status of the answer, if one came.
    """
    if status is None:
        why = "could not connect" if reason == NotSentError.__name__ else "no whole answer"
    else:
        known = {each.value: f" {each.phrase}" for each in HTTPStatus}
        why = f"{status}{known.get(status, '')}"
    return f"trying again in {math.ceil(seconds)} s: {why}" if seconds > 0 else f"trying again: {why}"


def one_line(text: str) -> str:
    """Keep a message on one line of a terminal: a line end in a file's name must not begin another message."""
    return printable(text) if sys.stderr.isatty() else text


def data_output() -> BinaryIO:
    """Open stdout for bytes. It has no lock, unlike ``sys.stdout``, that a stuck thread could hold at the end."""
    raw = open(sys.stdout.fileno(), "wb", buffering=0, closefd=False)  # noqa: SIM115 - the caller closes it
    return cast(BinaryIO, _BytesToTerminal(raw, sys.stdout.encoding)) if sys.stdout.isatty() else raw


def drawing(stream: TextIO) -> TextIO:
    """Return the stream that takes the command's own control sequences."""
    return stream.stream if isinstance(stream, Printable) else stream


def guarded(stream: TextIO) -> TextIO:
    """Wrap a terminal so that only printable text passes; return any other stream as it is."""
    return cast(TextIO, Printable(stream)) if stream.isatty() else stream


@contextmanager
def standard_streams() -> Generator[None]:
    """Set up the standard streams, and flush them at the end."""
    _open_closed_streams()
    codecs.register_error(_ESCAPE, _escape)
    for stream, errors in ((sys.stdin, "replace"), (sys.stdout, _ESCAPE), (sys.stderr, _ESCAPE)):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    stdout, stderr = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = guarded(stdout), guarded(cast(TextIO, _NeverFails(stderr)))
    try:
        yield
    except SystemExit:  # for any other error, Python prints a traceback, which must pass the guard
        sys.stdout, sys.stderr = stdout, stderr
        raise
    finally:
        for stream in (stdout, stderr):
            try:
                stream.flush()
            except (OSError, ValueError):  # ValueError: it was closed
                _discard(stream)


class _Wrapped(io.TextIOBase):
    """A text stream around another, without ``buffer``, which would bypass it."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self.stream.errors

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        self.stream.flush()

    def fileno(self) -> int:
        return self.stream.fileno()

    def isatty(self) -> bool:
        return self.stream.isatty()

    def close(self) -> None:
        # The stream is not ours. Python closes a stream that is collected, and 3.13 reports a failing flush.
        pass


class _NeverFails(_Wrapped):
    """A text stream whose ``write`` and ``flush`` raise nothing."""

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            super().flush()


class Printable(_Wrapped):
    """A terminal that gets nothing but printable text."""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        super().write(printable_lines(text))
        return len(text)


class _BytesToTerminal(io.RawIOBase):
    """Writes the bytes of an export, which are UTF-8, to a terminal as printable text in its encoding."""

    def __init__(self, raw: io.FileIO, encoding: str) -> None:
        self._raw, self._encoding = raw, encoding
        # The decoder holds a character back until all of its bytes have come.
        decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._decoder = io.IncrementalNewlineDecoder(decoder, translate=True)

    def write(self, data: bytes) -> int:  # type: ignore[override]
        text = printable_lines(self._decoder.decode(bytes(data)))
        left = memoryview(text.encode(self._encoding, _ESCAPE))
        while left:
            left = left[self._raw.write(left) :]
        return len(data)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _discard(stream: TextIO) -> None:
    """Send what is buffered, and what is still written, to the null device."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Encode what the encoding lacks as JSON escapes it, so that JSON stays JSON."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return _escaped(error.object[error.start : error.end]), error.end


def _escaped(text: str) -> str:
    units = text.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _open_closed_streams() -> None:
    """Open the standard streams that the program was started without (``>&-``).

    Otherwise the first file that is opened takes their number, and messages go into an export. Such a stdout cannot be
    written to, because data must not be lost unnoticed.
    """
    streams = (("stdin", "r", os.O_RDONLY), ("stdout", "w", os.O_RDONLY), ("stderr", "w", os.O_WRONLY))
    for number, (name, mode, access) in enumerate(streams):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, access), number)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - open until the end
