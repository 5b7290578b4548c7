"""All customers as a stream, and any other paginated list of the same API."""

from collections.abc import AsyncGenerator, Callable, Hashable, Mapping, Sequence
from operator import attrgetter
from typing import Any, TypeVar, Unpack

from shopsdk._api import routes
from shopsdk._api.arguments import MAX_ROWS, CustomerFilters, customer_list
from shopsdk._checks import check_int, check_page, check_params
from shopsdk._codec.json import decode
from shopsdk._http.limits import Deadline
from shopsdk._http.request import likely_cause
from shopsdk._http.response import Response
from shopsdk._http.session import AsyncSession, core_of
from shopsdk._models import Customer, OrderColumn, OrderDirection, Page
from shopsdk._pagination.walk import Walk, walk, walk_rows

T = TypeVar("T")


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
    """Get Customers, all pages of it: stream every customer, each once, in order, in flat memory.

    Rows that slip onto pages already read, because others were deleted, are found again wherever the pages' totals can
    show it. Leave it early inside ``contextlib.aclosing``, so that no prefetched page stays behind:

    ```python
    from contextlib import aclosing

    async with aclosing(iter_customers(session, concurrency=4)) as customers:
        async for customer in customers:
            if customer.balance is not None and customer.balance < 0:
                print(customer.email)
                break
    ```

    Args:
        session: the session to ask through.
        shop_id: the shop's id, at least 1; default: the session's.
        per_page: rows to a request, 1 to 100.
        start_page: the page to begin with, from 1.
        concurrency: pages in flight at most, at least 1; with 1, the next is on its way while you use this one. From 2
            on, up to 4 times as many are held for their turn while one stalls.
        order_column: what to order by. With any other column than ``id``, the ids of all customers are kept to drop
            repeats, and rows that tie may be missed: the server breaks ties as it likes. A row whose place changes
            under the walk may be missed too.
        order_direction: "asc" or "desc".
        filters: any of ``CustomerFilters``. A walk over a filter that your own edits change skips rows: collect the
            ids first, then edit.

    Raises:
        PaginationError: rows may be missing: the server ignored what was asked, or contradicts itself.
        ShopError: any other failure; ``page`` says which page failed, and all pages before it were delivered.
        ValueError: an argument out of its bounds; raised at the call.
        TypeError: an argument of the wrong type, or an unknown filter; raised at the call.
    """
    return walk_rows(
        _customers_walk(
            session,
            shop_id=shop_id,
            per_page=per_page,
            start_page=start_page,
            concurrency=concurrency,
            order_column=order_column,
            order_direction=order_direction,
            after=None,
            filters=filters,
        )
    )


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
    """Get Customers, all pages of it, as ``iter_customers``, but page by page; each page holds its new rows only.

    A walk that stopped is taken up behind the last page that it delivered:

    ```python
    from contextlib import aclosing

    last = None
    async with aclosing(iter_customer_pages(session, per_page=50)) as pages:
        async for last in pages:
            break  # as if the power had failed
    async with aclosing(iter_customer_pages(session, per_page=50, after=last)) as pages:
        async for page in pages:
            print(page.current_page, "of", page.last_page)
    ```

    Args:
        session: the session to ask through.
        shop_id: the shop's id, at least 1; default: the session's.
        per_page: rows to a request, 1 to 100.
        start_page: the page to begin with, from 1; not together with ``after``.
        concurrency: pages in flight at most, at least 1.
        order_column: what to order by; see ``iter_customers``.
        order_direction: "asc" or "desc".
        after: the last page that an earlier walk with the same parameters delivered; goes on behind it, and finds
            rows that slipped in front of that place meanwhile. Ordered by anything but ``id``, rows of pages before it
            may then come again: only its own rows are known.
        filters: any of ``CustomerFilters``.

    Raises:
        PaginationError: rows may be missing: the server ignored what was asked, or contradicts itself.
        ShopError: any other failure; ``page`` says which page failed, and all pages before it were delivered.
        ValueError: an argument out of its bounds; raised at the call.
        TypeError: an argument of the wrong type, or an unknown filter; raised at the call.
    """
    return walk(
        _customers_walk(
            session,
            shop_id=shop_id,
            per_page=per_page,
            start_page=start_page,
            concurrency=concurrency,
            order_column=order_column,
            order_direction=order_direction,
            after=after,
            filters=filters,
        )
    )


def find_customers(
    session: AsyncSession, *, shop_id: int | None, filters: CustomerFilters
) -> AsyncGenerator[Customer, None]:
    """Stream the customers that a filter finds, as ``iter_customers``, within the deadline of one call."""
    return walk_rows(
        _customers_walk(
            session,
            shop_id=shop_id,
            per_page=100,
            start_page=1,
            concurrency=1,
            order_column="id",
            order_direction="asc",
            after=None,
            filters=filters,
            within=core_of(session).deadline(),
        )
    )


def _customers_walk(
    session: AsyncSession,
    *,
    shop_id: int | None,
    per_page: int,
    start_page: int,
    concurrency: int,
    order_column: OrderColumn,
    order_direction: OrderDirection,
    after: Page[Customer] | None,
    filters: CustomerFilters,
    within: Deadline | None = None,
) -> Walk[Customer]:
    """Check the arguments, and say what to walk and how."""
    core = core_of(session)
    path = ["shops", core.shop(shop_id), "customers"]
    asked = customer_list(start_page, per_page, order_column, order_direction, filters)
    in_flight = check_int("concurrency", concurrency, 1)
    _check_page(after)
    if after is not None and (asked.page != 1 or after.per_page != asked.per_page):
        raise ValueError("after goes with the per_page of the walk that delivered it, and without start_page")

    request_of = core.list_requests(path, asked.parameters, route=routes.CUSTOMERS)
    return Walk[Customer](
        read=lambda number: core.start(request_of(number), within=within),
        decode=_page_decoder(Page[Customer], label=request_of(asked.page).label),
        per_page=asked.per_page,
        start_page=asked.page,
        concurrency=in_flight,
        key=attrgetter("id"),
        order=asked.direction if asked.column == "id" else None,
        after=after,
        cause=likely_cause(core.list_params),
    )


def _check_page(after: object) -> None:
    if after is not None and not isinstance(after, Page):
        raise TypeError(f"after must be a Page that was delivered, not {type(after).__name__}")


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

    ```python
    from operator import attrgetter

    path = ["shops", 38, "customers"]  # of any list
    found, key = {"email": "reader"}, attrgetter("id")
    async for page in paginate(session, path, Customer, params=found, key=key):
        print(len(page.data), "of", page.total)
    ```

    Args:
        session: the session to ask through.
        path: the segments below the base URL, such as ``["shops", 38, "invoices"]``.
        item_type: what a row is decoded into: an attrs class.
        per_page: rows to a request, 1 to 100.
        start_page: the page to begin with, from 1.
        concurrency: pages in flight at most, at least 1.
        params: further parameters of the list: str, int, bool and Decimal; they travel as the session's ``list_params``
            says. Lists, objects, None and floats are taken too, but stand in the JSON body alone: a proxy that drops
            the body of a GET drops them, and ``list_params="query"`` refuses them.
        key: what tells rows apart, such as ``attrgetter("id")``: all keys are kept, to drop repeats. Without it rows
            may come twice where the list changes under the walk.

    Raises:
        PaginationError: rows may be missing: the server ignored what was asked, or contradicts itself.
        ShopError: any other failure; ``page`` says which page failed, and all pages before it were delivered.
        ValueError: an argument out of its bounds; raised at the call.
        TypeError: an argument of the wrong type; raised at the call.
    """
    core = core_of(session)
    first, size = check_page(start_page, per_page)
    in_flight = check_int("concurrency", concurrency, 1)
    fixed = check_params({} if params is None else params)
    if taken := {"page", "perPage"} & fixed.keys():
        raise ValueError(f"params must not hold {', '.join(sorted(taken))}: the walk sets that itself")
    request_of = core.list_requests(path, {"perPage": size, **fixed})
    page_type: Any = Page[item_type]  # type: ignore[valid-type]  # made at run time, from the caller's type
    return walk(
        Walk[T](
            read=lambda number: core.start(request_of(number)),
            decode=_page_decoder(page_type, label=request_of(first).label),
            per_page=size,
            start_page=first,
            concurrency=in_flight,
            key=key,
            order=None,
            after=None,
            cause=likely_cause(core.list_params),
        )
    )


def _page_decoder(page_type: type[Page[T]], *, label: str) -> Callable[[Response], Page[T]]:
    """Make the function that decodes the pages of one list."""
    return lambda response: decode(response.body, page_type, label=label, max_rows=MAX_ROWS)
