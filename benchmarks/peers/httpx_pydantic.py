"""httpx and pydantic 2 by hand."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal

import httpx
from pydantic import BaseModel, TypeAdapter

_HEADERS = {"Authorization": "Bearer bench-key", "Accept": "application/json"}


class Referrer(BaseModel):
    id: int
    email: str


class Customer(BaseModel):
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


class Page(BaseModel):
    data: list[Customer]
    current_page: int
    last_page: int
    per_page: int
    total: int


_pages = TypeAdapter(Page)


def decode_page(body: bytes) -> Page:
    """Read a page; its times stay naive, which is less work than the others do."""
    return _pages.validate_json(body)


def decode_page_aware(body: bytes) -> Page:
    """Read a page; its times made aware in one loop, which is cheaper than a validator on each."""
    page = _pages.validate_json(body)
    for customer in page.data:
        if customer.last_completed_at is not None:
            customer.last_completed_at = customer.last_completed_at.replace(tzinfo=UTC)
        if customer.newsletter_at is not None:
            customer.newsletter_at = customer.newsletter_at.replace(tzinfo=UTC)
    return page


def stream(url: str, per_page: int = 100) -> int:
    """Read every customer, page after page."""
    return asyncio.run(_stream(f"{url}/shops/38/customers", per_page))


async def _stream(url: str, per_page: int) -> int:
    rows = number = 0
    asked: dict[str, object] = {"perPage": per_page, "orderColumn": "id", "orderDirection": "asc"}
    async with httpx.AsyncClient(headers=_HEADERS) as http:
        while True:
            number += 1
            response = await http.request("GET", url, json={**asked, "page": number})
            page = decode_page_aware(response.content)
            for _ in page.data:
                rows += 1
            if number >= page.last_page:
                return rows
