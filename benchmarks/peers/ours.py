"""The library itself, used as its README says."""

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, aclosing
from typing import Any

import aiohttp

import shopsdk
from shopsdk import AsyncSession


def _run(
    work: Callable[[AsyncSession], Coroutine[Any, Any, int]],
    url: str,
    certificate: str = "",
    *,
    max_in_flight: int = 64,
    uvloop: bool = False,
) -> int:
    async def whole() -> int:
        async with AsyncExitStack() as stack:
            connector = None
            if certificate:
                tls = ssl.create_default_context(cafile=certificate)
                connector = await stack.enter_async_context(aiohttp.TCPConnector(ssl=tls))
            session = AsyncSession(
                "bench-key", shop_id=38, base_url=url, max_in_flight=max_in_flight, connector=connector
            )
            return await work(await stack.enter_async_context(session))

    if uvloop:
        import uvloop as loops  # noqa: PLC0415 - only where it is asked for

        return int(loops.run(whole()))
    return asyncio.run(whole())


def stream(url: str, per_page: int = 100, concurrency: int = 1, certificate: str = "", *, uvloop: bool = False) -> int:
    """Read every customer."""

    async def work(session: AsyncSession) -> int:
        rows = 0
        walk = shopsdk.iter_customers(session, per_page=per_page, concurrency=concurrency)
        async with aclosing(walk) as customers:
            async for _ in customers:
                rows += 1
        return rows

    return _run(work, url, certificate, uvloop=uvloop)


def one_by_one(url: str, ids: list[int]) -> int:
    """Get single customers, one after the other."""

    async def work(session: AsyncSession) -> int:
        rows = 0
        for number in ids:
            rows += (await shopsdk.get_customer(session, number)).id == number
        return rows

    return _run(work, url)


def edits(url: str, certificate: str, ids: list[int], *, at_once: bool) -> int:
    """Edit the balance of each of these customers, one after the other or all at once, 16 in flight."""

    async def work(session: AsyncSession) -> int:
        edits = (shopsdk.edit_customer_balance(session, number, 5) for number in ids)
        made = await asyncio.gather(*edits) if at_once else [await edit for edit in edits]
        return sum(edit.message is not None for edit in made)

    return _run(work, url, certificate, max_in_flight=16)
