"""The programs that users start from, run as they run them."""

import gzip
import json
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from shopsdk import Customer
from shopsdk.export import to_plain
from shopsdk.sandbox import Sandbox
from shopsdk.testing import InstantClock
from tests.programs import bot, mirror
from tests.support.programs import run

pytestmark = pytest.mark.slow


def say(*said: tuple[str, str, str]) -> str:
    """Write messages as the bot reads them."""
    return "".join(json.dumps({"id": name, "author": author, "text": text}) + "\n" for name, author, text in said)


def test_the_bot_is_spoken_to(shop: Sandbox, tmp_path: Path) -> None:
    """Staff look customers up and credit them, and nobody else does."""
    customer = shop.customers()[0]
    before = customer.balance or Decimal(0)
    credit = f"/credit {customer.id} 5.00 a late parcel"
    ran = run(
        "bot.py",
        shop=shop,
        cwd=tmp_path,
        stdin=say(("1", "ann", f"/customer {customer.email.upper()}"), ("2", "eve", credit), ("3", "ann", "hello")),
        STAFF="ann bob",
    )
    assert (0, "") == (ran.code, ran.err)
    replies = {reply["to"]: reply["text"] for reply in map(json.loads, ran.out.splitlines())}
    assert {
        "1": f"{customer.id} {customer.email}: {before} in store credit",
        "2": "I take orders from staff only.",
        "3": bot.HELP,
    } == replies
    assert [] == shop.transactions(customer.id)


def test_a_message_that_is_delivered_twice_pays_once(shop: Sandbox, tmp_path: Path) -> None:
    """A message that the chat platform delivers twice pays once."""
    customer = shop.customers()[0]
    message = ("17", "ann", f"/credit {customer.id} 5.00 a late parcel")
    ran = run("bot.py", shop=shop, cwd=tmp_path, stdin=say(message, message), STAFF="ann")
    assert (0, "") == (ran.code, ran.err)
    said = sorted(json.loads(line)["text"].partition(".")[0] for line in ran.out.splitlines())
    assert ["Done", "Had been done already"] == said
    assert ["a late parcel [ref:chat-17]"] == [line.description for line in shop.transactions(customer.id)]


@pytest.mark.parametrize(
    ("fault", "text", "reply"),
    [
        ("drop_after", "/credit {id} 5", "Done. {id} {email}: 5.00 in store credit"),
        ("drop_before", "/credit {id} 5", "Nobody knows yet whether that was done: look for chat-9 in the ledger."),
        (None, "/credit {id} -7.50", "Done. {id} {email}: -7.50 in store credit"),
        (None, "/credit {id} five", f"I do not understand the numbers in that. {bot.HELP}"),
        (None, "/credit {id} 5000", f"I do not understand the numbers in that. {bot.HELP}"),
        (None, "/customer 999999", "There is no such customer."),
        (None, "/customer nobody@example.com", "There is no such customer."),
        (None, "/customer {id}", "{id} {email}: 0 in store credit"),
        (None, "/ledger {id}", "Nothing yet."),
    ],
)
async def test_the_bot_answers_in_words(fault: Any, text: str, reply: str) -> None:
    """A reply tells in words what was done, what was not, and what nobody knows yet."""
    customer = Customer(id=7, email="seven@example.com")
    with Sandbox([customer]) as shop:
        if fault is not None:
            shop.fail_next(fault, method="POST")
        async with shop.session(clock=InstantClock()) as session:
            message = bot.Message("9", "ann", text.format(id=7))
            said = await bot.Bot(session, ["ann"]).answer(message)
    assert reply.format(id=7, email=customer.email) == said


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
