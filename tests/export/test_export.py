"""The export as a function: streams, sinks, wrong arguments and failures."""

import asyncio
import csv
import gzip
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import attrs
import pytest

from shopsdk import AsyncSession, NotFoundError, RetryPolicy, ServerError
from shopsdk.export import (
    CustomerSink,
    ExportError,
    ExportProgress,
    export_customers,
    to_plain,
)
from shopsdk.sandbox import Sandbox
from tests.support.export import read_rows


async def test_a_stream_gets_everything(shop: Sandbox, session: AsyncSession) -> None:
    """A stream gets the whole export, in the format that was asked for."""
    out = io.BytesIO()
    summary = await export_customers(session, out, format="csv")
    assert (summary.path, summary.rows, summary.bytes) == (None, 250, len(out.getvalue()))
    rows = csv.DictReader(io.StringIO(out.getvalue().decode(), newline=""))
    assert [int(row["id"]) for row in rows] == [c.id for c in shop.customers()]


@attrs.define
class Collector:
    """A sink as a user writes it."""

    rows: list[dict[str, Any]] = attrs.Factory(list)

    async def write(self, rows: Sequence[dict[str, Any]], /) -> None:
        self.rows += rows


async def test_a_sink_gets_plain_rows(shop: Sandbox, session: AsyncSession) -> None:
    """A sink gets the rows as plain data that a database takes, with the models' values."""
    sink = Collector()
    assert isinstance(sink, CustomerSink)
    summary = await export_customers(session, sink)
    assert (summary.rows, summary.format) == (250, "rows")
    assert sink.rows == [to_plain(customer) for customer in shop.customers()]
    assert json.loads(json.dumps(sink.rows)) == sink.rows


async def test_what_a_sink_raises_ends_the_export(session: AsyncSession) -> None:
    """An exception from a sink ends the export and is raised."""

    class Full:
        async def write(self, rows: Sequence[dict[str, Any]], /) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await export_customers(session, Full())


async def test_an_unknown_shop_leaves_nothing_behind(shop: Sandbox, session: AsyncSession, tmp_path: Path) -> None:
    """An export that reads no page leaves no file behind."""
    with pytest.raises(NotFoundError):
        await export_customers(session, tmp_path / "c.csv", shop_id=39)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"destination": "c.txt"}, "cannot tell the format"),
        ({"destination": "c.txt", "format": "xml"}, "format must be one of"),
        ({"destination": "c.parquet.gz"}, "compressed inside"),
        ({"destination": "c.parquet", "bom": True}, "bom is for csv"),
        ({"destination": "c.parquet", "escape_formulas": False}, "escape_formulas is for csv alone"),
        ({"destination": io.BytesIO(), "escape_formulas": False}, "escape_formulas is for csv alone"),
        ({"destination": "c.csv", "columns": ["nope"]}, "'nope' is not a column of csv"),
        ({"destination": "c.csv", "columns": ["affiliate_referrer"]}, "not a column of csv"),
        ({"destination": "c.csv", "columns": []}, "at least one column"),
        ({"destination": "c.csv", "columns": ["id", "id"]}, "none twice"),
        ({"destination": "c.csv", "if_exists": "ask"}, "if_exists must be"),
        ({"destination": "c.csv", "concurrency": 0}, "concurrency"),
        ({"destination": "c.csv", "email": ""}, "email"),
        ({"destination": io.BytesIO(), "resume": True}, "resume is for files"),
        ({"destination": Collector(), "format": "csv"}, "a sink takes whole customers"),
        ({"destination": Collector(), "escape_formulas": False}, "a sink takes whole customers"),
        ({"destination": 7}, "destination must be"),
    ],
)
async def test_wrong_arguments_are_refused_before_anything_is_sent(
    arguments: dict[str, Any], message: str, shop: Sandbox, session: AsyncSession, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Wrong arguments are refused before anything is sent or written."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, TypeError), match=message):
        await export_customers(session, **arguments)
    assert not shop.requests
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["c.parquet", "c.csv.zst"])
async def test_a_missing_extra_is_named(
    name: str, session: AsyncSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing extra is named, with the command that installs it."""
    for module in ("pyarrow", "pyarrow.parquet", "compression.zstd"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "shopsdk.arrow", raising=False)
    with pytest.raises(ExportError, match=r"pip install 'shopsdk\[parquet\]'"):
        await export_customers(session, tmp_path / name)
    assert os.listdir(tmp_path) == []


async def test_text_formats_need_no_extra(
    session: AsyncSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text formats neither need nor import pyarrow."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    await export_customers(session, tmp_path / "c.csv.gz")
    assert gzip.decompress((tmp_path / "c.csv.gz").read_bytes()).count(b"\r\n") == 251


async def test_compressed_exports_are_the_same_every_time(session: AsyncSession, tmp_path: Path) -> None:
    """A compressed export of the same customers has the same bytes every time."""
    for name in ("a.csv.gz", "b.csv.gz", "a.parquet", "b.parquet"):
        await export_customers(session, tmp_path / name)
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


async def test_a_failure_keeps_the_pages_before_it(shop: Sandbox, tmp_path: Path) -> None:
    """An outage keeps the pages before it, and gives no file its final name."""

    def break_down(progress: ExportProgress) -> None:
        if progress.page == 5:
            shop.fail_next("error_500", 50)

    async with shop.session(retry=RetryPolicy(wait_initial=0.001, wait_max=0.002)) as session:
        with pytest.raises(ServerError) as caught:
            await export_customers(session, tmp_path / "c.csv", per_page=10, concurrency=1, on_progress=break_down)
    assert caught.value.page is not None
    assert sorted(os.listdir(tmp_path)) == [".c.csv.part", ".c.csv.part.checkpoint"]
    assert (tmp_path / ".c.csv.part").read_bytes().count(b"\r\n") == 1 + 10 * (caught.value.page - 1)


async def test_a_cancelled_export_stops_at_a_page(shop: Sandbox, session: AsyncSession, tmp_path: Path) -> None:
    """A cancelled export raises the cancellation, and keeps whole pages."""
    reached = asyncio.Event()
    task = asyncio.create_task(
        export_customers(
            session, tmp_path / "c.csv", per_page=10, on_progress=lambda p: reached.set() if p.page > 5 else None
        )
    )
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    data = (tmp_path / ".c.csv.part").read_bytes()
    assert data.endswith(b"\r\n")
    assert data.count(b"\r\n") % 10 == 1
    await export_customers(session, tmp_path / "c.csv", per_page=10, resume=True)
    assert read_rows(tmp_path / "c.csv") == shop.customers()


async def test_no_byte_is_written_by_the_event_loop(
    session: AsyncSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker's thread writes every byte, so a slow disk does not block the event loop."""
    import threading

    from shopsdk.export import _checkpoint, _disk, _part

    threads: set[int] = set()

    def watched(file: Any, data: bytes) -> None:
        threads.add(threading.get_ident())
        _disk.write_all(file, data)

    monkeypatch.setattr(_checkpoint, "write_all", watched)
    monkeypatch.setattr(_part, "write_all", watched)
    await export_customers(session, tmp_path / "c.csv")
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_a_file_of_text_is_refused(shop: Sandbox, session: AsyncSession, tmp_path: Path) -> None:
    """A file that is open for text is refused before anything is sent."""
    with (tmp_path / "x.csv").open("w") as file:
        with pytest.raises(TypeError, match=r"binary mode, as by open\(name, 'wb'\)"):
            await export_customers(session, cast(BinaryIO, file), format="csv")
    assert not shop.requests


@pytest.mark.parametrize("name", ["c.csv", "c.ndjson"])
async def test_columns_in_one_text_are_refused(name: str, shop: Sandbox, session: AsyncSession, tmp_path: Path) -> None:
    """Columns given as one text are refused, with the form that is meant."""
    with pytest.raises(TypeError, match=r"^columns must be a sequence of names, such as \['id', 'email'\], not a str$"):
        await export_customers(session, tmp_path / name, columns="id,email")
    assert (shop.requests, os.listdir(tmp_path)) == ([], [])
