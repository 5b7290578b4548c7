"""What reached the shop, for a test to look at afterwards."""

import sys
from collections import deque
from typing import Any

import attrs

from shopsdk.sandbox._input import read_json

_KEPT = 10_000
"""How many requests are kept: enough for any test, and no leak in a bulk run."""
_KEPT_BYTES = 64 * 2**20
"""What they may hold in all, in memory: many short parameters take more room there than they took on the wire."""


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
    body: bytes = attrs.field(repr=False)
    """The body as it was sent, at most 1 MiB; empty where it was larger, or the request not for this host or without a
    valid key: then it is not read."""
    fault: str | None
    """The kind of the fault that hit it; None if none did."""
    status: int | None = None
    """The status answered; None while it is at work, and for good where the connection was dropped instead."""

    @property
    def json(self) -> Any:
        """The body as JSON, its fractions as ``Decimal``; None where there was none or it could not be read."""
        return read_json(self.body) if self.body else None


class Records:
    """Adds to the list of requests that a sandbox shows; the oldest go where there are too many of them.

    Whoever looks at the list may remove requests from it at any time, so what is kept is counted apart from it.
    """

    def __init__(self, requests: list[RecordedRequest]) -> None:
        self._requests = requests
        self._kept: deque[tuple[RecordedRequest, int]] = deque()
        self._bytes = 0

    def add(self, record: RecordedRequest) -> None:
        """Add one."""
        size = _size(record)
        self._requests.append(record)
        self._kept.append((record, size))
        self._bytes += size
        while len(self._kept) > _KEPT or (self._bytes > _KEPT_BYTES and len(self._kept) > 1):
            oldest, size = self._kept.popleft()
            self._bytes -= size
            if self._requests[:1] == [oldest]:
                del self._requests[:1]


def _size(record: RecordedRequest) -> int:
    texts = (record.path, *record.query, *record.query.values(), *record.headers, *record.headers.values())
    return sum(map(sys.getsizeof, (record.body, record.query, record.headers, *texts)))


def settle(record: RecordedRequest, status: int) -> None:
    """Fill in the status: known only later, while the record already stands in its place in the order of arrival."""
    object.__setattr__(record, "status", status)
