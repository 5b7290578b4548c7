"""The commands that change something: ``balance``, which asks first, and ``affiliate``."""

import asyncio
import shlex
import sys
from contextlib import suppress
from decimal import Decimal
from typing import Annotated

import attrs
import typer

from shopsdk import (
    AsyncSession,
    BalanceEdit,
    SessionStateError,
    ShopError,
    edit_customer_affiliate_code,
    edit_customer_balance,
    get_customer,
)
from shopsdk.cli import _options as given
from shopsdk.cli._ask import ask
from shopsdk.cli._look import CustomerId
from shopsdk.cli._reach import UNKNOWN, Quit, Reach, ending, say, usage
from shopsdk.cli._show import show_json


@attrs.frozen(kw_only=True)
class _Edit:
    """A balance edit, as it was asked for."""

    customer_id: int
    amount: str
    description: str | None
    reference: str | None
    shop_id: int | None

    async def make(self, session: AsyncSession, shop: int) -> BalanceEdit:
        """Make it."""
        return await edit_customer_balance(
            session,
            self.customer_id,
            self.amount,
            description=self.description,
            reference=self.reference,
            shop_id=shop,
        )

    async def check(self, shop: int) -> None:
        """Check the arguments as the library does, and send nothing.

        Raises:
            ValueError: one is out of its bounds.
        """
        closed = AsyncSession()
        await closed.close()
        with suppress(SessionStateError):  # it sends nothing any more; that it refuses only what is sound
            await self.make(closed, shop)

    def command(self) -> str:
        """The command that asks for the same again."""
        words = ["shopsdk", "balance", str(self.customer_id), self.amount]
        for name, value in (
            ("--description", self.description),
            ("--reference", self.reference),
            ("--shop-id", self.shop_id),
        ):
            words += [] if value is None else [name, str(value)]
        return shlex.join([*words, "--yes"])

    def what_is_known(self) -> str:
        """Say what is known when nobody knows whether the edit was made."""
        change = f"whether the balance of customer {self.customer_id} was changed by {self.amount}"
        if self.reference is not None:
            return (
                f"It is not known {change}.\nIts reference is {self.reference}. Running this again is safe once a"
                f" moment has passed; if the ledger has the reference by then, nothing is sent:\n  {self.command()}"
            )
        shop = [] if self.shop_id is None else ["--shop-id", str(self.shop_id)]
        look = shlex.join(["shopsdk", "transactions", str(self.customer_id), *shop])
        return (
            f"It is not known {change}.\nIt had no --reference, so look for it in the ledger before you do anything"
            f" again:\n  {look}\nand only if it is not there after a while:\n  {self.command()}"
        )


def balance(
    *,
    customer_id: CustomerId,
    amount: Annotated[
        str,
        typer.Argument(
            metavar="AMOUNT", help="What to add, or, if negative, to deduct: -1000 to 1000, at most two decimals."
        ),
    ],
    description: Annotated[str | None, typer.Option(help="What the ledger says of it.")] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="Your own name for this edit, for one customer and case-sensitive: it is never made twice under it."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    shop_id: given.ShopId = None,
    sandbox: given.InSandbox = False,
    as_json: given.AsJson = False,
    debug: given.Debug = False,
) -> None:
    """Add to a customer's balance, or deduct from it. Sent at most once; asks before it moves money."""
    edit = _Edit(customer_id=customer_id, amount=amount, description=description, reference=reference, shop_id=shop_id)
    _check_amount(amount)
    reach = Reach(shop_id=shop_id, sandbox=sandbox, debug=debug)
    asks = not (yes or sandbox)
    if asks and not sys.stdin.isatty():
        usage("this moves money, and there is no terminal to ask on: say --yes if it is meant")

    async def work(session: AsyncSession, shop: int) -> None:
        try:
            made = await edit.make(session, shop)
        except asyncio.CancelledError as stopped:
            if getattr(stopped, "__notes__", None):  # it had been sent, or may have been
                say(f"shopsdk: stopped. {edit.what_is_known()}")
                raise Quit(UNKNOWN) from None
            raise
        except ShopError as error:
            if error.maybe_applied:
                error.add_note(edit.what_is_known())
            raise
        if as_json:
            show_json(made)
        else:
            done = "had been changed already, nothing was sent:" if made.replayed else "was changed by"
            typer.echo(f"The balance of customer {customer_id} {done} {amount}")

    if asks:
        _ask(reach, edit)
    reach.run(work)


def _check_amount(amount: str) -> None:
    """A number that is none is a mistake in the command; its bounds are the library's to check."""
    try:
        Decimal(amount)
    except ArithmeticError:
        wrong = True
    else:
        wrong = False
    if wrong:
        usage(f"AMOUNT must be a plain number such as 12.50 or -5, not {amount!r}")


def _ask(reach: Reach, edit: _Edit) -> None:
    """Show whose money it is, and ask, once it is known to be a question that makes sense."""
    found: list[str] = []

    async def look(session: AsyncSession, shop: int) -> None:
        await edit.check(shop)
        who = await get_customer(session, edit.customer_id, shop_id=shop)
        email = "".join(c if c.isprintable() else "?" for c in who.email)
        now = "" if who.balance is None else f", balance {who.balance}"
        found.append(f"Change the balance of customer {who.id} ({email}{now}) of shop {shop} by {edit.amount}?")

    reach.run(look)
    with ending(debug=reach.debug):
        ask(found[0])


def affiliate(
    *,
    customer_id: CustomerId,
    code: Annotated[str | None, typer.Argument(metavar="CODE", help="The new code, at most 50 characters.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Take the code away.")] = False,
    shop_id: given.ShopId = None,
    sandbox: given.InSandbox = False,
    as_json: given.AsJson = False,
    debug: given.Debug = False,
) -> None:
    """Set a customer's affiliate code, or clear it."""
    if (code is None) != clear:
        usage("give either a CODE or --clear" + (", not both" if clear else ""))

    async def work(session: AsyncSession, shop: int) -> None:
        try:
            made = await edit_customer_affiliate_code(session, customer_id, code, shop_id=shop)
        except ShopError as error:
            if error.maybe_applied:
                again = ["shopsdk", "affiliate", str(customer_id), *(["--clear"] if code is None else [code])]
                again += [] if shop_id is None else ["--shop-id", str(shop_id)]
                error.add_note(f"It sets a value, so running it again is safe:\n  {shlex.join(again)}")
            raise
        if as_json:
            show_json(made)
        else:
            now = "cleared" if code is None else f"set to {code}"
            typer.echo(f"The affiliate code of customer {customer_id} was {now}")

    Reach(shop_id=shop_id, sandbox=sandbox, debug=debug).run(work)
