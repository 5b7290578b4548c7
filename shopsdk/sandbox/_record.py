"""What reached the shop, for a test to look at afterwards."""

from typing import Any

import attrs

KEPT = 10_000
"""How many requests are remembered: enough for any test, and no leak in a bulk run."""


@attrs.frozen(kw_only=True, eq=False)
class RecordedRequest:
    """One request that reached the sandbox, whatever became of it."""

    method: str
    """The HTTP verb."""
    path: str
    """The path as it was asked for, decoded, without its query."""
    route: str | None
    """The route it fell on, such as ``/shops/{shop}/customers/{customer}``; None where there is none."""
    query: dict[str, str]
    """The parameters of the query string."""
    headers: dict[str, str]
    """The headers as they were sent; the key is masked."""
    json: Any
    """The body as JSON, its fractions as ``Decimal``; None where there was none or it could not be read."""
    fault: str | None
    """The kind of the fault that hit it; None if none did."""
    status: int | None = None
    """The status answered; None while it is at work, and for good where the connection was dropped instead."""


def settle(record: RecordedRequest, status: int) -> None:
    """Fill in the status: known only later, while the record already stands in its place in the order of arrival."""
    object.__setattr__(record, "status", status)
