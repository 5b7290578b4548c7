"""The formats of the export: the contents of the files, read back by common tools."""

import csv
import json
import os
import threading
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shopsdk import AsyncSession, Customer
from shopsdk.export import COLUMNS, ExportError, export_customers, export_shops, to_plain
from shopsdk.export._arrow import arrow_encoder
from shopsdk.export._text import Encoder
from shopsdk.sandbox import Sandbox
from tests.support.export import read_rows


@pytest.mark.parametrize(
    "name", ["c.ndjson", "c.jsonl", "c.csv", "c.parquet", "c.ndjson.gz", "c.csv.gz", "c.ndjson.zst", "c.csv.zst"]
)
async def test_every_format_holds_every_customer(
    name: str, shop: Sandbox, session: AsyncSession, tmp_path: Path
) -> None:
    """Every format holds every customer with every field, to the cent, and leaves no working file."""
    summary = await export_customers(session, tmp_path / name)
    assert summary.path == tmp_path / name
    assert read_rows(tmp_path / name) == shop.customers()
    assert (summary.rows, summary.pages, summary.bytes) == (250, 3, (tmp_path / name).stat().st_size)
    assert os.listdir(tmp_path) == [name]


async def test_parquet_has_types_that_tools_can_count_with(session: AsyncSession, tmp_path: Path) -> None:
    """Parquet has decimals for money and UTC times, and is compressed."""
    await export_customers(session, tmp_path / "c.parquet")
    schema = pq.read_schema(tmp_path / "c.parquet")
    assert schema.names == list(COLUMNS)
    assert schema.field("balance").type == pa.decimal128(38, 6)
    assert schema.field("last_completed_at").type == pa.timestamp("us", tz="UTC")
    group = pq.read_metadata(tmp_path / "c.parquet").row_group(0)
    assert group.num_rows == 250
    assert {group.column(i).compression for i in range(group.num_columns)} == {"ZSTD"}


async def test_row_groups_are_cut_by_rows_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups are cut by rows alone, so an interrupted export gives the same ones in bounded memory."""
    monkeypatch.setattr("shopsdk.export._arrow._ROW_GROUP", 70)
    with Sandbox(350) as shop:
        async with shop.session() as session:
            await export_customers(session, tmp_path / "c.parquet", per_page=50)
        metadata = pq.read_metadata(tmp_path / "c.parquet")
        assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [70] * 5
        assert read_rows(tmp_path / "c.parquet") == shop.customers()


@pytest.mark.parametrize("name", ["c.parquet", "{shop_id}.parquet", "all.parquet"])
async def test_pyarrow_is_not_imported_on_the_event_loop(
    name: str, session: AsyncSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker's thread imports pyarrow, which takes a tenth of a second."""
    asked: set[str] = set()

    def spy(columns: Sequence[str], shop_id: int | None) -> Encoder:
        asked.add(threading.current_thread().name)
        return arrow_encoder(columns, shop_id)

    monkeypatch.setattr("shopsdk.export._plan.arrow_encoder", spy)
    if name == "c.parquet":
        await export_customers(session, tmp_path / name)
    else:
        assert not (await export_shops(session, tmp_path / name, [38])).failed
    assert asked == {"shopsdk-export"}


@pytest.mark.parametrize("name", ["c.ndjson", "c.csv", "c.parquet"])
async def test_columns_are_chosen_and_ordered(name: str, shop: Sandbox, session: AsyncSession, tmp_path: Path) -> None:
    """``columns`` chooses and orders the columns, the shop's id included."""
    columns = ["balance", "affiliate_referrer_email", "shop_id", "id"]
    await export_customers(session, tmp_path / name, columns=columns)
    rows: list[dict[str, Any]]
    if name == "c.parquet":
        rows = pq.read_table(tmp_path / name).to_pylist()
    elif name == "c.csv":
        with (tmp_path / name).open(newline="") as file:
            rows = list(csv.DictReader(file))
    else:
        rows = [json.loads(line) for line in (tmp_path / name).read_bytes().splitlines()]
    assert [list(row) for row in rows] == [columns] * 250
    for row, customer in zip(rows, shop.customers(), strict=True):
        referrer = customer.affiliate_referrer
        assert Decimal(row["balance"]) == customer.balance
        assert (row["affiliate_referrer_email"] or None) == (referrer and referrer.email)
        assert (int(row["shop_id"]), int(row["id"])) == (38, customer.id)


async def test_an_empty_shop_is_a_whole_file(tmp_path: Path) -> None:
    """A shop without customers gives a whole file, with its header."""
    with Sandbox(0) as shop:
        async with shop.session() as session:
            for name in ("c.ndjson", "c.csv", "c.parquet"):
                assert (await export_customers(session, tmp_path / name)).rows == 0
    assert (tmp_path / "c.ndjson").read_bytes() == b""
    assert (tmp_path / "c.csv").read_text() == ",".join(COLUMNS) + "\n"
    assert pq.read_table(tmp_path / "c.parquet").num_rows == 0


async def test_bom_is_for_excel_and_only_on_request(session: AsyncSession, tmp_path: Path) -> None:
    """A byte order mark, which Excel needs, begins the file only on request."""
    await export_customers(session, tmp_path / "a.csv", bom=True)
    await export_customers(session, tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == b"\xef\xbb\xbf" + (tmp_path / "b.csv").read_bytes()


async def test_filters_and_order_reach_the_shop(shop: Sandbox, session: AsyncSession, tmp_path: Path) -> None:
    """Filters and order reach the shop."""
    await export_customers(session, tmp_path / "c.ndjson", subscribed=True, order_direction="desc")
    wanted = [c.id for c in shop.customers() if c.newsletter_at is not None]
    assert [c.id for c in read_rows(tmp_path / "c.ndjson")] == wanted[::-1]


async def test_money_keeps_every_digit(tmp_path: Path) -> None:
    """Money keeps every digit, without exponents; Parquet's error names a value that it would have to round."""
    from shopsdk.export._arrow import arrow_encoder

    tiny = Customer(id=1, email="a@example.com", balance=Decimal("0.00000001"))
    assert to_plain(tiny)["balance"] == "0.00000001"
    with pytest.raises(ExportError, match=r"customers 1 to 1 does not fit: balance is decimal128"):
        arrow_encoder(COLUMNS, None).encode([tiny])
