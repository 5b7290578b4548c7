"""The programs that users start from, run as they run them."""

import gzip
import json
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from shopsdk.export import to_plain
from shopsdk.sandbox import Sandbox
from tests.programs import mirror
from tests.support.programs import run

pytestmark = pytest.mark.slow


def test_the_nightly_export_of_many_shops(shop: Sandbox, tmp_path: Path) -> None:
    """A shop that fails leaves the others whole, is named on stderr, and makes the job end with 1."""
    ran = run("nightly_export.py", "exports", "38", "39", shop=shop, cwd=tmp_path)
    assert 1 == ran.code
    assert ["shop 38: 250 customers"] == [line.partition(" in ")[0] for line in ran.out.splitlines()]
    assert ["shop 39"] == [line.partition(":")[0] for line in ran.err.splitlines()]
    assert [to_plain(customer) for customer in shop.customers()] == nightly_rows(tmp_path)
    again = run("nightly_export.py", "exports", "38", shop=shop, cwd=tmp_path)
    assert (0, "") == (again.code, again.err)


def nightly_rows(folder: Path) -> list[Any]:
    """Read the one file back."""
    (path,) = (folder / "exports").glob("customers-38-*.ndjson.gz")
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def mirrored(path: Path) -> list[tuple[Any, ...]]:
    """Read the table."""
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT id, email, balance FROM customers ORDER BY id").fetchall()


def expected(shop: Sandbox) -> list[tuple[Any, ...]]:
    """Make what the table should hold."""
    return [(c.id, c.email, None if c.balance is None else str(c.balance)) for c in shop.customers()]


def test_the_mirror_is_kept_up_to_date(shop: Sandbox, tmp_path: Path) -> None:
    """A run brings in who has come, drops who has gone, and updates who has changed."""
    assert "250 customers, 0 gone since the last run\n" == run("mirror.py", "m.db", shop=shop, cwd=tmp_path).out
    assert expected(shop) == mirrored(tmp_path / "m.db")
    first, second, *_ = shop.customers()
    shop.remove_customer(first.id)
    shop.update_customer(second.id, balance=Decimal("12.34"))
    shop.add_customer()
    ran = run("mirror.py", "m.db", shop=shop, cwd=tmp_path)
    assert (0, "250 customers, 1 gone since the last run\n", "") == (ran.code, ran.out, ran.err)
    assert expected(shop) == mirrored(tmp_path / "m.db")


def test_a_mirror_that_fails_loses_nothing(shop: Sandbox, tmp_path: Path) -> None:
    """A run that fails leaves the table as it was."""
    run("mirror.py", "m.db", shop=shop, cwd=tmp_path)
    shop.fail_next("rate_limit", retry_after=3600)
    assert 1 == run("mirror.py", "m.db", shop=shop, cwd=tmp_path).code
    assert expected(shop) == mirrored(tmp_path / "m.db")


async def test_the_mirror_asks_before_it_deletes(shop: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A customer whom a walk missed is deleted only if the shop says that it is gone."""

    async def sees_nobody(*_: object) -> None:
        pass

    with closing(sqlite3.connect(":memory:")) as db:
        async with shop.session() as session:
            await mirror.update(session, db)
            shop.remove_customer(shop.customers()[0].id)
            monkeypatch.setattr(mirror, "export_customers", sees_nobody)
            assert (249, 1) == await mirror.update(session, db)
