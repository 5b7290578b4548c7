"""One call under way: what was asked, what it may take, and what is known of it so far."""

import attrs

from shopsdk._errors import NotSentError, ResponseError, ShopError, TransportError, UnknownOutcomeError
from shopsdk._events import RequestDone
from shopsdk._http.limits import Budget, Gate
from shopsdk._http.request import Request


@attrs.define(eq=False, repr=False)
class Call:
    """A request with all its attempts."""

    number: int
    request: Request
    body: bytes | None
    gate: Gate
    budget: Budget
    attempts: int = 0
    last: ShopError | None = None
    maybe_applied: bool = False
    """May an earlier attempt have been carried out? Then no later failure can say that nothing was."""

    def informed(self, error: ShopError) -> ShopError:
        """Tell the error what only the call knows; an earlier attempt that may have been carried out outlasts it."""
        self.maybe_applied = self.maybe_applied or error.maybe_applied
        if self.maybe_applied and isinstance(error, NotSentError):
            error = UnknownOutcomeError(f"{error}, after an attempt that may have been carried out")
        error.maybe_applied = self.maybe_applied
        if isinstance(error, TransportError):
            error.elapsed = self.budget.elapsed
        if isinstance(error, TransportError | ResponseError):
            error.method, error.path, error.attempts = self.request.method, self.request.path, self.attempts
        return error

    def done(self, status: int | None, received: int, error: str | None) -> RequestDone:
        """Say how it ended."""
        return RequestDone(
            operation=self.request.operation,
            call=self.number,
            attempts=self.attempts,
            elapsed=self.budget.elapsed,
            status=status,
            received=received,
            error=error,
        )
