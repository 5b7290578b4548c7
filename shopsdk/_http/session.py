"""The session, as users see it: one key, one shop, one pool of connections."""

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from ssl import SSLContext
from typing import Any, Self, TypeVar, final, overload

import aiohttp

from shopsdk._checks import check_callable, check_instance, check_int
from shopsdk._codec.json import parse
from shopsdk._config import (
    Clock,
    ListParams,
    Options,
    RateLimit,
    RetryPolicy,
    Secret,
    Timeout,
    check_api_key,
    check_base_url,
    check_list_params,
    check_proxy,
    check_tls,
    proxy_from_environment,
    shop_id_from_environment,
    tls_from_environment,
)
from shopsdk._events import Event, Hook
from shopsdk._http.lifecycle import Core
from shopsdk._http.request import make_request
from shopsdk._http.response import foreign_error

T = TypeVar("T")

_BASE_URL = "https://api.sellauth.com/v1"


@final
class AsyncSession:
    """A connection to one shop's API, for one event loop at a time.

    Use it as ``async with AsyncSession() as session``, or keep one for the life of an application and ``await
    session.close()`` at its end. It is safe to share between tasks. Its key is printed nowhere.

    ```python
    async with AsyncSession(timeout=Timeout(total=10), max_in_flight=4) as session:
        print((await get_customer(session, 42)).email)
    ```

    Args:
        api_key: the API key (dashboard, Account > API); default: the environment variable SHOPSDK_API_KEY.
        shop_id: the shop of calls that name none, at least 1; default: SHOPSDK_SHOP_ID.
        base_url: the URL of the API; default: SHOPSDK_BASE_URL, else ``https://api.sellauth.com/v1``. Plain http is
            taken for loopback hosts only.
        timeout: how long to wait for the server; see ``Timeout``.
        retry: how often to try, and how long to wait in between; see ``RetryPolicy``.
        rate_limit: the most requests in a time that this session sends; see ``RateLimit``. Default: no limit.
        max_in_flight: concurrent requests, at least 1; default: 16. Others wait for a slot, and no timeout counts that
            wait.
        list_params: where the parameters of lists travel: "both" (the default) is in the JSON body of the GET, as the
            vendor documents, and in the query, so that filters survive a proxy that drops the body, and a cache that
            goes by the URL tells pages apart. "query" passes proxies that refuse a GET with a body. "body" keeps
            filters, e-mail addresses among them, out of URLs, and so out of access logs and of what trace_configs
            record.
        max_response_bytes: the largest answer that is read, in bytes after decompression, at least 1; default: 32 MiB.
            Reading takes at most 64 times as much memory for each request in flight, and for each page that a walk
            holds for its turn (at most 4 times its concurrency); the caller's own classes (``as_type=``) take more.
        proxy: the URL of an HTTP proxy, such as ``http://proxy.example:3128``; it may hold a password. Only with an
            https base_url: over plain http the proxy would see the key. For SOCKS give a connector of the package
            aiohttp_socks.
        trust_env: whether the environment names the proxy, where ``proxy`` is not given: HTTPS_PROXY, else ALL_PROXY,
            in capitals or not, unless NO_PROXY names the host (names, their suffixes, ``*``). They are read once, here.
            A base_url on this machine never goes through it, and ``~/.netrc`` is never read. Default: False.
        ssl: the TLS context, such as one that trusts a company's own authority. It must verify certificates and
            host names. Default: Python's own, with SSL_CERT_FILE and SSL_CERT_DIR as they are now. Not beside
            connector, which has its own.
        connector: an aiohttp connector to borrow; the session never closes it. Its ``limit`` should be at least
            max_in_flight, since a wait for it counts as connecting. Its ``limit_per_host`` does not count changes that
            must not be repeated, since each has a connection of its own.
        trace_configs: aiohttp's tracing hooks; they see the wire, the Authorization header included. An exception of a
            hook counts like any failure at that place: before a request is written, it was not sent.
        on_event: called with every event of calls, attempts, retries and rate limits (see ``Event``), on the event
            loop, so it must be quick. Its exceptions are logged and ignored.
        clock: the clock of all waits and deadlines, for tests; default: the real one.

    Raises:
        ValueError: no key, or an argument out of its bounds.
        TypeError: an argument of the wrong type.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        shop_id: int | None = None,
        base_url: str | None = None,
        timeout: Timeout = Timeout(),  # noqa: B008 - frozen
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        rate_limit: RateLimit | None = None,
        max_in_flight: int = 16,
        list_params: ListParams = "both",
        max_response_bytes: int = 32 * 2**20,
        proxy: str | None = None,
        trust_env: bool = False,
        ssl: SSLContext | None = None,
        connector: aiohttp.BaseConnector | None = None,
        trace_configs: Sequence[aiohttp.TraceConfig] = (),
        on_event: Callable[[Event], object] | None = None,
        clock: Clock | None = None,
    ) -> None:
        # First of all, so that no traceback that shows locals finds the key or a password in this frame.
        key = Secret(os.environ.get("SHOPSDK_API_KEY", "") if api_key is None else api_key)
        missing = api_key is None and "SHOPSDK_API_KEY" not in os.environ
        proxy_url = None if proxy is None else Secret(proxy)
        given_url = Secret(os.environ.get("SHOPSDK_BASE_URL") or _BASE_URL if base_url is None else base_url)
        api_key = proxy = base_url = None
        url = check_base_url(given_url)
        check_instance("trust_env", trust_env, bool)
        if proxy_url is not None:
            proxy_url = check_proxy(proxy_url, url)
        elif trust_env:
            proxy_url = proxy_from_environment(url)
        if ssl is not None:
            ssl = check_tls(ssl, borrowed=connector is not None)
        elif connector is None and url.lower().startswith("https:"):
            ssl = tls_from_environment()
        self._core = Core(
            options=Options(
                base_url=url,
                key=check_api_key(key, missing=missing),
                timeout=check_instance("timeout", timeout, Timeout),
                max_in_flight=check_int("max_in_flight", max_in_flight, 1),
                max_response_bytes=check_int("max_response_bytes", max_response_bytes, 1),
                proxy=proxy_url,
                tls=ssl,
                connector=None if connector is None else check_instance("connector", connector, aiohttp.BaseConnector),
                trace_configs=tuple(
                    check_instance("trace_configs", each, aiohttp.TraceConfig) for each in trace_configs
                ),
            ),
            shop_id=shop_id_from_environment() if shop_id is None else check_int("shop_id", shop_id, 1),
            retry=check_instance("retry", retry, RetryPolicy),
            rate_limit=None if rate_limit is None else check_instance("rate_limit", rate_limit, RateLimit),
            list_params=check_list_params(list_params),
            hooks=[] if on_event is None else [Hook(check_callable("on_event", on_event))],
            clock=Clock() if clock is None else check_instance("clock", clock, Clock),
        )

    def __repr__(self) -> str:
        core: Core | None = getattr(self, "_core", None)  # there is none while the constructor refuses its arguments
        if core is None:
            return "<AsyncSession unmade>"
        return f"<AsyncSession {core.options.base_url} shop_id={core.shop_id} {core.state}>"

    def __reduce__(self) -> str:
        raise TypeError("an AsyncSession cannot be pickled or copied: it holds a key and live connections")

    async def __aenter__(self) -> Self:
        self._core.runtime()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Cancel the walks that are still open on this session, then close its connections.

        A second call waits for the first. From a task that the first call waits for, or a callback within one, it
        returns at once.

        Raises:
            SessionStateError: called from another event loop than the session's own, which is still open.
        """
        await self._core.close()

    @property
    def base_url(self) -> str:
        """Where the API is, without a slash at the end."""
        return self._core.options.base_url

    @property
    def shop_id(self) -> int | None:
        """The shop of calls that name none; None if there is no default."""
        return self._core.shop_id

    @contextmanager
    def subscribe(self, on_event: Callable[[Event], object]) -> Generator[None]:
        """Call one more function with the session's events, for as long as the block runs.

        It is for code that was handed the session. The function is called as ``on_event`` of the constructor is: within
        the task whose call the event is of, so that a context variable can tell whose it is.

        Args:
            on_event: called with every event of calls, attempts, retries and rate limits (see ``Event``). Its
                exceptions are logged and ignored.

        Raises:
            TypeError: it cannot be called.
        """
        hook = Hook(check_callable("on_event", on_event))
        self._core.hooks.append(hook)
        try:
            yield
        finally:
            self._core.hooks.remove(hook)

    @overload
    async def request(
        self,
        method: str,
        path: Sequence[str | int],
        *,
        json: object = None,
        params: Mapping[str, object] | None = None,
        idempotent: bool | None = None,
    ) -> Any: ...
    @overload
    async def request(
        self,
        method: str,
        path: Sequence[str | int],
        *,
        json: object = None,
        params: Mapping[str, object] | None = None,
        idempotent: bool | None = None,
        as_type: type[T],
    ) -> T: ...
    async def request(
        self,
        method: str,
        path: Sequence[str | int],
        *,
        json: object = None,
        params: Mapping[str, object] | None = None,
        idempotent: bool | None = None,
        as_type: Any = None,
    ) -> Any:
        """Call any operation of the API, with the same retries, limits and errors as the ones that have a function.

        ```python
        path = ["shops", 38, "customers", 42]
        customer = await session.request("GET", path, as_type=Customer)
        ```

        Args:
            method: GET, HEAD, POST, PUT, PATCH or DELETE.
            path: the segments below the base URL, such as ``["shops", 38, "invoices"]``; each is quoted, and none may
                be empty, ``.`` or ``..``.
            json: the body; a Decimal becomes an exact number.
            params: the query string: str, int, bool (as 1 or 0) and Decimal.
            idempotent: whether it may be sent again though an earlier attempt may have been carried out; default: True
                for reads. False on a GET says that it changes something.
            as_type: the type to decode into (an attrs class, ``Page[...]``, a list of either); default: the parsed
                JSON, with a Decimal for every number that has a fraction or an exponent, or None if an answer has no
                body (204, 205, HEAD).

        Raises:
            ShopError: the call failed.
            ValueError: an argument out of its bounds; nothing was sent.
            TypeError: an argument of the wrong type; nothing was sent.
        """
        request = make_request(method, path, json=json, params=params, idempotent=idempotent)
        if as_type is not None:
            return await self._core.fetch(request, as_type)
        response = await self._core.runtime().send(request)
        if response.status in {204, 205} or request.method == "HEAD":
            return None
        if foreign := foreign_error(request, response, self._core.options.key.redact):
            raise foreign
        return parse(response.body, label=request.label, changes=request.changes)


def core_of(session: object) -> Core:
    """The state of a session, for the operations, which are functions and not methods."""
    if not isinstance(session, AsyncSession):
        raise TypeError(f"session must be an AsyncSession, not {type(session).__name__}")
    return session._core  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
