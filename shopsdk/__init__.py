"""An asyncio client for a shop's Customers API that can be trusted with money and with bulk data.

Begin with the README; this is the reference.

- A session and its settings: ``AsyncSession``, ``Timeout``, ``RetryPolicy``, ``RateLimit``, ``Clock``
- One page, one customer: ``get_customers``, ``CustomerFilters``, ``OrderColumn``, ``OrderDirection``, ``get_customer``,
  ``find_customer``
- All customers, and any other list: ``iter_customers``, ``iter_customer_pages``, ``paginate``
- Money: ``get_customer_balance_transactions``, ``edit_customer_balance``, ``find_balance_edit``
- Affiliates: ``edit_customer_affiliate_code``
- What is answered: ``Customer``, ``AffiliateReferrer``, ``Page``, ``BalanceTransaction``, ``BalanceEdit``,
  ``AffiliateCodeEdit``
- What is raised: ``ShopError``, which draws the whole tree
- Events: ``Event``, which is one of ``RequestStarted``, ``AttemptStarted``, ``RetryScheduled``,
  ``RateLimitPaused``, ``RateLimitResumed``, ``RequestFinished``
- Beside it: ``shopsdk.sandbox``, a shop to try it on; ``shopsdk.testing``, fixtures for pytest; ``shopsdk.export``,
  customers into files; ``shopsdk.arrow``, customers as record batches and tables
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
