"""A Discord bot for a shop's staff that cannot pay twice: ``/customer`` shows a member, ``/credit`` adds to a balance.

Install shopsdk and ``discord.py``. At discord.com/developers make an application and, under "Bot", its token; invite it
to your server with the scopes ``bot`` and ``applications.commands`` (no permissions, no privileged intents)::

    export DISCORD_TOKEN=... DISCORD_GUILD=...  # the token, and the server's id (Developer Mode, Copy Server ID)
    export SHOPSDK_API_KEY='12345|...' SHOPSDK_SHOP_ID=38
    python bot.py

To try it, put yourself (Copy User ID) into a made-up shop, in another shell, and paste the three lines that the second
command prints in place of the second ``export``::

    python -c "from shopsdk.sandbox import Sandbox
    with Sandbox(database='shop.db') as shop: shop.update_customer(1001, discord_id='YOUR USER ID')"
    shopsdk sandbox --database shop.db

Staff are those who may manage the server. ``/credit`` posts a question with a button: type it in a channel for staff.
The customer's e-mail address is told only to who typed it.

A second press is another interaction for Discord. So ``/credit`` makes the reference, and the button carries it, with
the customer and the amount. Every press uses that reference, after a restart too, and the ledger is searched for it
first. Nobody can forge a button: Discord takes presses only on what the bot itself has posted. Run one bot at a time.
"""

import asyncio
import math
import os
import re
import signal
from contextlib import suppress
from typing import Self

import attrs
import discord
from discord import app_commands

from shopsdk import (
    AsyncSession,
    AuthenticationError,
    BalanceEdit,
    Customer,
    InvalidRequestError,
    MultipleCustomersError,
    NotFoundError,
    NotSentError,
    PermissionDeniedError,
    RateLimitedError,
    ReferenceConflictError,
    RetryPolicy,
    SessionStateError,
    ShopError,
    Timeout,
    edit_customer_balance,
    find_customer,
    get_customer_balance_transactions,
)

STAFF = discord.Permissions(manage_guild=True)
PATIENCE = 300
"""Seconds after a press until the shop, or a proxy, cannot still be at work on its request."""
ALREADY_ANSWERED = 40060  # Discord's code
ANSWER_WITHIN = 10
"""Seconds for Discord to take the answer to a press: the wait counts from the press, so the edit must leave soon."""
TIMEOUT = Timeout(deadline=8)
RETRY = RetryPolicy(attempts=3, wait_max=2, retry_after_max=3)  # people wait for the answer
FINAL = (NotFoundError, InvalidRequestError, ReferenceConflictError, ValueError)


@attrs.frozen
class Credit:
    """A credit, as its button carries it."""

    customer_id: int
    amount: str
    reference: str
    not_before: int = 0
    """The Unix time from which a press is safe, if an earlier one may have made the credit; else 0."""

    def view(self, label: str) -> discord.ui.View:
        """Make the button for a message."""
        return discord.ui.View(timeout=None).add_item(CreditButton(self, label))

    async def send(self, session: AsyncSession, reason: str | None) -> BalanceEdit:
        """Make the credit, unless the ledger has its reference."""
        return await edit_customer_balance(
            session, self.customer_id, self.amount, description=reason, reference=self.reference
        )

    async def check(self, reason: str) -> None:
        """Let the library check the amount and the reason, and send nothing: ``ValueError`` says what is wrong."""
        closed = AsyncSession("unused", shop_id=1)
        await closed.close()
        with suppress(SessionStateError):  # a closed session refuses a sound edit instead of sending it
            await self.send(closed, reason)

    async def make(self, session: AsyncSession, reason: str | None, tried: "Credit") -> "tuple[str, Credit | None]":
        """Make the credit; return what became of it, and what a further press has to carry, if one makes sense."""
        try:
            edit = await self.send(session, reason)
        except (ShopError, ValueError) as error:
            if isinstance(error, ShopError) and error.maybe_applied:
                when = f"press Retry <t:{tried.not_before}:R>"
                return f"{explain(error)} It may have been made: {when}. It cannot be paid twice.", tried
            if self.not_before:  # this try sent nothing, which says nothing of the earlier one
                return f"{explain(error)} An earlier try may have been made: press Retry later.", self
            if isinstance(error, FINAL):
                return f"{explain(error)} This press changed nothing.", None
            return f"{explain(error)} This press changed nothing: press Retry later.", self
        twice = " The ledger has it more than once: a proxy may have repeated it." if edit.duplicated else ""
        return f"{'Had been made already' if edit.replayed else 'Made'}: {self.amount}.{twice}", None


class CreditButton(
    discord.ui.DynamicItem[discord.ui.Button[discord.ui.View]],
    template=r"credit/([0-9]+)/([0-9.+-]+)/([A-Za-z0-9._:-]+)/([0-9]+)",
):
    """A button that makes a credit, once, however often it is pressed and whichever process hears of it."""

    def __init__(self, credit: Credit, label: str) -> None:
        self.credit = credit
        carried = f"credit/{credit.customer_id}/{credit.amount}/{credit.reference}/{credit.not_before}"  # 100 at most
        super().__init__(discord.ui.Button(label=label, style=discord.ButtonStyle.primary, custom_id=carried))

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction, item: discord.ui.Item[discord.ui.View], match: re.Match[str], /
    ) -> Self:
        """Make the button of a press: Discord hands back what the bot has posted."""
        return cls(Credit(int(match[1]), match[2], match[3], int(match[4])), "Retry")

    async def interaction_check(self, interaction: discord.Interaction, /) -> bool:
        """Let staff in: anybody who sees a button can press it."""
        assert isinstance(interaction.client, StaffBot)
        return await interaction.client.admit(interaction)

    async def callback(self, interaction: discord.Interaction) -> None:
        """Ask the shop, and say in the message what became of it."""
        assert isinstance(interaction.client, StaffBot)
        bot, pressed = interaction.client, int(interaction.created_at.timestamp())
        not_before = max(self.credit.not_before, bot.not_before.get(self.credit.reference, 0))
        if pressed < not_before:  # the ledger may not show yet what the shop is still at work on
            text = f"The shop may still be at work on it. Press Retry <t:{not_before}:R>: it cannot be paid twice."
            await interaction.response.send_message(text, ephemeral=True)
            return
        credit = attrs.evolve(self.credit, not_before=not_before)
        tried = attrs.evolve(self.credit, not_before=pressed + PATIENCE)
        bot.not_before[credit.reference] = tried.not_before  # before the first await: two presses may come at once
        try:
            # Discord waits for 3 seconds, and refuses a second answer to an interaction: without one, no money moves.
            # If the bot dies from here on, the button tells the next press of this one.
            async with asyncio.timeout(ANSWER_WITHIN):
                await interaction.response.edit_message(content="The shop is being asked.", view=tried.view("Retry"))
        except discord.HTTPException as error:
            if error.code != ALREADY_ANSWERED:  # by another bot, say, which is sending the credit now
                bot.not_before.pop(credit.reference, None)
            raise
        embeds = interaction.message.embeds if interaction.message else []
        text, again = await credit.make(bot.session, embeds[0].footer.text if embeds else None, tried)
        if again is not tried:
            bot.not_before.pop(credit.reference, None)
        view = None if again is None else again.view("Retry")
        await interaction.edit_original_response(content=f"{text} (pressed by {interaction.user.mention})", view=view)


class StaffTree(app_commands.CommandTree["StaffBot"]):
    """The commands: for staff alone, and the shop's errors are told in words."""

    async def interaction_check(self, interaction: discord.Interaction["StaffBot"], /) -> bool:
        """Check what Discord checks too: the server's settings may have opened the commands to everybody."""
        return await interaction.client.admit(interaction)

    async def on_error(
        self, interaction: discord.Interaction["StaffBot"], error: app_commands.AppCommandError, /
    ) -> None:
        """Say what was wrong. A command changes nothing."""
        cause = error.original if isinstance(error, app_commands.CommandInvokeError) else error
        if isinstance(cause, ShopError | ValueError):
            await interaction.edit_original_response(content=f"{explain(cause)} Nothing was done.")
        else:
            await super().on_error(interaction, error)


class StaffBot(discord.Client):
    """The bot, for one server: on another one, anybody could be staff."""

    def __init__(self, session: AsyncSession, guild_id: int) -> None:
        super().__init__(intents=discord.Intents(guilds=True), allowed_mentions=discord.AllowedMentions.none())
        self.session = session
        self.guild = discord.Object(guild_id)
        self.tree = StaffTree(self)
        self.not_before: dict[str, int] = {}  # of references that are being sent, or whose outcome is unknown
        self.tasks: set[asyncio.Task[object]] = set()

    async def setup_hook(self) -> None:
        """Tell Discord the commands, of this server alone, and take presses on the buttons of earlier runs."""
        self.tree.add_command(show_customer, guild=self.guild)
        self.tree.add_command(propose_credit, guild=self.guild)
        await self.tree.sync(guild=self.guild)
        self.add_dynamic_items(CreditButton)

    async def admit(self, interaction: discord.Interaction) -> bool:
        """Let staff of this server in; Discord says with each interaction what the member may do."""
        if interaction.guild_id != self.guild.id or not interaction.permissions >= STAFF:
            await interaction.response.send_message("This is for staff only.", ephemeral=True)
            return False
        if task := asyncio.current_task():
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        return True

    async def find(self, member: discord.User) -> tuple[Customer | None, str]:
        """Find the customer with a member's Discord account, and describe it, with the newest lines of the ledger."""
        customer = await find_customer(self.session, discord_id=member.id)
        if customer is None:
            return None, "No customer of the shop has this Discord account."
        lines = await get_customer_balance_transactions(self.session, customer.id)
        told = [f"Customer {customer.id}, {plain(customer.email)}: {customer.balance or 0} in store credit"]
        return customer, "\n".join(told + [f"`{line.amount:+}` {plain(line.description or '')}" for line in lines[:5]])

    async def close(self) -> None:
        """Let what is under way end (within half a minute), then disconnect."""
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await super().close()


@app_commands.command(name="customer")
@app_commands.default_permissions(STAFF)
async def show_customer(interaction: discord.Interaction[StaffBot], member: discord.User) -> None:
    """Show a member's balance, and the newest lines of the ledger."""
    await interaction.response.defer(ephemeral=True, thinking=True)  # within 3 seconds; the shop may take longer
    _, text = await interaction.client.find(member)
    await interaction.edit_original_response(content=text)


@app_commands.command(name="credit")
@app_commands.default_permissions(STAFF)
async def propose_credit(
    interaction: discord.Interaction[StaffBot],
    member: discord.User,
    amount: app_commands.Range[str, 1, 12],
    reason: app_commands.Range[str, 1, 200],
) -> None:
    """Ask whether to add to a member's balance; a press on Confirm does it."""
    await interaction.response.defer(ephemeral=True, thinking=True)
    customer, text = await interaction.client.find(member)
    if customer is None:
        await interaction.edit_original_response(content=text)
        return
    credit = Credit(customer.id, amount, f"discord-{interaction.id}")
    await credit.check(reason)
    await interaction.edit_original_response(content=text)
    # The question is for the channel: a reply to one member is gone once that member's Discord restarts, and the button
    # with it. It holds no e-mail address. A footer shows text as it is, so that the reason can be read back from it.
    embed = discord.Embed(title=f"{amount} of store credit", description=f"{member.mention}, customer {customer.id}")
    embed.set_footer(text=reason)
    await interaction.followup.send("Shall this be done?", embed=embed, view=credit.view("Confirm"))


def explain(error: ShopError | ValueError) -> str:
    """Say in words what was wrong."""
    match error:
        case NotFoundError():
            return "The shop has no such customer."
        case MultipleCustomersError():
            return f"Several customers have this Discord account: {', '.join(map(str, error.customer_ids[:20]))}."
        case InvalidRequestError():
            return f"The shop refused it: {plain(error.message, 300)}"
        case RateLimitedError():
            return f"The shop is busy for {math.ceil(error.retry_after or 60)} seconds."
        case AuthenticationError() | PermissionDeniedError():
            return "The shop does not accept the bot's key; whoever runs the bot can change it."
        case ReferenceConflictError():
            return "The ledger has this reference with another amount."
        case NotSentError():
            return "The shop cannot be reached."
        case ShopError():
            return "The shop gave no usable answer."
        case _:
            return f"{plain(str(error), 300)}."


def plain(text: str, size: int = 100) -> str:
    """Make text of the shop's fit for a message: one line, bounded, without markup."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    cut = line if len(line) <= size else f"{line[: size - 1]}…"
    return re.sub(r"[]\[\\*_~|`<>():]", r"\\\g<0>", cut)  # discord.py's escape_markdown leaves links within links


async def main() -> None:
    """Run until Ctrl-C or SIGTERM; the bot ends before the session that it uses."""
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    discord.utils.setup_logging()
    token, guild_id = os.environ.get("DISCORD_TOKEN", ""), os.environ.get("DISCORD_GUILD", "")
    if not token or not guild_id.isdecimal():
        raise SystemExit("set DISCORD_TOKEN to the bot's token, and DISCORD_GUILD to the id of your server, a number")
    async with AsyncSession(timeout=TIMEOUT, retry=RETRY) as session, StaffBot(session, int(guild_id)) as bot:
        await bot.start(token)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
