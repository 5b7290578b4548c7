"""The HTTP server over aiohttp: it records requests, applies faults, and sends what the shop answers."""

import asyncio
import logging
import sys
from collections import deque
from contextlib import suppress
from typing import Any

import attrs
from aiohttp import web

from shopsdk.sandbox._faults import Fault, FaultPlan
from shopsdk.sandbox._host import is_own_host
from shopsdk.sandbox._message import (
    HTTPError,
    Request,
    Response,
    bad_gateway,
    error_response,
    query_parameters,
    read_json,
    replace_surrogates,
)
from shopsdk.sandbox._shop import RouteMatch, Shop, match_route

_logger = logging.getLogger("shopsdk.sandbox")
_MISDIRECTED = HTTPError(421, "This sandbox answers to localhost and loopback addresses alone.")
_TOO_LARGE = HTTPError(413, "The body has more than 1 MiB.")
_UNREADABLE = HTTPError(400, "The body cannot be read.")
_MAX_REQUESTS = 10_000
"""Requests that are kept."""
_MAX_REQUEST_BYTES = 64 * 2**20
"""Bytes of memory that they may take; many short parameters take more there than on the wire."""


@attrs.frozen(kw_only=True, eq=False)
class RecordedRequest:
    """One request that reached the sandbox, answered or not."""

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
    """The status of the answer; None before it is sent, and if the connection was dropped instead."""

    @property
    def json(self) -> Any:
        """The body as JSON, its fractions as ``Decimal``; None if there was none or it is no JSON."""
        return read_json(self.body) if self.body else None


class RequestLog:
    """Adds to the list of requests that a sandbox shows, and removes the oldest if there are too many.

    Users may remove requests from the list at any time, so the sizes are kept apart from it.
    """

    def __init__(self, requests: list[RecordedRequest]) -> None:
        self._requests = requests
        self._kept: deque[tuple[RecordedRequest, int]] = deque()
        self._bytes = 0

    def add(self, record: RecordedRequest) -> None:
        """Add a request."""
        size = _size(record)
        self._requests.append(record)
        self._kept.append((record, size))
        self._bytes += size
        while len(self._kept) > _MAX_REQUESTS or (self._bytes > _MAX_REQUEST_BYTES and len(self._kept) > 1):
            oldest, size = self._kept.popleft()
            self._bytes -= size
            if self._requests[:1] == [oldest]:
                del self._requests[:1]


def _size(record: RecordedRequest) -> int:
    texts = (record.path, *record.query, *record.query.values(), *record.headers, *record.headers.values())
    return sum(map(sys.getsizeof, (record.body, record.query, record.headers, *texts)))


def set_status(record: RecordedRequest, status: int) -> None:
    """Set the status of a request that was recorded on arrival, when no status was known."""
    object.__setattr__(record, "status", status)


class Server:
    """Reads requests, records them, applies faults, and sends what the shop answers."""

    def __init__(self, shop: Shop, plan: FaultPlan, requests: list[RecordedRequest], *, latency: float) -> None:
        self._shop = shop
        self._plan = plan
        self._log = RequestLog(requests)
        self._latency = latency
        self._closing = asyncio.Event()

    def close(self) -> None:
        """Send now the answers that are held back."""
        self._closing.set()

    async def handle(self, received: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, or break its connection."""
        request = _read(received)
        body = b""
        error = None if _is_for_this_machine(received) else _MISDIRECTED
        if error is None and self._shop.is_authenticated(request.headers):  # nobody else's body is even read
            try:
                body = await received.read()
            except web.HTTPRequestEntityTooLarge:  # by aiohttp's own bound of 1 MiB
                error = _TOO_LARGE
            except web.RequestPayloadError:  # compressed or chunked, but not as it says
                error = _UNREADABLE
        if error is not None:
            set_status(self._record(received, request, body, None, None), error.status)
            return _to_web(error_response(request, error))
        request = attrs.evolve(request, document=read_json(body) if body else None)
        match = match_route(request.path)
        fault = self._plan.next(request.method, request.path)
        record = self._record(received, request, body, match, fault)
        response = self._respond(request, match, fault)
        await self._pause(self._latency + (fault.seconds if fault is not None and fault.kind == "slow" else 0.0))
        if response is None:
            return _break_off(received)
        set_status(record, response.status)
        return _to_web(response, cut=fault is not None and fault.kind == "truncate")

    def _record(
        self, received: web.BaseRequest, request: Request, body: bytes, match: RouteMatch | None, fault: Fault | None
    ) -> RecordedRequest:
        headers = dict(received.headers)
        record = RecordedRequest(
            method=request.method,
            path=request.path,
            route=None if match is None else match.route,
            query={name: text for name, text in received.query.items()},  # noqa: C416 - of several, the last
            headers={name: "***" if name.lower() == "authorization" else text for name, text in headers.items()},
            body=body,
            fault=None if fault is None else fault.kind,
        )
        self._log.add(record)
        return record

    def _respond(self, request: Request, match: RouteMatch | None, fault: Fault | None) -> Response | None:
        """Make the answer; None means that the connection is broken off instead."""
        if fault is None:
            return self._ask_shop(request, match)
        if fault.kind == "ignore_body":
            return self._ask_shop(attrs.evolve(request, document=None), match)
        if fault.kind in {"drop_after", "truncate", "slow"} or fault.applied:
            response = self._ask_shop(request, match)
            if fault.kind in {"truncate", "slow"}:
                return response
        return self._failure(request, fault)

    def _failure(self, request: Request, fault: Fault) -> Response | None:
        if fault.kind == "error_500":
            return self._shop.add_rate_limit(error_response(request, HTTPError(500, "Server Error")))
        if fault.kind == "html_502":
            return bad_gateway()
        if fault.kind == "rate_limit":
            wait = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            return self._shop.add_rate_limit(
                error_response(request, HTTPError(429, "Too Many Attempts.", headers=wait))
            )
        return None

    def _ask_shop(self, request: Request, match: RouteMatch | None) -> Response:
        try:
            return self._shop.respond(request, match)
        except Exception:  # the server's boundary: a bug of the sandbox is a 500, and is logged
            _logger.exception("the sandbox failed at %s %r", request.method, request.path)
            return self._shop.add_rate_limit(error_response(request, HTTPError(500, "Server Error")))

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._closing.wait()


def _is_for_this_machine(received: web.BaseRequest) -> bool:
    """Whether the request names this machine. A web page can have its own name lead to 127.0.0.1 (DNS rebinding).

    Both the ``Host`` header and the URL are checked: a request line that holds a whole URL may name another host.
    """
    hosts = received.headers.getall("Host", [])
    try:
        return len(hosts) == 1 and is_own_host(hosts[0]) and is_own_host(received.url.raw_authority)
    except ValueError:  # a port that none can have
        return False


def _read(received: web.BaseRequest) -> Request:
    return Request(
        method=received.method,
        path=replace_surrogates(received.path),
        url=f"http://{received.host}{received.rel_url.raw_path.rstrip('/')}",
        query=query_parameters(
            {replace_surrogates(name): replace_surrogates(text) for name, text in received.query.items()}
        ),
        headers=received.headers,
    )


def _break_off(received: web.BaseRequest) -> web.StreamResponse:
    if received.transport is not None:
        received.transport.abort()
    return web.Response()


def _to_web(response: Response, *, cut: bool = False) -> web.Response:
    headers = {"Cache-Control": "no-cache, private", **response.headers}
    body = response.body
    if cut:
        headers["Content-Length"] = str(len(body))
        body = body[: len(body) // 2]
    sent = web.Response(status=response.status, body=body, content_type=response.content_type, headers=headers)
    if cut:
        sent.force_close()
    return sent
