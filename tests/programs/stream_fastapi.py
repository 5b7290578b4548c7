"""All customers as a stream of NDJSON from a FastAPI route, in flat memory.

In one shell ``shopsdk sandbox``; paste the three lines that it prints into another, and there::

    pip install fastapi uvicorn
    python stream_fastapi.py
    curl -N localhost:8080/customers.ndjson

A browser that reads slowly slows the walk down, and one that leaves ends it. If the shop fails in the middle, the
response breaks off: callers see an incomplete body, never one that only looks whole.
"""

import json
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from shopsdk import AsyncSession, Customer, Page, ShopError, iter_customer_pages
from shopsdk.export import to_plain


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the session with the app, and close it with the app."""
    async with AsyncSession() as session:
        app.state.shop = session
        yield


app = FastAPI(lifespan=lifespan)


class CustomersResponse(StreamingResponse):
    """A response that asks for pages as the browser takes them, and ends the walk when it ends itself."""

    media_type = "application/x-ndjson"

    def __init__(self, first: Page[Customer] | None, pages: AsyncGenerator[Page[Customer], None]) -> None:
        self.first, self.pages = first, pages
        super().__init__(self.lines())

    async def lines(self) -> AsyncIterator[str]:
        """Write a page at a time, a customer to a line."""
        if self.first is not None:
            yield lines_of(self.first)
        async for page in self.pages:
            yield lines_of(page)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all; in the end, or when the browser has left, cancel the requests for pages on their way."""
        async with aclosing(self.pages):
            await super().__call__(scope, receive, send)


def lines_of(page: Page[Customer]) -> str:
    """Write the customers of a page as lines of JSON."""
    return "".join(json.dumps(to_plain(customer)) + "\n" for customer in page.data)


@app.get("/customers.ndjson")
async def customers(request: Request) -> CustomersResponse:
    """Stream every customer. The first page is read here, so that an error of the shop can still be a response."""
    pages = iter_customer_pages(request.app.state.shop)
    return CustomersResponse(await anext(pages, None), pages)


@app.exception_handler(ShopError)
async def failed(_: Request, error: Exception) -> JSONResponse:
    """Turn the shop's error into a response of ours."""
    return JSONResponse({"error": f"the shop cannot be read: {type(error).__name__}"}, 502)


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8080")))
