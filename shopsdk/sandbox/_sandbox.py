"""The sandbox as users see it: how to start it, where it is, and how to change the shop behind the API's back."""

import asyncio
import math
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from datetime import datetime
from decimal import Decimal
from ssl import SSLContext
from typing import Literal, Self, TypedDict, Unpack

import aiohttp
import attrs

from shopsdk import (
    AffiliateReferrer,
    AsyncSession,
    BalanceTransaction,
    Clock,
    Customer,
    Event,
    RateLimit,
    RetryPolicy,
    Timeout,
)
from shopsdk.sandbox._fake_data import check_count, fake_customer, fake_customers
from shopsdk.sandbox._faults import Fault, FaultFields, FaultKind, FaultPlan
from shopsdk.sandbox._host import check_host, url_host
from shopsdk.sandbox._look import Look
from shopsdk.sandbox._message import plain_value
from shopsdk.sandbox._page import Page
from shopsdk.sandbox._requests import RecordedRequest, RequestLog
from shopsdk.sandbox._server import Server
from shopsdk.sandbox._shop import Shop
from shopsdk.sandbox._store import Store
from shopsdk.sandbox._thread import ServerThread, enter_in_thread, listen
from shopsdk.sandbox._throttle import Throttle

_NOT_RUNNING = "the sandbox is not running: enter it first, as in `with Sandbox() as shop:`"


class SessionOptions(TypedDict, total=False):
    """The options of ``AsyncSession`` that ``Sandbox.session`` passes on."""

    timeout: Timeout
    """As in ``AsyncSession``."""
    retry: RetryPolicy
    """As in ``AsyncSession``."""
    rate_limit: RateLimit | None
    """As in ``AsyncSession``."""
    max_in_flight: int
    """As in ``AsyncSession``."""
    list_params: Literal["both", "body", "query"]
    """As in ``AsyncSession``."""
    max_response_bytes: int
    """As in ``AsyncSession``."""
    proxy: str | None
    """As in ``AsyncSession``."""
    trust_env: bool
    """As in ``AsyncSession``."""
    ssl: SSLContext | None
    """As in ``AsyncSession``."""
    connector: aiohttp.BaseConnector | None
    """As in ``AsyncSession``."""
    trace_configs: Sequence[aiohttp.TraceConfig]
    """As in ``AsyncSession``."""
    on_event: Callable[[Event], object] | None
    """As in ``AsyncSession``."""
    clock: Clock | None
    """As in ``AsyncSession``."""


class CustomerFields(TypedDict, total=False):
    """The fields of a ``Customer`` that ``Sandbox.add_customer`` and ``Sandbox.update_customer`` can set."""

    id: int
    """As in ``Customer``; for a new customer only."""
    email: str
    """As in ``Customer``."""
    discord_id: str | None
    """As in ``Customer``."""
    discord_username: str | None
    """As in ``Customer``."""
    balance: Decimal | None
    """As in ``Customer``."""
    total_completed: int | None
    """As in ``Customer``."""
    total_spent_usd: Decimal | None
    """As in ``Customer``."""
    last_completed_at: datetime | None
    """As in ``Customer``."""
    newsletter_at: datetime | None
    """As in ``Customer``."""
    affiliate_code: str | None
    """As in ``Customer``."""
    affiliate_referrer_id: int | None
    """As in ``Customer``."""
    affiliate_referrer: AffiliateReferrer | None
    """As in ``Customer``."""


class Sandbox:
    """A shop for tests: a real HTTP server on loopback that answers as the Customers API does.

    It is for made-up data on this machine. A request is answered 421 unless its ``Host`` is ``localhost`` or a loopback
    address, with any port or none. A body of more than 1 MiB is answered 413; the body of a request without a valid key
    is not read.

    A browser shows the customers, the ledgers and the requests as they come at the root of the address, such as
    ``http://127.0.0.1:54321/``; it needs no key, and nothing can be changed there.

    It runs on a thread of its own inside ``with`` or ``async with``, and can be entered again afterwards. Methods such
    as ``add_customer`` change the shop behind the API's back; they are synchronous and may be called from any thread
    while the shop runs.

    ```python
    with Sandbox([Customer(id=7, email="ada@example.com")]) as shop:
        shop.fail_next("drop_after", method="POST")  # made, and the answer lost
        async with shop.session() as session:
            edit = await edit_customer_balance(session, 7, "5.00", reference="order-1187")
        assert [edit.transaction] == shop.transactions(7)
    ```

    Args:
        customers: The number of customers to make up, or the customers themselves. The ledgers start empty.
        shop_id: The shop's id; any other is a 404.
        api_key: The key; any other is a 401.
        rate_limit: Answer 429 beyond this many requests in a window.
        latency: Seconds to hold back every answer.
        faults: Ways in which the shop misbehaves; see also ``fail_next``.
        database: The name of a file in which the shop lasts; default: in memory. A new file has mode 0600. One that
            already holds a shop is opened as it is, and ``customers`` is ignored.
        host: A loopback address to listen on.
        port: The port to listen on; 0 for any that is free.
        seed: Made-up customers are the same for the same seed.

    Raises:
        ValueError: The host is not a loopback address, or a number is out of range.
    """

    api_key: str
    """The key that the shop accepts."""
    shop_id: int
    """The shop's id."""
    requests: list[RecordedRequest]
    """The requests that reached the shop, in order of arrival: the last 10,000, and of these the last that take 64 MiB
    of memory. The list may be cleared."""

    def __init__(
        self,
        customers: int | Iterable[Customer] = 250,
        *,
        shop_id: int = 38,
        api_key: str = "sandbox-key",
        rate_limit: RateLimit | None = None,
        latency: float = 0.0,
        faults: Sequence[Fault] = (),
        database: str | os.PathLike[str] = ":memory:",
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int = 0,
    ) -> None:
        host = plain_value(host)
        check_host(host)
        if not 0 <= latency < math.inf:
            raise ValueError(f"latency must be 0 or more seconds, not {latency!r}")
        self.api_key = plain_value(api_key)
        self.shop_id = plain_value(shop_id)
        self.requests = []
        self._customers = check_count(customers) if isinstance(customers, int) else list(customers)
        self._rate_limit = rate_limit
        self._latency = latency
        self._plan = FaultPlan(faults)
        self._database = database
        self._address = (host, port)
        self._seed = plain_value(seed)
        self._lifecycle = threading.Lock()
        self._running: ExitStack | None = None
        self._running_store: Store | None = None
        self._base_url: str | None = None

    @property
    def base_url(self) -> str:
        """The URL of the shop's API, such as ``http://127.0.0.1:54321/v1``.

        Raises:
            RuntimeError: The sandbox is not running.
        """
        if self._base_url is None:
            raise RuntimeError(_NOT_RUNNING)
        return self._base_url

    def session(self, **options: Unpack[SessionOptions]) -> AsyncSession:
        """Make a session on this shop.

        Args:
            options: Options of ``AsyncSession``.

        Raises:
            RuntimeError: The sandbox is not running.
        """
        return AsyncSession(self.api_key, shop_id=self.shop_id, base_url=self.base_url, **options)

    def start(self) -> None:
        """Open the shop, unless it is open. ``with`` does this.

        Raises:
            OSError: The port is taken.
            ValueError: The database is in use, cannot be made, holds something else, is another user's or is reached
                through another user's link; or a customer cannot be kept.
        """
        with self._lifecycle:
            if self._running is not None:
                return
            with ExitStack() as undo:
                made = (
                    fake_customers(self._customers, self._seed) if isinstance(self._customers, int) else self._customers
                )
                store = undo.enter_context(closing(Store(self._database, made)))
                listener = undo.enter_context(listen(*self._address))
                port = listener.getsockname()[1]
                undo.enter_context(ServerThread(listener, lambda: self._make_server(store)))
                self._base_url = f"http://{url_host(self._address[0])}:{port}/v1"
                self._running_store = store
                self._running = undo.pop_all()

    def close(self) -> None:
        """Close the shop, unless it is closed. ``with`` does this."""
        with self._lifecycle:
            running, self._running, self._running_store, self._base_url = self._running, None, None, None
            if running is not None:
                running.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await enter_in_thread(self.start, self.close)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.to_thread(self.close)

    def fail_next(self, kind: FaultKind, times: int = 1, **where: Unpack[FaultFields]) -> None:
        """Let a fault hit the next requests, before any of the faults given at the start.

        Args:
            kind: The kind, as in ``Fault``.
            times: The number of requests that it hits.
            where: Fields of ``Fault`` but ``every`` and ``first``, such as ``method`` and ``path``.

        Raises:
            ValueError: The fault makes no sense, as in ``Fault``.
        """
        self._plan.fail_next(kind, times, **where)

    def add_customer(self, customer: Customer | None = None, **fields: Unpack[CustomerFields]) -> Customer:
        """Add a customer to the shop.

        Args:
            customer: The customer; None makes one up, with an id that no customer has had.
            fields: Fields to set on the customer.

        Returns:
            The customer as the shop keeps it: money rounded to cents, times to whole seconds.

        Raises:
            ValueError: The id is taken, or a value cannot be kept.
        """
        store = self._store()
        with store.lock:
            if customer is None:
                customer = fake_customer(plain_value(fields.get("id", store.next_id())), self._seed)
                if (referrer := fields.get("affiliate_referrer")) is not None:
                    fields.setdefault("affiliate_referrer_id", referrer.id)
            return store.add(attrs.evolve(customer, **fields))

    def update_customer(self, customer_id: int, **fields: Unpack[CustomerFields]) -> Customer:
        """Change a customer's fields. Its ledger stays, and so does the referrer of customers that it referred.

        Args:
            customer_id: The customer's id.
            fields: Fields to set; the id cannot be changed.

        Returns:
            The customer as the shop keeps it now.

        Raises:
            KeyError: There is no such customer.
            ValueError: A value cannot be kept, or the id is among the fields.
        """
        if "id" in fields:
            raise ValueError("a customer's id cannot be changed")
        store = self._store()
        with store.lock:
            return store.replace(attrs.evolve(store.customer(customer_id), **fields))

    def remove_customer(self, customer_id: int) -> None:
        """Remove a customer and its ledger; customers that it referred keep it as their referrer.

        Args:
            customer_id: The customer's id.

        Raises:
            KeyError: There is no such customer.
        """
        self._store().remove(customer_id)

    def customers(self) -> list[Customer]:
        """All customers, by rising id."""
        return self._store().customers()

    def transactions(self, customer_id: int) -> list[BalanceTransaction]:
        """A customer's balance transactions, newest first.

        Args:
            customer_id: The customer's id.

        Raises:
            KeyError: There is no such customer.
        """
        return self._store().transactions(customer_id)

    def _store(self) -> Store:
        if self._running_store is None:
            raise RuntimeError(_NOT_RUNNING)
        return self._running_store

    def _make_server(self, store: Store) -> Server:
        throttle = None if self._rate_limit is None else Throttle(self._rate_limit)
        shop = Shop(store, shop_id=self.shop_id, api_key=self.api_key, throttle=throttle)
        log = RequestLog(self.requests)
        page = Page(Look(store, log, shop_id=self.shop_id, api_key=self.api_key))
        return Server(shop, page, self._plan, log, latency=self._latency)
