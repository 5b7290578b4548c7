"""The commands that change something: ``balance``, which asks first, and ``affiliate``, which asks about an address.

An e-mail address may belong to somebody else by the time that a script runs. So a change by an e-mail address is made
only for the customer whom somebody has seen and said yes to.
"""

import asyncio
import re
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Annotated, Any

import attrs
import typer

from shopsdk import (
    AffiliateCodeEdit,
    AsyncSession,
    BalanceEdit,
    SessionStateError,
    ShopError,
    edit_customer_affiliate_code,
    edit_customer_balance,
    get_customer,
)
from shopsdk.cli import _options as given
from shopsdk.cli._read import CustomerArgument, CustomerIdentifier
from shopsdk.cli._runner import FAILED, Quit, Runner, WrongCommandError, exit_with_code, shell_line, usage
from shopsdk.cli._show import show_json
from shopsdk.cli._signals import signals
from shopsdk.cli._stdio import printable, put, say

_READ_SECONDS = 10.0
"""The most seconds for reading the balance before an edit, or after it, so that a slow read delays it little."""

# No command to run next: without --sandbox, it would go to a real customer with that id.
_SANDBOX_ENDS = "The sandbox ends with this command, and its shop with it; nothing real was changed"


@attrs.define(kw_only=True)
class _BalanceChange:
    """A balance edit: its arguments, and its outcome."""

    identifier: CustomerIdentifier
    amount: str
    description: str | None
    reference: str | None
    shop_options: Sequence[str]
    sandbox: bool
    as_json: bool
    made: str = ""
    _edit: BalanceEdit | None = None
    _before: Decimal | None = None
    _after: Decimal | None = None

    async def make(self, session: AsyncSession, shop: int) -> None:
        """Make it, and read the balance before and after."""
        await _check(lambda closed: self._send(closed, 1, shop), session)
        customer_id = await self.identifier.id(session, shop)
        self.identifier = CustomerIdentifier(customer_id)
        self._before = await self._read_balance(session, customer_id, shop)
        self._edit = await self._send(session, customer_id, shop)
        self.made = "the balance had been changed already" if self._edit.replayed else "the balance was changed"
        self._after = await self._read_balance(session, customer_id, shop)

    async def question(self, session: AsyncSession, shop: int) -> str:
        """Return the question to ask: whose money it is, after the arguments were checked. The change is for them."""
        await _check(lambda closed: self._send(closed, 1, shop), session)
        customer = await self.identifier.find(session, shop)
        self.identifier = CustomerIdentifier(customer.id)
        has = ""
        if customer.balance is not None:
            # Under a reference, the edit may have been made already.
            after = "" if self.reference is not None else f", to {customer.balance + Decimal(self.amount)}"
            has = f", balance {customer.balance}{after}"
        whose = f"customer {customer.id} ({printable(customer.email)}{has}) of shop {shop}"
        return f"Change the balance of {whose} by {self.amount}?"

    async def _send(self, session: AsyncSession, customer_id: int, shop: int) -> BalanceEdit:
        return await edit_customer_balance(
            session,
            customer_id,
            self.amount,
            description=self.description,
            reference=self.reference,
            shop_id=shop,
        )

    async def _read_balance(self, session: AsyncSession, customer_id: int, shop: int) -> Decimal | None:
        """Read the balance; None if that fails, since the edit does not depend on it."""
        try:
            async with asyncio.timeout(_READ_SECONDS):
                return (await get_customer(session, customer_id, shop_id=shop)).balance
        except (ShopError, TimeoutError):
            return None

    def tell(self) -> None:
        """Print the answer."""
        edit = self._edit
        if edit is None:
            return
        if edit.duplicated:
            say(
                f"shopsdk: reference {self.reference} is in the ledger more than once with this amount:"
                " a proxy may have repeated the request"
            )
        if self._after is None:
            say("shopsdk: the new balance could not be read")
        before = None if edit.replayed else self._before  # that edit was made before this was read
        if self.as_json:
            show_json(edit, balance_before=_text(before), balance_after=_text(self._after))
            return
        done = "had been changed already, nothing was sent:" if edit.replayed else "was changed by"
        put(f"The balance of customer {self.identifier} {done} {self.amount}{_from_to(before, self._after)}\n")

    def in_doubt(self) -> str:
        """Return what to do if nobody knows whether the edit was made."""
        change = f"whether the balance of customer {self.identifier} was changed by {self.amount}"
        if self.sandbox:
            return f"It is not known {change}.\n{_SANDBOX_ENDS}"
        if self.reference is not None:
            return (
                f"It is not known {change}.\nIts reference is {self.reference}. In five minutes, run this again; if the"
                f" ledger has the reference by then, nothing is sent:\n  {self._command()}"
            )
        look = shell_line("shopsdk", "transactions", str(self.identifier), *self.shop_options)
        return (
            f"It is not known {change}.\nIt had no --reference, so look for it in the ledger first:\n  {look}\nOnly if"
            f" it is not there after five minutes, run this again:\n  {self._command()}"
        )

    def _command(self) -> str:
        """Return the command that makes the same edit."""
        words = ["shopsdk", "balance", str(self.identifier), self.amount]
        for name, value in (("--description", self.description), ("--reference", self.reference)):
            words += [] if value is None else [name, value]
        return shell_line(*words, *self.shop_options, "--yes")


def _shop_options(shop_id: int | None, env_file: str | None, *, sandbox: bool) -> list[str]:
    """Return the options that lead to the same shop."""
    options = [] if shop_id is None else ["--shop-id", str(shop_id)]
    options += [] if env_file is None else ["--env-file", env_file]
    return [*options, "--sandbox"] if sandbox else options


def _may_change(email: CustomerIdentifier, shop_options: Sequence[str]) -> str:
    """Say why a change that nobody is asked about takes an id, and how to find it."""
    look = shell_line("shopsdk", "customer", str(email), *shop_options)
    return f"an e-mail address may belong to somebody else by the time that this runs ({look} shows the id)"


def _text(money: Decimal | None) -> str | None:
    return None if money is None else f"{money:f}"


def _from_to(before: Decimal | None, after: Decimal | None) -> str:
    if before is not None and after is not None:
        return f": from {before:f} to {after:f}"
    if after is not None:
        return f"; it is {after:f} now"
    return "" if before is None else f"; it was {before:f} before"


async def _check(send: Callable[[AsyncSession], Coroutine[Any, Any, object]], session: AsyncSession) -> None:
    """Check the arguments of a change as the library does, and send nothing.

    Raises:
        ValueError: one is out of its bounds.
    """
    closed = AsyncSession("unused", base_url=session.base_url)
    await closed.close()
    with suppress(SessionStateError):  # a closed session refuses a sound edit instead of sending it
        await send(closed)


def _amount(text: str) -> str:
    if re.fullmatch(r"[+-]?[0-9]{1,30}(\.[0-9]{1,2}0{0,28})?", text) and abs(Decimal(text)) <= 1000:
        return text
    wanted = "from -1000 to 1000 with at most two decimals, such as 12.50 or -5"
    raise WrongCommandError(f"must be a plain number {wanted}, not {text!r}")


def balance(
    *,
    identifier: CustomerArgument,
    amount: Annotated[
        str,
        typer.Argument(
            metavar="AMOUNT",
            parser=_amount,
            help="The amount to add, or to deduct if negative: from -1000 to 1000, with at most two decimals.",
        ),
    ],
    description: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The text of the edit in the ledger, at most 255 characters.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Your own name for this edit of this customer: 1 to 64 letters, digits and . _ : -; case matters. The"
            " edit is made once under this name, if the command is run again after five minutes at the earliest.",
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Make the edit without asking. This needs the customer's id.")
    ] = False,
    shop_id: given.ShopId = None,
    env_file: given.EnvFile = None,
    sandbox: given.InSandbox = False,
    as_json: given.AsJson = False,
    verbose: given.Verbose = False,
    debug: given.Debug = False,
) -> None:
    """Add to a customer's balance, or deduct from it."""
    shop_options = _shop_options(shop_id, env_file, sandbox=sandbox)
    if yes and identifier.by_email:
        usage(f"--yes takes the customer's id alone: {_may_change(identifier, shop_options)}")
    asks = not (yes or sandbox)
    if asks and not _can_ask():
        if identifier.by_email:
            why = _may_change(identifier, shop_options)
            usage(f"there is no terminal to ask on, so give the customer's id and --yes: {why}")
        usage("this moves money, and there is no terminal to ask on: give --yes if you mean it")
    change = _BalanceChange(
        identifier=identifier,
        amount=amount,
        description=description,
        reference=reference,
        shop_options=shop_options,
        sandbox=sandbox,
        as_json=as_json,
    )
    with exit_with_code(debug=debug, verbose=verbose):
        _change(change, given.runner_of(shop_id, env_file, sandbox=sandbox, verbose=verbose), asks=asks)


@attrs.define(kw_only=True)
class _CodeChange:
    """A new affiliate code, or None to clear it."""

    identifier: CustomerIdentifier
    code: str | None
    shop_options: Sequence[str]
    sandbox: bool
    as_json: bool
    made: str = ""
    _edit: AffiliateCodeEdit | None = None

    async def make(self, session: AsyncSession, shop: int) -> None:
        """Set it."""
        customer_id = await self.identifier.id(session, shop)
        self.identifier = CustomerIdentifier(customer_id)
        self._edit = await edit_customer_affiliate_code(session, customer_id, self.code, shop_id=shop)
        self.made = f"the affiliate code was {'cleared' if self.code is None else 'set'}"

    async def question(self, session: AsyncSession, shop: int) -> str:
        """Return the question to ask: whose code it is, after the arguments were checked. The change is for them."""
        await _check(lambda closed: edit_customer_affiliate_code(closed, 1, self.code, shop_id=shop), session)
        customer = await self.identifier.find(session, shop)
        self.identifier = CustomerIdentifier(customer.id)
        has = (
            "no affiliate code"
            if customer.affiliate_code is None
            else f"affiliate code {printable(customer.affiliate_code)}"
        )
        asked = "Clear the affiliate code" if self.code is None else f"Set the affiliate code to {printable(self.code)}"
        return f"{asked} for customer {customer.id} ({printable(customer.email)}, {has}) of shop {shop}?"

    def tell(self) -> None:
        """Print the answer."""
        if self.as_json:
            show_json(self._edit)
        else:
            put(f"The affiliate code of customer {self.identifier} was {self._now()}\n")

    def in_doubt(self) -> str:
        """Return what to do if nobody knows whether it was set."""
        unknown = f"It is not known whether the affiliate code of customer {self.identifier} was {self._now()}."
        if self.sandbox:
            return f"{unknown}\n{_SANDBOX_ENDS}"
        words = ["shopsdk", "affiliate", str(self.identifier)]
        if self.code is None:
            words += ["--clear", *self.shop_options]
        elif self.code.startswith("-"):  # without the --, it would be an option
            words += [*self.shop_options, "--", self.code]
        else:
            words += [self.code, *self.shop_options]
        return f"{unknown}\nIt sets a value, so running it again is safe:\n  {shell_line(*words)}"

    def _now(self) -> str:
        return "cleared" if self.code is None else f"set to {self.code}"


def affiliate(
    *,
    identifier: CustomerArgument,
    code: Annotated[str | None, typer.Argument(metavar="CODE", help="The new code, at most 50 characters.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Clear the code.")] = False,
    shop_id: given.ShopId = None,
    env_file: given.EnvFile = None,
    sandbox: given.InSandbox = False,
    as_json: given.AsJson = False,
    verbose: given.Verbose = False,
    debug: given.Debug = False,
) -> None:
    """Set a customer's affiliate code, or clear it."""
    if (code is None) != clear:
        usage("give either a CODE or --clear" + (", not both" if clear else ""))
    if code is not None and not code.strip():
        usage("CODE must not be empty: --clear clears it")
    shop_options = _shop_options(shop_id, env_file, sandbox=sandbox)
    asks = identifier.by_email and not sandbox
    if asks and not _can_ask():
        usage(f"there is no terminal to ask on, so give the customer's id: {_may_change(identifier, shop_options)}")
    change = _CodeChange(
        identifier=identifier,
        code=code,
        shop_options=shop_options,
        sandbox=sandbox,
        as_json=as_json,
    )
    with exit_with_code(debug=debug, verbose=verbose):
        _change(change, given.runner_of(shop_id, env_file, sandbox=sandbox, verbose=verbose), asks=asks)


def _change(change: _BalanceChange | _CodeChange, runner: Runner, *, asks: bool) -> None:
    """Make a change, on a yes if it is to ask."""
    if asks:
        ask(runner.run(change.question))
    runner.change(change)


def _can_ask() -> bool:
    """Whether somebody would see a question, and could answer it."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(question: str) -> None:
    """Ask whether to go on. Any answer but yes changes nothing.

    Raises:
        Quit: no, or no answer.
    """
    try:
        answer = _answer(question)
    except KeyboardInterrupt:
        say("", "shopsdk: stopped, nothing was changed")
        raise Quit(signals.code) from None
    if answer is None:
        say("", "shopsdk: there was no answer, and nothing was changed")
        raise Quit(FAILED)
    if answer not in {"y", "yes"}:
        say("shopsdk: nothing was changed")
        raise Quit(FAILED)


def _answer(question: str) -> str | None:
    """Ask until there is an answer; None if the terminal was closed, or Ctrl-D was pressed."""
    while True:
        _drop_typed()
        sys.stderr.write(f"{question} [y/N]: ")
        sys.stderr.flush()
        signals.wait(sys.stdin)
        line = sys.stdin.readline()
        answer = line.strip().lower()
        if not line or answer in {"", "y", "yes", "n", "no"}:
            return answer if line else None


def _drop_typed() -> None:
    """Drop what was typed before the question was there to be read, such as the rest of a pasted block."""
    if sys.platform != "win32":  # which has no such module
        try:
            import termios  # noqa: PLC0415 - nor have some builds of Python
        except ImportError:
            return
        with suppress(OSError, termios.error):
            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
