"""The query and the layout of an export; every argument is checked before anything is sent or written."""

import os
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import attrs

from shopsdk import AsyncSession, Customer, CustomerFilters, OrderColumn, OrderDirection, Page, iter_customer_pages
from shopsdk.export._arrow import arrow_encoder, parquet_encoder
from shopsdk.export._disk import resolve
from shopsdk.export._rows import FORMATS, Format, check_columns, plain_value
from shopsdk.export._text import Compression, Encoder, compressor, csv_encoder, ndjson_encoder

_ENDINGS: dict[str, Format] = {".ndjson": "ndjson", ".jsonl": "ndjson", ".csv": "csv", ".parquet": "parquet"}
_COMPRESSIONS: dict[str, Compression] = {".gz": "gz", ".zst": "zst"}


@attrs.frozen(kw_only=True)
class Query:
    """Which customers to export."""

    session: AsyncSession
    shop_id: int | None
    concurrency: int
    per_page: int
    order_column: OrderColumn
    order_direction: OrderDirection
    filters: CustomerFilters

    def pages(self, after: Page[Customer] | None = None) -> AsyncGenerator[Page[Customer], None]:
        """Walk their pages.

        Raises:
            ValueError: an argument out of its bounds.
            TypeError: an argument of the wrong type, or an unknown filter.
        """
        return iter_customer_pages(
            self.session,
            shop_id=self.shop_id,
            per_page=self.per_page,
            concurrency=self.concurrency,
            order_column=self.order_column,
            order_direction=self.order_direction,
            after=after,
            **self.filters,
        )

    async def checked(self) -> "Query":
        """Check the arguments, reduce them to plain values, and default to the session's shop.

        Raises:
            ValueError: an argument out of its bounds.
            TypeError: an argument of the wrong type, or an unknown filter.
        """
        await self.pages().aclose()
        filters = {plain_value(name): plain_value(value) for name, value in self.filters.items()}
        return Query(
            session=self.session,
            shop_id=self.session.shop_id if self.shop_id is None else plain_value(self.shop_id),
            concurrency=plain_value(self.concurrency),
            per_page=plain_value(self.per_page),
            order_column=plain_value(self.order_column),
            order_direction=plain_value(self.order_direction),
            filters=cast("CustomerFilters", filters),
        )

    def parameters(self) -> dict[str, object]:
        """Return the parameters on which the rows depend, for the checkpoint."""
        return {
            "base_url": _place(self.session.base_url),
            "shop_id": self.shop_id,
            "per_page": self.per_page,
            "order_column": self.order_column,
            "order_direction": self.order_direction,
            "filters": {name: str(value) for name, value in self.filters.items()},
        }


@attrs.frozen(kw_only=True)
class Layout:
    """The format, columns and compression of a file."""

    format: Format
    columns: tuple[str, ...] | None
    """None: each customer as an object, referrer included (NDJSON)."""
    compression: Compression | None
    bom: bool
    escape_formulas: bool

    def encoder(self, shop_id: int | None) -> Encoder:
        """Make the encoder of pages.

        Raises:
            ExportError: the extra that it needs is not installed.
        """
        compress = compressor(self.compression)
        if self.format == "ndjson":
            return ndjson_encoder(self.columns, shop_id, compress)
        columns = self.columns or ()
        if self.format == "csv":
            return csv_encoder(columns, shop_id, compress, bom=self.bom, escape_formulas=self.escape_formulas)
        return arrow_encoder(columns, shop_id)

    def stream_encoder(self, shop_id: int | None) -> Encoder:
        """Make the encoder of pages that go to a stream, where Parquet is written in one pass.

        Raises:
            ExportError: the extra that it needs is not installed.
        """
        return parquet_encoder(self.columns or (), shop_id) if self.format == "parquet" else self.encoder(shop_id)

    def parameters(self) -> dict[str, object]:
        """Return the parameters on which the bytes of a row depend, for the checkpoint."""
        return {
            "format": self.format,
            "columns": None if self.columns is None else list(self.columns),
            "compression": self.compression,
            "bom": self.bom,
            "escape_formulas": self.escape_formulas,
        }


def make_layout(
    name: str | None,
    format: Format | None,
    columns: Sequence[str] | None,
    *,
    bom: bool,
    escape_formulas: bool,
    with_shop: bool = False,
) -> Layout:
    """Make a layout from a file's name (None: a stream) and the arguments.

    Raises:
        ValueError: the format is unknown, or does not allow one of the other arguments.
    """
    stem, compression = _uncompressed(name or "")
    format = plain_value(format)
    if format is None:
        format = _ENDINGS.get(os.path.splitext(stem)[1].lower()) if name is not None else "ndjson"
    if format is None:
        raise ValueError(
            f"cannot tell the format from the name {os.path.basename(name or '')!r}: it should end in .ndjson, .csv or"
            " .parquet (the first two also with .gz or .zst behind); or give the format"
        )
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {format!r}")
    if format == "parquet" and compression is not None:
        raise ValueError(f"a Parquet file is compressed inside: leave out .{compression}")
    if bom and format != "csv":
        raise ValueError("bom is for csv alone")
    if not escape_formulas and format != "csv":
        raise ValueError("escape_formulas is for csv alone: the other formats hold every text as it is")
    with_shop = with_shop and columns is None
    chosen = check_columns(columns, format, with_shop=with_shop)
    as_it_is = format == "ndjson" and columns is None and not with_shop
    return Layout(
        format=format,
        columns=None if as_it_is else chosen,
        compression=compression,
        bom=bom,
        escape_formulas=escape_formulas,
    )


def target_of(destination: str | os.PathLike[str], shop_id: int | None) -> Path:
    """Return the path of the file: ``{shop_id}`` in its name is replaced, and links are followed.

    Raises:
        ValueError: the name needs a shop, and none is known.
        PermissionError: a link is another user's, in a folder that others may write to.
    """
    name = plain_value(os.fspath(destination))
    if "{shop_id}" in name:
        if shop_id is None:
            raise ValueError("the name has {shop_id} in it, and no shop is known: give shop_id")
        name = name.replace("{shop_id}", str(shop_id))
    return resolve(name)


def _uncompressed(name: str) -> tuple[str, Compression | None]:
    stem, ending = os.path.splitext(name)
    compression = _COMPRESSIONS.get(ending.lower())
    return (name, None) if compression is None else (stem, compression)


def _place(base_url: str) -> str:
    """Return the address of the API. A port of this machine is left out: it differs from run to run."""
    url = urlsplit(base_url)
    host = url.hostname or ""
    local = host in {"localhost", "::1"} or host.startswith("127.")
    return f"{url.scheme}://{host if local else url.netloc}{url.path}"
