"""One attempt: a Request goes out, a Response comes back whole, or one of our errors says how far it got.

The only place that knows aiohttp's client, and what of it must be kept in check:

- aiohttp resends a PUT, DELETE or GET by itself when the connection dies, on a fresh connection too. It does so on
  ``ClientOSError`` and ``ServerDisconnectedError``; the guard middleware turns them into another ``ClientError``.
- aiohttp's frames and exceptions hold the request's headers, and so the key. Errors are raised outside the ``except``
  block, and a cancellation leaves aiohttp's frames behind: no traceback leads to the header.
- A redirect would carry a change to another place; none is followed.
- ``read()`` has no bound; a small gzip can become a large body. Bytes are counted after decompression.
"""

import asyncio
import gc
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import aiohttp
import attrs
from yarl import URL

from shopsdk._errors import DecodeError, NotSentError, SessionStateError, ShopError, TransportError, UnknownOutcomeError
from shopsdk._retry import Timeout
from shopsdk._settings import Secret
from shopsdk._version import __version__
from shopsdk._wire import Request, Response

_HEADERS = {
    "Accept": "application/json",  # first, or Laravel answers errors as redirects
    "Content-Type": "application/json",
    "User-Agent": f"shopsdk/{__version__}",
}
_CONNECT_SHARE = 0.9
"""A connect timeout must end before the attempt's own, or nobody could tell that nothing was sent."""

_inherited: list[object] = []
"""Sessions and connectors of a parent process, kept from being collected in the child."""


OnStatus = Callable[[int, Mapping[str, str]], None]
"""Hears of an answer, its status and headers, before its body is read."""


class _ConnectionLostError(aiohttp.ClientError):
    """The connection died; unlike aiohttp's own errors for that, this one is not answered by a resend."""


@attrs.frozen(eq=False, repr=False)
class Options:
    """What a session was told about its connections."""

    base_url: str
    key: Secret
    timeout: Timeout
    max_in_flight: int
    max_response_bytes: int
    proxy: Secret | None
    connector: aiohttp.BaseConnector | None
    trace_configs: Sequence[aiohttp.TraceConfig]


class Transport:
    """aiohttp's session, on one event loop."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._root = options.base_url
        self._timeout = _client_timeout(options.timeout, options.timeout.total)
        if options.connector is not None and loop_of(options.connector) is not asyncio.get_running_loop():
            raise SessionStateError("the connector belongs to another event loop than the one that runs now")
        self._own = None if options.connector else aiohttp.TCPConnector(limit=options.max_in_flight)
        self._http = aiohttp.ClientSession(
            connector=options.connector or self._own,
            connector_owner=options.connector is None,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_HEADERS,
            middlewares=(_guard(options.key),),
            trace_configs=list(options.trace_configs),
            raise_for_status=False,
        )

    async def close(self) -> None:
        """Close the connections; a borrowed connector stays open."""
        await self._http.close()

    def abandon(self, *, forked: bool) -> None:
        """Forget the connections of an event loop that is gone, or of the parent process, without a word.

        In a forked child they must not even be closed: the parent's selector is shared. Elsewhere no loop is left to
        close them on, so the collector has to, and the warnings about that are ours to keep quiet.
        """
        self._http.detach()
        own, self._own = self._own, None
        if forked:
            _inherited.append((self._http, own))
        elif own is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                closing = own.close()
                with suppress(StopIteration):
                    closing.send(None)  # on a closed loop there is nothing to await: one step is all of it
                closing.close()
                del closing, own
                gc.collect()

    async def send(self, request: Request, body: bytes | None, seconds: float, on_status: OnStatus) -> Response:
        """Send once; ``on_status`` hears of the answer before its body is read.

        Raises:
            NotSentError: no connection came about.
            UnknownOutcomeError: a change was, or may have been, sent, and no whole answer came.
            TransportError: the same for a read.
            DecodeError: a success whose body is larger than the session allows.
        """
        problem: BaseException
        try:
            return await self._exchange(request, body, seconds, on_status)
        except asyncio.CancelledError as cancelled:
            problem = cancelled.with_traceback(None)
            problem.__context__ = None
        except (aiohttp.ClientError, OSError, ValueError, _TooLargeError) as error:
            problem = _failure(request, error)
        raise problem

    async def _exchange(self, request: Request, body: bytes | None, seconds: float, on_status: OnStatus) -> Response:
        options = self._options
        timeout = self._timeout if seconds >= options.timeout.total else _client_timeout(options.timeout, seconds)
        query = f"?{request.query}" if request.query else ""
        async with self._http.request(
            request.method,
            URL(f"{self._root}{request.path}{query}", encoded=True),
            data=body,
            timeout=timeout,
            allow_redirects=False,
            proxy=None if options.proxy is None else options.proxy.reveal(),
        ) as answer:
            on_status(answer.status, answer.headers)
            content = await _read(answer, options.max_response_bytes)
            return Response(status=answer.status, headers=answer.headers, body=content)


def loop_of(connector: aiohttp.BaseConnector) -> asyncio.AbstractEventLoop:
    """Find the event loop that a connector was made on."""
    return connector._loop  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - aiohttp has no other way


class _TooLargeError(Exception):
    """The body passed its cap."""


async def _read(answer: aiohttp.ClientResponse, most: int) -> bytes:
    length = answer.content_length
    if length is not None and length <= most and "Content-Encoding" not in answer.headers:
        return await answer.read()
    pieces: list[bytes] = []
    room = most
    async for piece in answer.content.iter_any():
        pieces.append(piece[:room])
        room -= len(piece)
        if room < 0:
            answer.close()
            if 200 <= answer.status < 300:
                raise _TooLargeError
            break  # an error stays the error it is, cut short
    return b"".join(pieces)


def _client_timeout(timeout: Timeout, seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(
        total=seconds, connect=min(timeout.connect, seconds * _CONNECT_SHARE), ceil_threshold=float("inf")
    )


def _guard(key: Secret) -> aiohttp.ClientMiddlewareType:
    async def guard(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        request.headers["Authorization"] = f"Bearer {key.reveal()}"
        try:
            return await handler(request)
        except aiohttp.ClientConnectorError:
            raise  # never connected, so never resent
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            reason = _reason(error)
        raise _ConnectionLostError(reason)

    return guard


def _failure(request: Request, error: Exception) -> ShopError:
    """Say in our terms how far the request got."""
    if isinstance(error, _TooLargeError):
        return DecodeError(
            f"the answer to {request.label} is larger than max_response_bytes", maybe_applied=request.changes
        )
    unsent = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)
    if isinstance(error, unsent):
        not_sent = NotSentError(f"{request.label} was not sent: {_reason(error)}")
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            not_sent.repeatable = False
        return not_sent
    if request.changes:
        return UnknownOutcomeError(f"{request.label} may or may not have been carried out: {_reason(error)}")
    return TransportError(f"{request.label} got no whole answer: {_reason(error)}")


def _reason(error: BaseException) -> str:
    """Describe without quoting what was sent or received: only the kind, and the system's own words."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "the server's certificate does not hold"
    if isinstance(error, _ConnectionLostError):
        return str(error)
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, OSError) and cause.strerror:
        return f"{type(error).__name__}: {cause.strerror}"
    return "timed out" if isinstance(error, TimeoutError) else type(error).__name__
