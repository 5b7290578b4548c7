"""One page of customers, one customer, and the affiliate code."""

from contextlib import aclosing
from operator import eq
from typing import Unpack

from shopsdk._api import routes
from shopsdk._api.answers import response_message
from shopsdk._api.arguments import (
    MAX_ROWS,
    CustomerFilters,
    check_affiliate_code,
    check_customer_id,
    customer_list,
    one_criterion,
    server_filter,
)
from shopsdk._api.iteration import find_customers
from shopsdk._checks import check_int
from shopsdk._errors import DecodeError, MultipleCustomersError
from shopsdk._http.request import likely_cause, make_request
from shopsdk._http.session import AsyncSession, core_of
from shopsdk._models import AffiliateCodeEdit, Customer, OrderColumn, OrderDirection, Page
from shopsdk._pagination.progress import check_page_answer

_MAX_FOUND = 100
"""Matching customers after which a search ends."""


async def get_customers(
    session: AsyncSession,
    *,
    shop_id: int | None = None,
    page: int = 1,
    per_page: int = 100,
    order_column: OrderColumn | None = None,
    order_direction: OrderDirection | None = None,
    **filters: Unpack[CustomerFilters],
) -> Page[Customer]:
    """Get Customers: one page. To read them all, use ``iter_customers``, which also minds rows that move.

    ```python
    page = await get_customers(session, email="@example.com", subscribed=True)
    for customer in page.data:
        print(customer.email, f"({page.total} in all)")
    ```

    Args:
        session: the session to ask through.
        shop_id: the shop's id, at least 1; default: the session's.
        page: which page, from 1; past the last one, ``data`` is empty.
        per_page: rows to a page, 1 to 100.
        order_column: what to order by; the server's own order is by id, descending.
        order_direction: "asc" or "desc".
        filters: any of ``CustomerFilters``. Text matches anywhere: use ``find_customer`` to find one person.

    Raises:
        PaginationError: the answer is another page than the one asked for.
        ShopError: any other failure.
        ValueError: an argument out of its bounds; nothing was sent.
        TypeError: an argument of the wrong type, or an unknown filter; nothing was sent.
    """
    core = core_of(session)
    shop = core.shop(shop_id)
    asked = customer_list(page, per_page, order_column, order_direction, filters)
    request_of = core.list_requests(["shops", shop, "customers"], asked.parameters, route=routes.CUSTOMERS)
    answer = await core.fetch(request_of(asked.page), Page[Customer], max_rows=MAX_ROWS)
    check_page_answer(answer, asked.page, asked.per_page, likely_cause(core.list_params))
    return answer


async def get_customer(session: AsyncSession, customer_id: int, *, shop_id: int | None = None) -> Customer:
    """Get Customer: one customer by id.

    ```python
    customer = await get_customer(session, 42)
    print(customer.email, customer.balance)
    ```

    Args:
        session: the session to ask through.
        customer_id: the customer's id, at least 1.
        shop_id: the shop's id, at least 1; default: the session's.

    Raises:
        NotFoundError: no such customer, or no such shop.
        DecodeError: the answer cannot be read, or is another customer than the one asked for.
        ShopError: any other failure.
        ValueError: an argument out of its bounds; nothing was sent.
    """
    number = check_int("customer_id", customer_id, 1)
    request = make_request("GET", ["shops", core_of(session).shop(shop_id), "customers", number], route=routes.CUSTOMER)
    customer = await core_of(session).fetch(request, Customer)
    if customer.id != number:
        raise DecodeError(
            f"cannot take the answer to {request.label} at $.id: it is customer {customer.id}, not {number}",
            path="$.id",
        )
    return customer


async def find_customer(
    session: AsyncSession,
    *,
    email: str | None = None,
    discord_id: str | int | None = None,
    discord_username: str | None = None,
    affiliate_code: str | None = None,
    shop_id: int | None = None,
) -> Customer | None:
    """Find the one customer with this e-mail address, Discord account or affiliate code; None if there is none.

    The filters of Get Customers match anywhere in a text, so whoever registers a longer address would be found in its
    place. Here the whole text must be equal, over all pages that the filter finds: e-mail addresses and names without
    regard to case, Discord ids and affiliate codes exactly. White space at both ends of what is given is ignored.

    ```python
    customer = await find_customer(session, email="reader42@example.com")
    if customer is not None:
        await edit_customer_balance(session, customer.id, "5.00", reference="gift-42")
    ```

    Args:
        session: the session to ask through.
        email: the whole e-mail address. Give exactly one of these four.
        discord_id: the whole Discord id.
        discord_username: the whole Discord name.
        affiliate_code: the whole affiliate code.
        shop_id: the shop's id, at least 1; default: the session's.

    Raises:
        MultipleCustomersError: more than one customer has it; ``customer_ids`` names them, up to 100.
        TransportError: no usable answer, or the deadline (``Timeout.deadline``) passed before the last page.
        PaginationError: the server cannot be trusted to have told everything.
        ShopError: any other failure.
        ValueError: an argument out of its bounds, such as an empty text; nothing was sent.
        TypeError: none of the four, more than one, or an argument of the wrong type; nothing was sent.
    """
    name, text = one_criterion(
        email=email, discord_id=discord_id, discord_username=discord_username, affiliate_code=affiliate_code
    )
    same = same_but_case if name in {"email", "discord_username"} else eq
    wanted = server_filter(name, text)
    found: Customer | None = None
    ids: list[int] = []
    async with aclosing(find_customers(session, shop_id=shop_id, filters=wanted)) as customers:
        async for each in customers:
            value = getattr(each, name)
            if value is not None and same(value, text):
                found = found or each
                ids.append(each.id)
            if len(ids) == _MAX_FOUND:
                break
    if len(ids) > 1:
        more = " or more" if len(ids) == _MAX_FOUND else ""
        raise MultipleCustomersError(f"expected 1 customer, found {len(ids)}{more}", customer_ids=tuple(ids))
    return found


def same_but_case(one: str, other: str) -> bool:
    """Compare without regard to case. Both cases must agree: the Kelvin sign has the small letter k, and is no K."""
    return one.lower() == other.lower() and one.upper() == other.upper()


async def edit_customer_affiliate_code(
    session: AsyncSession, customer_id: int | str, affiliate_code: str | None, *, shop_id: int | None = None
) -> AffiliateCodeEdit:
    """Edit Customer Affiliate Code: set it, or clear it with None. It sets a value, so it is repeated after a failure.

    Args:
        session: the session to ask through.
        customer_id: the customer's id, at least 1; as text, as the vendor documents it here, its digits and no more.
        affiliate_code: 1 to 50 characters; None clears.
        shop_id: the shop's id, at least 1; default: the session's.

    Raises:
        InvalidRequestError: the shop refused the code.
        UnknownOutcomeError: sent, and no whole answer came to any attempt.
        ShopError: any other failure.
        ValueError: an argument out of its bounds; nothing was sent.
        TypeError: an argument of the wrong type; nothing was sent.
    """
    request = make_request(
        "PUT",
        ["shops", core_of(session).shop(shop_id), "customers", check_customer_id(customer_id), "affiliate-code"],
        json={"affiliate_code": check_affiliate_code(affiliate_code)},
        idempotent=True,
        route=routes.AFFILIATE_CODE,
    )
    return AffiliateCodeEdit(message=response_message(session, request, await core_of(session).runtime().send(request)))
