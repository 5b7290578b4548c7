"""A chat bot for a shop's staff: commands that look customers up and credit them.

In one shell ``shopsdk sandbox``; paste the three lines that it prints into another, and there::

    echo '{"id": "17", "author": "ann", "text": "/credit 1001 5.00 a late parcel"}' | STAFF=ann python bot.py

It speaks JSON lines over stdin and stdout in place of a chat platform: hand ``Bot.answer`` to your platform's library.
Platforms deliver a message again when they are not sure that it arrived, so the message's id is the edit's reference.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Collection
from decimal import Decimal, InvalidOperation

import attrs

from shopsdk import (
    AsyncSession,
    Customer,
    NotFoundError,
    RateLimitedError,
    ShopError,
    edit_customer_balance,
    find_customer,
    get_customer,
    get_customer_balance_transactions,
)

HELP = "/customer ID or E-MAIL · /ledger ID · /credit ID AMOUNT [REASON]"


@attrs.frozen
class Message:
    """A message of the chat; its id is the platform's own, and stays the same when it is delivered again."""

    id: str
    author: str
    text: str


@attrs.frozen
class Bot:
    """Answers messages; one session serves all of them, side by side."""

    session: AsyncSession
    staff: Collection[str]

    async def answer(self, message: Message) -> str:
        """Carry a command out, and return a reply for people."""
        if message.author not in self.staff:
            return "I take orders from staff only."
        try:
            match message.text.split(maxsplit=3):
                case ["/customer", who]:
                    return await self._customer(who)
                case ["/ledger", customer_id]:
                    return await self._ledger(int(customer_id))
                case ["/credit", customer_id, amount, *reason]:
                    return await self._credit(message, int(customer_id), Decimal(amount), "".join(reason))
                case _:
                    return HELP
        except (ValueError, InvalidOperation):
            return f"I do not understand the numbers in that. {HELP}"
        except NotFoundError:
            return "There is no such customer."
        except RateLimitedError as error:
            return f"The shop is busy; try again in {error.retry_after or 1:.0f} seconds."
        except ShopError as error:
            if error.maybe_applied:
                return f"Nobody knows yet whether that was done: look for {reference(message)} in the ledger."
            return f"Nothing was done: {error}"

    async def _customer(self, who: str) -> str:
        if who.isdecimal():
            return describe(await get_customer(self.session, int(who)))
        found = await find_customer(self.session, email=who)
        return describe(found) if found else "There is no such customer."

    async def _ledger(self, customer_id: int) -> str:
        lines = await get_customer_balance_transactions(self.session, customer_id)
        return "\n".join(f"{line.amount:+} {line.description or ''}" for line in lines) or "Nothing yet."

    async def _credit(self, message: Message, customer_id: int, amount: Decimal, reason: str) -> str:
        edit = await edit_customer_balance(
            self.session, customer_id, amount, description=reason or None, reference=reference(message)
        )
        customer = await get_customer(self.session, customer_id)
        return f"{'Had been done already' if edit.replayed else 'Done'}. {describe(customer)}"


def reference(message: Message) -> str:
    """Name the edit that a message asks for."""
    return f"chat-{message.id}"


def describe(customer: Customer) -> str:
    """Describe a customer in one line."""
    return f"{customer.id} {customer.email}: {customer.balance or 0} in store credit"


async def messages() -> AsyncIterator[Message]:
    """Read the messages that people write."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        yield Message(**json.loads(line))


async def main() -> None:
    """Answer each message in a task of its own, so that none waits for another."""

    async def reply(message: Message) -> None:
        print(json.dumps({"to": message.id, "text": await bot.answer(message)}), flush=True)

    async with AsyncSession() as session, asyncio.TaskGroup() as tasks:
        bot = Bot(session, os.environ.get("STAFF", "").split())
        async for message in messages():
            tasks.create_task(reply(message))


if __name__ == "__main__":
    asyncio.run(main())
