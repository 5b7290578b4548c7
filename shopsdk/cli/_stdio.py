"""The standard streams of the command: data to stdout, words to stderr.

What a code page lacks is escaped. A stderr that fails changes nothing; a stdout that fails raises, since data must not
be lost without notice. Neither is left for Python to fail at when it flushes them at its end, which would be exit
code 120.

Text from a shop, a customer, a file's name or an argument must not control a terminal. So each of the two streams that
is a terminal is replaced by one that writes every character that is not printable as JSON escapes it: JSON stays the
same document, and whatever else writes there (the parser's own errors, tracebacks, warnings) is covered without knowing
of it. Colours and cursor movements of the command's own have one way past it: ``drawing``, which only the console of
``_console`` uses. Files and pipes get every byte as it is.
"""

import codecs
import io
import os
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import BinaryIO, TextIO, cast

_ESCAPE = "shopsdk.escape"
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""What ``str.isprintable`` takes for printable though nothing is drawn: fillers, joiners and variation selectors."""


def printable(text: str) -> str:
    """Escape what is not printable, ends of lines and tabs included, as JSON does.

    Only the plain space is taken for white space; format characters (bidi, zero-width) and what this Python's Unicode
    does not know are escaped too.
    """
    if text.isprintable() and not _UNSEEN.search(text):
        return text
    return "".join(c if c.isprintable() and not _UNSEEN.match(c) else _escaped(c) for c in text)


def printable_lines(text: str) -> str:
    """Escape what is not printable, but leave ends of lines and tabs as they are."""
    return re.sub(r"[^\n\t]+", lambda found: printable(found[0]), text)


def put(text: str, stream: TextIO | None = None) -> None:
    """Write data to stdout, all of it.

    Args:
        text: the data.
        stream: by which way; default: ``sys.stdout``.

    Raises:
        OSError: stdout does not take it.
        KeyboardInterrupt: a signal came meanwhile.
    """
    out: TextIO = stream or sys.stdout
    try:
        out.write(text)
        out.flush()
    except BaseException:
        _discard(out)  # what is left of it must not fail again, or wait again for a reader that reads nothing
        raise


def say(*lines: str) -> None:
    """Tell something that is not data, on stderr, each argument on a line."""
    sys.stderr.write("".join(f"{one_line(line)}\n" for line in lines))
    sys.stderr.flush()


def one_line(text: str) -> str:
    """Keep a message for stderr on one line of a terminal: an end of line in a file's name must not begin another."""
    return printable(text) if sys.stderr.isatty() else text


def data_output() -> BinaryIO:
    """Open stdout for bytes: past the lock of sys.stdout, which a thread that is stuck may hold when we want to end."""
    raw = open(sys.stdout.fileno(), "wb", buffering=0, closefd=False)  # noqa: SIM115 - the caller closes it
    return cast(BinaryIO, _BytesToTerminal(raw, sys.stdout.encoding)) if sys.stdout.isatty() else raw


def drawing(stream: TextIO) -> TextIO:
    """Find the stream to which control sequences of the command's own go."""
    return stream.stream if isinstance(stream, _Printable) else stream


def guarded(stream: TextIO) -> TextIO:
    """Let only what is printable through to a stream, if it is a terminal."""
    return cast(TextIO, _Printable(stream)) if stream.isatty() else stream


@contextmanager
def standard_streams() -> Generator[None]:
    """Set the standard streams up, and settle them at the end."""
    _open_closed_ones()
    codecs.register_error(_ESCAPE, _escape)
    for stream, errors in ((sys.stdin, "replace"), (sys.stdout, _ESCAPE), (sys.stderr, _ESCAPE)):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    stdout, stderr = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = guarded(stdout), guarded(cast(TextIO, _NeverFails(stderr)))
    try:
        yield
    except SystemExit:  # of anything else Python prints a traceback, which may not pass them either
        sys.stdout, sys.stderr = stdout, stderr
        raise
    finally:
        for stream in (stdout, stderr):
            try:
                stream.flush()
            except (OSError, ValueError):  # ValueError: it was closed
                _discard(stream)


class _Wrapped(io.TextIOBase):
    """A text stream around another; without ``buffer``, by which others would pass it."""

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
        # The stream is another's. Python closes a stream that is collected, and 3.13 tells where a flush fails then.
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


class _Printable(_Wrapped):
    """A terminal that gets nothing but printable text."""

    def write(self, text: str) -> int:
        super().write(printable_lines(text))
        return len(text)


class _BytesToTerminal(io.RawIOBase):
    """Takes the bytes of an export in UTF-8, and writes them to a terminal as printable text of its code page."""

    def __init__(self, raw: io.FileIO, encoding: str) -> None:
        self._raw, self._encoding = raw, encoding
        # It holds a character back until all of its bytes have come.
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
    """Let what is buffered, and what is still written, go nowhere."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Write what cannot be encoded as JSON escapes it, so that JSON stays JSON."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return _escaped(error.object[error.start : error.end]), error.end


def _escaped(text: str) -> str:
    units = text.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


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
