"""A consumer's own module, which its tests run with shopsdk's fixtures."""

import asyncio
from collections.abc import Mapping
from decimal import Decimal

from shopsdk import AsyncSession, RetryPolicy, ShopError, edit_customer_balance, find_customer


async def refund(session: AsyncSession, email: str, amount: Decimal, order: str) -> str:
    """Credit a customer, found by the e-mail address, for an order; calling again does not credit again."""
    customer = await find_customer(session, email=email)
    if customer is None:
        return f"no customer {email}"
    edit = await edit_customer_balance(session, customer.id, amount, reference=f"refund-{order}")
    return "already refunded" if edit.replayed else "refunded"


def refund_all(orders: Mapping[str, tuple[str, Decimal]], attempts: int = 4) -> dict[str, str]:
    """Refund many orders, one after the other, as a script does: the shop comes from the environment."""

    async def work() -> dict[str, str]:
        outcomes: dict[str, str] = {}
        async with AsyncSession(retry=RetryPolicy(attempts=attempts)) as session:
            for order, (email, amount) in orders.items():
                try:
                    outcomes[order] = await refund(session, email, amount, order)
                except ShopError as error:
                    outcomes[order] = f"not known: {error}" if error.maybe_applied else f"not refunded: {error}"
        return outcomes

    return asyncio.run(work())
