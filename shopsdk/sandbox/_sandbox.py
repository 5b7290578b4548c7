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
from typing import Literal, Self, TypedDict, Unpack, cast

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
from shopsdk.sandbox._fake_data import check_count, fake_customer, fake_shops
from shopsdk.sandbox._faults import Fault, FaultFields, FaultKind, FaultPlan
from shopsdk.sandbox._host import check_host, url_host
from shopsdk.sandbox._message import plain_value
from shopsdk.sandbox._page import Page
from shopsdk.sandbox._page_data import PageData
from shopsdk.sandbox._requests import RecordedRequest, RequestLog
from shopsdk.sandbox._rows import MAX_ID, Entry, is_id
from shopsdk.sandbox._server import Server
from shopsdk.sandbox._shop import Shop
from shopsdk.sandbox._store import Store, opening_lines
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
    """A shop for tests, or several: a real HTTP server on loopback that answers as the Customers API does.

    It is for made-up data on this machine. A request is answered 421 unless its ``Host`` is ``localhost`` or a loopback
    address, with any port or none. A body of more than 1 MiB is answered 413; the body of a request without a valid key
    is not read.

    A browser shows the customers, the ledgers and the requests as they come at the root of the address, such as
    ``http://127.0.0.1:54321/``. It needs no key, so other users of this machine can see it too. Nothing can be changed
    there.

    It runs on a thread of its own inside ``with`` or ``async with``. Entered again, it begins anew: without recorded
    requests, with the faults that it was given at first, and, unless a file keeps them, with the same customers as
    before. Methods such as ``add_customer`` change a shop behind the API's back; they are synchronous and may be called
    from any thread while the sandbox runs.

    The sum of a customer's ledger is its balance. A made-up customer's ledger holds a credit, and what orders took of
    it. That of a given customer begins with one line, "Opening balance", of whatever amount; there is none if the
    balance is 0 or None.

    ```python
    with Sandbox([Customer(id=7, email="ada@example.com")]) as shop:
        shop.fail_next("drop_after", method="POST")  # made, and the answer lost
        async with shop.session() as session:
            edit = await edit_customer_balance(session, 7, "5.00", reference="order-1187")
        assert [edit.transaction] == shop.transactions(7)  # without a balance, the ledger was empty
    ```

    One sandbox may hold several shops, all with one key. A made-up customer's id is a 404 in the other shops, so that
    code which mixes up two shops is noticed:

    ```python
    with Sandbox(customers=50, shop_id=[38, 39]) as sandbox:
        customer = sandbox.customers(shop_id=39)[0]
        async with sandbox.session(shop_id=39) as session:
            assert await get_customer(session, customer.id) == customer
    ```

    Args:
        customers: The number of customers to make up for each shop, or the customers themselves, for every shop.
        shop_id: The shop's id, or the ids of several shops; any other is a 404.
        api_key: The key; any other is a 401.
        rate_limit: Answer 429 beyond this many requests in a window, to all shops together.
        latency: Seconds to hold back every answer.
        faults: Ways in which the server misbehaves, whatever the shop; see also ``fail_next``.
        database: The name of a file in which the shops last; default: in memory. A new file has mode 0600. One that
            already holds shops is opened as it is, and ``customers`` is ignored; its shops must be those of
            ``shop_id``, in any order.
        host: A loopback address to listen on.
        port: The port to listen on; 0 for any that is free.
        seed: Made-up customers are the same for the same seed. Those of the first shop do not depend on the others; no
            two shops have an id or an address in common.

    Raises:
        ValueError: The host is not a loopback address, a number is out of range, two customers have the same id, or
            ``shop_id`` names no shop or one twice.
    """

    api_key: str
    """The key that the shops accept."""
    shop_id: int
    """The shop's id; of several shops, the first one's."""
    shop_ids: tuple[int, ...]
    """The ids of all shops."""
    requests: list[RecordedRequest]
    """The requests that reached the API since the sandbox started, in order of arrival: the last 10,000, and of these
    the last that take 64 MiB of memory. The list may be cleared.

    Not among them are the requests for the page (``/``, and what is below ``/_sandbox/``), whatever their verb and
    whether or not they are answered, and data that is no valid HTTP."""

    def __init__(
        self,
        customers: int | Iterable[Customer] = 250,
        *,
        shop_id: int | Sequence[int] = 38,
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
        self.shop_ids = _check_shop_ids(shop_id)
        self.shop_id = self.shop_ids[0]
        self.requests = []
        self._customers = check_count(customers) if isinstance(customers, int) else _check_customers(customers)
        self._rate_limit = rate_limit
        self._latency = latency
        self._faults = tuple(faults)
        self._plan = FaultPlan(self._faults)
        self._database = database
        self._address = (host, port)
        self._seed = plain_value(seed)
        self._lifecycle = threading.Lock()
        self._running: ExitStack | None = None
        self._running_store: Store | None = None
        self._base_url: str | None = None

    @property
    def base_url(self) -> str:
        """The URL of the API, such as ``http://127.0.0.1:54321/v1``.

        Raises:
            RuntimeError: The sandbox is not running.
        """
        if self._base_url is None:
            raise RuntimeError(_NOT_RUNNING)
        return self._base_url

    def session(self, *, shop_id: int | None = None, **options: Unpack[SessionOptions]) -> AsyncSession:
        """Make a session on a shop.

        Args:
            shop_id: The session's shop; default: the first. A shop that the sandbox does not have is no error here: the
                server answers 404, which a test may want.
            options: Options of ``AsyncSession``.

        Raises:
            RuntimeError: The sandbox is not running.
        """
        return AsyncSession(
            self.api_key, shop_id=self.shop_id if shop_id is None else shop_id, base_url=self.base_url, **options
        )

    def start(self) -> None:
        """Start the sandbox, unless it is running. ``with`` does this.

        Raises:
            OSError: The port is taken.
            ValueError: The database is in use, cannot be made, holds something else or other shops, is another user's
                or is reached through another user's link; or a customer cannot be kept.
        """
        with self._lifecycle:
            if self._running is not None:
                return
            with ExitStack() as undo:
                self.requests.clear()
                store = undo.enter_context(closing(Store(self._database, self.shop_ids, self._entries())))
                listener = undo.enter_context(listen(*self._address))
                port = listener.getsockname()[1]
                undo.enter_context(ServerThread(listener, lambda: self._make_server(store)))
                self._base_url = f"http://{url_host(self._address[0])}:{port}/v1"
                self._running_store = store
                self._running = undo.pop_all()

    def close(self) -> None:
        """Close the sandbox, unless it is closed. ``with`` does this."""
        with self._lifecycle:
            running, self._running, self._running_store, self._base_url = self._running, None, None, None
            if running is not None:
                running.close()
                self._plan = FaultPlan(self._faults)

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

    def add_customer(
        self, customer: Customer | None = None, *, shop_id: int | None = None, **fields: Unpack[CustomerFields]
    ) -> Customer:
        """Add a customer to a shop.

        Args:
            customer: The customer; None makes one up, with an id that no customer of any shop has had.
            shop_id: The shop's id; default: the first.
            fields: Fields to set on the customer.

        Returns:
            The customer as the shop keeps it: money rounded to cents, times to whole seconds.

        Raises:
            ValueError: The id is taken, a value cannot be kept, or there is no such shop.
        """
        store, shop = self._store(), self._shop(shop_id)
        with store.lock:
            lines = None
            if customer is None:
                customer, lines = fake_customer(plain_value(fields.get("id", store.next_id())), self._seed)
                if "balance" in fields:
                    lines = None
                if (referrer := fields.get("affiliate_referrer")) is not None:
                    fields.setdefault("affiliate_referrer_id", referrer.id)
            return store.add(shop, attrs.evolve(customer, **fields), lines)

    def update_customer(
        self, customer_id: int, *, shop_id: int | None = None, **fields: Unpack[CustomerFields]
    ) -> Customer:
        """Change a customer's fields. Customers that it referred keep it as their referrer as it was.

        Args:
            customer_id: The customer's id.
            shop_id: The shop's id; default: the first.
            fields: Fields to set; the id cannot be changed. Another balance adds a line with the difference to the
                ledger.

        Returns:
            The customer as the shop keeps it now.

        Raises:
            KeyError: There is no such customer.
            ValueError: A value cannot be kept, the id is among the fields, or there is no such shop.
        """
        if "id" in fields:
            raise ValueError("a customer's id cannot be changed")
        store, shop = self._store(), self._shop(shop_id)
        with store.lock:
            return store.replace(shop, attrs.evolve(store.customer(shop, customer_id), **fields))

    def remove_customer(self, customer_id: int, *, shop_id: int | None = None) -> None:
        """Remove a customer and its ledger; customers that it referred keep it as their referrer.

        Args:
            customer_id: The customer's id.
            shop_id: The shop's id; default: the first.

        Raises:
            KeyError: There is no such customer.
            ValueError: There is no such shop.
        """
        self._store().remove(self._shop(shop_id), customer_id)

    def customers(self, *, shop_id: int | None = None) -> list[Customer]:
        """All customers of a shop, by rising id.

        Args:
            shop_id: The shop's id; default: the first.

        Raises:
            ValueError: There is no such shop.
        """
        return self._store().customers(self._shop(shop_id))

    def transactions(self, customer_id: int, *, shop_id: int | None = None) -> list[BalanceTransaction]:
        """A customer's balance transactions, newest first.

        Args:
            customer_id: The customer's id.
            shop_id: The shop's id; default: the first.

        Raises:
            KeyError: There is no such customer.
            ValueError: There is no such shop.
        """
        return self._store().transactions(self._shop(shop_id), customer_id)

    def _shop(self, shop_id: int | None) -> int:
        if shop_id is None:
            return self.shop_id
        if not is_id(shop_id) or shop_id not in self.shop_ids:
            raise ValueError(f"the sandbox has no shop {shop_id!r}; it has {', '.join(map(str, self.shop_ids))}")
        return plain_value(shop_id)

    def _entries(self) -> Iterable[Entry]:
        if isinstance(self._customers, int):
            return fake_shops(self.shop_ids, self._customers, self._seed)
        given = self._customers
        return ((shop_id, one, opening_lines(one)) for shop_id in self.shop_ids for one in given)

    def _store(self) -> Store:
        if self._running_store is None:
            raise RuntimeError(_NOT_RUNNING)
        return self._running_store

    def _make_server(self, store: Store) -> Server:
        throttle = None if self._rate_limit is None else Throttle(self._rate_limit)
        shop = Shop(store, api_key=self.api_key, throttle=throttle)
        log = RequestLog(self.requests)
        page = Page(PageData(store, log, api_key=self.api_key))
        return Server(shop, page, self._plan, log, latency=self._latency)


def _check_customers(customers: Iterable[Customer]) -> list[Customer]:
    given = list(customers)
    seen: set[int] = set()
    for customer in given:
        if customer.id in seen:
            raise ValueError(f"customers must have ids of their own, not {customer.id} twice")
        seen.add(customer.id)
    return given


def _check_shop_ids(shop_id: object) -> tuple[int, ...]:
    """Check one shop's id or several, and reduce them to plain numbers."""
    given: Sequence[object] = [shop_id]
    if isinstance(shop_id, Sequence) and not isinstance(shop_id, (str, bytes, bytearray, memoryview)):
        given = cast("Sequence[object]", shop_id)
    shop_ids: list[int] = []
    for each in given:
        if not is_id(each):
            raise ValueError(f"shop_id must be a whole number from 1 to {MAX_ID}, or several, not {each!r}")
        if each in shop_ids:
            raise ValueError(f"shop_id must name each shop once, not {plain_value(each)} twice")
        shop_ids.append(plain_value(each))
    if not shop_ids:
        raise ValueError("shop_id must name at least one shop")
    return tuple(shop_ids)
