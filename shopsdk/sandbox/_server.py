"""The server: the one place that knows aiohttp's server side. Faults happen here, and requests are recorded."""

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
    Answer,
    Call,
    HTTPError,
    bad_gateway,
    error_answer,
    query_parameters,
    read_json,
    without_surrogates,
)
from shopsdk.sandbox._shop import Shop, Target, resolve

_MAX_REQUESTS = 10_000
"""Requests that are kept."""
_MAX_REQUEST_BYTES = 64 * 2**20
"""Bytes of memory that they may take; many short parameters take more there than on the wire."""


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
    """Adds to the list of requests that a sandbox shows; if there are too many, the oldest go.

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
        while len(self._kept) > _MAX_REQUESTS or (self._bytes > _MAX_REQUEST_BYTES and len(self._kept) > 1):
            oldest, size = self._kept.popleft()
            self._bytes -= size
            if self._requests[:1] == [oldest]:
                del self._requests[:1]


def _size(record: RecordedRequest) -> int:
    texts = (record.path, *record.query, *record.query.values(), *record.headers, *record.headers.values())
    return sum(map(sys.getsizeof, (record.body, record.query, record.headers, *texts)))


def set_status(record: RecordedRequest, status: int) -> None:
    """Fill in the status, which is known only later; the record already has its place in the order of arrival."""
    object.__setattr__(record, "status", status)


_logger = logging.getLogger("shopsdk.sandbox")
_MISDIRECTED = HTTPError(421, "This sandbox answers to localhost and loopback addresses alone.")
_TOO_LARGE = HTTPError(413, "The body has more than 1 MiB.")
_UNREADABLE = HTTPError(400, "The body cannot be read.")


class Server:
    """Reads requests, records them, applies faults, and sends what the shop answers."""

    def __init__(self, shop: Shop, plan: FaultPlan, requests: list[RecordedRequest], *, latency: float) -> None:
        self._shop = shop
        self._plan = plan
        self._records = Records(requests)
        self._latency = latency
        self._closing = asyncio.Event()

    def close(self) -> None:
        """Answer now what is held back."""
        self._closing.set()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, or break its connection."""
        call = _call_of(request)
        body = b""
        refusal = None if _is_for_us(request) else _MISDIRECTED
        if refusal is None and self._shop.knows(call.headers):  # nobody else's body is even read
            try:
                body = await request.read()
            except web.HTTPRequestEntityTooLarge:  # by aiohttp's own bound of 1 MiB
                refusal = _TOO_LARGE
            except web.RequestPayloadError:  # compressed or chunked, but not as it says
                refusal = _UNREADABLE
        if refusal is not None:
            set_status(self._record(request, call, body, None, None), refusal.status)
            return _response(error_answer(call, refusal))
        call = attrs.evolve(call, document=read_json(body) if body else None)
        target = resolve(call.path)
        fault = self._plan.next(call.method, call.path)
        record = self._record(request, call, body, target, fault)
        answer = self._answer(call, target, fault)
        await self._pause(self._latency + (fault.seconds if fault is not None and fault.kind == "slow" else 0.0))
        if answer is None:
            return _broken_off(request)
        set_status(record, answer.status)
        return _response(answer, cut=fault is not None and fault.kind == "truncate")

    def _record(
        self, request: web.BaseRequest, call: Call, body: bytes, target: Target | None, fault: Fault | None
    ) -> RecordedRequest:
        headers = dict(request.headers)
        record = RecordedRequest(
            method=call.method,
            path=call.path,
            route=None if target is None else target.route,
            query={name: text for name, text in request.query.items()},  # noqa: C416 - of several, the last
            headers={name: "***" if name.lower() == "authorization" else text for name, text in headers.items()},
            body=body,
            fault=None if fault is None else fault.kind,
        )
        self._records.add(record)
        return record

    def _answer(self, call: Call, target: Target | None, fault: Fault | None) -> Answer | None:
        """The answer; None for a connection that is to be broken off instead."""
        if fault is None:
            return self._carry_out(call, target)
        if fault.kind == "ignore_body":
            return self._carry_out(attrs.evolve(call, document=None), target)
        if fault.kind in {"drop_after", "truncate", "slow"} or fault.applied:
            answer = self._carry_out(call, target)
            if fault.kind in {"truncate", "slow"}:
                return answer
        return self._failure(call, fault)

    def _failure(self, call: Call, fault: Fault) -> Answer | None:
        if fault.kind == "error_500":
            return self._shop.mark(error_answer(call, HTTPError(500, "Server Error")))
        if fault.kind == "html_502":
            return bad_gateway()
        if fault.kind == "rate_limit":
            told = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            return self._shop.mark(error_answer(call, HTTPError(429, "Too Many Attempts.", headers=told)))
        return None

    def _carry_out(self, call: Call, target: Target | None) -> Answer:
        try:
            return self._shop.answer(call, target)
        except Exception:  # the server's outermost edge: a mistake of the sandbox is a 500, and says so in the log
            _logger.exception("the sandbox failed at %s %r", call.method, call.path)
            return self._shop.mark(error_answer(call, HTTPError(500, "Server Error")))

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._closing.wait()


def _is_for_us(request: web.BaseRequest) -> bool:
    """Is it for this machine by name? A page elsewhere can have its own name lead to 127.0.0.1 (DNS rebinding).

    The header is judged, and the URL, whose host is another one where the request line holds a whole URL.
    """
    hosts = request.headers.getall("Host", [])
    try:
        return len(hosts) == 1 and is_own_host(hosts[0]) and is_own_host(request.url.raw_authority)
    except ValueError:  # a port that none can have
        return False


def _call_of(request: web.BaseRequest) -> Call:
    return Call(
        method=request.method,
        path=without_surrogates(request.path),
        url=f"http://{request.host}{request.rel_url.raw_path.rstrip('/')}",
        query=query_parameters(
            {without_surrogates(name): without_surrogates(text) for name, text in request.query.items()}
        ),
        headers=request.headers,
    )


def _broken_off(request: web.BaseRequest) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _response(answer: Answer, *, cut: bool = False) -> web.Response:
    headers = {"Cache-Control": "no-cache, private", **answer.headers}
    body = answer.body
    if cut:
        headers["Content-Length"] = str(len(body))
        body = body[: len(body) // 2]
    response = web.Response(status=answer.status, body=body, content_type=answer.content_type, headers=headers)
    if cut:
        response.force_close()
    return response
