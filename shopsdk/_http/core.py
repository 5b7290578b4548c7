"""A session's settings, and its life: unopened, open on one event loop, closed.

Nothing here touches an event loop before the first use, so a session may live at module level. What belongs to a loop
is a ``Runtime``: made on first use, and anew where the old loop has been closed or the process has forked.
"""

import asyncio
import os
from asyncio import Task
from collections.abc import Callable, Mapping
from typing import TypeVar

import attrs

from shopsdk._codec.json import check_type, decode
from shopsdk._errors import SessionStateError
from shopsdk._events import Hook
from shopsdk._http.lifecycle import Runtime
from shopsdk._http.limits import Budget, Clock, RateLimit
from shopsdk._http.request import ListParams, Request, Response, check_int, make_list_request, make_list_requests
from shopsdk._http.retry import RetryPolicy
from shopsdk._http.transport import Options

T = TypeVar("T")

MOST_ROWS = 100
"""Rows to a page, whatever was asked for: the API has no larger ones."""


@attrs.define(eq=False, repr=False)
class Core:
    """What an AsyncSession is made of."""

    options: Options
    shop_id: int | None
    retry: RetryPolicy
    rate_limit: RateLimit | None
    list_params: ListParams
    clock: Clock
    hooks: list[Hook]
    """Who is told of events; may change while calls are under way."""
    closed: bool = False
    _runtime: Runtime | None = None

    @property
    def state(self) -> str:
        """Say where the session is in its life."""
        in_use = self._runtime is not None and not self._runtime.ended
        return "closed" if self.closed else "open" if in_use else "unopened"

    def runtime(self) -> Runtime:
        """Find what belongs to the running event loop.

        Raises:
            SessionStateError: the session is closed, or in use on another event loop.
        """
        if self.closed:
            raise SessionStateError("this session is closed; make a new AsyncSession")
        runtime = self._runtime
        if runtime is not None:
            if _is_here(runtime) and not runtime.ended:
                return runtime
            _leave(runtime)
        self._runtime = Runtime(self.options, self.retry, self.rate_limit, self.clock, self.hooks)
        return self._runtime

    async def close(self) -> None:
        """End the walks and the connections; a second call waits for the first.

        Raises:
            SessionStateError: the session is in use on another event loop.
        """
        runtime = self._runtime
        here = runtime is not None and _is_here(runtime)
        if runtime is not None and not here:
            _leave(runtime)
        self.closed = True
        if runtime is not None and here:
            await runtime.close()

    async def fetch(self, request: Request, as_type: type[T], *, most_rows: int | None = None) -> T:
        """Send a request and decode its answer; what is wrong with the type shows before anything is sent."""
        check_type(as_type)
        response = await self.runtime().send(request)
        return decode(response.body, as_type, label=request.label, changes=request.changes, most_rows=most_rows)

    def start(self, request: Request, *, within: Budget | None = None) -> Task[Response]:
        """Send a request in a task that ends with the session; ``reader`` reads its answer.

        Args:
            request: what to send.
            within: the budget of the search that this is a part of.
        """
        runtime = self.runtime()
        return runtime.spawn(runtime.send(request, within=within))

    def list_requests(
        self, path: object, params: Mapping[str, object], *, route: str | None = None
    ) -> Callable[[int], Request]:
        """Make the GETs of a list, by page, the way this session carries parameters."""
        return make_list_requests(path, params, list_params=self.list_params, route=route)

    def list_request(self, path: object, params: Mapping[str, object], *, route: str | None = None) -> Request:
        """Make one GET of a list the way this session carries parameters."""
        return make_list_request(path, params, list_params=self.list_params, route=route)

    def shop(self, shop_id: int | None) -> int:
        """Find the shop that a call speaks of.

        Raises:
            ValueError: neither the call nor the session names one.
        """
        shop = self.shop_id if shop_id is None else shop_id
        if shop is None:
            raise ValueError("shop_id is missing: give shop_id=, here or to the session, or set SHOPSDK_SHOP_ID")
        return check_int("shop_id", shop, 1)


def reader(as_type: type[T], *, label: str) -> Callable[[Response], T]:
    """Make what decodes the pages of one list."""
    return lambda answer: decode(answer.body, as_type, label=label, most_rows=MOST_ROWS)


def _is_here(runtime: Runtime) -> bool:
    return runtime.loop is asyncio.get_running_loop() and runtime.pid == os.getpid()


def _leave(runtime: Runtime) -> None:
    """Leave what belonged to another loop or process, unless it has ended by itself.

    Raises:
        SessionStateError: it is still in use there.
    """
    if runtime.pid == os.getpid() and not runtime.ended and not runtime.loop.is_closed():
        raise SessionStateError(
            "this session is in use on another event loop; close it there, or make one session for each loop"
        )
    runtime.abandon()
