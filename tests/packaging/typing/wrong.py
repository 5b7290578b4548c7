"""Wrong uses, each of which is an error to both type checkers, for the reasons that stand beside it. Never run.

The comments quiet the errors, and both checkers report a comment that quiets nothing, so that a wrong use that is
accepted is reported. ``test_typing`` takes the comments away and checks that each use is an error.
"""

from decimal import Decimal

import shopsdk
from shopsdk import AsyncSession, Customer, CustomerFilters, OrderColumn, Page, RateLimit, Timeout
from shopsdk.sandbox import Fault, Sandbox


async def sessions() -> None:
    AsyncSession("key", 38)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    AsyncSession(38)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AsyncSession("key", shop_id="38")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AsyncSession("key", timeout=30)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AsyncSession("key", list_params="form")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with AsyncSession("key"):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass
    Timeout(total="30")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Timeout().total = 5  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    RateLimit()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def money(session: AsyncSession) -> None:
    edit = shopsdk.edit_customer_balance
    await edit(session, 42, 5.0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await edit(session, 42, None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await edit(session, 42)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await edit(session, 42, "5", "why")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await edit(session, 42, "5", reference=1187)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await edit(session, 42, "5", method="PATCH")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await shopsdk.edit_customer_affiliate_code(session, 42)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await shopsdk.get_customer(session, "42")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await shopsdk.find_customer(session, "x@example.com")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    _ = (await shopsdk.find_customer(session, email="x")).id  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
    await shopsdk.find_balance_edit(session, 42, 1187)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    shopsdk.get_customer(session, 42)  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]


async def lists(session: AsyncSession) -> None:
    get = shopsdk.get_customers
    await get(session, e_mail="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await get(session, email=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await get(session, order_column="name")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await get(session, order_direction="up")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await get(session, 2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    _: CustomerFilters = {"emial": "x"}  # type: ignore[typeddict-unknown-key]  # pyright: ignore[reportAssignmentType]
    __: OrderColumn = "Balance"  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    for _row in shopsdk.iter_customers(session):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass
    await shopsdk.iter_customers(session)  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    shopsdk.paginate(session, ["invoices"])  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def models(customer: Customer, page: Page[Customer]) -> None:
    _ = customer.balance + 1  # type: ignore[operator]  # pyright: ignore[reportOptionalOperand]
    customer.balance = Decimal(1)  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    _ = customer.name  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    Customer(1, "x@example.com")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Customer(id=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Page[Customer](data=[])  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    _ = page.data[0].balanc  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


def shops(error: shopsdk.ShopError) -> None:
    Fault("explode")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Sandbox("many")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Sandbox().fail_next("explode")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Sandbox().fail_next("slow", secs=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Sandbox().session(timout=Timeout())  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Sandbox().session(max_in_flight="2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Sandbox().add_customer(emial="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Sandbox().update_customer(7, balance=5.0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    _ = error.status  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
