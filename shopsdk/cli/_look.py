"""The commands that only look: ``customers``, ``customer``, ``transactions``."""

from typing import Annotated

import typer

from shopsdk import AsyncSession, get_customer, get_customer_balance_transactions, get_customers
from shopsdk.cli import _options as given
from shopsdk.cli._reach import Reach, say
from shopsdk.cli._show import show_json, show_record, show_table

CustomerId = Annotated[int, typer.Argument(metavar="ID", min=1, help="The customer's id.")]

_LISTED = ("id", "email", "discord_username", "balance", "total_completed", "total_spent_usd", "last_completed_at")
_SPARE = ("last_completed_at", "discord_username", "total_spent_usd", "total_completed")
"""What a narrow terminal can do without, the most dispensable first."""


def customers(
    *,
    page: Annotated[int, typer.Option(min=1, help="Which page.")] = 1,
    per_page: Annotated[int, typer.Option(min=1, max=100, help="Customers to a page.")] = 20,
    order_column: given.OrderBy = "id",
    order_direction: given.Direction = "asc",
    customer_id: given.ById = None,
    email: given.ByEmail = None,
    discord_id: given.ByDiscordId = None,
    discord_username: given.ByDiscordName = None,
    subscribed: given.Subscribed = None,
    affiliate_code: given.ByCode = None,
    affiliate_referrer_email: given.ByReferrer = None,
    shop_id: given.ShopId = None,
    list_params: given.ListParams = "body",
    sandbox: given.InSandbox = False,
    as_json: given.AsJson = False,
    debug: given.Debug = False,
) -> None:
    """List one page of customers. For all of them: shopsdk export."""
    filters = given.filters_of(
        id=customer_id,
        email=email,
        discord_id=discord_id,
        discord_username=discord_username,
        subscribed=subscribed,
        affiliate_code=affiliate_code,
        affiliate_referrer_email=affiliate_referrer_email,
    )

    async def work(session: AsyncSession, shop: int) -> None:
        found = await get_customers(
            session,
            shop_id=shop,
            page=page,
            per_page=per_page,
            order_column=order_column,
            order_direction=order_direction,
            **filters,
        )
        last = max(found.last_page, 1)
        past_the_end = f"there is no page {page}: the last is page {last}, {found.total:,} customers in all"
        if as_json:
            show_json(found)
            if page > last:
                say(past_the_end)
            return
        left_out = show_table(found.data, _LISTED, spare=_SPARE)
        where = f"page {found.current_page} of {found.last_page}, {found.total:,} customers in all"
        say(past_the_end if page > last else where)
        if left_out:
            say(f"for want of room, without {', '.join(left_out)}; --json shows every field")

    Reach(shop_id=shop_id, sandbox=sandbox, debug=debug, list_params=list_params).run(work)


def customer(
    *,
    customer_id: CustomerId,
    shop_id: given.ShopId = None,
    sandbox: given.InSandbox = False,
    as_json: given.AsJson = False,
    debug: given.Debug = False,
) -> None:
    """Show one customer."""

    async def work(session: AsyncSession, shop: int) -> None:
        found = await get_customer(session, customer_id, shop_id=shop)
        (show_json if as_json else show_record)(found)

    Reach(shop_id=shop_id, sandbox=sandbox, debug=debug).run(work)


def transactions(
    *,
    customer_id: CustomerId,
    shop_id: given.ShopId = None,
    sandbox: given.InSandbox = False,
    as_json: given.AsJson = False,
    debug: given.Debug = False,
) -> None:
    """Show a customer's balance transactions, newest first."""

    async def work(session: AsyncSession, shop: int) -> None:
        lines = await get_customer_balance_transactions(session, customer_id, shop_id=shop)
        if as_json:
            show_json(lines)
            return
        show_table(lines, ("id", "created_at", "amount", "description"))
        if not lines:
            say("no balance transactions")

    Reach(shop_id=shop_id, sandbox=sandbox, debug=debug).run(work)
