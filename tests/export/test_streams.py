"""Destinations that are open already: what counts as one, how it is written to, and what is left when it fails."""

import asyncio
import bz2
import codecs
import errno
import fcntl
import gc
import gzip
import io
import lzma
import os
import socket
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import attrs
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shopsdk import AsyncSession
from shopsdk.export import CustomerSink, ExportProgress, Format, _arrow, export_customers
from shopsdk.sandbox import Sandbox
from tests.support.export import StopHereError, stop_at

FORMATS: list[Format] = ["ndjson", "csv", "parquet"]


@attrs.define
class Taker:
    """A destination with a ``write`` and nothing else."""

    answer: Callable[[int], Any] = lambda _: None
    """Makes what ``write`` returns from how much it was given."""
    taken: bytearray = attrs.Factory(bytearray)
    writes: int = 0

    def write(self, data: bytes) -> Any:
        assert type(data) is bytes
        self.writes += 1
        answer = self.answer(len(data))
        all_of_it = type(answer) is not int or not 0 <= answer <= len(data)
        self.taken += data if all_of_it else data[:answer]
        return answer


class Upload(Taker):
    """A destination that can only be closed, as uploads to object stores are, and says that it knows text."""

    mode = "wb+"
    encoding = "utf-8"

    def flush(self) -> None:
        raise io.UnsupportedOperation

    def close(self) -> None:
        raise AssertionError("it is the caller's to close")

    tell = seek = fileno = close


@contextmanager
def taker(answer: Callable[[int], Any]) -> Iterator[tuple[Any, Callable[[], bytes]]]:
    out = Taker(answer)
    yield out, lambda: bytes(out.taken)


@contextmanager
def upload() -> Iterator[tuple[Any, Callable[[], bytes]]]:
    out = Upload()
    yield out, lambda: bytes(out.taken)


@contextmanager
def bytes_io() -> Iterator[tuple[Any, Callable[[], bytes]]]:
    out = io.BytesIO()
    yield out, out.getvalue


@contextmanager
def arrow_buffer() -> Iterator[tuple[Any, Callable[[], bytes]]]:
    out = pa.BufferOutputStream()
    yield out, lambda: out.getvalue().to_pybytes()


@contextmanager
def named_temporary(**options: Any) -> Iterator[tuple[Any, Callable[[], bytes]]]:
    with tempfile.NamedTemporaryFile(**options) as out:
        yield out, lambda: Path(out.name).read_bytes()


@contextmanager
def spooled(max_size: int) -> Iterator[tuple[Any, Callable[[], bytes]]]:
    def content() -> bytes:
        out.seek(0)
        return out.read()

    with tempfile.SpooledTemporaryFile(max_size) as out:
        yield out, content


@contextmanager
def compressed(opened: Callable[[io.BytesIO], Any], read: Callable[[bytes], bytes]) -> Iterator[tuple[Any, Any]]:
    behind = io.BytesIO()

    def content() -> bytes:
        out.close()
        return read(behind.getvalue())

    out = opened(behind)
    yield out, content


@contextmanager
def zip_entry() -> Iterator[tuple[Any, Callable[[], bytes]]]:
    behind = io.BytesIO()
    with zipfile.ZipFile(behind, "w") as archive:
        out = archive.open("c", "w")

        def content() -> bytes:
            out.close()
            return archive.read("c")

        yield out, content


@contextmanager
def connected(buffering: int) -> Iterator[tuple[Any, Callable[[], bytes]]]:
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    got = bytearray()

    def receive() -> None:
        while data := theirs.recv(1000):
            got.extend(data)

    thread = threading.Thread(target=receive)
    thread.start()
    out = ours.makefile("wb", buffering=buffering)

    def content() -> bytes:
        out.close()
        ours.close()
        thread.join()
        return bytes(got)

    try:
        yield out, content
    finally:
        content()
        theirs.close()


def lzma_file(behind: io.BytesIO) -> lzma.LZMAFile:
    return lzma.LZMAFile(behind, "wb")


OPEN: dict[str, Callable[[], Any]] = {
    "io.BytesIO": bytes_io,
    "pyarrow.BufferOutputStream": arrow_buffer,
    "NamedTemporaryFile": named_temporary,
    "NamedTemporaryFile, unbuffered": lambda: named_temporary(buffering=0),
    "SpooledTemporaryFile": lambda: spooled(0),
    "SpooledTemporaryFile on disk": lambda: spooled(100),
    "GzipFile": lambda: compressed(lambda behind: gzip.GzipFile(fileobj=behind, mode="wb"), gzip.decompress),
    "BZ2File": lambda: compressed(lambda behind: bz2.BZ2File(behind, "wb"), bz2.decompress),
    "LZMAFile": lambda: compressed(lzma_file, lzma.decompress),
    "zip entry": zip_entry,
    "socket": lambda: connected(-1),
    "socket, unbuffered": lambda: connected(0),
    "upload": upload,
    "takes seven bytes": lambda: taker(lambda length: min(7, length)),
    "takes half": lambda: taker(lambda length: (length + 1) // 2),
    "returns None": lambda: taker(lambda _: None),
    "returns True": lambda: taker(lambda _: True),
    "returns False": lambda: taker(lambda _: False),
    "returns text": lambda: taker(lambda _: "done"),
    "returns a larger number": lambda: taker(lambda length: length + 1),
    "returns a negative number": lambda: taker(lambda _: -1),
}


@pytest.fixture(scope="module")
def small() -> Iterator[Sandbox]:
    with Sandbox(60) as shop:
        yield shop


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("kind", OPEN)
async def test_whatever_takes_bytes_gets_the_bytes_of_the_file(
    kind: str, format: Format, small: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anything with a ``write`` gets the same bytes as a named file, in every format, and is not closed."""
    monkeypatch.setattr(_arrow, "_ROW_GROUP", 25)
    async with small.session() as session:
        await export_customers(session, tmp_path / f"c.{format}", per_page=10)
        with OPEN[kind]() as (out, content):
            summary = await export_customers(session, out, format=format, per_page=10)
            assert getattr(out, "closed", False) is False
            got = content()
    assert got == (tmp_path / f"c.{format}").read_bytes()
    assert (summary.path, summary.rows, summary.bytes, summary.format) == (None, 60, len(got), format)


async def test_a_stream_keeps_what_it_had(small: Sandbox) -> None:
    """An export is written behind what a stream holds already, Parquet too."""
    async with small.session() as session:
        for format in FORMATS:
            alone, behind = io.BytesIO(), io.BytesIO()
            behind.write(b"before ")
            await export_customers(session, alone, format=format)
            await export_customers(session, behind, format=format)
            assert behind.getvalue() == b"before " + alone.getvalue()
            assert behind.tell() == len(behind.getvalue())


async def test_row_groups_leave_as_they_fill(small: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parquet leaves for a stream a row group at a time, not at the end of the export."""
    monkeypatch.setattr(_arrow, "_ROW_GROUP", 20)
    out = Taker()
    writes: list[int] = []
    async with small.session() as session:
        await export_customers(
            session, out, format="parquet", per_page=5, on_progress=lambda _: writes.append(out.writes)
        )
    assert pq.ParquetFile(io.BytesIO(out.taken)).metadata.num_row_groups == 3
    assert out.writes == 1 + 3 + 1  # the magic number, the groups, the index
    assert {2, 3} <= set(writes)


async def test_an_empty_shop_is_a_whole_parquet_stream() -> None:
    """A shop without customers is a Parquet stream that can be read."""
    out = io.BytesIO()
    with Sandbox(0) as shop:
        async with shop.session() as session:
            await export_customers(session, out, format="parquet", columns=["id", "balance"])
    table = pq.read_table(io.BytesIO(out.getvalue()))
    assert (table.num_rows, table.column_names) == (0, ["id", "balance"])


@pytest.mark.parametrize("format", FORMATS)
async def test_no_stream_is_written_to_by_the_event_loop(format: Format, small: Sandbox) -> None:
    """One thread, which is not the event loop's, writes to a stream and flushes it."""
    threads: set[int] = set()

    class Watched:
        def write(self, data: bytes) -> None:
            threads.add(threading.get_ident())

        def flush(self) -> None:
            threads.add(threading.get_ident())

    async with small.session() as session:
        await export_customers(session, Watched(), format=format)
    assert len(threads) == 1
    assert threading.get_ident() not in threads


class Encoded(Taker):
    encoding = "utf-8"


class TextMode(Taker):
    mode = "w"


@attrs.define(init=False)
class NoFunction:
    write = "text"


def opened(call: Callable[..., Any], *args: Any, **options: Any) -> Callable[[Path], Any]:
    return lambda path: call(path / "x", *args, **options)


def closed(path: Path) -> Any:
    out = io.BytesIO()
    out.close()
    return out


NO_STREAMS: list[tuple[Callable[[Path], Any], type[Exception], str]] = [
    (opened(open, "w"), TypeError, r"binary mode, as by open\(name, 'wb'\)"),
    (opened(codecs.open, "w", "utf-8"), TypeError, "binary mode"),
    (lambda _: codecs.getwriter("utf-8")(io.BytesIO()), TypeError, "binary mode"),
    (lambda _: io.StringIO(), TypeError, "binary mode"),
    (lambda _: io.TextIOWrapper(io.BytesIO()), TypeError, "binary mode"),
    (lambda _: tempfile.NamedTemporaryFile("w"), TypeError, "binary mode"),  # noqa: SIM115 - the test closes it
    (lambda _: tempfile.SpooledTemporaryFile(mode="w"), TypeError, "binary mode"),  # noqa: SIM115 - the same
    (lambda _: TextMode(), TypeError, "binary mode"),
    (lambda _: Encoded(), TypeError, "binary mode"),
    (lambda _: io.BufferedReader(io.FileIO(os.devnull)), ValueError, "open for reading alone: its mode is 'rb'"),
    (closed, ValueError, "destination is closed"),
    (lambda _: 7, TypeError, "destination must be a file's name, .* not int"),
    (lambda _: b"c.csv", TypeError, "destination must be a file's name, .* not bytes"),
    (lambda _: None, TypeError, "destination must be"),
    (lambda _: object(), TypeError, "destination must be"),
    (lambda _: NoFunction(), TypeError, "destination must be"),
]


@pytest.mark.filterwarnings("ignore:codecs.open:DeprecationWarning")
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("number", range(len(NO_STREAMS)))
async def test_what_takes_no_bytes_is_refused_before_anything_is_sent(
    number: int, format: Format, shop: Sandbox, session: AsyncSession, tmp_path: Path
) -> None:
    """A destination that is known to take no bytes is refused; nothing is sent, and nothing is written."""
    make, error, message = NO_STREAMS[number]
    destination = make(tmp_path)
    try:
        with pytest.raises(error, match=message):
            await export_customers(session, destination, format=format)
    finally:
        with suppress(AttributeError):
            destination.close()
    assert not shop.requests
    assert not (tmp_path / "x").exists() or (tmp_path / "x").read_bytes() == b""


async def test_a_stream_of_asyncio_is_refused(shop: Sandbox, session: AsyncSession) -> None:
    """A stream of asyncio, which no other thread may write to, is refused."""
    ours, theirs = socket.socketpair()
    _, writer = await asyncio.open_connection(sock=ours)
    for each in (writer, writer.transport):
        with pytest.raises(TypeError, match="asyncio's streams do not allow: use a sink"):
            await export_customers(session, each)
    writer.close()
    await writer.wait_closed()
    theirs.close()
    assert not shop.requests


@pytest.mark.parametrize("format", FORMATS)
async def test_text_that_was_not_known_for_it_is_named(format: Format, session: AsyncSession) -> None:
    """A ``write`` that raises ``TypeError`` for bytes raises it with a note on binary mode."""
    behind = io.StringIO()

    class Text:
        def write(self, data: Any) -> int:
            return behind.write(data)

    with pytest.raises(TypeError, match="got 'bytes'") as caught:
        await export_customers(session, Text(), format=format)
    assert ["binary mode" in note for note in caught.value.__notes__] == [True]


async def test_a_sink_is_told_by_its_coroutine_function(small: Sandbox) -> None:
    """A destination whose ``write`` is a coroutine function of any kind gets rows, not bytes."""
    got: list[dict[str, Any]] = []

    class Call:
        async def __call__(self, rows: Sequence[dict[str, Any]]) -> None:
            got.extend(rows)

    class Sink:
        write: Any = Call()

    mock = AsyncMock(spec=CustomerSink)
    async with small.session() as session:
        await export_customers(session, Sink())
        await export_customers(session, mock)
    assert len(got) == 60
    assert [row for call in mock.write.await_args_list for row in call.args[0]] == got


async def test_a_write_that_must_be_awaited_is_named(session: AsyncSession) -> None:
    """A plain ``write`` that returns something to be awaited is an error that says so, and no warning."""

    class Awaited:
        def __await__(self) -> Any:
            raise AssertionError("it is not awaited")

    async def later() -> None: ...

    makers: list[Callable[[int], Any]] = [lambda _: later(), lambda _: Awaited()]
    for maker in makers:
        with pytest.raises(TypeError, match="make it an 'async def'"):
            await export_customers(session, Taker(maker), format="csv")
    gc.collect()


@pytest.mark.parametrize("format", FORMATS)
async def test_a_pipe_that_would_block_is_named(format: Format, small: Sandbox) -> None:
    """A non-blocking pipe that is full is an error that says so; all that it took is in it."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, 1031, 4096)  # F_SETPIPE_SZ
    os.set_blocking(writer, False)
    whole = io.BytesIO()
    with io.FileIO(reader) as read, io.FileIO(writer, "wb") as out:
        async with small.session() as session:
            await export_customers(session, whole, format=format)
            with pytest.raises(BlockingIOError, match="it is non-blocking") as caught:
                await export_customers(session, out, format=format)
        assert caught.value.errno == errno.EAGAIN
        out.close()
        got = read.read(100_000)
    assert 0 < len(got) < len(whole.getvalue())
    assert whole.getvalue().startswith(got)


async def test_a_write_that_takes_nothing_ends(session: AsyncSession) -> None:
    """A ``write`` that returns 0 is an error, not an endless loop."""
    out = Taker(lambda _: 0)
    with pytest.raises(OSError, match="destination took nothing: its write returned 0"):
        await export_customers(session, out, format="csv")
    assert out.writes == 1


@attrs.define
class Fails(Taker):
    """A destination that fails at the n-th write."""

    at: int = 2
    error: BaseException = attrs.Factory(ZeroDivisionError)

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.writes == self.at:
            raise self.error


@pytest.mark.parametrize("error", [ZeroDivisionError(), ConnectionResetError(104, "reset"), io.UnsupportedOperation()])
@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("format", FORMATS)
async def test_what_a_write_raises_leaves_as_it_is(
    format: Format, at: int, error: Exception, small: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exception of a ``write`` is raised as it is, and nothing is written after it, no index either."""
    monkeypatch.setattr(_arrow, "_ROW_GROUP", 20)
    out = Fails(at=at, error=error)
    async with small.session() as session:
        with pytest.raises(type(error)) as caught:
            await export_customers(session, out, format=format, per_page=10)
    assert caught.value is error
    gc.collect()
    assert out.writes == at


@pytest.mark.parametrize("format", FORMATS)
async def test_a_flush_that_fails_ends_the_export(format: Format, session: AsyncSession) -> None:
    """What ``flush`` raises ends the export, since the bytes may not have arrived."""

    class Lost(Taker):
        def flush(self) -> None:
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await export_customers(session, Lost(), format=format)


@pytest.mark.parametrize("format", FORMATS)
async def test_an_error_elsewhere_leaves_whole_pages(
    format: Format, small: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that is not the stream's leaves whole pages or row groups in it, and Parquet without an index."""
    monkeypatch.setattr(_arrow, "_ROW_GROUP", 10)
    whole, out = io.BytesIO(), io.BytesIO()
    async with small.session() as session:
        await export_customers(session, whole, format=format, per_page=10)
        with pytest.raises(StopHereError):
            await export_customers(session, out, format=format, per_page=10, on_progress=stop_at(3))
        gc.collect()
    got = out.getvalue()
    assert whole.getvalue().startswith(got)
    assert len(got) < len(whole.getvalue())
    if format == "parquet":
        assert got.count(b"PAR1") == 1
    else:
        assert got.count(b"\n") == 30 + (format == "csv")
    assert not out.closed


@pytest.mark.parametrize("format", FORMATS)
async def test_a_cancelled_export_begins_no_further_write(
    format: Format, small: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled export ends at once though a write is stuck, and begins no other one after it."""
    monkeypatch.setattr(_arrow, "_ROW_GROUP", 10)
    stuck, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    class Stuck(Taker):
        def write(self, data: bytes) -> int:
            super().write(data)
            if self.writes == 3:
                loop.call_soon_threadsafe(stuck.set)
                go_on.wait()
            return 1 if self.writes == 3 else len(data)

        def flush(self) -> None:
            assert not go_on.is_set()

    out = Stuck(lambda length: length)
    async with small.session() as session:
        export = asyncio.ensure_future(export_customers(session, out, format=format, per_page=10))
        await stuck.wait()
        export.cancel()
        with pytest.raises(asyncio.CancelledError):
            await export
    writers = [thread for thread in threading.enumerate() if thread.name == "shopsdk-export"]
    go_on.set()
    for thread in writers:
        await asyncio.to_thread(thread.join)
    assert out.writes == 3


async def test_a_stuck_stream_holds_up_no_cancellation_after_an_error(small: Sandbox) -> None:
    """An export that failed while a write is stuck waits for that write, and can be cancelled."""
    stuck, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    class Stuck(Taker):
        def write(self, data: bytes) -> None:
            super().write(data)
            if self.writes == 3:
                loop.call_soon_threadsafe(stuck.set)
                go_on.wait()

    def fail(progress: ExportProgress) -> None:
        if progress.rows == 20:
            raise StopHereError

    out = Stuck()
    async with small.session() as session:
        export = asyncio.ensure_future(export_customers(session, out, format="csv", per_page=10, on_progress=fail))
        await stuck.wait()
        await asyncio.wait({export}, timeout=0.05)
        assert not export.done()
        export.cancel()
        with pytest.raises(asyncio.CancelledError):
            await export
        go_on.set()
    assert out.writes == 3
