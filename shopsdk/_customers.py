"""The customers: one page, one customer, and the affiliate code."""

from typing import Unpack

from shopsdk._arguments import CustomerFilters, checked_affiliate_code, customer_list, customer_name, customer_number
from shopsdk._edit import said
from shopsdk._frontier import check_page_answer
from shopsdk._models import AffiliateCodeEdit, Customer, OrderColumn, OrderDirection, Page
from shopsdk._session import AsyncSession, core_of
from shopsdk._streams import LIST_ROUTE
from shopsdk._wire import likely_cause, make_request

_ONE_ROUTE = "/shops/{shop_id}/customers/{customer_id}"


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
        shop_id: the shop's id, at least 1; absent, the session's.
        page: which page, from 1; past the last one, ``data`` is empty.
        per_page: rows to a page, 1 to 100.
        order_column: what to order by; the server's own order is by id, descending.
        order_direction: "asc" or "desc".
        filters: any of ``CustomerFilters``. Text matches anywhere: use ``find_customer`` to find one person.

    Raises:
        PaginationError: the answer is another page than the one asked for.
        ShopError: anything else of the tree in ``shopsdk._errors``.
        ValueError: an argument out of its bounds; nothing was sent.
        TypeError: an argument of the wrong type, or an unknown filter; nothing was sent.
    """
    core = core_of(session)
    shop = core.shop(shop_id)
    asked = customer_list(page, per_page, order_column, order_direction, filters)
    request_of = core.list_requests(["shops", shop, "customers"], asked.parameters, route=LIST_ROUTE)
    answer = await core.fetch(request_of(asked.page), Page[Customer])
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
        shop_id: the shop's id, at least 1; absent, the session's.

    Raises:
        NotFoundError: no such customer, or no such shop.
        ShopError: anything else of the tree in ``shopsdk._errors``.
        ValueError: an argument out of its bounds; nothing was sent.
    """
    path: list[str | int] = ["shops", core_of(session).shop(shop_id), "customers", customer_number(customer_id)]
    return await core_of(session).fetch(make_request("GET", path, route=_ONE_ROUTE), Customer)


async def edit_customer_affiliate_code(
    session: AsyncSession, customer_id: int | str, affiliate_code: str | None, *, shop_id: int | None = None
) -> AffiliateCodeEdit:
    """Edit Customer Affiliate Code: set it, or clear it with None. It sets a value, so it is repeated after a failure.

    Args:
        session: the session to ask through.
        customer_id: the customer's id, at least 1; as text, as the vendor documents it here, its digits and no more.
        affiliate_code: 1 to 50 characters; None clears.
        shop_id: the shop's id, at least 1; absent, the session's.

    Raises:
        InvalidRequestError: the shop refused the code.
        UnknownOutcomeError: sent, and no whole answer came to any attempt.
        ShopError: anything else of the tree in ``shopsdk._errors``.
        ValueError: an argument out of its bounds; nothing was sent.
        TypeError: an argument of the wrong type; nothing was sent.
    """
    request = make_request(
        "PUT",
        ["shops", core_of(session).shop(shop_id), "customers", customer_name(customer_id), "affiliate-code"],
        json={"affiliate_code": checked_affiliate_code(affiliate_code)},
        idempotent=True,
        route=f"{_ONE_ROUTE}/affiliate-code",
    )
    return AffiliateCodeEdit(message=said(request, await core_of(session).runtime().send(request)))
