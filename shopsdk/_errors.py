"""Everything that shopsdk raises on its own account, as one tree; ``ShopError`` draws it."""

from collections.abc import Mapping, Sequence


class ShopError(Exception):
    """The root of the tree: catch it to catch all errors of shopsdk but those of wrong arguments.

    ```python
    try:
        await edit_customer_balance(session, 42, "5.00")
    except ShopError as error:
        print("perhaps done:" if error.maybe_applied else "surely not done:", error)
    ```

    ```text
    ShopError                      .maybe_applied: may the call have changed something?
    ├── SessionStateError          used after close, or from another running event loop
    ├── TransportError             no usable answer; method, path, attempts, elapsed
    │   ├── NotSentError           could not connect: surely not applied
    │   └── UnknownOutcomeError    a change was, or may be, sent; no whole answer came
    ├── ResponseError              an error was answered; status, message, errors, body
    │   ├── AuthenticationError    401
    │   ├── PermissionDeniedError  403
    │   ├── NotFoundError          404
    │   ├── InvalidRequestError    400, 422
    │   ├── RateLimitedError       429; retry_after, limit, remaining
    │   └── ServerError            5xx
    ├── DecodeError                a 2xx that is not what the API promises; path in it
    ├── PaginationError            the server ignored, repeated or clamped a page
    ├── MultipleCustomersError     find_customer found more than one; customer_ids
    └── ReferenceConflictError     this reference was already used with another amount
    ```

    Wrong arguments are ``ValueError`` or ``TypeError``, raised before anything is sent. Every error survives pickle,
    copy and deepcopy: each class takes its message first, and everything else by keyword with a default.
    """

    maybe_applied: bool
    """Whether the call that raised this may have made a change; always false for reads."""
    page: int | None
    """The page that failed, where the error came out of a walk; all pages before it were delivered."""

    def __init__(self, message: str = "", *, maybe_applied: bool = False, page: int | None = None) -> None:
        super().__init__(message)
        self.maybe_applied = maybe_applied
        self.page = page


class SessionStateError(ShopError):
    """The session was used after it was closed, or from another event loop while its own still runs."""


class TransportError(ShopError):
    """No usable answer came: the connection failed, timed out, or broke in the middle of the answer."""

    method: str
    """The HTTP verb of the request."""
    path: str
    """The path of the request below the base URL, without its query."""
    attempts: int
    """Number of times that the request was tried."""
    elapsed: float
    """Seconds from the first attempt to the failure, waits included."""

    def __init__(
        self,
        message: str = "",
        *,
        method: str = "",
        path: str = "",
        attempts: int = 0,
        elapsed: float = 0.0,
        maybe_applied: bool = False,
        page: int | None = None,
    ) -> None:
        super().__init__(message, maybe_applied=maybe_applied, page=page)
        self.method = method
        self.path = path
        self.attempts = attempts
        self.elapsed = elapsed


class NotSentError(TransportError):
    """The request failed before its first byte was written (refused, DNS, TLS, timeout, proxy): surely not applied."""

    repeatable: bool
    """Whether another try may fare better: not with a certificate that does not hold, or a proxy that wants a password.
    """

    def __init__(
        self,
        message: str = "",
        *,
        method: str = "",
        path: str = "",
        attempts: int = 0,
        elapsed: float = 0.0,
        repeatable: bool = True,
        maybe_applied: bool = False,
        page: int | None = None,
    ) -> None:
        super().__init__(
            message,
            method=method,
            path=path,
            attempts=attempts,
            elapsed=elapsed,
            maybe_applied=maybe_applied,
            page=page,
        )
        self.repeatable = repeatable


class UnknownOutcomeError(TransportError):
    """A change was sent, or maybe sent, and no whole answer came: nobody knows yet whether it was applied."""

    reference: str | None
    """The reference of the edit, where one was given: look for it among the customer's balance transactions."""

    def __init__(
        self,
        message: str = "",
        *,
        method: str = "",
        path: str = "",
        attempts: int = 0,
        elapsed: float = 0.0,
        reference: str | None = None,
        maybe_applied: bool = True,
        page: int | None = None,
    ) -> None:
        super().__init__(
            message,
            method=method,
            path=path,
            attempts=attempts,
            elapsed=elapsed,
            maybe_applied=maybe_applied,
            page=page,
        )
        self.reference = reference


class ResponseError(ShopError):
    """The shop answered, and the answer is an error (or a redirect, which is never followed)."""

    status: int
    """The HTTP status."""
    message: str
    """The server's message; empty if it had none that can be read."""
    errors: Mapping[str, Sequence[str]]
    """Validation messages by field; empty where there are none."""
    request_id: str | None
    """The server's or its CDN's own name for this request, to quote to support."""
    method: str
    """The HTTP verb of the request."""
    path: str
    """The path of the request below the base URL, without its query."""
    attempts: int
    """Number of times that the request was tried."""
    body: str
    """The start of the answer's body, at most 2,000 characters, as text."""
    retry_after: float | None
    """Seconds to wait before the next try, as the server said; None where it did not."""

    def __init__(
        self,
        message: str = "",
        *,
        status: int = 0,
        server_message: str = "",
        errors: Mapping[str, Sequence[str]] | None = None,
        request_id: str | None = None,
        method: str = "",
        path: str = "",
        attempts: int = 0,
        body: str = "",
        retry_after: float | None = None,
        maybe_applied: bool = False,
        page: int | None = None,
    ) -> None:
        super().__init__(message, maybe_applied=maybe_applied, page=page)
        self.status = status
        self.message = server_message
        self.errors = {} if errors is None else errors
        self.request_id = request_id
        self.method = method
        self.path = path
        self.attempts = attempts
        self.body = body
        self.retry_after = retry_after


class AuthenticationError(ResponseError):
    """401: the key is missing or wrong."""


class PermissionDeniedError(ResponseError):
    """403: the key lacks the right to do this."""


class NotFoundError(ResponseError):
    """404: no such shop, no such customer, or no such route."""


class InvalidRequestError(ResponseError):
    """400 or 422: the server refused the parameters; ``errors`` says which."""


class RateLimitedError(ResponseError):
    """429: too many requests, and the wait asked for is longer than the session allows, or the attempts are used up.

    It is also raised, and nothing sent, while an earlier 429 blocks the operation for longer than the call may wait.
    """

    limit: int | None
    """Requests allowed in the server's window, where it said."""
    remaining: int | None
    """Requests left in the server's window, where it said."""

    def __init__(
        self,
        message: str = "",
        *,
        status: int = 0,
        server_message: str = "",
        errors: Mapping[str, Sequence[str]] | None = None,
        request_id: str | None = None,
        method: str = "",
        path: str = "",
        attempts: int = 0,
        body: str = "",
        retry_after: float | None = None,
        limit: int | None = None,
        remaining: int | None = None,
        maybe_applied: bool = False,
        page: int | None = None,
    ) -> None:
        super().__init__(
            message,
            status=status,
            server_message=server_message,
            errors=errors,
            request_id=request_id,
            method=method,
            path=path,
            attempts=attempts,
            body=body,
            retry_after=retry_after,
            maybe_applied=maybe_applied,
            page=page,
        )
        self.limit = limit
        self.remaining = remaining


class ServerError(ResponseError):
    """5xx: the shop or its CDN failed; or an earlier 503 still blocks the operation, and nothing was sent.

    ``maybe_applied`` tells which, after a change.
    """


class DecodeError(ShopError):
    """A 2xx whose body is not what the API promises: HTML, cut JSON, a value that cannot be read."""

    path: str
    """Where in the document, such as ``$.data[3].balance``; ``$`` is the whole."""
    repeatable: bool
    """Whether another try may fare better: where the body was no whole JSON (empty, cut short, or a proxy's page)."""

    def __init__(
        self,
        message: str = "",
        *,
        path: str = "$",
        repeatable: bool = False,
        maybe_applied: bool = False,
        page: int | None = None,
    ) -> None:
        super().__init__(message, maybe_applied=maybe_applied, page=page)
        self.path = path
        self.repeatable = repeatable


class PaginationError(ShopError):
    """The server ignored, repeated or clamped a page, or its rows are out of order: the list cannot be trusted."""

    asked: str
    """The request that the answer should have met, in words."""
    got: str
    """The answer that came instead, in words."""

    def __init__(
        self,
        message: str = "",
        *,
        asked: str = "",
        got: str = "",
        maybe_applied: bool = False,
        page: int | None = None,
    ) -> None:
        super().__init__(message, maybe_applied=maybe_applied, page=page)
        self.asked = asked
        self.got = got


class MultipleCustomersError(ShopError):
    """``find_customer`` found more than one customer who answers to what was asked for."""

    customer_ids: tuple[int, ...]
    """The ids of all of them, up to 100."""

    def __init__(
        self,
        message: str = "",
        *,
        customer_ids: Sequence[int] = (),
        maybe_applied: bool = False,
        page: int | None = None,
    ) -> None:
        super().__init__(message, maybe_applied=maybe_applied, page=page)
        self.customer_ids = tuple(customer_ids)


class ReferenceConflictError(ShopError):
    """This reference already stands in the customer's ledger with another amount; nothing was sent."""

    reference: str
    """The reference, without its marker."""

    def __init__(
        self, message: str = "", *, reference: str = "", maybe_applied: bool = False, page: int | None = None
    ) -> None:
        super().__init__(message, maybe_applied=maybe_applied, page=page)
        self.reference = reference
