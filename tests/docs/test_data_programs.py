"""Programs for data: frames, a notebook, a lake, fifty shops, changes. Each runs as its user runs it; types stay."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from shopsdk import Customer
from shopsdk.arrow import read_customers, to_record_batch
from shopsdk.export import export_customers
from shopsdk.sandbox import Sandbox
from tests.support.examples import README, blocks
from tests.support.gateway import gateway
from tests.support.needs import need
from tests.support.programs import PROGRAMS, environment, run

pytestmark = pytest.mark.slow

LARGE = Decimal("99999999999999.99")  # a float would round it
DISCORD = "1099511627776000001"  # pandas reads such a text beside a missing one as a float
TIME = datetime(2025, 2, 7, 3, 37, 1, tzinfo=UTC)
COLUMNS = ["id", "balance", "discord_id", "last_completed_at", "total_completed"]
ROWS: list[tuple[object, ...]] = [
    (2**53 + 1, LARGE, DISCORD, TIME, None),
    (2**53 + 2, Decimal("0.10"), None, None, 0),
    (2**53 + 3, None, None, None, None),
]


@pytest.fixture
def hard_shop() -> Iterator[Sandbox]:
    """A shop whose values do not survive as floats or as naive times."""
    rows: list[dict[str, Any]] = [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]
    with Sandbox([Customer(email=f"{number}@example.com", **row) for number, row in enumerate(rows)]) as shop:
        yield shop


def pandas_rows(frame: Any) -> list[tuple[object, ...]]:
    """The rows of a frame, which must say that it holds Arrow's own types."""
    kinds = [str(kind).removesuffix("[pyarrow]") for kind in frame.dtypes]  # Dask calls text plainly "string"
    assert ["int64", "decimal128(38, 6)", "string", "timestamp[us, tz=UTC]", "int64"] == kinds
    return [tuple(row.values()) for row in frame.to_dict("records")]


FRAMES: dict[str, tuple[str, Callable[[Any], list[tuple[object, ...]]]]] = {
    "pandas": ("table.to_pandas(types_mapper=pandas.ArrowDtype)", pandas_rows),
    "polars": ("polars.from_arrow(table)", lambda frame: frame.rows()),
    "duckdb": ('duckdb.sql("FROM customers")', lambda found: found.fetchall()),
}


@pytest.mark.parametrize("engine", FRAMES)
async def test_types_arrive_intact_in_a_frame(engine: str, hard_shop: Sandbox) -> None:
    """The README's line for an engine keeps large ids, money, text of digits, times, and what is missing."""
    need(engine)
    async with hard_shop.session() as session:
        table = await read_customers(session, columns=COLUMNS)
    line, rows = FRAMES[engine]
    assert f"`{line}`" in README.read_text(encoding="utf-8")
    frame = eval(line, {engine: __import__(engine), "table": table, "customers": table})
    assert ROWS == rows(frame)


@pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")  # pandas, of what dask does with it
async def test_types_arrive_intact_in_dask(hard_shop: Sandbox, tmp_path: Path) -> None:
    """A Dask frame over exported files has the types of pandas on Arrow, and sums up money exactly."""
    need("dask.dataframe")
    import dask.dataframe as dd

    async with hard_shop.session() as session:
        await export_customers(session, tmp_path / "38.parquet", columns=[*COLUMNS, "shop_id"])
    frame = dd.read_parquet(tmp_path, dtype_backend="pyarrow")
    assert ROWS == pandas_rows(frame[COLUMNS].compute(scheduler="synchronous"))
    sums = frame.groupby("shop_id")["balance"].sum().compute(scheduler="synchronous")
    assert {38: LARGE + Decimal("0.10")} == sums.to_dict()


def test_frames(shop: Sandbox, tmp_path: Path) -> None:
    """The program gives one exact answer by all three."""
    for engine in FRAMES:
        need(engine)
    ran = run("frames.py", shop=shop, cwd=tmp_path)
    assert (0, "") == (ran.code, ran.err)
    balances = [customer.balance or 0 for customer in shop.customers() if customer.total_completed == 0]
    said = [line.split() for line in ran.out.splitlines()]
    assert [(name, sum(balances)) for name in ("pandas", "polars", "DuckDB")] == [
        (name, Decimal(balance)) for name, balance in said
    ]


async def test_the_notebook(shop: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All cells run in a real kernel; money is exact in the frame; the last cell closes the session."""
    need("nbclient")
    need("ipykernel")
    import nbclient
    import nbformat

    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    notebook = nbformat.read(PROGRAMS / "notebook.ipynb", as_version=4)
    assert [] == [cell.outputs for cell in notebook.cells if cell.cell_type == "code" and cell.outputs]
    probe = 'print(type(customers["balance"].sum()).__name__, customers["balance"].sum(), len(customers))'
    notebook.cells.append(nbformat.v4.new_code_cell(probe))
    notebook.cells.append(nbformat.v4.new_code_cell("await get_customer(session, 1)"))
    client = nbclient.NotebookClient(notebook, allow_error_names=["SessionStateError"])
    await client.async_execute(env=environment(shop))
    *_, shown, _, said, refused = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    assert shop.customers()[0].email in shown[0]["data"]["text/plain"]
    total = sum(customer.balance or 0 for customer in shop.customers())
    kind, printed, rows = said[0]["text"].split()
    assert ("Decimal", total, 250) == (kind, Decimal(printed), int(rows))
    assert "SessionStateError" == refused[0]["ename"]


async def test_a_lake(tmp_path: Path) -> None:
    """Each shop has a file; polars sees one table, whatever else is unfinished; a shop that fails is named."""
    need("polars")
    with Sandbox(30, shop_id=38) as first, Sandbox(20, shop_id=39, seed=1) as second:
        async with gateway({38: first, 39: second, 40: second}) as gate:
            there = gate.environment()

            def update() -> Any:
                return run("lake.py", "lake", "38", "39", "40", shop=first, cwd=tmp_path, **there)

            ran = await asyncio.to_thread(update)
            (tmp_path / "lake" / ".41.parquet.part").write_bytes(b"unfinished")
            again = await asyncio.to_thread(update)
        for each in (ran, again):
            assert (1, "shop 40 keeps its old file: ") == (each.code, each.err[:28])
            for shop in (first, second):
                balance = sum((customer.balance or Decimal(0) for customer in shop.customers()), Decimal(0))
                assert f"│ {shop.shop_id}      ┆ {len(shop.customers())}        ┆ {balance:.6f} " in each.out


async def test_fifty_shops_with_fifty_keys(tmp_path: Path) -> None:
    """Each shop is asked by its own key; the one whose key is wrong is named, and has no row."""
    with ExitStack() as stack:
        shops = {
            shop_id: stack.enter_context(Sandbox(3, shop_id=shop_id, api_key=f"{shop_id}|key", seed=shop_id))
            for shop_id in range(1, 51)
        }
        async with gateway(shops) as gate:
            there = gate.environment() | {"SHOPSDK_API_KEY_7": shops[8].api_key}
            ran = await asyncio.to_thread(
                run, "fifty_shops.py", "customers.parquet", shop=shops[1], cwd=tmp_path, **there
            )
        assert (1, "147 customers of 49 shops\n") == (ran.code, ran.out)
        assert ["shop 7"] == [line.partition(":")[0] for line in ran.err.splitlines()]
        assert "|key" not in ran.out + ran.err
        batches = [
            to_record_batch(shop.customers(), shop_id=shop_id) for shop_id, shop in shops.items() if shop_id != 7
        ]
        table = pyarrow.parquet.read_table(tmp_path / "customers.parquet")
        assert pa.Table.from_batches(batches).to_pylist() == table.to_pylist()


async def test_changes_between_two_exports(hard_shop: Sandbox, tmp_path: Path) -> None:
    """Who came, who went and what became of whom is told exactly; nobody else is told of."""
    need("duckdb")
    import duckdb

    first, second, third = hard_shop.customers()
    fourth = Customer(id=third.id + 1, email="new@example.com")
    async with hard_shop.session() as session:
        await export_customers(session, tmp_path / "09.parquet")
        hard_shop.update_customer(first.id, balance=LARGE + Decimal("0.01"), discord_id=None)
        hard_shop.remove_customer(second.id)
        hard_shop.add_customer(fourth)
        await export_customers(session, tmp_path / "10.parquet")
    (statement,) = blocks(README.read_text(encoding="utf-8"), "sql")
    in_folder = re.sub(r"'(\d+.parquet)'", rf"'{tmp_path}/\1'", statement)
    found = duckdb.sql(in_folder).fetchall()
    assert {first.id, second.id, fourth.id} == {row[0] for row in found}
    ran = run("changes.py", "09.parquet", "10.parquet", shop=hard_shop, cwd=tmp_path)
    assert (0, "") == (ran.code, ran.err)
    assert [
        {
            "id": first.id,
            "change": {"discord_id": [DISCORD, None], "balance": [f"{LARGE}0000", f"{LARGE + Decimal('0.01')}0000"]},
        },
        {"id": second.id, "change": "went"},
        {"id": fourth.id, "change": "came"},
    ] == [json.loads(line) for line in ran.out.splitlines()]
    ran = run("changes.py", "10.parquet", "10.parquet", shop=hard_shop, cwd=tmp_path)
    assert (0, "", "") == (ran.code, ran.out, ran.err)
