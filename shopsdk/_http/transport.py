"""One attempt: a Request goes out, and a Response comes back whole, or one of our errors says how far it got.

This is the only module that knows aiohttp's client.
"""

import asyncio
import logging
import os
import re
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, cast

import aiohttp
import attrs
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from yarl import URL

from shopsdk._config import Options, Timeout
from shopsdk._errors import DecodeError, NotSentError, SessionStateError, ShopError, TransportError, UnknownOutcomeError
from shopsdk._http.request import Request
from shopsdk._http.response import Response, maybe_applied
from shopsdk._version import __version__

logger = logging.getLogger("shopsdk")

_HEADERS = {
    # Laravel answers errors as redirects unless JSON comes first: https://github.com/laravel/framework/issues/33389
    "Accept": "application/json",
    "Content-Type": "application/json",
    "User-Agent": f"shopsdk/{__version__}",
}
_MAX_HEADER_BYTES = 64 * 2**10
"""Bytes of one header line; aiohttp's own bound is 8,190, and some Content-Security-Policies are longer."""
_CLOSE_SECONDS = 0.5
"""Seconds that connections have for TLS's closing handshake before they are aborted."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

OnHeaders = Callable[[int, Mapping[str, str]], None]
"""A function that is called with the status and the headers of an answer before its body is read."""


class _ConnectionLostError(aiohttp.ClientError):
    """The connection died. aiohttp does not resend after this error, as it does after its own."""


class _ObservedRequest(aiohttp.ClientRequest):
    """aiohttp's request, which notes when its writing begins, and may have a connection of its own."""

    own_connection = False
    send_began = False
    protocol: ResponseHandler | None = None
    """The connection that it was written to."""
    transport: "Transport"

    @property
    def connection_key(self) -> ConnectionKey:
        """The pool's key for connections. A request with a connection of its own has a key that no kept one has."""
        key = super().connection_key
        return key._replace(proxy_headers_hash=id(self)) if self.own_connection else key

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Write the request. aiohttp calls this once there is a connection, TLS included, and never for a CONNECT."""
        self.protocol = protocol = conn.protocol
        if protocol is not None and protocol.should_close:
            raise _ConnectionLostError("the connection was broken, or held an answer that nobody asked for")
        if self.transport.closing:
            raise _SessionClosedError
        self.transport.watch(conn)
        self.send_began = True  # what failed before was surely not sent
        if self.own_connection and protocol is not None:
            self.headers["Connection"] = "close"
            protocol.force_close()
        return await super().send(conn)

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        """Write the body, possibly in a task of its own, whose frames hold the headers."""
        try:
            await super().write_bytes(writer, conn, content_length)
        except BaseException as error:  # noqa: BLE001 - a signal handler's, say
            problem = _strip(error)
        else:
            return
        raise problem


_traced: ContextVar["Attempt"] = ContextVar("_traced")
"""The attempt under way, for the trace that runs before the caller's traces."""


async def _note_start(*_: object) -> None:
    _traced.get().sent = False


def _traces(given: Sequence[aiohttp.TraceConfig]) -> list[aiohttp.TraceConfig]:
    """Put a trace before the caller's, of which one may fail before there is a request to observe."""
    if not given:
        return []
    first = aiohttp.TraceConfig()
    first.on_request_start.append(_note_start)
    return [first, *given]


class _OwnConnector(aiohttp.TCPConnector):
    """The session's own connector. Once its loop is closed, the collector closes its sockets without a warning.

    In a forked child they stay open, since closing them would take them out of the selector that the parent uses.
    """

    def __init__(self, limit: int, tls: ssl.SSLContext | None) -> None:
        self._made_on = asyncio.get_running_loop()
        self._made_in = os.getpid()
        # aiodns keeps a channel with its sockets for each loop: https://github.com/aio-libs/aiodns/issues/191
        resolver = aiohttp.ThreadedResolver()
        super().__init__(limit=limit, resolver=resolver, ssl=tls or True)  # pyright: ignore[reportUnknownMemberType]

    def __del__(self, getpid: Callable[[], int] = os.getpid) -> None:
        if self._made_in == getpid() and not self._made_on.is_closed():
            super().__del__()


class Transport:
    """aiohttp's session on one event loop."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.connector = options.connector or _OwnConnector(options.max_in_flight, options.tls)
        self.connections: dict[asyncio.Future[None], asyncio.Transport] = {}
        """The connections that have carried a request and are not closed, by the future of their end."""
        self.under_way = 0
        """The number of attempts under way."""
        self.closing = False
        try:
            self.http = aiohttp.ClientSession(
                connector=self.connector,
                connector_owner=options.connector is None,
                loop=asyncio.get_running_loop(),  # else aiohttp takes the connector's, whichever loop runs
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=_HEADERS,
                request_class=_ObservedRequest,
                trace_configs=_traces(options.trace_configs),
                raise_for_status=False,
                max_line_size=_MAX_HEADER_BYTES,
                max_field_size=_MAX_HEADER_BYTES,
            )
        except RuntimeError:
            raise SessionStateError("the connector belongs to another event loop than the running one") from None
        self._timeout = _client_timeout(options.timeout, options.timeout.total)
        if options.proxy is not None:
            # Its origin has no password.
            logger.info("requests go through the proxy %s", URL(options.proxy.reveal()).origin())

    async def close(self) -> None:
        """Close the connections. A borrowed connector stays open, and its attempts under way go on to their end."""
        self.closing = True
        if self.options.connector is None or not self.under_way:
            await self.http.close()
        leaving = [closed for closed, transport in self.connections.items() if transport.is_closing()]
        if leaving:
            _, late = await asyncio.wait(leaving, timeout=_CLOSE_SECONDS)
            for closed in late:
                self.connections[closed].abort()
            if late:  # bounded, since one whose closing a signal handler broke off never ends
                await asyncio.wait(late, timeout=_CLOSE_SECONDS)

    def end_attempt(self) -> None:
        """Note the end of an attempt. aiohttp's session stays for the last one, whose connection it would lose."""
        self.under_way -= 1
        if self.closing and not self.under_way:
            self.http.detach()

    def watch(self, connection: Connection) -> None:
        """Remember a connection until it is closed; the pool forgets it once it begins to close it."""
        closed = None if connection.protocol is None else connection.protocol.closed
        if closed is not None and connection.transport is not None and closed not in self.connections:
            self.connections[closed] = connection.transport
            closed.add_done_callback(self._forget)

    def _forget(self, closed: "asyncio.Future[None]") -> None:
        del self.connections[closed]
        if not closed.cancelled():
            closed.exception()  # mark it as retrieved; the request, if there is one, gets it too

    def detach(self) -> None:
        """Give up the connections of an event loop that is closed, or of the parent process."""
        self.http.detach()

    def timeout(self, seconds: float) -> aiohttp.ClientTimeout:
        """Make aiohttp's timeout for an attempt of so many seconds."""
        whole = self.options.timeout.total
        return self._timeout if seconds >= whole else _client_timeout(self.options.timeout, seconds)

    def attempt(self, request: Request, body: bytes | None, *, fresh: bool) -> "Attempt":
        """Make an attempt, to be sent once; ``fresh`` gives it a connection of its own, whatever the request is."""
        return Attempt(self, request, body, fresh)


@attrs.define(eq=False, repr=False)
class Attempt:
    """One attempt of a request; aiohttp calls it as a middleware."""

    _transport: Transport
    _request: Request
    _body: bytes | None
    _fresh: bool
    sent: bool | None = None
    """Whether its writing began; None if nothing was observed, as under a mock of aiohttp's."""
    _rejected: bool = False
    _observed: _ObservedRequest | None = None

    @property
    def maybe_applied(self) -> bool:
        """Whether it may have made a change."""
        return self._request.changes and self.sent is not False and not self._rejected

    def __deepcopy__(self, _: object) -> "Attempt":
        return self  # aioresponses copies a request's arguments, and would copy the event loop

    async def send(self, seconds: float, on_headers: OnHeaders) -> Response:
        """Send once; ``on_headers`` is called with the answer's head before its body is read.

        Raises:
            NotSentError: it failed before its writing began.
            UnknownOutcomeError: a change was, or may have been, sent, and no whole answer came.
            TransportError: the same for a read.
            SessionStateError: somebody closed the connector before it was sent.
            DecodeError: a success whose body is larger than the session allows.
        """
        task = asyncio.current_task()
        cancels = task.cancelling() if task else 0
        problem: BaseException
        try:
            return await self._exchange(seconds, on_headers)
        except asyncio.CancelledError as cancelled:
            if task is None or task.cancelling() > cancels or (cancels and not self._transport.connector.closed):
                problem = _strip(cancelled)
            else:  # nobody asked for it: closing a connector cancels what waits for it
                problem = self._failure(cancelled)
        except Exception as error:  # noqa: BLE001 - a borrowed connector and the caller's hooks may raise any
            stopped = task is not None and task.cancelling() > cancels  # a hook failed over a cancellation
            problem = asyncio.CancelledError() if stopped else self._failure(error)
        except BaseException as error:  # noqa: BLE001 - Ctrl-C, or a signal handler's
            problem = _strip(error)
        # Outside the except blocks, so that its context is not aiohttp's error, whose frames hold the key.
        raise problem

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Pass the request on, with the key, so that aiohttp does not resend it."""
        self._observed = cast(_ObservedRequest, request)
        # A kept connection may be dead, or hold a stray answer.
        self._observed.own_connection = self._fresh or not self._request.idempotent
        self._observed.transport = self._transport
        request.headers["Authorization"] = f"Bearer {self._transport.options.key.reveal()}"
        try:
            return await handler(request)
        except aiohttp.ClientConnectorError:
            raise  # never connected, so never resent
        # aiohttp resends a GET, PUT or DELETE after these two, even if the connection was a fresh one:
        # https://github.com/aio-libs/aiohttp/issues/10790
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            reason = _reason(error)
        raise _ConnectionLostError(reason)

    async def _exchange(self, seconds: float, on_headers: OnHeaders) -> Response:
        transport, request = self._transport, self._request
        if transport.connector.closed:
            raise _SessionClosedError
        # Python switches host names off before it takes any certificate.
        if transport.options.tls is not None and not transport.options.tls.check_hostname:
            raise _UnverifiedError("the context that was given as ssl no longer verifies the server")
        token = _traced.set(self) if transport.options.trace_configs else None
        query = f"?{request.query}" if request.query else ""
        transport.under_way += 1
        try:
            async with transport.http.request(
                request.method,
                URL(f"{transport.options.base_url}{request.path}{query}", encoded=True),
                data=self._body,
                headers=request.headers or None,
                timeout=transport.timeout(seconds),
                allow_redirects=False,  # a redirect would send a change to another place
                proxy=None if transport.options.proxy is None else transport.options.proxy.reveal(),
                middlewares=(self,),
            ) as answer:
                self._rejected = not maybe_applied(answer.status)  # else the body tells
                on_headers(answer.status, answer.headers)
                if answer.status == 101 and self._observed is not None and self._observed.protocol is not None:
                    self._observed.protocol.close()  # unasked, and aiohttp would keep the connection
                if not answer.content.is_eof():
                    self._end_with_the_connection(answer.content)
                content = await _read(answer, transport.options.max_response_bytes)
        finally:
            transport.end_attempt()
            if token is not None:
                _traced.reset(token)
            if self._observed is not None:  # it holds the key, and frames of a traceback hold this object
                self.sent, self._observed = self._observed.send_began, None
        return Response(status=answer.status, headers=answer.headers, body=content.removeprefix(_BYTE_ORDER_MARK))

    def _end_with_the_connection(self, content: aiohttp.StreamReader) -> None:
        """Fail a body if its connection ends before it.

        After a part that is no HTTP, aiohttp's parser in C forgets the body and tells it nothing: its reader would wait
        until the attempt's time is over.
        """
        protocol = None if self._observed is None else self._observed.protocol
        closed = None if protocol is None else protocol.closed
        if protocol is None or closed is None:
            return

        def fail(_: object) -> None:
            if not content.is_eof() and content.exception() is None:
                error = aiohttp.ClientPayloadError()
                error.__cause__ = protocol.exception()
                content.set_exception(error)

        def forget() -> None:
            closed.remove_done_callback(fail)

        closed.add_done_callback(fail)
        content.on_eof(forget)

    def _failure(self, error: BaseException) -> ShopError:
        """Make the error of a failure, by how far the request got."""
        label, sent = self._request.label, self.sent
        if isinstance(error, _TooLargeError):
            return DecodeError(
                f"the answer to {label} is larger than max_response_bytes", maybe_applied=self._request.changes
            )
        if isinstance(error, _SessionClosedError) or (sent is False and self._transport.connector.closed):
            what = "session" if self._transport.closing else "session's connector"
            return SessionStateError(f"{label} was not sent: the {what} is closed")
        if sent is False or (sent is None and isinstance(error, _NOT_SENT)):
            return self._not_sent(error)
        reason = "the session was closed meanwhile" if self._transport.closing else _reason(error)
        if self._request.changes:
            return UnknownOutcomeError(f"{label} may or may not have been carried out: {reason}")
        return TransportError(f"{label} got no whole answer: {reason}")

    def _not_sent(self, error: BaseException) -> NotSentError:
        of_proxy = isinstance(error, aiohttp.ClientHttpProxyError | aiohttp.ClientProxyConnectionError)
        way = "" if of_proxy or self._transport.options.proxy is None else " (by way of the proxy)"
        refused = isinstance(error, aiohttp.ClientHttpProxyError) and error.status in {401, 403, 407}
        return NotSentError(
            f"{self._request.label} was not sent: {_reason(error)}{way}",
            repeatable=not refused and not isinstance(error, _BAD_CERTIFICATE),
        )


def _strip(error: BaseException) -> BaseException:
    """Strip an exception of its frames, cause and context, which may hold the key or a password."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


class _TooLargeError(Exception):
    """The body is larger than ``max_response_bytes``."""


class _UnverifiedError(Exception):
    """The TLS context no longer verifies the server."""


class _SessionClosedError(Exception):
    """The session or its connector was closed, for which aiohttp raises a bare RuntimeError."""


_NOT_SENT = (
    _UnverifiedError,
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
)
"""Errors that say that no connection came about, for an attempt of which nothing was observed."""
_BAD_CERTIFICATE = (_UnverifiedError, aiohttp.ClientConnectorCertificateError, aiohttp.ServerFingerprintMismatch)


async def _read(answer: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """Read a body up to a bound. ``read()`` has none, and a small gzip may become large, so count it decompressed."""
    good = 200 <= answer.status < 300
    length = answer.content_length
    if good and length is not None and length <= max_bytes and "Content-Encoding" not in answer.headers:
        return await answer.read()
    pieces: list[bytes] = []
    room = max_bytes
    try:
        async for piece in answer.content.iter_any():
            pieces.append(piece[:room])
            room -= len(piece)
            if room < 0:
                answer.close()
                break
    except (aiohttp.ClientError, OSError):
        answer.close()
        if good:
            raise
    if good and room < 0:
        raise _TooLargeError
    return b"".join(pieces)  # an error stays that error, with the part of its body that came


def _client_timeout(timeout: Timeout, seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=seconds, connect=timeout.connect, ceil_threshold=float("inf"))


_MNEMONIC = re.compile(r"[A-Z][A-Z0-9_]{1,60}")
_BROKEN = (
    ("ContentEncoding", "its body is damaged, or in an encoding that was not asked for"),
    ("LineTooLong", f"it has a header line of more than {_MAX_HEADER_BYTES // 1024} KiB"),
    ("BadStatusLine", "it is not HTTP"),
    ("InvalidHeader", "it has a header that HTTP does not allow"),
    ("Invalid header", "it has a header that HTTP does not allow"),
    ("Too many headers", "it has too many headers"),
    ("ContentLength", "its body ends before its Content-Length"),
    ("Content-Length", "its Content-Length is broken or contradicted"),
    ("TransferEncoding", "its body ends before its last chunk"),
    ("chunk", "its chunks are broken"),
    ("Chunk", "its chunks are broken"),
    ("Data after", "it goes on behind its end"),
)
"""Words in the class or message of aiohttp's error for an unreadable answer, and ours for them."""


def _reason(error: BaseException) -> str:
    """Describe an error by its class or number. aiohttp's messages, which quote URLs and bytes, are not quoted."""
    reason = type(error).__name__
    match error:
        case _ConnectionLostError() | _UnverifiedError():
            reason = str(error)
        case aiohttp.ClientConnectorCertificateError():
            words = getattr(error.certificate_error, "verify_message", "") or type(error.certificate_error).__name__
            reason = f"certificate verification failed: {words.rstrip('.')}"
        case aiohttp.ClientConnectorDNSError():
            reason = f"the name {error.host} could not be resolved (DNS)"
        case aiohttp.ClientHttpProxyError() | aiohttp.ClientProxyConnectionError():
            reason = _refused_by_proxy(error)
        case aiohttp.ClientConnectorError():
            reason += _system_words(error.os_error)
        case TimeoutError():
            reason = "timed out"
        case OSError():
            reason += _system_words(error)
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            reason = _unreadable(error, reason)
        case asyncio.CancelledError():
            reason = "cancelled by the connector or a hook"
        case _:
            pass
    return reason


def _refused_by_proxy(error: aiohttp.ClientHttpProxyError | aiohttp.ClientProxyConnectionError) -> str:
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return f"cannot connect to the proxy{_system_words(error.os_error)}"
    wants = ": it wants a user name and a password, or refuses these" if error.status == 407 else ""
    return f"the proxy answered {error.status} to CONNECT{wants}"


def _unreadable(error: BaseException, reason: str) -> str:
    """Describe an answer that is no HTTP, or whose body is damaged."""
    told = " ".join(f"{type(each).__name__} {each}" for each in _causes(error))
    default = "its body is damaged" if isinstance(error, aiohttp.ClientPayloadError) else ""
    why = next((words for word, words in _BROKEN if word in told), default)
    return f"the answer cannot be read: {why}" if why else reason


def _system_words(error: OSError) -> str:
    """The system's words for an error's number; ``strerror`` is not used, since aiohttp writes URLs into it."""
    if isinstance(error, ssl.SSLError):
        reason: Any = error.reason
        return f": {reason}" if isinstance(reason, str) and _MNEMONIC.fullmatch(reason) else ""
    return f": {os.strerror(error.errno)}" if error.errno is not None and error.errno > 0 else ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__cause__
    while cause is not None:
        yield cause
        cause = cause.__cause__
