"""An asyncio client for a shop's Customers API that can be trusted with money and with bulk data.

Begin with the README; this is the reference.

- Sessions: ``AsyncSession``, ``Timeout``, ``RetryPolicy``, ``RateLimit``, ``Clock``
- Customers: ``get_customers``, ``get_customer``, ``find_customer``, ``Customer``, ``Page``, ``CustomerFilters``,
  ``OrderColumn``, ``OrderDirection``
- All customers, and other lists: ``iter_customers``, ``iter_customer_pages``, ``paginate``
- Money: ``edit_customer_balance``, ``find_balance_edit``, ``get_customer_balance_transactions``, ``BalanceEdit``,
  ``BalanceTransaction``
- Affiliates: ``edit_customer_affiliate_code``, ``AffiliateCodeEdit``, ``AffiliateReferrer``
- Errors: ``ShopError``, which draws the whole tree: ``SessionStateError``, ``TransportError``, ``NotSentError``,
  ``UnknownOutcomeError``, ``ResponseError``, ``AuthenticationError``, ``PermissionDeniedError``, ``NotFoundError``,
  ``InvalidRequestError``, ``RateLimitedError``, ``ServerError``, ``DecodeError``, ``PaginationError``,
  ``MultipleCustomersError``, ``ReferenceConflictError``
- Events: ``Event``, which is one of ``RequestStarted``, ``AttemptStarted``, ``RetryScheduled``, ``RateLimitPaused``,
  ``RateLimitResumed``, ``RequestFinished``
- Version: ``__version__``

Beside it: ``shopsdk.sandbox``, a shop to try it on; ``shopsdk.testing``, fixtures for pytest; ``shopsdk.export``,
customers into files; ``shopsdk.arrow``, customers as record batches and tables.
"""

from shopsdk._api.arguments import CustomerFilters
from shopsdk._api.balance import edit_customer_balance, find_balance_edit, get_customer_balance_transactions
from shopsdk._api.customers import edit_customer_affiliate_code, find_customer, get_customer, get_customers
from shopsdk._api.iteration import iter_customer_pages, iter_customers, paginate
from shopsdk._config import Clock, RateLimit, RetryPolicy, Timeout
from shopsdk._errors import (
    AuthenticationError,
    DecodeError,
    InvalidRequestError,
    MultipleCustomersError,
    NotFoundError,
    NotSentError,
    PaginationError,
    PermissionDeniedError,
    RateLimitedError,
    ReferenceConflictError,
    ResponseError,
    ServerError,
    SessionStateError,
    ShopError,
    TransportError,
    UnknownOutcomeError,
)
from shopsdk._events import (
    AttemptStarted,
    Event,
    RateLimitPaused,
    RateLimitResumed,
    RequestFinished,
    RequestStarted,
    RetryScheduled,
)
from shopsdk._http.session import AsyncSession
from shopsdk._models import (
    AffiliateCodeEdit,
    AffiliateReferrer,
    BalanceEdit,
    BalanceTransaction,
    Customer,
    OrderColumn,
    OrderDirection,
    Page,
)
from shopsdk._version import __version__

__all__ = [
    "AffiliateCodeEdit",
    "AffiliateReferrer",
    "AsyncSession",
    "AttemptStarted",
    "AuthenticationError",
    "BalanceEdit",
    "BalanceTransaction",
    "Clock",
    "Customer",
    "CustomerFilters",
    "DecodeError",
    "Event",
    "InvalidRequestError",
    "MultipleCustomersError",
    "NotFoundError",
    "NotSentError",
    "OrderColumn",
    "OrderDirection",
    "Page",
    "PaginationError",
    "PermissionDeniedError",
    "RateLimit",
    "RateLimitPaused",
    "RateLimitResumed",
    "RateLimitedError",
    "ReferenceConflictError",
    "RequestFinished",
    "RequestStarted",
    "ResponseError",
    "RetryPolicy",
    "RetryScheduled",
    "ServerError",
    "SessionStateError",
    "ShopError",
    "Timeout",
    "TransportError",
    "UnknownOutcomeError",
    "__version__",
    "edit_customer_affiliate_code",
    "edit_customer_balance",
    "find_balance_edit",
    "find_customer",
    "get_customer",
    "get_customer_balance_transactions",
    "get_customers",
    "iter_customer_pages",
    "iter_customers",
    "paginate",
]
