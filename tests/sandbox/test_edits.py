"""Changes through the sandbox's API: balances, ledgers and affiliate codes."""

import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from shopsdk import Customer
from shopsdk.sandbox import Sandbox

Ask = Any


@pytest.fixture
async def shop() -> AsyncIterator[Sandbox]:
    async with Sandbox(
        [Customer(id=7, email="seven@example.com", balance=Decimal("10.00")), Customer(id=8, email="8@example.com")]
    ) as shop:
        yield shop


@pytest.fixture
async def ask(shop: Sandbox) -> AsyncIterator[Ask]:
    """Send one request below the customers' path; return its status and its JSON."""
    headers = {"Authorization": f"Bearer {shop.api_key}", "Accept": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as client:

        async def ask(method: str, path: str, body: object = None, **options: Any) -> tuple[int, Any]:
            if body is not None:
                options |= {"data": json.dumps(body), "headers": {"Content-Type": "application/json"}}
            async with client.request(method, f"{shop.base_url}/shops/38/customers/{path}", **options) as response:
                return response.status, await response.json()

        yield ask


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_edit_balance(shop: Sandbox, ask: Ask, method: str) -> None:
    """An edit moves the balance and adds a line to the ledger, by either verb."""
    before = datetime.now(UTC)
    status, answer = await ask(method, "7/balance", {"amount": -12.5, "description": "  refund \u00a0\n"})
    assert (status, answer) == (200, {"message": "Customer balance updated successfully."})
    _, customer = await ask("GET", "7")
    assert customer["balance"] == "-2.50"
    status, ledger = await ask("GET", "7/balance-transactions")
    assert status == 200
    booked, opening = ledger
    assert opening["description"] == "Opening balance"
    when = datetime.fromisoformat(booked.pop("created_at"))
    assert before <= when <= datetime.now(UTC)
    assert booked == {"id": 2, "customer_id": 7, "amount": "-12.50", "description": "refund"}
    line, _ = shop.transactions(7)
    assert (line.id, line.amount, line.description, line.created_at) == (2, Decimal("-12.50"), "refund", when)


async def test_created_at_is_iso_with_microseconds(ask: Ask) -> None:
    """A ledger's times are written as Laravel's casts write them."""
    await ask("POST", "7/balance", {"amount": 1})
    _, lines = await ask("GET", "7/balance-transactions")
    assert len(lines) == 2, "an edit, and the opening balance"
    for line in lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["created_at"])


async def test_ledger_is_newest_first_and_per_customer(ask: Ask) -> None:
    """A ledger is one customer's, newest line first."""
    for customer, amount in ((7, 1), (8, 2), (7, 3)):
        await ask("POST", f"{customer}/balance", {"amount": amount})
    _, ledger = await ask("GET", "7/balance-transactions")
    assert [(line["id"], line["amount"]) for line in ledger] == [(4, "3.00"), (2, "1.00"), (1, "10.00")]
    _, ledger = await ask("GET", "8/balance-transactions")
    assert [line["id"] for line in ledger] == [3]


@pytest.mark.parametrize(
    ("amount", "booked"),
    [
        ("5", "5.00"),
        ("-5.25", "-5.25"),
        (" 1e2 ", "100.00"),
        (".5", "0.50"),
        (1000, "1000.00"),
        (-1000, "-1000.00"),
        (0, "0.00"),
        (-0.0, "0.00"),
        (0.005, "0.01"),  # a column of two decimals rounds half away from zero
        (-0.005, "-0.01"),
        ("0.0049999", "0.00"),
        (1e-300, "0.00"),
    ],
)
async def test_amounts(ask: Ask, amount: object, booked: str) -> None:
    """An amount is taken in each form that Laravel takes, and rounded to cents as a column of two decimals is."""
    status, _ = await ask("POST", "8/balance", {"amount": amount})
    assert status == 200
    _, (line,) = await ask("GET", "8/balance-transactions")
    assert line["amount"] == booked
    _, customer = await ask("GET", "8")
    assert customer["balance"] == booked


async def test_cents_stay_exact(ask: Ask) -> None:
    """Balances are sums of exact cents."""
    for _ in range(10):
        await ask("POST", "7/balance", {"amount": 0.1})
    _, customer = await ask("GET", "7")
    assert customer["balance"] == "11.00"


REQUIRED = "The amount field is required."
NUMBER = "The amount must be a number."
TOO_HIGH = "The amount must not be greater than 1000."
TOO_LOW = "The amount must be at least -1000."


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        (None, {"amount": [REQUIRED]}),
        ({}, {"amount": [REQUIRED]}),
        ({"amount": None}, {"amount": [REQUIRED]}),
        ({"amount": "  "}, {"amount": [REQUIRED]}),
        ({"amount": []}, {"amount": [REQUIRED]}),
        ({"amount": True}, {"amount": [NUMBER]}),
        ({"amount": [1]}, {"amount": [NUMBER]}),
        ({"amount": {"a": 1}}, {"amount": [NUMBER]}),
        ({"amount": "ten"}, {"amount": [NUMBER]}),
        ({"amount": "1_0"}, {"amount": [NUMBER]}),
        ({"amount": "0x10"}, {"amount": [NUMBER]}),
        ({"amount": "NaN"}, {"amount": [NUMBER]}),
        ({"amount": 1000.01}, {"amount": [TOO_HIGH]}),
        ({"amount": "1e999999999"}, {"amount": [TOO_HIGH]}),
        ({"amount": -1000.01}, {"amount": [TOO_LOW]}),
        ({"amount": 1, "description": 5}, {"description": ["The description must be a string."]}),
        ({"amount": 1, "description": ["x"]}, {"description": ["The description must be a string."]}),
        (
            {"amount": 1, "description": "x" * 256},
            {"description": ["The description must not be greater than 255 characters."]},
        ),
        (
            {"description": True},
            {"amount": [REQUIRED], "description": ["The description must be a string."]},
        ),
    ],
)
async def test_refused_edits(shop: Sandbox, ask: Ask, body: object, errors: dict[str, list[str]]) -> None:
    """An edit that Laravel refuses is refused in its words, and changes nothing."""
    before = shop.customers(), shop.transactions(7)
    status, answer = await ask("POST", "7/balance", body)
    assert (status, answer) == (422, {"message": "The given data was invalid.", "errors": errors})
    assert (shop.customers(), shop.transactions(7)) == before


async def test_tiny_number_is_nothing(shop: Sandbox, ask: Ask) -> None:
    """A JSON number too small for any type counts as 0."""
    tiny = '{"amount": 1e-99999999999999999999}'
    assert (await ask("POST", "7/balance", data=tiny, headers={"Content-Type": "application/json"}))[0] == 200
    assert shop.transactions(7)[0].amount == 0


async def test_huge_number_is_refused_not_unreadable(ask: Ask) -> None:
    """A JSON number beyond any type is refused as too high."""
    for number in ("1e400", "1e99999999999999999999", "9" * 400):
        status, answer = await ask(
            "POST", "7/balance", data=f'{{"amount": {number}}}', headers={"Content-Type": "application/json"}
        )
        assert (status, answer["errors"]) == (422, {"amount": [TOO_HIGH]})


@pytest.mark.parametrize(
    ("sent", "kept"),
    [(None, None), ("", None), ("   ", None), ("x" * 255, "x" * 255), ("ü" * 255, "ü" * 255), ("\ufeff a b\t", "a b")],
)
async def test_descriptions(shop: Sandbox, ask: Ask, sent: str | None, kept: str | None) -> None:
    """A description is trimmed, counted in characters, and null where it is empty."""
    status, _ = await ask("POST", "7/balance", {"amount": 1, "description": sent})
    assert status == 200
    assert shop.transactions(7)[0].description == kept
    _, (line, _) = await ask("GET", "7/balance-transactions")
    assert line["description"] == kept


async def test_affiliate_code(shop: Sandbox, ask: Ask) -> None:
    """A code is set; null, absent and empty clear it."""
    for clearing in ({"affiliate_code": None}, {}, None, {"affiliate_code": " "}):
        status, answer = await ask("PUT", "8/affiliate-code", {"affiliate_code": " " + "C" * 50})
        assert (status, answer) == (200, {"message": "Affiliate code updated successfully."})
        assert shop.customers()[1].affiliate_code == "C" * 50
        status, _ = await ask("PUT", "8/affiliate-code", clearing)
        assert status == 200
        assert shop.customers()[1].affiliate_code is None


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (5, "The affiliate code must be a string."),
        (["x"], "The affiliate code must be a string."),
        ("x" * 51, "The affiliate code must not be greater than 50 characters."),
    ],
)
async def test_refused_affiliate_codes(shop: Sandbox, ask: Ask, code: object, message: str) -> None:
    """A code that Laravel refuses is refused in its words, and not set."""
    status, answer = await ask("PUT", "8/affiliate-code", {"affiliate_code": code})
    assert (status, answer["errors"]) == (422, {"affiliate_code": [message]})
    assert shop.customers()[1].affiliate_code is None


@pytest.mark.parametrize("customer", ["9", "seven", "7x", "7.5", "99999999999999999999", "a%20b"])
@pytest.mark.parametrize(
    ("method", "rest"),
    [
        ("GET", ""),
        ("GET", "/balance-transactions"),
        ("POST", "/balance"),
        ("PUT", "/balance"),
        ("PUT", "/affiliate-code"),
    ],
)
async def test_unknown_customer(ask: Ask, method: str, rest: str, customer: str) -> None:
    """An id that is no row, text included, is a 404 in Laravel's words."""
    status, answer = await ask(method, customer + rest, {"amount": 1})
    assert status == 404
    assert answer == {"message": f"No query results for model [Customer] {customer.replace('%20', ' ')}"}
