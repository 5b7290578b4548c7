"""An export whose disk is full when the whole file is put together."""

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shopsdk import AsyncSession
from shopsdk.export import ExportProgress, Stage, export_customers, export_shops
from shopsdk.sandbox import Sandbox
from tests.support.export import read_rows


@contextmanager
def full_from(stage: Stage, size: int) -> Iterator[Callable[[ExportProgress], None]]:
    """Give a callback that limits the size of every file from a stage on, until the context ends."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def write_part(progress: ExportProgress) -> None:
        if progress.stage == stage:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    try:
        yield write_part
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_what_was_read_outlives_a_full_disk_at_the_end(
    shop: Sandbox, session: AsyncSession, tmp_path: Path
) -> None:
    """A disk that is full at the end keeps the pages and not the whole file, and is an error that names the file."""
    with full_from("assembling", 2000) as write_part, pytest.raises(OSError, match="too large") as caught:
        await export_customers(session, tmp_path / "c.parquet", on_progress=write_part)
    assert caught.value.filename == str(tmp_path / ".c.parquet.whole.part")
    assert sorted(os.listdir(tmp_path)) == [".c.parquet.part", ".c.parquet.part.checkpoint"]
    shop.requests.clear()
    await export_customers(session, tmp_path / "c.parquet", resume=True)
    assert (read_rows(tmp_path / "c.parquet"), shop.requests) == (shop.customers(), [])


async def test_the_pieces_outlive_a_full_disk_at_the_end(shop: Sandbox, session: AsyncSession, tmp_path: Path) -> None:
    """A disk that is full at the end keeps the pieces of all shops, which are not read again."""
    options: dict[str, Any] = {"columns": ["id", "email"]}
    with full_from("done", 2000) as write_part, pytest.raises(OSError, match="too large") as caught:
        await export_shops(session, tmp_path / "c.csv", [38], on_progress=write_part, **options)
    assert caught.value.filename == str(tmp_path / ".c.csv.part")
    assert sorted(os.listdir(tmp_path)) == [".c.csv.38.part", ".c.csv.38.part.checkpoint"]
    shop.requests.clear()
    await export_shops(session, tmp_path / "c.csv", [38], resume=True, **options)
    assert ((tmp_path / "c.csv").read_bytes().count(b"\r\n"), shop.requests) == (251, [])
