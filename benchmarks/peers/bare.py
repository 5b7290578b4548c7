"""The bare loop: aiohttp and msgspec by hand. No retry and no checks: the least that this can cost."""

import asyncio
import ssl
from datetime import UTC, datetime
from decimal import Decimal
from typing import Generic, TypeVar

import aiohttp
import attrs
import msgspec

T = TypeVar("T")
_HEADERS = {"Authorization": "Bearer bench-key", "Accept": "application/json"}


@attrs.define
class Referrer:
    id: int
    email: str


@attrs.define
class Customer:
    id: int
    email: str
    discord_id: str | None = None
    discord_username: str | None = None
    balance: Decimal | None = None
    total_completed: int | None = None
    total_spent_usd: Decimal | None = None
    last_completed_at: datetime | None = None
    newsletter_at: datetime | None = None
    affiliate_code: str | None = None
    affiliate_referrer_id: int | None = None
    affiliate_referrer: Referrer | None = None


@attrs.define
class Page(Generic[T]):
    data: list[T]
    current_page: int
    last_page: int
    per_page: int
    total: int


_pages = msgspec.json.Decoder(Page[Customer])
_customers = msgspec.json.Decoder(Customer)


def decode_page(body: bytes) -> Page[Customer]:
    """Read a page; its times made aware in one loop."""
    page = _pages.decode(body)
    for customer in page.data:
        if customer.last_completed_at is not None:
            customer.last_completed_at = customer.last_completed_at.replace(tzinfo=UTC)
        if customer.newsletter_at is not None:
            customer.newsletter_at = customer.newsletter_at.replace(tzinfo=UTC)
    return page


def decode_customer(body: bytes) -> Customer:
    """Read a customer, its times made aware."""
    customer = _customers.decode(body)
    if customer.last_completed_at is not None:
        customer.last_completed_at = customer.last_completed_at.replace(tzinfo=UTC)
    if customer.newsletter_at is not None:
        customer.newsletter_at = customer.newsletter_at.replace(tzinfo=UTC)
    return customer


def stream(url: str, per_page: int = 100) -> int:
    """Read every customer, page after page."""
    return asyncio.run(_stream(f"{url}/shops/38/customers", per_page))


async def _stream(url: str, per_page: int) -> int:
    rows = number = 0
    asked: dict[str, object] = {"perPage": per_page, "orderColumn": "id", "orderDirection": "asc"}
    async with aiohttp.ClientSession(headers=_HEADERS) as http:
        while True:
            number += 1
            async with http.get(url, json={**asked, "page": number}) as response:
                page = decode_page(await response.read())
            for _ in page.data:
                rows += 1
            if number >= page.last_page:
                return rows


def one_by_one(url: str, ids: list[int]) -> int:
    """Get single customers, one after the other."""
    return asyncio.run(_one_by_one(f"{url}/shops/38/customers", ids))


async def _one_by_one(url: str, ids: list[int]) -> int:
    rows = 0
    async with aiohttp.ClientSession(headers=_HEADERS) as http:
        for number in ids:
            async with http.get(f"{url}/{number}") as response:
                rows += decode_customer(await response.read()).id == number
    return rows


def edits(url: str, certificate: str, ids: list[int], *, at_once: bool) -> int:
    """Edit the balance of each of these customers, one after the other or all at once, 16 in flight."""
    return asyncio.run(_edits(f"{url}/shops/38/customers", certificate, ids, at_once=at_once))


async def _edits(url: str, certificate: str, ids: list[int], *, at_once: bool) -> int:
    async def edit(number: int) -> bool:
        async with http.post(f"{url}/{number}/balance", json={"amount": 5}) as response:
            return bool(msgspec.json.decode(await response.read())["message"])

    connector = aiohttp.TCPConnector(limit=16, ssl=ssl.create_default_context(cafile=certificate))
    async with aiohttp.ClientSession(headers=_HEADERS, connector=connector) as http:
        if at_once:
            return sum(await asyncio.gather(*map(edit, ids)))
        return sum([await edit(number) for number in ids])
