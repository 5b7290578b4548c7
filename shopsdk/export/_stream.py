"""A destination that is open already: anything with a ``write`` for bytes, which is the caller's to close."""

import asyncio
import codecs
import errno
import inspect
import io
from collections.abc import Callable
from typing import Protocol, TypeGuard

from shopsdk.export._summary import CustomerSink

_TO_WRITE = frozenset("wax+")
_TEXT = (io.TextIOBase, codecs.StreamWriter, codecs.StreamReaderWriter)
_BINARY = "destination must be open in binary mode, as by open(name, 'wb'): an export is bytes, not text"


class BinaryWriter(Protocol):
    """Anything that takes bytes: a file, a socket's file, a compressor, an upload."""

    def write(self, data: bytes, /) -> object:
        """Take bytes.

        Args:
            data: the bytes.

        Returns:
            How many were taken, if it may be less than all. Anything but a number from 0 to the length: all.
        """
        ...


def is_sink(destination: object) -> TypeGuard[CustomerSink]:
    """Whether a destination takes customers: its ``write`` is an ``async def``."""
    write: object = getattr(destination, "write", None)
    return callable(write) and any(map(inspect.iscoroutinefunction, (write, type(write).__call__)))


class Stream:
    """Writes to a destination that is open already."""

    def __init__(self, destination: object) -> None:
        """Check what can be known of a destination before anything is written.

        Raises:
            TypeError: it takes no bytes.
            ValueError: it is closed, or open for reading alone.
        """
        write: Callable[[bytes], object] | None = getattr(destination, "write", None)
        mode = getattr(destination, "mode", None)  # a number, of some compressors
        if not callable(write):
            kind = type(destination).__name__
            raise TypeError(
                "destination must be a file's name, a CustomerSink, or anything with a write for bytes,"
                f" such as an open binary file, not {kind}"
            )
        if isinstance(destination, asyncio.StreamWriter | asyncio.WriteTransport):
            raise TypeError("destination is written to by a thread, which asyncio's streams do not allow: use a sink")
        encoded = isinstance(getattr(destination, "encoding", None), str)
        if isinstance(destination, _TEXT) or ("b" not in mode if isinstance(mode, str) else encoded):
            raise TypeError(_BINARY)
        if getattr(destination, "closed", False) is True:
            raise ValueError("destination is closed")
        if isinstance(mode, str) and not _TO_WRITE & set(mode):
            raise ValueError(f"destination is open for reading alone: its mode is {mode!r}")
        self._write = write
        self._flush: object = getattr(destination, "flush", None)
        self._is_raw = isinstance(destination, io.RawIOBase)
        self._left = False
        self.size = 0
        """The bytes that were written."""

    def put(self, data: bytes) -> None:
        """Write all of the data, and flush it if that is possible.

        Raises:
            BlockingIOError: the destination is non-blocking, and takes no more at the moment.
            TypeError: it takes no bytes.
        """
        if not data:
            return
        while data and not self._left:
            taken = self._taken(data)
            self.size += taken
            data = data[taken:]
        if callable(self._flush) and not self._left:
            try:
                self._flush()
            except io.UnsupportedOperation:  # some uploads can only be closed
                self._flush = None

    def leave(self) -> None:
        """Begin no further write, though ``put`` may be at work in another thread."""
        self._left = True

    def _taken(self, data: bytes) -> int:
        """Write once, and return how many bytes were taken."""
        try:
            taken = self._write(data)
        except TypeError as error:
            error.add_note(_BINARY)
            raise
        if inspect.isawaitable(taken):
            if inspect.iscoroutine(taken):
                taken.close()  # or Python warns that nobody awaited it
            raise TypeError("the write of a destination is no 'async def', but must be awaited: make it an 'async def'")
        if taken is None and self._is_raw:
            raise BlockingIOError(
                errno.EAGAIN, "destination took nothing: it is non-blocking, so it needs a sink, or to be made blocking"
            )
        if not isinstance(taken, int) or isinstance(taken, bool) or not 0 <= taken <= len(data):
            return len(data)
        if not taken:
            raise OSError(errno.EIO, "destination took nothing: its write returned 0")
        return taken
