"""A web app that shows a shop's customers and credits them: aiohttp.web, one session for the app's life.

In one shell ``shopsdk sandbox``; paste the three lines that it prints into another, and there::

    python web_app_aiohttp.py
    curl localhost:8080/customers/1001
    curl localhost:8080/customers/1001/credit -H 'Idempotency-Key: order-1187' -d '{"amount": "5.00"}'
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from shopsdk import (
    AsyncSession,
    BalanceEdit,
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
    ReferenceConflictError,
    ShopError,
    edit_customer_balance,
    get_customer,
    get_customers,
)
from shopsdk.export import to_plain

SHOP = web.AppKey("SHOP", AsyncSession)
EDITS = web.AppKey("EDITS", set[asyncio.Task[BalanceEdit]])

log = logging.getLogger("web_app")
routes = web.RouteTableDef()


@routes.get("/health")
async def health(request: web.Request) -> web.Response:
    """Say whether the shop can be reached, by a request for one row within five seconds."""
    try:
        async with asyncio.timeout(5):
            await get_customers(request.app[SHOP], per_page=1)
    except (ShopError, TimeoutError) as error:
        return web.json_response({"shop": type(error).__name__}, status=503)
    return web.json_response({"shop": "ok"})


@routes.get(r"/customers/{id:\d+}")
async def customer(request: web.Request) -> web.Response:
    """Show a customer. It is cancelled when the caller hangs up, and so is the request to the shop."""
    found = await get_customer(request.app[SHOP], int(request.match_info["id"]))
    return web.json_response(to_plain(found))


@routes.post(r"/customers/{id:\d+}/credit")
async def credit(request: web.Request) -> web.Response:
    """Credit a customer, once for each Idempotency-Key, and to the end, even if the caller hangs up."""
    customer_id = int(request.match_info["id"])
    try:
        body = await request.json()
        edit = edit_customer_balance(
            request.app[SHOP], customer_id, body["amount"], reference=request.headers["Idempotency-Key"]
        )
        task = asyncio.create_task(edit)
        request.app[EDITS].add(task)
        task.add_done_callback(request.app[EDITS].discard)
        task.add_done_callback(lambda task: log.info("credit of %d: %s", customer_id, outcome(task)))
        done = await asyncio.shield(task)
    except (KeyError, ValueError, TypeError) as error:
        return web.json_response({"error": f"bad request: {error}"}, status=400)
    return web.json_response({"credited": str(body["amount"]), "again": done.replayed})


def outcome(task: asyncio.Task[Any]) -> str:
    """Name the outcome of an edit, for the log."""
    return "cancelled" if task.cancelled() else type(task.exception() or task.result()).__name__


@web.middleware
async def errors(request: web.Request, handler: Any) -> web.StreamResponse:
    """Turn the shop's errors into responses of ours."""
    try:
        response: web.StreamResponse = await handler(request)
    except NotFoundError:
        return web.json_response({"error": "no such customer"}, status=404)
    except InvalidRequestError as error:
        return web.json_response({"error": error.message}, status=422)
    except ReferenceConflictError:
        return web.json_response({"error": "this key was used with another amount"}, status=409)
    except RateLimitedError as error:
        wait = {"Retry-After": str(round(error.retry_after or 1))}
        return web.json_response({"error": "busy"}, status=503, headers=wait)
    except ShopError as error:
        message = "not known yet: ask again with the same key" if error.maybe_applied else "the shop cannot be reached"
        return web.json_response({"error": message}, status=502)
    return response


async def shop(app: web.Application) -> AsyncIterator[None]:
    """Open the session with the app, and close it with the app, after the edits that are still under way."""
    async with AsyncSession() as session:
        app[SHOP], app[EDITS] = session, set()
        yield
        await asyncio.gather(*app[EDITS], return_exceptions=True)


def make_app() -> web.Application:
    """Make the app."""
    app = web.Application(middlewares=[errors])
    app.add_routes(routes)
    app.cleanup_ctx.append(shop)
    return app


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    web.run_app(make_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8080")), handler_cancellation=True)
