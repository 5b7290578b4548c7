"""The sandbox itself: start and stop, recorded requests, hosts and ports, made-up customers, and databases."""

import asyncio
import os
import socket
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, Inexact, localcontext
from pathlib import Path
from typing import Any, get_type_hints

import aiohttp
import pytest

from shopsdk import AffiliateReferrer, AsyncSession, Customer, get_customers
from shopsdk.sandbox import CustomerFields, Fault, FaultFields, RecordedRequest, Sandbox, SessionOptions

HEADERS = {"Authorization": "Bearer sandbox-key", "Accept": "application/json"}


async def ask(shop: Sandbox, method: str = "GET", path: str = "/shops/38/customers", **options: Any) -> int:
    async with (
        aiohttp.ClientSession(headers=HEADERS) as client,
        client.request(method, shop.base_url + path, **options) as response,
    ):
        return response.status


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "shopsdk-sandbox"]


async def test_async_with() -> None:
    """The shop serves inside the block, and not after it."""
    async with Sandbox(3) as shop:
        url = shop.base_url
        assert await ask(shop) == 200
        assert threads()
    assert not threads()
    async with aiohttp.ClientSession() as client:
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.get(url)


def test_with_and_a_loop_of_ones_own() -> None:
    """The shop serves any loop of the caller's, one after the other."""
    with Sandbox(3) as shop:
        assert asyncio.run(ask(shop)) == 200
        assert asyncio.run(ask(shop)) == 200, "and from a second loop"


async def test_session() -> None:
    """The session has the shop's id, key and address, and the options it is given."""
    async with Sandbox(3, shop_id=7, api_key="k") as shop, shop.session(list_params="query") as session:
        page = await get_customers(session, order_column="id", order_direction="asc")
        assert page.data == shop.customers()
        assert shop.requests[0].query["perPage"] == "100"


async def test_stops_under_open_connections() -> None:
    """Stopping does not wait for clients that keep their connections."""
    async with aiohttp.ClientSession(headers=HEADERS) as client:
        async with Sandbox(3) as shop:
            for _ in range(3):
                async with client.get(f"{shop.base_url}/shops/38/customers") as response:
                    assert response.status == 200
        assert not threads()


async def test_start_and_close_are_idempotent() -> None:
    """A second start or close does nothing, and a closed shop opens again."""
    shop = Sandbox(3)
    shop.close()
    shop.start()
    url = shop.base_url
    shop.start()
    assert shop.base_url == url
    assert len(threads()) == 1
    shop.close()
    shop.close()
    with shop:
        assert await ask(shop) == 200


@pytest.mark.parametrize("use", [Sandbox.session, Sandbox.customers, Sandbox.add_customer])
def test_not_running(use: Callable[[Sandbox], object]) -> None:
    """A call that needs a running shop is an error that says how to start one."""
    shop = Sandbox(3)
    with pytest.raises(RuntimeError, match="with Sandbox"):
        use(shop)
    with shop:
        pass
    with pytest.raises(RuntimeError, match="not running"):
        _ = shop.base_url


async def test_cancelled_on_the_way_in() -> None:
    """A start that is cancelled is undone."""
    shop = Sandbox(2000)
    entering = asyncio.create_task(shop.__aenter__())
    await asyncio.sleep(0)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert not threads()


def test_port() -> None:
    """The shop listens on the port it is given; a port that is taken is an OSError that leaves nothing behind."""
    with Sandbox(3) as first:
        port = int(first.base_url.split(":")[2].split("/")[0])
        second = Sandbox(3, port=port)
        with pytest.raises(OSError, match="in use"):
            second.start()
        assert len(threads()) == 1
    with second:
        assert second.base_url == f"http://127.0.0.1:{port}/v1"


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", *(["::1"] if has_ipv6() else [])])
async def test_loopback_hosts(host: str) -> None:
    """Each loopback address is served, and written as a URL has it."""
    async with Sandbox(3, host=host) as shop:
        assert shop.base_url.startswith(f"http://{'[::1]' if host == '::1' else host}:")
        assert await ask(shop) == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "example.com", ""])
def test_other_hosts(host: str) -> None:
    """A host that is no loopback address is a ValueError."""
    with pytest.raises(ValueError, match="loopback"):
        Sandbox(host=host)


@pytest.mark.parametrize("wrong", [{"customers": -1}, {"customers": True}, {"latency": -1}, {"latency": float("nan")}])
def test_wrong_arguments(wrong: dict[str, Any]) -> None:
    """A number out of range is a ValueError at once."""
    with pytest.raises(ValueError, match="must be 0 or more"):
        Sandbox(**wrong)


async def test_records() -> None:
    """Each request is recorded as it was sent and answered, with the key masked."""
    async with Sandbox(3) as shop:
        await ask(shop, params={"page": "2"}, headers={"X-Mine": "1"})
        await ask(shop, "PUT", "/shops/38/customers/1001/balance", json={"amount": 0.1})
        await ask(shop, "POST", "/nowhere", data=b"no json")
        first, second, third = shop.requests
        assert (first.method, first.path, first.route) == ("GET", "/v1/shops/38/customers", "/shops/{shop}/customers")
        assert (first.query, first.json, first.status, first.fault) == ({"page": "2"}, None, 200, None)
        assert (first.headers["X-Mine"], first.headers["Authorization"]) == ("1", "***")
        assert "sandbox-key" not in repr(shop.requests)
        assert second.route == "/shops/{shop}/customers/{customer}/balance"
        assert second.json == {"amount": Decimal("0.1")}
        assert (third.route, third.json, third.status) == (None, None, 404)
        shop.requests.clear()
        await ask(shop)
        assert len(shop.requests) == 1
    assert len(shop.requests) == 1, "they can be looked at afterwards"


async def test_records_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last requests are kept, up to a number."""
    monkeypatch.setattr("shopsdk.sandbox._requests._MAX_REQUESTS", 3)
    async with Sandbox(3) as shop:
        for number in range(5):
            await ask(shop, params={"page": str(number)})
        assert [request.query["page"] for request in shop.requests] == ["2", "3", "4"]
        assert isinstance(shop.requests, list)
        assert isinstance(shop.requests[0], RecordedRequest)


def test_fake_customers_are_the_same_for_a_seed() -> None:
    """Made-up customers are the same for the same seed, and others for another."""
    with Sandbox(300, seed=1) as one, Sandbox(300, seed=1) as again, Sandbox(300, seed=2) as other:
        assert one.customers() == again.customers()
        assert one.customers() != other.customers()
        assert one.add_customer() == again.add_customer()


def test_fake_customers_are_believable() -> None:
    """Made-up customers differ, have addresses of their own that nobody owns, and fit together."""
    with Sandbox(1000) as shop:
        customers = shop.customers()
    assert customers[0].id == 1001
    assert [c.id for c in customers] == sorted({c.id for c in customers})
    assert customers[-1].id > 2000, "deletions have left gaps"
    assert len({c.email for c in customers}) == 1000
    assert {c.email.split("@")[1] for c in customers} == {"example.com", "example.net", "example.org"}
    known = {c.id: c.email for c in customers}
    for field in (
        "discord_id",
        "discord_username",
        "newsletter_at",
        "last_completed_at",
        "affiliate_code",
        "affiliate_referrer",
    ):
        present = sum(getattr(c, field) is not None for c in customers)
        assert 20 < present < 980, field
    for c in customers:
        assert c.discord_id is None or len(c.discord_id) == 18
        assert 0 <= (c.balance or 0) <= 150
        assert all(
            2023 <= moment.year <= 2025 for moment in (c.last_completed_at, c.newsletter_at) if moment is not None
        )
        assert (c.discord_id is None) == (c.discord_username is None)
        assert (c.total_completed == 0) == (c.last_completed_at is None) == (c.total_spent_usd == 0)
        assert (c.affiliate_referrer_id is None) == (c.affiliate_referrer is None)
        if c.affiliate_referrer is not None:
            assert known[c.affiliate_referrer.id] == c.affiliate_referrer.email
            assert c.affiliate_referrer.id < c.id


GIVEN = [
    Customer(id=5, email="five@example.com"),
    Customer(
        id=3,
        email="three@example.com",
        discord_id="1",
        discord_username="three",
        balance=Decimal("-0.05"),
        total_completed=0,
        total_spent_usd=Decimal("123456789.10"),
        last_completed_at=datetime(2025, 7, 27, 18, 4, 28, tzinfo=UTC),
        newsletter_at=datetime(2025, 7, 27, 20, 4, 28, tzinfo=timezone(timedelta(hours=2))),
        affiliate_code="THREE",
        affiliate_referrer_id=99,
        affiliate_referrer=AffiliateReferrer(id=98, email="nobody@example.com"),
    ),
]


def test_given_customers_are_kept_as_given() -> None:
    """Given customers are kept field by field."""
    with Sandbox(iter(GIVEN)) as shop:
        assert shop.customers() == GIVEN[::-1]
    with shop:
        assert shop.customers() == GIVEN[::-1], "an iterator is not used up by the first start"
    with Sandbox(0) as shop:
        assert shop.customers() == []
        assert shop.add_customer().id == 1001


@pytest.mark.parametrize(
    "fields",
    [{"balance": Decimal("NaN")}, {"balance": Decimal("1e30")}, {"newsletter_at": datetime(2025, 1, 1)}],  # noqa: DTZ001
)
def test_values_that_cannot_be_kept(fields: dict[str, Any]) -> None:
    """A value that cannot be kept is a ValueError, and changes nothing."""
    shop = Sandbox([Customer(id=1, email="a@example.com", **fields)])
    with pytest.raises(ValueError, match=r"cannot keep|no offset"):
        shop.start()
    with Sandbox(1) as shop:
        before = shop.customers()
        with pytest.raises(ValueError, match=r"cannot keep|no offset"):
            shop.update_customer(1001, **fields)
        assert shop.customers() == before


def test_shopkeeper() -> None:
    """Customers can be added, changed and removed behind the API's back."""
    with Sandbox(GIVEN) as shop:
        assert shop.add_customer().id == 6
        added = shop.add_customer(Customer(id=50, email="fifty@example.com"), balance=Decimal("1.005"))
        assert added == Customer(id=50, email="fifty@example.com", balance=Decimal("1.01"))
        assert shop.add_customer(email="mine@example.com", newsletter_at=None).email == "mine@example.com"
        assert [c.id for c in shop.customers()] == [3, 5, 6, 50, 51]
        assert shop.update_customer(5, discord_id="9").discord_id == "9"
        assert shop.customers()[1] == Customer(id=5, email="five@example.com", discord_id="9")
        assert (
            shop.add_customer(affiliate_referrer=AffiliateReferrer(id=3, email="t@example.com")).affiliate_referrer_id
            == 3
        )
        shop.remove_customer(52)
        shop.remove_customer(51)
        assert shop.add_customer().id == 53, "an id is never used twice"
        with pytest.raises(ValueError, match="already"):
            shop.add_customer(id=50)
        with pytest.raises(ValueError, match="cannot be changed"):
            shop.update_customer(5, id=6)
        with pytest.raises(TypeError):
            shop.update_customer(5, nonsense=6)  # type: ignore[call-arg]
        for call in (shop.remove_customer, shop.update_customer, shop.transactions):
            with pytest.raises(KeyError, match="404"):
                call(404)


def test_money_does_not_depend_on_the_callers_context() -> None:
    """Money is the same under any decimal context of the caller's."""
    with Sandbox([]) as usual:
        made_up = usual.add_customer()
    with Sandbox([]) as shop, localcontext() as context:
        context.prec = 2
        context.traps[Inexact] = True
        assert shop.add_customer() == made_up
        assert str(shop.add_customer(balance=Decimal("12345.675")).balance) == "12345.68"
        assert shop.customers()[0] == made_up


async def test_threads_may_mix() -> None:
    """The shop may be changed from several threads while clients use it."""
    async with Sandbox(50) as shop:

        def keep(_: int) -> None:
            for _ in range(20):
                customer = shop.add_customer()
                shop.update_customer(customer.id, email="changed@example.com")
                shop.customers()
                shop.remove_customer(customer.id)

        async def shop_for_ten() -> None:
            for _ in range(10):
                assert await ask(shop) == 200
                assert await ask(shop, "POST", "/shops/38/customers/1001/balance", json={"amount": 1}) == 200

        before = shop.customers()[0].balance or 0
        with ThreadPoolExecutor(4) as pool:
            work = [asyncio.wrap_future(pool.submit(keep, number)) for number in range(4)]
            await asyncio.gather(*work, *(shop_for_ten() for _ in range(4)))
        assert len(shop.customers()) == 50
        assert len(shop.transactions(1001)) == 40
        assert shop.customers()[0].balance == before + 40


async def test_a_file_lasts(tmp_path: Path) -> None:
    """A shop in a file is there again when the file is opened, and is not filled anew."""
    path = tmp_path / "shop.sqlite3"
    async with Sandbox(5, database=path) as shop:
        assert await ask(shop, "POST", "/shops/38/customers/1001/balance", json={"amount": 1}) == 200
        shop.remove_customer(shop.customers()[-1].id)
        customers, transactions = shop.customers(), shop.transactions(1001)
        assert len(transactions) == 1
    assert os.listdir(tmp_path) == ["shop.sqlite3"]
    async with Sandbox(99, database=path) as shop:
        assert (shop.customers(), shop.transactions(1001)) == (customers, transactions)
        assert await ask(shop, "POST", "/shops/38/customers/1001/balance", json={"amount": 1}) == 200
        edited, *before = shop.transactions(1001)
        assert (before, edited.id > before[0].id) == (transactions, True)


def test_files_that_are_not_ours(tmp_path: Path) -> None:
    """A file of another program, or of a running shop, is a ValueError."""
    path = tmp_path / "other"
    path.write_bytes(b"certainly no database" * 100)
    with pytest.raises(ValueError, match="cannot be used"):
        Sandbox(database=path).start()
    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE customers (id)")
        other.execute("PRAGMA user_version = 1")
    other.close()
    with pytest.raises(ValueError, match="another program"):
        Sandbox(database=path).start()
    with Sandbox(3, database=tmp_path / "mine"), pytest.raises(ValueError, match="locked"):
        Sandbox(3, database=tmp_path / "mine").start()


def test_a_half_filled_file_is_no_shop(tmp_path: Path) -> None:
    """A start that fails leaves no customer in the file."""
    wrong = [Customer(id=1, email="a@example.com"), Customer(id=2, email="b@example.com", balance=Decimal("NaN"))]
    with pytest.raises(ValueError, match="cannot keep"):
        Sandbox(wrong, database=tmp_path / "mine").start()
    with Sandbox(3, database=tmp_path / "mine") as shop:
        assert len(shop.customers()) == 3


async def test_bodies_of_recorded_drops_are_whole() -> None:
    """A request whose answer is dropped is recorded whole, without a status."""
    async with Sandbox(3) as shop:
        shop.fail_next("drop_after")
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await ask(shop, "POST", "/shops/38/customers/1001/balance", json={"amount": 1})
        assert (shop.requests[0].json, shop.requests[0].status) == ({"amount": 1}, None)


def test_what_a_session_and_a_customer_can_be_given_is_typed() -> None:
    """The typed options are those of AsyncSession, and the typed fields those of Customer and Fault, type for type."""
    for typed, given, others in (
        (SessionOptions, AsyncSession.__init__, {"api_key", "shop_id", "base_url", "return"}),
        (CustomerFields, Customer, set[str]()),
        (FaultFields, Fault, {"kind", "every", "first"}),
    ):
        expected = {name: hint for name, hint in get_type_hints(given).items() if name not in others}
        assert expected == get_type_hints(typed)
