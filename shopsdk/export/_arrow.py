"""Parquet in two steps: pages become record batches of an Arrow stream, and the finished stream becomes the file.

A Parquet file cannot be continued, because its index stands at its end. An Arrow stream can: it is a sequence of
messages, and may be cut behind any of them. So the unfinished file is an Arrow stream. When it is finished, its batches
are put into row groups, in bounded memory. Row groups are counted by rows alone, so an interrupted export gives the
same file as one that ran through.

To a stream, the batches are put into row groups at once, and so the bytes are the same.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import IO, Any

from shopsdk import Customer, DecodeError
from shopsdk.export._disk import BLOCK
from shopsdk.export._part import PartFile
from shopsdk.export._summary import CheckpointError, ExportError
from shopsdk.export._text import Encoder, arrow

_ROW_GROUP = 16_384
"""Rows of a row group: few, because writing one takes several times the memory of its rows."""
_DICTIONARY = ("shop_id", "balance", "total_completed", "total_spent_usd", "affiliate_referrer_email")
"""Columns whose values recur. A dictionary for any other column takes time and saves nothing."""


def arrow_encoder(columns: Sequence[str], shop_id: int | None) -> Encoder:
    """Make the encoder of pages as an Arrow stream.

    Raises:
        ExportError: pyarrow is not installed.
    """
    columnar = arrow("Parquet", "shopsdk.arrow")
    schema = columnar.customers_schema(columns)
    columnar.to_record_batch([], shop_id=shop_id, columns=columns)  # pyarrow imports pandas now, if it is there

    def batch(customers: Sequence[Customer]) -> bytes:
        try:
            made = columnar.to_record_batch(customers, shop_id=shop_id, columns=columns)
        except DecodeError as error:
            raise ExportError(str(error)) from error
        encoded: bytes = made.serialize().to_pybytes()
        return encoded

    return Encoder(schema.serialize().to_pybytes(), batch)


def parquet_encoder(columns: Sequence[str], shop_id: int | None) -> Encoder:
    """Make the encoder of a Parquet file in one pass: ``pack`` returns the row groups that a page has filled.

    Raises:
        ExportError: pyarrow is not installed.
    """
    pages = arrow_encoder(columns, shop_id)
    pa = arrow("Parquet")
    made = io.BytesIO()
    groups = _RowGroups(made, columns)

    def taken() -> bytes:
        data = made.getvalue()
        made.seek(0)
        made.truncate()
        return data

    def pack(page: bytes) -> bytes:
        groups.add(pa.ipc.read_record_batch(pa.py_buffer(page), groups.schema))
        return taken()

    def end() -> bytes:
        groups.end()
        groups.writer.close()
        return taken()

    return Encoder(taken(), pages.encode, pack, end)


def assemble_parquet(parts: Iterable[PartFile], file: IO[bytes], columns: Sequence[str]) -> None:
    """Write one Parquet file from the Arrow streams of its parts, in order.

    Raises:
        ExportError: pyarrow is not installed.
        CheckpointError: a part is not an Arrow stream of these columns, though its checkpoint says so.
        OSError: a part cannot be read, or the file cannot be written.
    """
    pa = arrow("Parquet")
    groups = _RowGroups(file, columns)
    with groups.writer:
        for part in parts:
            for batch in _batches(pa, groups.schema, part):
                groups.add(batch)
        groups.end()


class _RowGroups:
    """Writes batches to a Parquet file, as row groups of a fixed size."""

    def __init__(self, file: IO[bytes], columns: Sequence[str]) -> None:
        pq = arrow("Parquet", "pyarrow.parquet")
        self._pa = arrow("Parquet")
        self.schema = arrow("Parquet", "shopsdk.arrow").customers_schema(columns)
        dictionary = [name for name in columns if name in _DICTIONARY]
        self.writer: Any = pq.ParquetWriter(file, self.schema, compression="zstd", use_dictionary=dictionary)
        self._held: list[Any] = []
        self._rows = 0

    def add(self, batch: Any) -> None:
        """Add a batch of any size, and write the groups that it fills."""
        self._held.append(batch)
        self._rows += batch.num_rows
        while self._rows >= _ROW_GROUP:
            table = self._pa.Table.from_batches(self._held, self.schema)
            self._write(table.slice(0, _ROW_GROUP).combine_chunks())
            self._held = table.slice(_ROW_GROUP).to_batches()
            self._rows -= _ROW_GROUP

    def end(self) -> None:
        """Write the rows that fill no group; ``writer`` is closed after it."""
        if self._rows:
            self._write(self._pa.Table.from_batches(self._held, self.schema).combine_chunks())

    def _write(self, table: Any) -> None:
        self.writer.write_table(table, row_group_size=_ROW_GROUP)


def _batches(pa: Any, schema: Any, part: PartFile) -> Iterator[Any]:
    reader = io.BufferedReader(part.rewound(), BLOCK)
    try:
        stream = pa.ipc.open_stream(pa.PythonFile(reader, mode="r"))
        if stream.schema != schema:
            raise pa.ArrowInvalid("another schema")
        for batch in stream:
            batch.validate(full=True)
            yield batch
    except (pa.ArrowException, MemoryError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise CheckpointError(f"{str(part.path)!r} does not hold what its checkpoint says; begin anew") from error
    finally:
        with suppress(ValueError):  # it was closed after an error
            reader.detach()
