r"""The text formats, NDJSON and CSV, and their compression.

**Invariant.** Each page is encoded by itself. So an export can be cut behind any page and continued: the same pages
give the same bytes. A compressed page is a gzip member or zstd frame of its own; every reader of these formats joins
them.

**Formulas.** A spreadsheet takes text for a formula that starts with ``=``, ``+``, ``-``, ``@``, a tab or a carriage
return. CSV escapes such text by a leading apostrophe. Text that already looks escaped gets one more, so that
``unescape_formula`` always returns the original. Numbers are left alone.

**Ends of lines** are CRLF, as in RFC 4180. With a bare LF, Python before 3.13 leaves a lone CR in a cell unquoted, and
readers take it for the end of the row.
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
    """Escape text that a spreadsheet would take for a formula, as the CSV export does.

    Args:
        text: the content of one cell.
    """
    return f"'{text}" if text.lstrip("'")[:1] in _DANGEROUS else text


def unescape_formula(cell: str) -> str:
    """Return the text that ``escape_formula`` was given.

    Args:
        cell: one cell of a CSV export.
    """
    return cell[1:] if cell[:1] == "'" and cell.lstrip("'")[:1] in _DANGEROUS else cell


@attrs.frozen
class Encoder:
    """The functions that write one format."""

    prefix: bytes
    """What the file begins with."""
    encode: Callable[[Sequence[Customer]], bytes]
    """Encode customers, of one page or of several."""
    pack: Compressor = bytes
    """Compress an encoded page; slower than encoding it."""
    end: Callable[[], bytes] = bytes
    """Make what the file ends with."""

    @property
    def compressed(self) -> bool:
        """Whether pages are compressed, each by itself."""
        return self.pack is not bytes


def ndjson_encoder(columns: Sequence[str] | None, shop_id: int | None, compress: Compressor) -> Encoder:
    """Make the encoder of one JSON line per customer; ``columns`` None: the customer as an object, with referrer."""
    if columns is None:
        return Encoder(b"", lambda customers: _encoder.encode_lines(json_rows(customers)), compress)
    pick = picker(columns, shop_id)
    names = tuple(columns)

    def lines(customers: Sequence[Customer]) -> bytes:
        return _encoder.encode_lines([dict(zip(names, pick(row), strict=True)) for row in json_rows(customers)])

    return Encoder(b"", lines, compress)


def csv_encoder(columns: Sequence[str], shop_id: int | None, compress: Compressor, *, bom: bool) -> Encoder:
    """Make the encoder of one CSV line per customer, below a line of column names."""
    readers = [_cells(name, shop_id) for name in columns]

    def lines(customers: Sequence[Customer]) -> bytes:
        return _csv_bytes(zip(*[read(customers) for read in readers], strict=True))

    header = _csv_bytes([columns])
    return Encoder(compress((_BOM if bom else b"") + header), lines, compress)


def _cells(name: str, shop_id: int | None) -> Callable[[Sequence[Customer]], list[Any]]:
    """Make a function that reads one column as it stands in the file. By columns is faster than by rows."""
    read = column_reader(name, shop_id)
    if name in MONEY_COLUMNS:
        return lambda customers: [money_text(value) for value in read(customers)]
    if name in TIME_COLUMNS:
        return lambda customers: [time_text(value) for value in read(customers)]
    if name in TEXT_COLUMNS:
        # Few texts begin with one of these, and looking is cheaper than a call.
        return lambda customers: [
            text if not text or text[0] not in _SUSPECT else escape_formula(text) for text in read(customers)
        ]
    return read


def _csv_bytes(rows: Any) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\r\n").writerows(rows)
    return out.getvalue().encode()


def compressor(kind: Compression | None) -> Compressor:
    """Return the compressor of a kind; None: data stays as it is.

    Raises:
        ExportError: neither this Python nor pyarrow has zstd.
    """
    if kind is None:
        return bytes
    if kind == "gz":
        # A time stamp would make the bytes differ from run to run.
        return lambda data: gzip.compress(data, _GZIP_LEVEL, mtime=0)
    return _zstd()


def _zstd() -> Compressor:
    if sys.version_info >= (3, 14):  # before, a package of this name is not Python's
        with suppress(ModuleNotFoundError):  # a Python built without it
            standard: Any = importlib.import_module("compression.zstd")
            return lambda data: standard.compress(data, _ZSTD_LEVEL)
    codec = arrow("zstd compression").Codec("zstd", compression_level=_ZSTD_LEVEL)
    return lambda data: codec.compress(data, asbytes=True)


def arrow(purpose: str, module: str = "pyarrow") -> Any:
    """Import pyarrow, which is an extra and has no types.

    Raises:
        ExportError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ExportError(f"{purpose} needs pyarrow: pip install 'shopsdk[parquet]'") from error
