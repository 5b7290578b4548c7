"""Several shops in one sandbox."""

import asyncio
import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest

from shopsdk import (
    AsyncSession,
    Customer,
    NotFoundError,
    RateLimit,
    RateLimitedError,
    RetryPolicy,
    edit_customer_balance,
    find_customer,
    get_customer,
    get_customer_balance_transactions,
    get_customers,
    iter_customers,
)
from shopsdk.arrow import read_shops
from shopsdk.export import export_shops
from shopsdk.sandbox import Sandbox
from shopsdk.sandbox._store import Store
from tests.support.export import read_rows

SHOPS = (38, 39, 7)


@pytest.fixture
def mall() -> Iterator[Sandbox]:
    """Three shops of 40 made-up customers each."""
    with Sandbox(40, shop_id=SHOPS) as mall:
        yield mall


def test_the_first_shop_is_the_default(mall: Sandbox) -> None:
    """The first id is the shop's that nobody names."""
    assert (mall.shop_id, mall.shop_ids) == (38, SHOPS)
    assert mall.customers() == mall.customers(shop_id=38) != mall.customers(shop_id=39)
    assert mall.session().shop_id == 38
    assert mall.session(shop_id=39).shop_id == 39
    assert (Sandbox(shop_id=7).shop_id, Sandbox(shop_id=7).shop_ids) == (7, (7,))


def test_made_up_customers_of_two_shops_have_nothing_in_common(mall: Sandbox) -> None:
    """Made-up customers of different shops differ in id and address, those that are added later too."""
    for shop_id in SHOPS:
        mall.add_customer(shop_id=shop_id)
    everybody = [customer for shop_id in SHOPS for customer in mall.customers(shop_id=shop_id)]
    assert len(everybody) == 3 * 41
    for field in ("id", "email"):
        assert len({getattr(customer, field) for customer in everybody}) == len(everybody)
    assert [mall.customers(shop_id=shop_id)[0].id for shop_id in SHOPS] == [1001, 2001, 3001]
    assert len({customer.email.partition("1@")[0].rstrip("0123456789") for customer in everybody}) > 100


@pytest.mark.parametrize(("seed", "digest"), [(0, "a906564396105a77"), (1, "4675cfea46f358bd")])
def test_made_up_customers_stay_the_same_over_versions(seed: int, digest: str) -> None:
    """The first shop's made-up customers depend on the seed alone: neither on the version nor on other shops."""
    with Sandbox(300, seed=seed) as alone, Sandbox(300, seed=seed, shop_id=[5, 6]) as several:
        assert alone.customers() == several.customers()
        known = repr([*alone.customers(), alone.add_customer()])
    assert hashlib.sha256(known.encode()).hexdigest().startswith(digest)


def test_the_other_shops_are_the_same_for_a_seed() -> None:
    """All shops of a sandbox are the same for the same seed."""
    with Sandbox(9, shop_id=[1, 2], seed=4) as one, Sandbox(9, shop_id=[1, 2], seed=4) as again:
        assert one.customers(shop_id=2) == again.customers(shop_id=2)
    with Sandbox(9, shop_id=[1, 2], seed=5) as other:
        assert one_by_one(other, 2) != one_by_one(one, 2)


def one_by_one(sandbox: Sandbox, shop_id: int) -> list[Customer]:
    with sandbox:
        return sandbox.customers(shop_id=shop_id)


async def test_a_mixed_up_shop_is_noticed(mall: Sandbox) -> None:
    """Another shop's customer is a 404, by every operation, and lists and filters show one shop alone."""
    theirs = mall.customers(shop_id=39)[0]
    async with mall.session() as session:
        with pytest.raises(NotFoundError):
            await get_customer(session, theirs.id)
        with pytest.raises(NotFoundError):
            await get_customer_balance_transactions(session, theirs.id)
        with pytest.raises(NotFoundError):
            await edit_customer_balance(session, theirs.id, 1)
        assert await find_customer(session, email=theirs.email) is None
        assert (await get_customers(session, id=theirs.id)).total == 0
        assert await find_customer(session, email=theirs.email, shop_id=39) == theirs
        for shop_id in SHOPS:
            walked = [customer async for customer in iter_customers(session, shop_id=shop_id, per_page=7)]
            assert walked == mall.customers(shop_id=shop_id)
        with pytest.raises(NotFoundError, match=r"\[Shop\] 40"):
            await get_customers(session, shop_id=40)


async def test_one_id_in_two_shops_is_two_customers() -> None:
    """Given customers go to every shop, and live on their own there."""
    ada = Customer(id=7, email="ada@example.com", balance=Decimal("10.00"))
    async with Sandbox([ada], shop_id=[38, 39]) as mall, mall.session() as session:
        assert mall.customers() == mall.customers(shop_id=39) == [ada]
        await edit_customer_balance(session, 7, 5, shop_id=39)
        assert await get_customer(session, 7) == ada
        assert (await get_customer(session, 7, shop_id=39)).balance == 15
        assert [line.amount for line in mall.transactions(7)] == [10]
        assert [line.amount for line in mall.transactions(7, shop_id=39)] == [5, 10]
        mall.update_customer(7, email="new@example.com", shop_id=39)
        assert mall.customers() == [ada]
        assert [c.email for c in (await get_customers(session, shop_id=39)).data] == ["new@example.com"]
        mall.remove_customer(7)
        assert (mall.customers(), len(mall.customers(shop_id=39))) == ([], 1)
        assert len(await get_customer_balance_transactions(session, 7, shop_id=39)) == 2
        assert mall.add_customer(ada, shop_id=38) == ada
        with pytest.raises(ValueError, match="already"):
            mall.add_customer(ada, shop_id=39)


def test_a_shop_that_is_not_there(mall: Sandbox) -> None:
    """A shop that the sandbox does not have is a ValueError that names those it has."""
    for call in (
        lambda: mall.customers(shop_id=40),
        lambda: mall.transactions(1001, shop_id=40),
        lambda: mall.add_customer(shop_id=40),
        lambda: mall.update_customer(1001, shop_id=40),
        lambda: mall.remove_customer(1001, shop_id=40),
    ):
        with pytest.raises(ValueError, match="no shop 40; it has 38, 39, 7"):
            call()


@pytest.mark.parametrize("wrong", [1.0, True, "1", b"1"])
def test_what_only_equals_an_id_names_nothing(wrong: Any) -> None:
    """An id is a whole number: what equals one, or reads like it, is no shop and no customer."""
    with Sandbox([Customer(id=1, email="ada@example.com")], shop_id=1) as shop:
        with pytest.raises(ValueError, match="no shop"):
            shop.customers(shop_id=wrong)
        for call in (shop.transactions, shop.update_customer, shop.remove_customer):
            with pytest.raises(KeyError):
                call(wrong)
        with pytest.raises(ValueError, match="cannot keep"):
            shop.add_customer(id=wrong)
        assert len(shop.customers()) == 1


@pytest.mark.parametrize("wrong", [0, -1, 2**63, 7.0, "7"])
def test_a_customer_whose_id_cannot_be_kept(wrong: Any) -> None:
    """A customer whose id is no whole number above 0, or too large, is a ValueError; as an id it names nobody."""
    with pytest.raises(ValueError, match="cannot keep"):
        Sandbox([Customer(id=wrong, email="ada@example.com")]).start()
    with Sandbox(1) as shop, pytest.raises(KeyError):
        shop.transactions(wrong)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ([], "at least one shop"),
        ((), "at least one shop"),
        ([38, 39, 38], "not 38 twice"),
        (True, "not True"),
        ([38, True], "not True"),
        (0, "not 0"),
        ([38, -1], "not -1"),
        ([38, "39"], "not '39'"),
        ("38", "not '38'"),
        (38.0, "not 38.0"),
        (b"&'", 'not b"&\'"'),
        (bytearray(b"&'"), "not bytearray"),
        ({38}, "not .38."),
        (None, "not None"),
        (2**63, "not 9223372036854775808"),
    ],
)
def test_wrong_shop_ids(wrong: Any, words: str) -> None:
    """Ids that name no shop, one twice or something else are a ValueError at once."""
    with pytest.raises(ValueError, match=f"^shop_id must .*{words}"):
        Sandbox(shop_id=wrong)


def test_a_customer_given_twice() -> None:
    """Two given customers with one id are a ValueError at once."""
    with pytest.raises(ValueError, match="not 7 twice"):
        Sandbox([Customer(id=7, email="a@example.com"), Customer(id=7, email="b@example.com")])


async def test_ids_are_reduced_to_plain_numbers() -> None:
    """An id of a subclass of int names the shop of its number."""

    class Shops(IntEnum):
        MAIN = 38
        OTHER = 39

    async with Sandbox(3, shop_id=list(Shops)) as mall, mall.session(shop_id=Shops.OTHER) as session:
        assert repr(mall.shop_ids) == "(38, 39)"
        assert (await get_customers(session)).total == len(mall.customers(shop_id=Shops.MAIN)) == 3


async def test_limits_faults_and_requests_are_the_servers() -> None:
    """The rate limit and the faults count the requests to all shops, and all of them are recorded."""
    limit = RateLimit(max_requests=3, per_seconds=3600)
    async with Sandbox(3, shop_id=[38, 39], rate_limit=limit) as mall:
        mall.fail_next("error_500", times=2)
        async with mall.session(retry=RetryPolicy(wait_initial=0)) as session:
            await get_customers(session, shop_id=38)
            await get_customers(session, shop_id=39)
            await get_customers(session, shop_id=38)
            with pytest.raises(RateLimitedError):
                await get_customers(session, shop_id=39)
        seen = [(int(request.path.split("/")[3]), request.status) for request in mall.requests]
    assert seen == [(38, 500), (38, 500), (38, 200), (39, 200), (38, 200), (39, 429)]


async def test_each_shops_lists_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many shops are walked at once, and whatever changes in others, a shop's list is read once."""
    lists: list[object] = []
    read = Store._read_keys

    def counted(self: Store, *query: Any) -> Any:
        lists.append(query)
        return read(self, *query)

    monkeypatch.setattr(Store, "_read_keys", counted)
    shop_ids = range(1, 21)
    async with Sandbox(30, shop_id=shop_ids) as mall, mall.session() as session:
        for page in (1, 2, 3):
            for shop_id in shop_ids:
                assert len((await get_customers(session, shop_id=shop_id, page=page, per_page=10)).data) == 10
                mall.add_customer(shop_id=20)
    assert len(lists) == 19 + 3


def connect_to(mall: Sandbox) -> Any:
    return lambda shop_id: AsyncSession(mall.api_key, shop_id=shop_id, base_url=mall.base_url)


async def test_many_shops_are_exported(mall: Sandbox, tmp_path: Path) -> None:
    """``export_shops`` writes a file for each shop, or one for all, from one sandbox."""
    async with mall.session() as session:
        made = await export_shops(session, tmp_path / "customers-{shop_id}.ndjson", SHOPS)
        assert (list(made.shops), made.failed, made.rows) == (list(SHOPS), {}, 120)
        for shop_id in SHOPS:
            assert read_rows(tmp_path / f"customers-{shop_id}.ndjson") == mall.customers(shop_id=shop_id)
        made = await export_shops(session, tmp_path / "{shop_id}.csv", [39, 40])
        assert (list(made.shops), list(made.failed)) == ([39], [40])
    made = await export_shops(connect_to(mall), tmp_path / "everybody.csv", SHOPS)
    assert (made.failed, made.rows) == ({}, 120)
    everybody = (tmp_path / "everybody.csv").read_text().splitlines()
    assert {line.split(",")[0] for line in everybody} == {"shop_id", "38", "39", "7"}


async def test_many_shops_are_read_into_one_table(mall: Sandbox) -> None:
    """``shopsdk.arrow.read_shops`` reads the shops of one sandbox into one table."""
    made = await read_shops(connect_to(mall), [*SHOPS, 40])
    assert list(made.failed) == [40]
    ids = {(row["shop_id"], row["id"]) for row in made.table.select(["shop_id", "id"]).to_pylist()}
    assert ids == {(shop_id, c.id) for shop_id in SHOPS for c in mall.customers(shop_id=shop_id)}


def test_a_file_holds_its_shops(tmp_path: Path) -> None:
    """A file is opened with the shops that it holds, in any order; with others it is a ValueError that names them."""
    path = tmp_path / "shops.db"
    with Sandbox(3, shop_id=[38, 39], database=path) as mall:
        added = mall.add_customer(shop_id=39, balance=Decimal("1.50"))
        before = [mall.customers(), mall.customers(shop_id=39)]
        mall.remove_customer(mall.add_customer().id)
    for wrong, words in ((38, "shop 38"), (40, "shop 40"), ([38, 39, 40], "shops 38, 39 and 40")):
        with pytest.raises(ValueError, match=f"it holds shops 38 and 39, and was opened for {words}$"):
            Sandbox(3, shop_id=wrong, database=path).start()
    with Sandbox(99, shop_id=[39, 38], database=path) as mall:
        assert [mall.customers(shop_id=38), mall.customers()] == before
        assert mall.transactions(added.id)[0].amount == Decimal("1.50")
        assert mall.add_customer(shop_id=38).id == added.id + 2, "an id is never used twice, in whichever shop"


def test_a_file_without_a_shop_is_named(tmp_path: Path) -> None:
    """A sandbox's file from which all shops were taken is a ValueError that says so."""
    path = tmp_path / "shops.db"
    with Sandbox(3, database=path):
        pass
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM shops")
    with pytest.raises(ValueError, match=r"it holds no shop, and was opened for shop 38$"):
        Sandbox(3, database=path).start()


async def test_shops_are_changed_from_several_threads(mall: Sandbox) -> None:
    """Shops may be changed from several threads at once."""

    def change(shop_id: int) -> None:
        for _ in range(20):
            added = mall.add_customer(shop_id=shop_id)
            mall.update_customer(added.id, shop_id=shop_id, email="changed@example.com")
            mall.remove_customer(added.id, shop_id=shop_id)

    await asyncio.gather(*(asyncio.to_thread(change, shop_id) for shop_id in SHOPS for _ in range(2)))
    assert [len(mall.customers(shop_id=shop_id)) for shop_id in SHOPS] == [40, 40, 40]
