r"""The text formats: pages in, bytes out, with nothing remembered from one page to the next.

That each page stands for itself is what lets an export be cut at any page and gone on with: same pages, same bytes.
Compressed pages are gzip members or zstd frames of their own, which every reader of either format puts together.

CSV is made to be opened in a spreadsheet: text that would be taken for a formula (it starts with ``=``, ``+``, ``-``,
``@``, a tab or a carriage return) is escaped by a leading apostrophe. Text that already looks escaped gets one more,
so that ``unescape_formula`` always gives back the original. Numbers are left alone. Lines end with CRLF, as RFC 4180
has it; with a bare LF, Python before 3.13 leaves a lone CR within a cell unquoted, and readers take it for the end of
the row.

gzip and zstd come one whole member or frame at a time, without a dependency of their own.
"""

import csv
import gzip
import importlib
import io
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Literal

import attrs
import msgspec

from shopsdk import Customer
from shopsdk.export._rows import (
    MONEY_COLUMNS,
    TEXT_COLUMNS,
    TIME_COLUMNS,
    column_reader,
    json_rows,
    money_text,
    picker,
    time_text,
)
from shopsdk.export._summary import ExportError

Compression = Literal["gz", "zst"]
Compressor = Callable[[bytes], bytes]

_GZIP_LEVEL = 6
_ZSTD_LEVEL = 3
_DANGEROUS = frozenset("=+-@\t\r")
_SUSPECT = _DANGEROUS | {"'"}
_BOM = b"\xef\xbb\xbf"
_encoder = msgspec.json.Encoder()


def escape_formula(text: str) -> str:
    """Make text safe to open in a spreadsheet, as the CSV export does.

    Args:
        text: the content of one cell.
    """
    return f"'{text}" if text.lstrip("'")[:1] in _DANGEROUS else text


def unescape_formula(cell: str) -> str:
    """Give back the text that ``escape_formula`` was given.

    Args:
        cell: one cell of a CSV export.
    """
    return cell[1:] if cell[:1] == "'" and cell.lstrip("'")[:1] in _DANGEROUS else cell


@attrs.frozen
class Encoder:
    """One format with its settings."""

    prefix: bytes
    """What the file begins with."""
    encode: Callable[[Sequence[Customer]], bytes]
    """Write one page."""
    pack: Compressor = bytes
    """Compress what was written, which takes longer."""


def ndjson_encoder(columns: Sequence[str] | None, shop_id: int | None, compress: Compressor) -> Encoder:
    """Write each customer as one line of JSON; ``columns`` None for a customer as it is, referrer and all."""
    if columns is None:
        return Encoder(b"", lambda customers: _encoder.encode_lines(json_rows(customers)), compress)
    pick = picker(columns, shop_id)
    names = tuple(columns)

    def lines(customers: Sequence[Customer]) -> bytes:
        return _encoder.encode_lines([dict(zip(names, pick(row), strict=True)) for row in json_rows(customers)])

    return Encoder(b"", lines, compress)


def csv_encoder(columns: Sequence[str], shop_id: int | None, compress: Compressor, *, bom: bool) -> Encoder:
    """Write each customer as one line of CSV, below a line of column names."""
    readers = [_cells(name, shop_id) for name in columns]

    def lines(customers: Sequence[Customer]) -> bytes:
        return _csv_bytes(zip(*[read(customers) for read in readers], strict=True))

    header = _csv_bytes([columns])
    return Encoder(compress((_BOM if bom else b"") + header), lines, compress)


def _cells(name: str, shop_id: int | None) -> Callable[[Sequence[Customer]], list[Any]]:
    """Make a function that reads one column as it stands in the file: column by column is faster than row by row."""
    read = column_reader(name, shop_id)
    if name in MONEY_COLUMNS:
        return lambda customers: [money_text(value) for value in read(customers)]
    if name in TIME_COLUMNS:
        return lambda customers: [time_text(value) for value in read(customers)]
    if name in TEXT_COLUMNS:
        # Hardly any text begins with one of these.
        return lambda customers: [
            text if not text or text[0] not in _SUSPECT else escape_formula(text) for text in read(customers)
        ]
    return read


def _csv_bytes(rows: Any) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\r\n").writerows(rows)
    return out.getvalue().encode()


def compressor(kind: Compression | None) -> Compressor:
    """Find a compressor; None for none.

    Raises:
        ExportError: zstd was asked for, and neither this Python nor pyarrow brings it.
    """
    if kind is None:
        return lambda data: data
    if kind == "gz":
        # A time stamp within would make the same export differ from run to run.
        return lambda data: gzip.compress(data, _GZIP_LEVEL, mtime=0)
    return _zstd()


def _zstd() -> Compressor:
    if sys.version_info >= (3, 14):  # before that, a package of this name would be anybody's
        with suppress(ModuleNotFoundError):  # a Python built without it
            standard: Any = importlib.import_module("compression.zstd")
            return lambda data: standard.compress(data, _ZSTD_LEVEL)
    codec = arrow("zstd compression").Codec("zstd", compression_level=_ZSTD_LEVEL)
    return lambda data: codec.compress(data, asbytes=True)


def arrow(purpose: str, module: str = "pyarrow") -> Any:
    """Import pyarrow, which is an extra, and has no types.

    Raises:
        ExportError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ExportError(f"{purpose} needs pyarrow: pip install 'shopsdk[parquet]'") from error
