r"""The text formats, NDJSON and CSV, and their compression.

**Invariant.** Each page is encoded by itself. So an export can be cut behind any page and continued: the same pages
give the same bytes. A compressed page is a gzip member or zstd frame of its own; every reader of these formats joins
them.

**Formulas.** A spreadsheet takes a cell for a formula that starts with ``=``, ``+``, ``-``, ``@``, a tab or a carriage
return. Where lists are written with ``;``, it splits lines by that; quotes within a field are text then, and a ``;``,
tab, CR or LF of any text may begin a cell. So CSV puts an apostrophe behind each of these, and at the start of a text,
wherever a formula would begin. There may be quotes and NULs before the formula, since readers drop the quotes that
begin a cell, and LibreOffice drops NULs. There may be apostrophes: text that looks escaped gets one more, so that
``unescape_formula`` always returns the original. A comma needs none: text with a comma is quoted, and readers that
split by commas know that. Numbers are left alone. If the first column is a number below 0, a reader that splits by
``;`` takes its minus for the start of the whole row.

**Ends of lines** are CRLF, as in RFC 4180. Text with a lone CR or LF is quoted: readers would take it for the end of
the row.
"""

import gzip
import importlib
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Literal

import attrs
import msgspec

from shopsdk import Customer
from shopsdk.export._rows import FIELDS, MONEY_COLUMNS, TEXT_COLUMNS, TIME_COLUMNS, column_reader, money_text
from shopsdk.export._summary import ExportError

Compression = Literal["gz", "zst"]
Compressor = Callable[[bytes], bytes]

_GZIP_LEVEL = 6
_ZSTD_LEVEL = 3
_BOM = b"\xef\xbb\xbf"
_START = r"(?<![^;\t\r\n])"
_FORMULA = r"""(?=['"\0]*[=+\-@\t\r])"""
_UNESCAPED = re.compile(_START + _FORMULA)
_ESCAPED = re.compile(_START + "'" + _FORMULA)
_FORMULA_IN_LIST = re.compile(r",'*[=+\-@]")
_NEEDS_QUOTES = re.compile('[,"\r\n]')
_encoder = msgspec.json.Encoder()
_Column = Callable[[Sequence[Customer]], Sequence[Any]]


def escape_formula(text: str) -> str:
    """Escape text that a spreadsheet would take for a formula, as the CSV export does.

    An apostrophe goes in at the start, and behind each ``;``, tab, CR and LF, wherever ``=``, ``+``, ``-``, ``@``, a
    tab or a CR follows, be it behind quotes, apostrophes or NULs. So no cell is a formula, whether a spreadsheet
    splits the file by commas, ``;`` or tabs.

    Args:
        text: the content of one cell.
    """
    return _UNESCAPED.sub("'", text)


def unescape_formula(cell: str) -> str:
    """Return the text that ``escape_formula`` was given.

    Args:
        cell: one cell of a CSV export.
    """
    return _ESCAPED.sub("", cell)


@attrs.frozen
class Encoder:
    """The functions that write one format."""

    prefix: bytes
    """What the file begins with."""
    encode: Callable[[Sequence[Customer]], bytes]
    """Encode one page."""
    pack: Compressor = bytes
    """Compress an encoded page; slower than encoding it."""
    end: Callable[[], bytes] = bytes
    """Make what the file ends with."""


def ndjson_encoder(columns: Sequence[str] | None, shop_id: int | None, compress: Compressor) -> Encoder:
    """Make the encoder of one JSON line per customer; ``columns`` None: the customer as an object, with referrer."""
    names = FIELDS if columns is None else columns
    readers = [_json_column(name, shop_id) for name in names]
    line = msgspec.defstruct("Line", names, gc=False)  # made and written faster than a dict

    def lines(customers: Sequence[Customer]) -> bytes:
        return _encoder.encode_lines(list(map(line, *[read(customers) for read in readers])))

    return Encoder(b"", lines, compress)


def _json_column(name: str, shop_id: int | None) -> _Column:
    """Make a function that reads one column as values for the JSON encoder, which writes times itself."""
    read = column_reader(name, shop_id)
    if name in MONEY_COLUMNS:
        return lambda customers: _money_texts(read(customers))
    if name == "affiliate_referrer":  # the encoder writes an attrs class with its fields in another order
        return lambda customers: [None if r is None else {"id": r.id, "email": r.email} for r in read(customers)]
    return read


def csv_encoder(
    columns: Sequence[str], shop_id: int | None, compress: Compressor, *, bom: bool, escape_formulas: bool
) -> Encoder:
    """Make the encoder of one CSV line per customer, below a line of column names.

    The bytes are those of Python's ``csv`` module, which takes twice the time.
    """
    readers = [_csv_column(name, shop_id, escape_formulas=escape_formulas) for name in columns]
    alone = len(columns) == 1

    def lines(customers: Sequence[Customer]) -> bytes:
        rows = map(",".join, zip(*[read(customers) for read in readers], strict=True))
        full = [row or '""' for row in rows] if alone else rows  # readers skip an empty line
        return "\r\n".join([*full, ""]).encode()

    header = (",".join(columns) + "\r\n").encode()
    return Encoder(compress((_BOM if bom else b"") + header), lines, compress)


def _csv_column(name: str, shop_id: int | None, *, escape_formulas: bool) -> _Column:
    """Make a function that reads one column as it stands in the file. By columns is faster than by rows."""
    read = column_reader(name, shop_id)
    if name in TEXT_COLUMNS:
        finish = _quoted_and_escaped if escape_formulas else _quoted
        return lambda customers: _text_cells(read(customers), finish)
    if name in MONEY_COLUMNS:
        return lambda customers: [text or "" for text in _money_texts(read(customers))]
    if name in TIME_COLUMNS:
        return lambda customers: [text or "" for text in msgspec.to_builtins(read(customers))]
    return lambda customers: ["" if number is None else str(number) for number in read(customers)]


def _text_cells(column: Sequence[str | None], finish: Callable[[str], str]) -> list[str]:
    """Write texts as cells; ``finish`` writes one. Few columns need it, and a search through all their texts tells."""
    texts = [text or "" for text in column]
    together = ",".join(["", *texts])
    plain = (
        together.count(",") == len(texts)
        and not any(mark in together for mark in '"\r\n;\t\0')
        and not _FORMULA_IN_LIST.search(together)
    )
    return texts if plain else [finish(text) for text in texts]


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _NEEDS_QUOTES.search(text) else text


def _quoted_and_escaped(text: str) -> str:
    return _quoted(escape_formula(text))


def _money_texts(column: Sequence[Any]) -> list[str | None]:
    """Write money as ``money_text`` does, but faster."""
    texts: list[str | None] = msgspec.to_builtins(column)
    return texts if "E" not in "".join(filter(None, texts)) else [money_text(value) for value in column]


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
