"""A web app that shows a shop's customers and credits them: FastAPI, one session for the app's life.

In one shell ``shopsdk sandbox``; paste the three lines that it prints into another, and there::

    pip install fastapi uvicorn
    python web_app_fastapi.py
    curl localhost:8080/customers/1001
    curl localhost:8080/customers/1001/credit -H 'Idempotency-Key: order-1187' --json '{"amount": "5.00"}'
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from shopsdk import (
    AsyncSession,
    Customer,
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
    ReferenceConflictError,
    ShopError,
    edit_customer_balance,
    get_customer,
    get_customers,
)

log = logging.getLogger("web_app")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the session with the app, and close it with the app."""
    async with AsyncSession() as session:
        app.state.shop = session
        yield


app = FastAPI(lifespan=lifespan)


def opened(request: Request) -> AsyncSession:
    """Return the app's session."""
    session: AsyncSession = request.app.state.shop
    return session


Shop = Annotated[AsyncSession, Depends(opened)]


class CustomerOut(BaseModel):
    """A customer, as callers see it; pydantic reads it off the attrs class."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    email: str
    balance: Decimal | None
    total_completed: int | None


class CreditIn(BaseModel):
    """An amount to credit; pydantic reads a number from its digits, so that no amount is a float."""

    amount: Annotated[Decimal, Field(ge=-1000, le=1000, decimal_places=2)]


class CreditOut(BaseModel):
    """An amount that was credited, and whether that had been done before."""

    credited: Decimal
    again: bool


@app.get("/health")
async def health(shop: Shop, response: Response) -> dict[str, str]:
    """Say whether the shop can be reached, by a request for one row within five seconds."""
    try:
        async with asyncio.timeout(5):
            await get_customers(shop, per_page=1)
    except (ShopError, TimeoutError) as error:
        response.status_code = 503
        return {"shop": type(error).__name__}
    return {"shop": "ok"}


@app.get("/customers/{customer_id}", response_model=CustomerOut)
async def customer(shop: Shop, customer_id: int) -> Customer:
    """Show a customer."""
    return await get_customer(shop, customer_id)


@app.post("/customers/{customer_id}/credit")
async def credit(
    shop: Shop,
    customer_id: int,
    body: CreditIn,
    idempotency_key: Annotated[str, Header(pattern=r"^[A-Za-z0-9._:-]{1,64}$")],
) -> CreditOut:
    """Credit a customer, once for each Idempotency-Key; the server ends this even if the caller hangs up."""
    edit = await edit_customer_balance(shop, customer_id, body.amount, reference=idempotency_key)
    log.info("credit of %d: %s", customer_id, type(edit).__name__)
    return CreditOut(credited=body.amount, again=edit.replayed)


@app.exception_handler(ShopError)
async def errors(_: Request, error: Exception) -> JSONResponse:
    """Turn the shop's errors into responses of ours."""
    match error:
        case NotFoundError():
            return JSONResponse({"error": "no such customer"}, 404)
        case InvalidRequestError():
            return JSONResponse({"error": error.message}, 422)
        case ReferenceConflictError():
            return JSONResponse({"error": "this key was used with another amount"}, 409)
        case RateLimitedError():
            return JSONResponse({"error": "busy"}, 503, headers={"Retry-After": str(round(error.retry_after or 1))})
        case ShopError(maybe_applied=True):
            return JSONResponse({"error": "not known yet: ask again with the same key"}, 502)
        case _:
            return JSONResponse({"error": "the shop cannot be reached"}, 502)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8080")))
