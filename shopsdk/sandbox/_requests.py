"""The requests that reached the sandbox: the record of each, how many are kept, and which changed since."""

import sys
from collections import OrderedDict, deque
from collections.abc import Iterator
from datetime import datetime
from itertools import islice, takewhile
from typing import Any

import attrs

from shopsdk.sandbox._message import read_json

_MAX_REQUESTS = 10_000
"""Requests that are kept."""
_MAX_REQUEST_BYTES = 64 * 2**20
"""Bytes of memory that they may take; many short parameters take more there than on the wire."""


@attrs.define(kw_only=True, eq=False)
class RecordedRequest:
    """One request that reached the sandbox, answered or not.

    It is recorded on arrival; the sandbox sets ``status`` and ``elapsed`` later. Two requests that look alike are not
    equal.
    """

    received_at: datetime
    """The time of its arrival, in UTC."""
    method: str
    """The HTTP verb."""
    path: str
    """The path as it was asked for, decoded, without its query."""
    route: str | None
    """The route of the path, such as ``/shops/{shop}/customers/{customer}``; None where there is none."""
    query: dict[str, str]
    """The parameters of the query string."""
    headers: dict[str, str]
    """The headers as they were sent; the key is masked."""
    body: bytes = attrs.field(repr=False)
    """The body as it was sent; empty, and not read, if it is larger than 1 MiB, or if the request is for another host
    or has no valid key."""
    fault: str | None
    """The kind of the fault that hit the request; None if none did."""
    status: int | None = None
    """The status of the answer, set when it is handed to the connection; None before. It stays None if a fault dropped
    the connection, or if the client, such as one that timed out, had closed it by then."""
    elapsed: float | None = None
    """Seconds from its arrival until the answer was ready to send or the connection was dropped; None before."""

    @property
    def json(self) -> Any:
        """The body as JSON, its fractions as ``Decimal``; None if there was none or it is no JSON."""
        return read_json(self.body) if self.body else None


@attrs.frozen
class _Entry:
    number: int
    version: int


class RequestLog:
    """Adds to the list of requests that a sandbox shows, and removes the oldest if there are too many.

    Users may remove requests from the list at any time, so the sizes are kept apart from it. It is used from the
    server's loop alone.
    """

    def __init__(self, requests: list[RecordedRequest]) -> None:
        self._requests = requests
        self._kept: deque[tuple[RecordedRequest, int]] = deque()
        self._bytes = 0
        self._entries: OrderedDict[RecordedRequest, _Entry] = OrderedDict()  # the last to change at the end
        self.total = 0
        """Requests that were added."""
        self.version = 0
        """Changes so far: one when a request is added, one when it is finished."""

    def add(self, record: RecordedRequest) -> None:
        """Add a request."""
        size = _size(record)
        self._requests.append(record)
        self._kept.append((record, size))
        self._bytes += size
        self.total += 1
        self._set_entry(record, self.total)
        while len(self._kept) > _MAX_REQUESTS or (self._bytes > _MAX_REQUEST_BYTES and len(self._kept) > 1):
            oldest, size = self._kept.popleft()
            self._bytes -= size
            del self._entries[oldest]
            if self._requests[:1] == [oldest]:
                del self._requests[:1]

    def finish(self, record: RecordedRequest, status: int | None, elapsed: float) -> None:
        """Complete a request that was added on arrival, when neither its status nor its duration was known.

        Args:
            record: The request.
            status: The status of the answer; None if the connection is dropped, or the client is gone.
            elapsed: Seconds since its arrival.
        """
        record.status, record.elapsed = status, elapsed
        if record in self._entries:
            self._set_entry(record, self._entries[record].number)

    def changed_since(self, version: int, limit: int) -> Iterator[tuple[int, RecordedRequest]]:
        """The last requests that changed after a version, each with its number, the latest change first."""
        changed = takewhile(lambda item: item[1].version > version, reversed(self._entries.items()))
        return ((entry.number, record) for record, entry in islice(changed, limit))

    def _set_entry(self, record: RecordedRequest, number: int) -> None:
        self.version += 1
        self._entries[record] = _Entry(number, self.version)
        self._entries.move_to_end(record)


def _size(record: RecordedRequest) -> int:
    texts = (record.path, *record.query, *record.query.values(), *record.headers, *record.headers.values())
    return sum(map(sys.getsizeof, (record.body, record.query, record.headers, *texts)))
