"""The HTTP server over aiohttp: it records requests, applies faults, and sends what the shop answers."""

import asyncio
import logging
import time
from contextlib import suppress
from datetime import UTC, datetime

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
from shopsdk.sandbox._page import Page, is_foreign, is_page
from shopsdk.sandbox._requests import RecordedRequest, RequestLog
from shopsdk.sandbox._shop import RouteMatch, Shop, match_route

_logger = logging.getLogger("shopsdk.sandbox")
_MISDIRECTED = HTTPError(421, "This sandbox answers to localhost and loopback addresses alone.")
_TOO_LARGE = HTTPError(413, "The body has more than 1 MiB.")
_UNREADABLE = HTTPError(400, "The body cannot be read.")


class Server:
    """Reads requests, records them, applies faults, and sends what the shop answers."""

    def __init__(self, shop: Shop, page: Page, plan: FaultPlan, log: RequestLog, *, latency: float) -> None:
        self._shop = shop
        self._page = page
        self._plan = plan
        self._log = log
        self._latency = latency
        self._closing = asyncio.Event()

    def close(self) -> None:
        """Send now the answers that are held back."""
        self._closing.set()

    async def handle(self, received: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, or break its connection."""
        received_at, start = datetime.now(UTC), time.monotonic()
        request = _read(received)
        body = b""
        error = None if _is_for_this_machine(received) else _MISDIRECTED
        if is_page(request.path) or is_foreign(request.headers):
            return _to_web(self._page.respond(request) if error is None else error_response(request, error))
        if error is None and self._shop.is_authenticated(request.headers):  # nobody else's body is even read
            try:
                body = await received.read()
            except web.HTTPRequestEntityTooLarge:  # by aiohttp's own bound of 1 MiB
                error = _TOO_LARGE
            except web.RequestPayloadError:  # compressed or chunked, but not as it says
                error = _UNREADABLE
        if error is not None:
            record = self._record(received, received_at, request, body)
            self._log.finish(record, _sent_status(received, error.status), time.monotonic() - start)
            return _to_web(error_response(request, error))
        request = attrs.evolve(request, document=read_json(body) if body else None)
        match = match_route(request.path)
        fault = self._plan.next(request.method, request.path)
        record = self._record(received, received_at, request, body, match=match, fault=fault)
        response = self._respond(request, match, fault)
        await self._pause(self._latency + (fault.seconds if fault is not None and fault.kind == "slow" else 0.0))
        status = None if response is None else _sent_status(received, response.status)
        self._log.finish(record, status, time.monotonic() - start)
        if response is None:
            return _break_off(received)
        return _to_web(response, cut=fault is not None and fault.kind == "truncate")

    def _record(
        self,
        received: web.BaseRequest,
        received_at: datetime,
        request: Request,
        body: bytes,
        *,
        match: RouteMatch | None = None,
        fault: Fault | None = None,
    ) -> RecordedRequest:
        headers = dict(received.headers)
        record = RecordedRequest(
            received_at=received_at,
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


def _sent_status(received: web.BaseRequest, status: int) -> int | None:
    """The status of an answer that is sent now; None if the client is gone.

    It is looked up before the answer is sent: a client that has the answer finds its status recorded. aiohttp hands the
    answer to the transport in the same turn of the loop, so nothing changes in between.
    """
    transport = received.transport
    return None if transport is None or transport.is_closing() else status


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
