"""The commands that only read: ``customers``, ``customer``, ``transactions``."""

from typing import Annotated

import typer

from shopsdk import (
    AsyncSession,
    BalanceTransaction,
    Customer,
    Page,
    find_customer,
    get_customer,
    get_customer_balance_transactions,
    get_customers,
)
from shopsdk.cli import _options as given
from shopsdk.cli._runner import REFUSED, Quit, exit_with_code, usage
from shopsdk.cli._show import show_json, show_record, show_table
from shopsdk.cli._stdio import say

CustomerId = Annotated[int, typer.Argument(metavar="ID", min=1, help="The customer's id.")]

_LISTED = ("id", "email", "discord_username", "balance", "total_completed", "total_spent_usd", "last_completed_at")
_SPARE = ("last_completed_at", "discord_username", "total_spent_usd", "total_completed")
"""The columns that a narrow terminal leaves out, in this order."""


def customers(
    *,
    page: Annotated[int, typer.Option(min=1, help="The page.")] = 1,
    per_page: Annotated[int, typer.Option(min=1, max=100, help="Customers per page.")] = 20,
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
    env_file: given.EnvFile = None,
    list_params: given.ListParams = "both",
    sandbox: given.InSandbox = False,
    as_json: given.AsJson = False,
    verbose: given.Verbose = False,
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

    async def read(session: AsyncSession, shop: int) -> Page[Customer]:
        return await get_customers(
            session,
            shop_id=shop,
            page=page,
            per_page=per_page,
            order_column=order_column,
            order_direction=order_direction,
            **filters,
        )

    with exit_with_code(debug=debug, verbose=verbose):
        found = given.runner_of(shop_id, env_file, sandbox=sandbox, list_params=list_params).run(read)
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
            say(f"the terminal is too narrow for {', '.join(left_out)}; --json shows every field")


def customer(
    *,
    who: Annotated[str, typer.Argument(metavar="ID_OR_EMAIL", help="The customer's id, or the whole e-mail address.")],
    shop_id: given.ShopId = None,
    env_file: given.EnvFile = None,
    sandbox: given.InSandbox = False,
    as_json: given.AsJson = False,
    verbose: given.Verbose = False,
    debug: given.Debug = False,
) -> None:
    """Show one customer."""
    by_email = "@" in who
    if not by_email and not _is_id(who):
        usage(f"ID_OR_EMAIL must be a customer's id, a whole number from 1, or an e-mail address, not {who!r}")

    async def read(session: AsyncSession, shop: int) -> Customer | None:
        if by_email:
            return await find_customer(session, email=who, shop_id=shop)
        return await get_customer(session, int(who), shop_id=shop)

    with exit_with_code(debug=debug, verbose=verbose):
        found = given.runner_of(shop_id, env_file, sandbox=sandbox).run(read)
        if found is None:
            say(f"shopsdk: no customer has the e-mail address {who}")
            raise Quit(REFUSED)
        (show_json if as_json else show_record)(found)


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20 and int(text) > 0


def transactions(
    *,
    customer_id: CustomerId,
    shop_id: given.ShopId = None,
    env_file: given.EnvFile = None,
    sandbox: given.InSandbox = False,
    as_json: given.AsJson = False,
    verbose: given.Verbose = False,
    debug: given.Debug = False,
) -> None:
    """Show a customer's balance transactions, newest first."""

    async def read(session: AsyncSession, shop: int) -> list[BalanceTransaction]:
        return await get_customer_balance_transactions(session, customer_id, shop_id=shop)

    with exit_with_code(debug=debug, verbose=verbose):
        lines = given.runner_of(shop_id, env_file, sandbox=sandbox).run(read)
        if as_json:
            show_json(lines)
            return
        show_table(lines, ("id", "created_at", "amount", "description"))
        if not lines:
            say("no balance transactions")
