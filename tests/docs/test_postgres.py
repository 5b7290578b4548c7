"""The upsert into PostgreSQL, on a server of the test's own."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from shopsdk import Customer
from shopsdk.sandbox import Fault, Sandbox
from tests.support.needs import need
from tests.support.programs import Ran, run
from tests.support.software import postgresql

pytestmark = pytest.mark.slow

PEOPLE = [
    Customer(
        id=2**53 + 1,
        email="ada@example.com",
        discord_id="1099511627776000001",
        balance=Decimal("99999999999999.99"),
        total_completed=2**40,
        total_spent_usd=Decimal("0.10"),
        last_completed_at=datetime(2025, 2, 7, 3, 37, 1, tzinfo=UTC),
    ),
    Customer(id=2**53 + 2, email="o'neill@example.com"),
    *[Customer(id=2**53 + number, email=f"{number}@example.com", balance=Decimal(number)) for number in range(3, 250)],
]


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    """The environment by which libpq finds the server."""
    need("psycopg")
    with postgresql() as folder:
        yield {"PGHOST": str(folder), "PGUSER": "shop", "PGDATABASE": "postgres"}


@pytest.fixture
def clean(server: dict[str, str]) -> dict[str, str]:
    """The same, without the table."""
    query(server, "DROP TABLE IF EXISTS customers")
    return server


def query(server: dict[str, str], statement: str) -> list[Any]:
    """Ask the database."""
    import psycopg

    place = {"host": server["PGHOST"], "user": server["PGUSER"], "dbname": server["PGDATABASE"]}
    with psycopg.connect(**place, autocommit=True) as db:
        cursor = db.execute(statement)
        return [] if cursor.description is None else cursor.fetchall()


COLUMNS = ("id", "email", "discord_id", "balance", "total_completed", "total_spent_usd", "last_completed_at")
ALL = f"SELECT {', '.join(COLUMNS)} FROM customers WHERE shop_id = 38 ORDER BY id"


def expected(shop: Sandbox) -> list[tuple[object, ...]]:
    """The rows that the table should hold."""
    return [tuple(getattr(customer, name) for name in COLUMNS) for customer in shop.customers()]


def test_types_arrive_intact_and_rows_are_updated(clean: dict[str, str], tmp_path: Path) -> None:
    """Each customer is a row of exact values; another run updates it, adds who came, and keeps who went."""
    with Sandbox(PEOPLE) as shop:

        def upsert() -> Ran:
            return run("postgres.py", shop=shop, cwd=tmp_path, **clean)

        assert Ran(0, "249 customers\n", "") == upsert()
        assert expected(shop) == query(clean, ALL)
        first, second, *_ = shop.customers()
        shop.update_customer(first.id, balance=Decimal("-12.50"), discord_id=None)
        shop.remove_customer(second.id)
        shop.add_customer()
        assert Ran(0, "249 customers\n", "") == upsert()
        rows = query(clean, ALL)
        (gone,) = set(rows) - set(expected(shop))
        assert second.id == gone[0]
        assert expected(shop) == [row for row in rows if row != gone]
        unseen = "SELECT id FROM customers WHERE seen_at < (SELECT max(seen_at) FROM customers)"
        assert [(second.id,)] == query(clean, unseen)


def test_a_run_that_fails_leaves_whole_pages(clean: dict[str, str], tmp_path: Path) -> None:
    """A run that fails in the middle leaves the pages before, and the next run puts in the rest."""
    with Sandbox(PEOPLE, faults=[Fault("rate_limit", every=2, retry_after=3600)]) as shop:
        ran = run("postgres.py", shop=shop, cwd=tmp_path, **clean)
        assert 1 == ran.code
        assert "RateLimitedError" in ran.err
        assert shop.api_key not in ran.err
        assert expected(shop)[:100] == query(clean, ALL)
    with Sandbox(PEOPLE) as shop:
        assert Ran(0, "249 customers\n", "") == run("postgres.py", shop=shop, cwd=tmp_path, **clean)
        assert expected(shop) == query(clean, ALL)
