"""The Discord bot that users start from: discord.py itself, against Discord's API and gateway on loopback."""

import asyncio
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, nullcontext
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shopsdk import AsyncSession, Customer, InvalidRequestError, RateLimitedError, edit_customer_balance
from shopsdk.sandbox import Fault, Sandbox
from shopsdk.testing import InstantClock
from tests.support.discord_server import GUILD, MEMBER, Discord, discord_server
from tests.support.needs import need
from tests.support.programs import PROGRAMS, environment

if TYPE_CHECKING:
    from tests.programs.bot import StaffBot

BOB, EVE, NOBODY = "700000000000000007", "700000000000000008", "700000000000000009"
PEOPLE = [
    Customer(id=7, email="bob_b@example.com", discord_id=BOB, balance=Decimal("1.50")),
    Customer(id=8, email="eve@example.com", discord_id=EVE),
    Customer(id=9, email="eve2@example.com", discord_id=EVE),
]
LATER = 301
"""Seconds after which a press is taken again whatever became of an earlier one."""
REFUSED = "This is for staff only."
FOUND = "Customer 7, bob\\_b@example.com: 1.50 in store credit\n"
OPENING = "`+1.50` Opening balance"
BY = "(pressed by <@700000000000000001>)"


@pytest.fixture
def shop() -> Iterator[Sandbox]:
    """A shop with a customer for Bob's Discord account, and two for Eve's."""
    with Sandbox(PEOPLE) as sandbox:
        yield sandbox


@pytest.fixture
async def discord(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Discord]:
    """Discord, in the place where discord.py looks for it."""
    need("discord")
    from discord.gateway import DiscordWebSocket
    from discord.http import Route
    from yarl import URL

    async with discord_server() as server:
        monkeypatch.setattr(Route, "BASE", server.url)
        monkeypatch.setattr(DiscordWebSocket, "DEFAULT_GATEWAY", URL(server.gateway_url))
        yield server


@asynccontextmanager
async def running(session: AsyncSession) -> "AsyncIterator[StaffBot]":
    """Run the bot, and end it as Ctrl-C does."""
    from tests.programs.bot import StaffBot

    async with session, StaffBot(session, int(GUILD)) as bot:
        task = asyncio.create_task(bot.start("token"))
        try:
            yield bot
        finally:
            task.cancel()
            await asyncio.wait([task])


def session_on(shop: Sandbox, clock: InstantClock | None = None) -> AsyncSession:
    """Make a session as the bot has it, on a clock whose waits take no time."""
    from tests.programs.bot import RETRY, TIMEOUT

    return shop.session(clock=clock or InstantClock(), timeout=TIMEOUT, retry=RETRY)


async def until(condition: Callable[[], object]) -> None:
    """Let the others work until this is so."""
    while not condition():
        await asyncio.sleep(0)


async def asked(discord: Discord, amount: str = "5.00") -> dict[str, Any]:
    """Have staff ask for a credit of Bob, and return the question."""
    await discord.command("credit", member=BOB, amount=amount, reason="a *late* parcel")
    return await discord.posted.get()


def posts(shop: Sandbox) -> int:
    """Count the edits that were sent."""
    return sum(request.method == "POST" for request in shop.requests)


def ledger(shop: Sandbox) -> list[Decimal]:
    """Return the amounts that were paid."""
    return [line.amount for line in shop.transactions(7)[:-1]]  # the oldest line opens the ledger


async def test_staff_credit_a_member(shop: Sandbox, discord: Discord) -> None:
    """Staff look a member up, and add to the balance once; what the channel sees has no e-mail address."""
    async with running(session_on(shop)):
        found = await discord.command("customer", member=BOB)
        message = await asked(discord)
        shown = message["embeds"][0]
        before = message.copy()
        made = await discord.press(message)
        channel = [str(before), str(discord.channel)]
        again = await discord.press(before)
        found_again = await discord.command("customer", member=BOB)
    line, _ = shop.transactions(7)
    reference = re.fullmatch(r"a \*late\* parcel (\[ref:discord-\d+\])", line.description or "")
    assert reference is not None
    assert [FOUND + OPENING, 64] == [found.text, found.flags]
    assert ["5.00 of store credit", "<@700000000000000007>, customer 7"] == [shown["title"], shown["description"]]
    assert {"text": "a *late* parcel"} == shown["footer"]
    assert f"Made: 5.00. {BY}" == made.text
    assert f"Had been made already: 5.00. {BY}" == again.text
    assert [] == message["components"]
    newest = "`+5.00` a \\*late\\* parcel " + re.sub(r"([]\[:])", r"\\\1", reference[1])
    assert FOUND.replace("1.50", "6.50") + f"{newest}\n{OPENING}" == found_again.text
    assert "@example.com" not in "".join(channel)
    assert [("customer", "32"), ("credit", "32")] == [
        (each["name"], str(each["default_member_permissions"])) for each in discord.commands
    ]


async def test_nobody_else_does(shop: Sandbox, discord: Discord) -> None:
    """Who may not manage the server, and who manages another one, gets nothing, by a command or a press."""
    async with running(session_on(shop)):
        message = await asked(discord)
        so_far = len(shop.requests)
        others: list[dict[str, Any]] = [{"by": MEMBER}, {"guild": "900000000000000009"}]
        for how in others:
            for answered in (
                await discord.command("customer", member=BOB, **how),
                await discord.command("credit", member=BOB, amount="5", reason="x", **how),
                await discord.press(message, **how),
            ):
                assert [REFUSED, 64] == [answered.text, answered.flags]
    assert so_far == len(shop.requests)
    assert [] == ledger(shop)


DOUBT = "The shop gave no usable answer. It may have been made: press Retry <t:{}:R>. It cannot be paid twice."
BUSY = "The shop is busy for 60 seconds. This press changed nothing: press Retry later."


@pytest.mark.parametrize(
    ("fault", "said", "then"),
    [
        (Fault("drop_after", method="POST", first=1), "Made: 5.00.", None),
        (Fault("truncate", method="POST", first=1), "Made: 5.00.", None),
        (Fault("slow", method="POST", first=1, seconds=0.1), "Made: 5.00.", None),
        (Fault("error_500", method="POST", first=1, applied=True), "Made: 5.00.", None),
        (Fault("html_502", method="POST", first=1, applied=True), "Made: 5.00.", None),
        (Fault("drop_before", method="POST", first=1), DOUBT, "Made: 5.00."),
        (Fault("error_500", method="POST", first=1), DOUBT, "Made: 5.00."),
        (Fault("html_502", method="POST", first=1), DOUBT, "Made: 5.00."),
        (Fault("rate_limit", method="POST", first=1, retry_after=60), BUSY, "Made: 5.00."),
    ],
)
async def test_a_fault_is_told_in_words_and_money_moves_once(
    fault: Fault, said: str, then: str | None, discord: Discord
) -> None:
    """A press says what became of the credit; pressed again as it says, the money has moved exactly once."""
    clock = InstantClock()
    with Sandbox(PEOPLE, faults=[fault]) as shop:
        async with running(session_on(shop, clock)):
            message = await asked(discord)
            before = message.copy()
            first = await discord.press(message)
            when = re.search(r"<t:(\d+):R>", first.text)
            assert f"{said.format(when[1] if when else '')} {BY}" == first.text
            assert (then is None) == (message["components"] == [])
            if when is not None:
                assert 300 == int(when[1]) - first.time
                sent = len(shop.requests)
                for stale in (message, before):
                    early = await discord.press(stale, after=30)
                    assert f"The shop may still be at work on it. Press Retry {when[0]}: it cannot be paid twice." == (
                        early.text
                    )
                assert sent == len(shop.requests)
            clock.time += LATER
            last = await discord.press(before if then is None else message, after=LATER)
        assert f"{then or 'Had been made already: 5.00.'} {BY}" == last.text
        assert [Decimal("5.00")] == ledger(shop)


async def test_a_doubt_stays_until_the_ledger_settles_it(shop: Sandbox, discord: Discord) -> None:
    """A press that sends nothing does not say that an earlier one, of unknown outcome, made nothing."""
    clock = InstantClock()
    async with running(session_on(shop, clock)):
        message = await asked(discord)
        shop.fail_next("drop_before", method="POST")
        assert "may have been made" in (await discord.press(message)).text
        shop.fail_next("rate_limit", method="GET", retry_after=60)
        second = await discord.press(message, after=LATER)
        assert f"The shop is busy for 60 seconds. An earlier try may have been made: press Retry later. {BY}" == (
            second.text
        )
        clock.time += LATER
        third = await discord.press(message, after=LATER)
    assert f"Made: 5.00. {BY}" == third.text
    assert [Decimal("5.00")] == ledger(shop)


@pytest.mark.parametrize("fault", [None, "drop_after", "drop_before"])
async def test_twenty_presses_at_once_pay_once(fault: Any, shop: Sandbox, discord: Discord) -> None:
    """Twenty presses at the same moment send one edit, whatever becomes of it."""
    async with running(session_on(shop)):
        message = await asked(discord)
        if fault is not None:
            shop.fail_next(fault, method="POST")
        presses = [discord.pressed(message) for _ in range(20)]
        await asyncio.gather(*map(discord.send, presses))
        await asyncio.gather(*(each.answered.wait() for each in presses))
        assert 1 == posts(shop)
        if fault == "drop_before":
            assert [] == ledger(shop)
            await discord.press(message, after=LATER)
    assert [Decimal("5.00")] == ledger(shop)


async def test_what_discord_delivers_twice_pays_once(
    shop: Sandbox, discord: Discord, caplog: pytest.LogCaptureFixture
) -> None:
    """A press and a command that are delivered twice have one effect, at once or when the first has been answered."""
    async with running(session_on(shop)) as bot:
        message = await asked(discord)
        before = message.copy()
        shop.fail_next("slow", method="POST", seconds=0.1)
        press = discord.pressed(message)
        await discord.send(press)
        await discord.send(press)
        await press.answered.wait()
        await until(lambda: press.refused == 1)
        so_far = len(shop.requests)
        await discord.send(press)
        await until(lambda: press.refused == 2 and not bot.tasks)
        assert so_far == len(shop.requests)
        assert (await discord.press(before)).text.startswith("The shop may still be at work on it.")
        assert f"Had been made already: 5.00. {BY}" == (await discord.press(before, after=LATER)).text
        (asking,) = (each for each in discord.interactions if each.payload["type"] == 2)
        await discord.send(asking)
        await until(lambda: asking.refused == 1 and not bot.tasks)
    assert 1 == len(discord.channel)
    assert 1 == posts(shop)
    assert [Decimal("5.00")] == ledger(shop)
    assert caplog.record_tuples  # discord.py logs what Discord refused


async def test_a_press_that_discord_takes_too_long_to_answer_sends_nothing(
    shop: Sandbox, discord: Discord, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A press whose first answer Discord is slow to take moves no money, and a later press does, once."""
    async with running(session_on(shop)) as bot:
        message = await asked(discord)
        before = message.copy()
        with monkeypatch.context() as impatient:
            impatient.setattr("tests.programs.bot.ANSWER_WITHIN", 0)
            await discord.send(discord.pressed(message))
            await until(lambda: "TimeoutError" in caplog.text and not bot.tasks)
        assert 0 == posts(shop)
        assert f"Made: 5.00. {BY}" == (await discord.press(before, after=LATER)).text
    assert [Decimal("5.00")] == ledger(shop)


async def test_two_bots_that_hear_of_a_double_click_pay_once(discord: Discord) -> None:
    """Of two bots that are told of both presses of a double click, one pays, once."""
    with Sandbox(PEOPLE) as shop:
        async with running(session_on(shop)) as first:
            message = await asked(discord)
            async with running(session_on(shop)) as second:
                await until(lambda: first.is_ready() and second.is_ready())
                shop.fail_next("slow", method="GET", seconds=0.5)  # the ledger, as it was before the credit
                press, again = discord.pressed(message), discord.pressed(message)
                await discord.send(press, to=[0, 1])
                await until(lambda: press.refused == 1)
                await discord.send(again, to=[1, 0])
                await press.answered.wait()
                await again.answered.wait()
                await until(lambda: not first.tasks and not second.tasks)
        assert [Decimal("5.00")] == ledger(shop)


async def test_a_press_that_fails_does_not_deny_an_earlier_one(shop: Sandbox, discord: Discord) -> None:
    """A second press that the shop does not answer says nothing of the credit that the first one made."""
    async with running(session_on(shop, InstantClock())):
        message = await asked(discord)
        press, again = discord.pressed(message), discord.pressed(message)
        await discord.send(press)
        await press.answered.wait()
        assert f"Made: 5.00. {BY}" == press.text
        shop.fail_next("error_500", 9, method="GET")
        await discord.send(again)
        await again.answered.wait()
    assert f"The shop gave no usable answer. This press changed nothing: press Retry later. {BY}" == again.text
    assert [Decimal("5.00")] == ledger(shop)


@pytest.mark.parametrize("died", ["GET", "POST"])
async def test_a_bot_that_dies_in_the_middle_pays_once(died: str, shop: Sandbox, discord: Discord) -> None:
    """A bot that dies before the edit is sent, or before its answer comes, leaves a button for the next one."""
    async with running(session_on(shop)) as bot:
        message = await asked(discord)
        shop.requests.clear()
        shop.fail_next("slow", method=died, seconds=600)
        press = await discord.send(discord.pressed(message))
        await until(lambda: [died] == [each.method for each in shop.requests][-1:])
        for task in bot.tasks:
            task.cancel()
        await until(lambda: not bot.tasks)
    assert "The shop is being asked." == press.text
    async with running(session_on(shop)):
        early = await discord.press(message, after=30)
        assert "The shop may still be at work on it." in early.text
        last = await discord.press(message, after=LATER)
    assert f"{'Made' if died == 'GET' else 'Had been made already'}: 5.00. {BY}" == last.text
    assert [Decimal("5.00")] == ledger(shop)


async def test_a_shop_that_cannot_be_reached(shop: Sandbox, discord: Discord) -> None:
    """Where nothing was sent the bot says so, and a press on the same message, old as it is, makes the credit."""
    with Sandbox(0) as gone:
        away = session_on(gone)
    async with running(session_on(shop)):
        message = await asked(discord)
    async with running(away):
        looked = await discord.command("customer", member=BOB)
        assert "The shop cannot be reached. Nothing was done." == looked.text
        pressed = await discord.press(message)
        assert f"The shop cannot be reached. This press changed nothing: press Retry later. {BY}" == pressed.text
    async with running(session_on(shop)):
        assert f"Made: 5.00. {BY}" == (await discord.press(message, after=40 * 86400)).text
    assert [Decimal("5.00")] == ledger(shop)


async def test_a_key_that_is_wrong(shop: Sandbox, discord: Discord) -> None:
    """A wrong key is told to staff without the key."""
    key = "canary-in-the-key"
    async with running(AsyncSession(key, shop_id=38, base_url=shop.base_url)):
        told = await discord.command("customer", member=BOB)
    assert "The shop does not accept the bot's key; whoever runs the bot can change it. Nothing was done." == told.text
    assert key not in str(discord.said)


async def test_who_cannot_be_credited(shop: Sandbox, discord: Discord) -> None:
    """Nobody, several customers, and one who has gone are told apart, and nothing is posted for the first two."""
    async with running(session_on(shop)):
        commands: list[tuple[str, Any]] = [("customer", {}), ("credit", {"amount": "5", "reason": "x"})]
        for name, more in commands:
            nobody = await discord.command(name, member=NOBODY, **more)
            assert "No customer of the shop has this Discord account." == nobody.text
            several = await discord.command(name, member=EVE, **more)
            assert "Several customers have this Discord account: 8, 9. Nothing was done." == several.text
        assert [] == discord.channel
        message = await asked(discord)
        shop.remove_customer(7)
        gone = await discord.press(message)
    assert f"The shop has no such customer. This press changed nothing. {BY}" == gone.text
    assert [] == message["components"]


@pytest.mark.parametrize(
    ("amount", "why"),
    [
        ("five", "amount must be a plain decimal number, such as '-12.50'."),
        ("5,00", "amount must be a plain decimal number, such as '-12.50'."),
        ("5000", "amount must be -1000 to 1000."),
        ("0.001", "amount must have at most two decimals."),
    ],
)
async def test_a_wrong_amount_is_told_at_once(amount: str, why: str, shop: Sandbox, discord: Discord) -> None:
    """An amount that the library does not take is answered in its words, before anybody is asked to confirm."""
    async with running(session_on(shop)):
        told = await discord.command("credit", member=BOB, amount=amount, reason="x")
    assert f"{why} Nothing was done." == told.text
    assert [] == discord.channel


async def test_a_button_that_the_bot_did_not_post(shop: Sandbox, discord: Discord) -> None:
    """A custom_id that stands on no button of the message moves nothing; a reference is good for one amount."""
    async with running(session_on(shop)):
        message = await asked(discord)
        (button,) = message["components"][0]["components"]
        other = button["custom_id"].replace("5.00", "6.00")
        so_far = len(shop.requests)
        await discord.send(discord.forged(message, other))
        await discord.press(message, by=MEMBER)  # what came before it has been heard
        await until(lambda: not any("dynamic" in task.get_name() for task in asyncio.all_tasks()))
        assert so_far == len(shop.requests)
        before = {**message, "components": [{"type": 1, "components": [{**button, "custom_id": other}]}]}
        await discord.press(message)
        conflict = await discord.press(before)
    assert f"The ledger has this reference with another amount. This press changed nothing. {BY}" == conflict.text
    assert [Decimal("5.00")] == ledger(shop)


async def test_foreign_text_stays_text(discord: Discord) -> None:
    """Text of the shop's formats, links and mentions nothing, and breaks no line; replies keep to 2,000 characters."""
    hostile = "@everyone <@&1> **b** [x](http://evil.test)\n# big `c` \u202e\x00" + "_" * 900
    email = "_" * 60 + "[a](b)<@1>@example.com"
    with Sandbox([Customer(id=7, email=email, discord_id=BOB)]) as shop:
        async with running(session_on(shop)) as bot:
            for _ in range(7):
                await edit_customer_balance(bot.session, 7, "1000", description=hostile[:250].replace("\x00", ""))
            found = await discord.command("customer", member=BOB)
    first, *lines = found.text.split("\n")
    assert 5 == len(lines)
    assert first.startswith("Customer 7, ")
    for line in lines:
        assert line.startswith(r"`+1000.00` @everyone \<@&1\> \*\*b\*\* \[x\]\(http\://evil.test\) # big \`c\`")
    assert not re.search(r"(?<!\\)[<\[]|\]\(|[\u202e\x00]", found.text)


async def test_a_credit_that_a_proxy_repeated(shop: Sandbox) -> None:
    """A reference that the ledger has more than once is told."""
    need("discord")
    from tests.programs.bot import Credit

    async with session_on(shop) as session:
        for _ in range(2):
            await edit_customer_balance(session, 7, "5", description="x [ref:r-1]")
        credit = Credit(7, "5", "r-1")
        told = "Had been made already: 5. The ledger has it more than once: a proxy may have repeated it."
        assert (told, None) == await credit.make(session, None, credit)


def test_every_text_of_an_error_is_bounded() -> None:
    """A reply quotes at most 300 characters of the shop, and says how long to wait where the shop does not."""
    need("discord")
    from tests.programs.bot import explain

    told = explain(InvalidRequestError("x", server_message="_<" * 5000))
    assert told.startswith(r"The shop refused it: \_\<\_")
    assert len(told) < 700
    assert "The shop is busy for 60 seconds." == explain(RateLimitedError())
    assert "The shop is busy for 3 seconds." == explain(RateLimitedError(retry_after=2.1))


def unsound(amount: str) -> bool:
    """Whether this is no amount of money from -1000 to 1000."""
    return not re.fullmatch(r"[+-]?[0-9]+(\.[0-9]{1,2}0*)?", amount) or abs(Decimal(amount)) > 1000


@given(st.text(min_size=1, max_size=12) | st.from_regex(r"[+-]?[0-9]{1,5}(\.[0-9]{1,3})?", fullmatch=True))
def test_any_amount_is_refused_or_carried_as_it_is(amount: str) -> None:
    """Whatever is typed as an amount is refused in words, or its button carries it, and gives the same credit back."""
    need("discord")
    from tests.programs.bot import Credit, CreditButton, explain

    async def carry() -> None:
        credit = Credit(2**63 - 1, amount, f"discord-{2**64 - 1}", not_before=2**40)
        with pytest.raises(ValueError, match="amount must ") if unsound(amount) else nullcontext() as refused:
            await credit.check("x" * 200)
        if refused is not None:
            assert explain(refused.value).startswith("amount must ")
            return
        custom_id = CreditButton(credit, "Confirm").custom_id
        assert len(custom_id) <= 100
        match = CreditButton.__discord_ui_compiled_template__.fullmatch(custom_id)
        assert match is not None
        item: Any = None
        assert credit == (await CreditButton.from_custom_id(item, item, match)).credit

    asyncio.run(carry())


async def test_a_stop_waits_for_the_credit_under_way(shop: Sandbox, discord: Discord) -> None:
    """A bot that is told to stop first says what became of the credit that is under way."""
    async with running(session_on(shop)):
        message = await asked(discord)
        shop.fail_next("slow", method="POST", seconds=0.2)
        press = await discord.send(discord.pressed(message))
        await until(lambda: posts(shop) == 1)
        assert not press.answered.is_set()
    assert f"Made: 5.00. {BY}" == press.text


LAUNCH = """\
import runpy, sys, discord.gateway, discord.http, yarl
discord.http.Route.BASE = sys.argv[1]
discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(sys.argv[2])
runpy.run_path(sys.argv[3], run_name="__main__")
"""


async def started(shop: Sandbox, discord: Discord) -> Process:
    """Start the program as its docstring says, on Discord's side of the test."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-W", "ignore:'audioop' is deprecated:DeprecationWarning"),
        *("-c", LAUNCH, discord.url, discord.gateway_url, PROGRAMS / "bot.py"),
        env=environment(shop, DISCORD_TOKEN="canary-token", DISCORD_GUILD=GUILD),
        stdout=PIPE,
        stderr=PIPE,
    )


@pytest.mark.slow
async def test_the_program_is_killed_started_again_and_stopped(shop: Sandbox, discord: Discord) -> None:
    """The program survives SIGKILL in the middle of a credit, which is paid once, and ends cleanly at SIGTERM."""
    killed = await started(shop, discord)
    message = await asked(discord)
    shop.fail_next("slow", method="POST", seconds=600)
    await discord.send(discord.pressed(message))
    await until(lambda: posts(shop) == 1)
    killed.kill()
    await killed.communicate()
    again = await started(shop, discord)
    assert f"Had been made already: 5.00. {BY}" == (await discord.press(message, after=LATER)).text
    again.send_signal(signal.SIGTERM)
    out, err = (each.decode() for each in await again.communicate())
    assert 0 == again.returncode, err
    assert "" == out
    assert not re.search("Traceback|Warning|ERROR|canary|sandbox-key", err), err
    assert [Decimal("5.00")] == ledger(shop)
