"""Targets that an export must not touch: existing files, other exports, and names that are no files."""

import os
from pathlib import Path
from typing import Any

import pytest

from shopsdk import AsyncSession
from shopsdk.export import CheckpointError, ExportProgress, export_customers
from shopsdk.export._part import checkpoint_path, open_part, part_path
from shopsdk.sandbox import Sandbox
from tests.support.export import StopHereError, read_rows, stop_at


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"columns": ["id"]}, "columns"),
        ({"bom": True}, "bom"),
        ({"escape_formulas": False}, "escape_formulas"),
        ({"per_page": 20}, "per_page"),
        ({"order_direction": "desc"}, "order_direction"),
        ({"email": "example.com"}, "filters"),
        ({"shop_id": 39}, "shop_id"),
    ],
)
async def test_other_parameters_are_refused(
    change: dict[str, Any], named: str, session: AsyncSession, tmp_path: Path
) -> None:
    """An export with other parameters is not resumed, and the error names the difference."""
    with pytest.raises(StopHereError):
        await export_customers(session, tmp_path / "c.csv", per_page=10, on_progress=stop_at(5))
    kept = part_path(tmp_path / "c.csv").read_bytes()
    options: dict[str, Any] = {"per_page": 10, **change}
    # Nobody listens there: had anything been sent, the error would be another one.
    async with AsyncSession("key", shop_id=38, base_url="http://127.0.0.1:9/v1") as nowhere:
        with pytest.raises(
            CheckpointError,
            match=rf"other parameters: {named} \(was .* with if_exists='replace' and without resume=True$",
        ):
            await export_customers(nowhere, tmp_path / "c.csv", **options, resume=True)
    assert part_path(tmp_path / "c.csv").read_bytes() == kept


async def test_another_api_is_refused(session: AsyncSession, tmp_path: Path) -> None:
    """An export from another API address is not resumed; the port of this machine may differ."""
    with pytest.raises(StopHereError):
        await export_customers(session, tmp_path / "c.csv", per_page=10, on_progress=stop_at(5))
    async with AsyncSession("key", shop_id=38, base_url="https://shop.invalid/v1") as other:
        with pytest.raises(
            CheckpointError, match=r"base_url \(was 'http://127.0.0.1/v1', now 'https://shop.invalid/v1'"
        ):
            await export_customers(other, tmp_path / "c.csv", per_page=10, resume=True)


async def test_a_checkpoint_of_another_version_is_refused(session: AsyncSession, tmp_path: Path) -> None:
    """A checkpoint of another version is refused."""
    checkpoint_path(tmp_path / "c.csv").write_bytes(b'{"shopsdk_export":2,"parameters":{}}\n')
    with pytest.raises(CheckpointError, match="of another version"):
        await export_customers(session, tmp_path / "c.csv", resume=True)


async def test_two_exports_to_one_name_do_not_mix(session: AsyncSession, tmp_path: Path) -> None:
    """A second export to the same name is refused while the first is at work."""
    first = open_part(tmp_path / "c.csv", {}, b"first", resume=False)
    with pytest.raises(CheckpointError, match="another export is at work"):
        await export_customers(session, tmp_path / "c.csv", if_exists="replace")
    assert part_path(tmp_path / "c.csv").read_bytes() == b"first"
    first.close()
    await export_customers(session, tmp_path / "c.csv", if_exists="replace")
    assert len(read_rows(tmp_path / "c.csv")) == 250


async def test_what_is_there_is_not_replaced_unasked(shop: Sandbox, session: AsyncSession, tmp_path: Path) -> None:
    """A file that exists is not replaced unasked."""
    target = tmp_path / "c.csv"
    target.write_text("precious")
    for resume in (False, True):
        with pytest.raises(FileExistsError, match="if_exists='replace' replaces it"):
            await export_customers(session, target, resume=resume)
    assert (target.read_text(), shop.requests) == ("precious", [])
    with pytest.raises(FileExistsError, match="holds something else"):
        await export_customers(session, target, if_exists="same")
    assert (target.read_text(), os.listdir(tmp_path)) == ("precious", ["c.csv"])
    await export_customers(session, target, if_exists="replace")
    assert read_rows(target) == shop.customers()
    await export_customers(session, target, if_exists="same")
    assert read_rows(target) == shop.customers()


@pytest.mark.parametrize("name", ["c.csv", "c.parquet"])
async def test_what_appears_meanwhile_is_not_replaced_unasked(
    name: str, shop: Sandbox, session: AsyncSession, tmp_path: Path
) -> None:
    """A file that appears while the export runs is not replaced unasked."""
    target = tmp_path / name

    def put(progress: ExportProgress) -> None:
        if progress.stage == "assembling":
            target.write_text("precious")

    with pytest.raises(FileExistsError, match="it appeared while the export ran"):
        await export_customers(session, target, on_progress=put)
    assert target.read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == [f".{name}.part", f".{name}.part.checkpoint", name]
    shop.requests.clear()
    await export_customers(session, target, resume=True)
    assert (read_rows(target), shop.requests) == (shop.customers(), [])


async def test_an_unfinished_export_is_not_thrown_away_unasked(session: AsyncSession, tmp_path: Path) -> None:
    """An unfinished export is not replaced unasked."""
    target = tmp_path / "c.csv"
    with pytest.raises(StopHereError):
        await export_customers(session, target, per_page=10, on_progress=stop_at(5))
    with pytest.raises(
        FileExistsError, match=r"unfinished export of 50 rows .* resume=True goes on with it, .*'replace' begins"
    ):
        await export_customers(session, target, per_page=10)
    with pytest.raises(FileExistsError, match="unfinished export"):
        await export_customers(session, target, per_page=20, if_exists="same")
    await export_customers(session, target, per_page=10, if_exists="same")
    assert len(read_rows(target)) == 250


@pytest.mark.parametrize(("name", "error"), [("d", IsADirectoryError), ("pipe.csv", FileExistsError)])
async def test_only_regular_files_are_replaced(
    name: str, error: type[OSError], session: AsyncSession, tmp_path: Path
) -> None:
    """A folder or a pipe is not replaced."""
    (tmp_path / "d").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(error):
        await export_customers(session, tmp_path / name, format="csv", if_exists="replace")
    assert sorted(os.listdir(tmp_path)) == ["d", "pipe.csv"]


async def test_a_missing_folder_is_named(shop: Sandbox, session: AsyncSession, tmp_path: Path) -> None:
    """A folder that does not exist is named."""
    with pytest.raises(FileNotFoundError, match="there is no such folder") as caught:
        await export_customers(session, tmp_path / "no" / "c.csv")
    assert caught.value.filename == str(tmp_path / "no")
    assert not shop.requests


async def test_a_link_stays_a_link(session: AsyncSession, tmp_path: Path) -> None:
    """A link at the final name stays, and the file that it leads to is written."""
    (tmp_path / "data").mkdir()
    (tmp_path / "c.csv").symlink_to(tmp_path / "data" / "real.csv")
    await export_customers(session, tmp_path / "c.csv")
    assert (tmp_path / "c.csv").is_symlink()
    assert len(read_rows(tmp_path / "data" / "real.csv")) == 250
