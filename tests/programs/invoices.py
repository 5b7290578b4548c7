"""Add an operation that shopsdk has no function for: the shop's invoices, typed, in forty lines.

``AsyncSession.request`` and ``paginate`` keep the promises of the other functions: only what may be repeated is
repeated; a rate limit is waited out; a page that was not asked for is an error; the key is printed nowhere.

    python invoices.py someone@example.com

It needs your shop: the sandbox has no invoices.
"""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from decimal import Decimal
from operator import attrgetter

import attrs

from shopsdk import AsyncSession, Page, paginate


@attrs.frozen(kw_only=True)
class Invoice:
    """One invoice: the fields that this program needs; the rest of what the server sends is ignored.

    A field without a default must be there, or the call fails; one with a default may be left out.
    """

    id: int
    unique_id: str
    status: str
    email: str
    price: Decimal
    currency: str
    gateway: str | None = None
    created_at: datetime | None = None
    completed_at: datetime | None = None


async def get_invoice(session: AsyncSession, shop_id: int, invoice_id: int) -> Invoice:
    """Read one invoice. It is repeated after a failure, since it is a read."""
    return await session.request("GET", ["shops", shop_id, "invoices", invoice_id], as_type=Invoice)


def iter_invoice_pages(session: AsyncSession, shop_id: int, **params: object) -> AsyncGenerator[Page[Invoice], None]:
    """Iterate over all invoices, page by page, each once (``key``)."""
    return paginate(
        session, ["shops", shop_id, "invoices"], Invoice, params=params, key=attrgetter("id"), concurrency=4
    )


async def archive_invoice(session: AsyncSession, shop_id: int, invoice_id: int) -> None:
    """Archive an invoice. A second call changes nothing more, so ``idempotent=True`` lets it be repeated."""
    await session.request("POST", ["shops", shop_id, "invoices", invoice_id, "archive"], idempotent=True)


async def process_invoice(session: AsyncSession, shop_id: int, invoice_id: int) -> None:
    """Deliver an invoice. The vendor made it a GET, but it is no read: ``idempotent=False`` sends it once only."""
    await session.request("GET", ["shops", shop_id, "invoices", invoice_id, "process"], idempotent=False)


async def main(email: str) -> None:
    """Print what somebody has paid."""
    shop_id = int(os.environ["SHOPSDK_SHOP_ID"])
    async with AsyncSession() as session, aclosing(iter_invoice_pages(session, shop_id, email=email)) as pages:
        async for page in pages:
            for invoice in page.data:
                if invoice.email == email and invoice.status == "completed":
                    print(invoice.unique_id, invoice.price, invoice.currency)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
