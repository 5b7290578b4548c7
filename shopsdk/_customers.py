"""The customers: one page, one customer, all of them as a stream; and any other paginated list of the same API."""

from collections.abc import AsyncGenerator, Callable, Hashable, Mapping, Sequence
from contextlib import aclosing
from operator import attrgetter
from typing import Any, TypeVar, Unpack

from shopsdk._arguments import CustomerFilters, checked_affiliate_code, customer_list, customer_name, customer_number
from shopsdk._balance import said
from shopsdk._core import reader
from shopsdk._models import AffiliateCodeEdit, Customer, OrderColumn, OrderDirection, Page
from shopsdk._pages import Walk, check_page_answer, walk
from shopsdk._session import AsyncSession, core_of
from shopsdk._wire import check_int, check_page, make_request

T = TypeVar("T")

_LIST_ROUTE = "/shops/{shop_id}/customers"
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

    Args:
        session: the session to ask through.
        shop_id: the shop, if not the session's.
        page: which page, from 1; past the last one, ``data`` is empty.
        per_page: rows to a page, 1 to 100.
        order_column: what to order by; the server's own order is by id, descending.
        order_direction: "asc" or "desc".
        **filters: see ``CustomerFilters``. Text matches anywhere: compare before you move money.

    Raises:
        PaginationError: the answer is another page than the one asked for.
        ShopError: see the tree.
        ValueError: an argument out of its bounds; nothing was sent.
        TypeError: an argument of the wrong type, or an unknown filter; nothing was sent.
    """
    shop = core_of(session).shop(shop_id)
    params = customer_list(page, per_page, order_column, order_direction, filters)
    request = core_of(session).list_request(["shops", shop, "customers"], params, route=_LIST_ROUTE)
    answer = await core_of(session).fetch(request, Page[Customer])
    check_page_answer(answer, page, per_page)
    return answer


async def get_customer(session: AsyncSession, customer_id: int, *, shop_id: int | None = None) -> Customer:
    """Get Customer: one customer by id.

    Args:
        session: the session to ask through.
        customer_id: the customer, at least 1.
        shop_id: the shop, if not the session's.

    Raises:
        NotFoundError: no such customer, or no such shop.
        ShopError: see the tree.
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
        customer_id: the customer.
        affiliate_code: 1 to 50 characters; None clears.
        shop_id: the shop, if not the session's.

    Raises:
        InvalidRequestError: the shop refused the code.
        UnknownOutcomeError: sent, and no whole answer came to any attempt.
        ShopError: see the tree.
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


def iter_customers(
    session: AsyncSession,
    *,
    shop_id: int | None = None,
    per_page: int = 100,
    start_page: int = 1,
    concurrency: int = 1,
    order_column: OrderColumn = "id",
    order_direction: OrderDirection = "asc",
    **filters: Unpack[CustomerFilters],
) -> AsyncGenerator[Customer, None]:
    """Stream every customer, across all pages: each once, in order, in flat memory.

    Rows that slip onto pages already read, because others were deleted, are found again wherever the pages' totals can
    show it. Leave it early inside ``contextlib.aclosing``, so that no read-ahead stays behind::

        async with aclosing(iter_customers(session)) as customers:
            async for customer in customers:
                ...

    Args:
        session: the session to ask through.
        shop_id: the shop, if not the session's.
        per_page: rows to a request, 1 to 100.
        start_page: the page to begin with, from 1.
        concurrency: pages in flight at most, at least 1; with 1, the next is on its way while you use this one.
        order_column: what to order by. With any other column than ``id``, the ids of all customers are kept to drop
            repeats, and rows that tie may be missed: the server breaks ties as it likes.
        order_direction: "asc" or "desc".
        **filters: see ``CustomerFilters``. A walk over a filter that your own edits change skips rows: collect the
            ids first, then edit.

    Raises:
        PaginationError: the server cannot be trusted to have told everything.
        ShopError: see the tree; ``page`` says which page failed, and all before it were delivered.
        ValueError: an argument out of its bounds; raised at the call.
        TypeError: an argument of the wrong type, or an unknown filter; raised at the call.
    """
    return _rows(
        iter_customer_pages(
            session,
            shop_id=shop_id,
            per_page=per_page,
            start_page=start_page,
            concurrency=concurrency,
            order_column=order_column,
            order_direction=order_direction,
            **filters,
        )
    )


async def _rows(pages: AsyncGenerator[Page[T], None]) -> AsyncGenerator[T, None]:
    async with aclosing(pages):
        async for page in pages:
            for row in page.data:
                yield row


def iter_customer_pages(
    session: AsyncSession,
    *,
    shop_id: int | None = None,
    per_page: int = 100,
    start_page: int = 1,
    concurrency: int = 1,
    order_column: OrderColumn = "id",
    order_direction: OrderDirection = "asc",
    after: Page[Customer] | None = None,
    **filters: Unpack[CustomerFilters],
) -> AsyncGenerator[Page[Customer], None]:
    """Stream every customer as ``iter_customers`` does, page by page; each page holds its new rows only.

    Args:
        session: the session to ask through.
        shop_id: the shop, if not the session's.
        per_page: rows to a request, 1 to 100.
        start_page: the page to begin with, from 1; not together with ``after``.
        concurrency: pages in flight at most, at least 1.
        order_column: what to order by; see ``iter_customers``.
        order_direction: "asc" or "desc".
        after: the last page that an earlier walk with the same parameters delivered; goes on behind it, and finds
            rows that slipped in front of that place meanwhile.
        **filters: see ``CustomerFilters``.

    Raises:
        PaginationError: the server cannot be trusted to have told everything.
        ShopError: see the tree; ``page`` says which page failed, and all before it were delivered.
        ValueError: an argument out of its bounds; raised at the call.
        TypeError: an argument of the wrong type, or an unknown filter; raised at the call.
    """
    path: list[str | int] = ["shops", core_of(session).shop(shop_id), "customers"]
    params = customer_list(start_page, per_page, order_column, order_direction, filters)
    check_int("concurrency", concurrency, 1)
    if after is not None and (start_page != 1 or after.per_page != per_page):
        raise ValueError("after goes with the per_page of the walk that delivered it, and without start_page")

    requests = core_of(session).list_requests(path, params, route=_LIST_ROUTE)
    plan = Walk[Customer](
        read=lambda number: core_of(session).start(requests(number)),
        decode=reader(Page[Customer], label=requests(start_page).label),
        per_page=per_page,
        start_page=start_page,
        concurrency=concurrency,
        key=attrgetter("id"),
        order=order_direction if order_column == "id" else None,
        after=after,
    )
    return walk(plan)


def paginate(
    session: AsyncSession,
    path: Sequence[str | int],
    item_type: type[T],
    *,
    per_page: int = 100,
    start_page: int = 1,
    concurrency: int = 1,
    params: Mapping[str, object] | None = None,
    key: Callable[[T], Hashable] | None = None,
) -> AsyncGenerator[Page[T], None]:
    """Walk any other paginated list of the same API, page by page, with the same promises as for customers.

    Args:
        session: the session to ask through.
        path: the segments below the base URL, such as ``["shops", 38, "invoices"]``.
        item_type: what a row is decoded into: an attrs class.
        per_page: rows to a request, 1 to 100.
        start_page: the page to begin with, from 1.
        concurrency: pages in flight at most, at least 1.
        params: further parameters of the list; they travel as the session's ``list_params`` says.
        key: what tells rows apart, such as ``attrgetter("id")``: all keys are kept, to drop repeats. Without it rows
            may come twice where the list grows under the walk.

    Raises:
        PaginationError: the server cannot be trusted to have told everything.
        ShopError: see the tree; ``page`` says which page failed, and all before it were delivered.
        ValueError: an argument out of its bounds; raised at the call.
        TypeError: an argument of the wrong type; raised at the call.
    """
    check_page(start_page, per_page)
    check_int("concurrency", concurrency, 1)
    fixed = dict(params or {})
    if taken := {"page", "perPage"} & fixed.keys():
        raise ValueError(f"params must not hold {', '.join(sorted(taken))}: the walk sets that itself")
    requests = core_of(session).list_requests(path, {"page": start_page, "perPage": per_page, **fixed})
    page_type: Any = Page[item_type]  # type: ignore[valid-type]  # made at run time, from the caller's type
    return walk(
        Walk[T](
            read=lambda number: core_of(session).start(requests(number)),
            decode=reader(page_type, label=requests(start_page).label),
            per_page=per_page,
            start_page=start_page,
            concurrency=concurrency,
            key=key,
        )
    )
