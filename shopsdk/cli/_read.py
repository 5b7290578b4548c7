"""The commands that only read: ``customers``, ``customer``, ``transactions``."""

import re
from typing import Annotated

import attrs
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
from shopsdk.cli._runner import CustomerNotFoundError, WrongCommandError, exit_with_code
from shopsdk.cli._show import show_json, show_record, show_table
from shopsdk.cli._stdio import counted, say


@attrs.frozen
class CustomerIdentifier:
    """A customer's id, or the whole e-mail address."""

    value: int | str

    def __str__(self) -> str:
        return str(self.value)

    @property
    def by_email(self) -> bool:
        """Whether it is an e-mail address."""
        return isinstance(self.value, str)

    async def find(self, session: AsyncSession, shop: int) -> Customer:
        """Read the customer.

        Raises:
            CustomerNotFoundError: nobody has that e-mail address.
            MultipleCustomersError: several have it.
        """
        if isinstance(self.value, int):
            return await get_customer(session, self.value, shop_id=shop)
        found = await find_customer(session, email=self.value, shop_id=shop)
        if found is None:
            raise CustomerNotFoundError(f"no customer has the e-mail address {self.value}")
        return found

    async def id(self, session: AsyncSession, shop: int) -> int:
        """Return the id, which is read only if an e-mail address was given.

        Raises:
            CustomerNotFoundError: nobody has that e-mail address.
            MultipleCustomersError: several have it.
        """
        return self.value if isinstance(self.value, int) else (await self.find(session, shop)).id


def _identifier(text: str) -> CustomerIdentifier:
    if re.fullmatch(r"\S+@\S+", text):
        return CustomerIdentifier(text)
    try:
        return CustomerIdentifier(given.whole_number(1)(text))
    except WrongCommandError:
        wanted = "a customer's id (a whole number from 1) or a whole e-mail address"
        raise WrongCommandError(f"must be {wanted}, not {text!r}") from None


CustomerArgument = Annotated[
    CustomerIdentifier,
    typer.Argument(metavar="ID_OR_EMAIL", parser=_identifier, help="The customer's id, or the whole e-mail address."),
]

_LISTED = ("id", "email", "discord_username", "balance", "total_completed", "total_spent_usd", "last_completed_at")
_SPARE = ("last_completed_at", "discord_username", "total_spent_usd", "total_completed")
"""The columns that a narrow terminal leaves out, in this order."""


def customers(
    *,
    page: Annotated[int, typer.Option(metavar="N", parser=given.whole_number(1), help="The page, from 1.")] = 1,
    per_page: given.PerPage = 20,
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
        runner = given.runner_of(shop_id, env_file, sandbox=sandbox, verbose=verbose, list_params=list_params)
        found = runner.run(read)
        last = max(found.last_page, 1)
        in_all = f"{counted(found.total, 'customer')} in all"
        past_the_end = f"there is no page {page}: the last is page {last}, {in_all}"
        if as_json:
            show_json(found)
            if page > last:
                say(past_the_end)
            return
        left_out = show_table(found.data, _LISTED, spare=_SPARE)
        where = f"page {found.current_page} of {found.last_page}, {in_all}"
        say(past_the_end if page > last else where)
        if left_out:
            say(f"the terminal is too narrow for {', '.join(left_out)}; --json shows every field")


def customer(
    *,
    identifier: CustomerArgument,
    shop_id: given.ShopId = None,
    env_file: given.EnvFile = None,
    sandbox: given.InSandbox = False,
    as_json: given.AsJson = False,
    verbose: given.Verbose = False,
    debug: given.Debug = False,
) -> None:
    """Show one customer."""
    with exit_with_code(debug=debug, verbose=verbose):
        found = given.runner_of(shop_id, env_file, sandbox=sandbox, verbose=verbose).run(identifier.find)
        (show_json if as_json else show_record)(found)


def transactions(
    *,
    identifier: CustomerArgument,
    shop_id: given.ShopId = None,
    env_file: given.EnvFile = None,
    sandbox: given.InSandbox = False,
    as_json: given.AsJson = False,
    verbose: given.Verbose = False,
    debug: given.Debug = False,
) -> None:
    """Show a customer's balance transactions, newest first."""

    async def read(session: AsyncSession, shop: int) -> list[BalanceTransaction]:
        return await get_customer_balance_transactions(session, await identifier.id(session, shop), shop_id=shop)

    with exit_with_code(debug=debug, verbose=verbose):
        lines = given.runner_of(shop_id, env_file, sandbox=sandbox, verbose=verbose).run(read)
        if as_json:
            show_json(lines)
            return
        show_table(lines, ("id", "created_at", "amount", "description"))
        if not lines:
            say("no balance transactions")
