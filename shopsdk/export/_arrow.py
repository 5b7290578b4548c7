"""Parquet in two steps: pages become record batches of an Arrow stream, and the finished stream becomes the file.

A Parquet file cannot be continued, because its index stands at its end. An Arrow stream can: it is a sequence of
messages, and may be cut behind any of them. So the unfinished file is an Arrow stream. When it is finished, its batches
are put into row groups, in bounded memory. Row groups are counted by rows alone, so an interrupted export gives the
same file as one that ran through.
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

    def batch(customers: Sequence[Customer]) -> bytes:
        try:
            made = columnar.to_record_batch(customers, shop_id=shop_id, columns=columns)
        except DecodeError as error:
            raise ExportError(str(error)) from error
        encoded: bytes = made.serialize().to_pybytes()
        return encoded

    return Encoder(schema.serialize().to_pybytes(), batch)


def assemble_parquet(parts: Iterable[PartFile], file: IO[bytes], columns: Sequence[str]) -> None:
    """Write one Parquet file from the Arrow streams of its parts, in order.

    Raises:
        ExportError: pyarrow is not installed.
        CheckpointError: a part is not an Arrow stream of these columns, though its checkpoint says so.
        OSError: a part cannot be read, or the file cannot be written.
    """
    pq = arrow("Parquet", "pyarrow.parquet")
    pa = arrow("Parquet")
    schema = arrow("Parquet", "shopsdk.arrow").customers_schema(columns)
    dictionary = [name for name in columns if name in _DICTIONARY]
    with pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=dictionary) as writer:
        for table in _row_groups(pa, schema, parts):
            writer.write_table(table, row_group_size=_ROW_GROUP)


def _row_groups(pa: Any, schema: Any, parts: Iterable[PartFile]) -> Iterator[Any]:
    held: list[Any] = []
    rows = 0
    for part in parts:
        for batch in _batches(pa, schema, part):
            held.append(batch)
            rows += batch.num_rows
            while rows >= _ROW_GROUP:
                table = pa.Table.from_batches(held, schema)
                yield table.slice(0, _ROW_GROUP)
                held = table.slice(_ROW_GROUP).to_batches()
                rows -= _ROW_GROUP
    if rows:
        yield pa.Table.from_batches(held, schema)


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
