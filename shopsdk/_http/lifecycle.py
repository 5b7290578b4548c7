"""The life of a session: unopened, open on one event loop, closed.

Nothing touches an event loop before the first use, so a session may live at module level. A ``Runtime`` has all that
belongs to one loop. It is made on first use, and made anew once its loop has closed or the process has forked.
"""

import asyncio
import os
from asyncio import Lock, Task
from collections.abc import AsyncGenerator, Callable, Coroutine, Hashable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import attrs

from shopsdk._checks import check_int
from shopsdk._codec.json import check_type, decode
from shopsdk._config import Clock, ListParams, Options, RateLimit, RetryPolicy
from shopsdk._errors import SessionStateError
from shopsdk._events import Hook
from shopsdk._http.call import Caller
from shopsdk._http.limits import Deadline, Limiter
from shopsdk._http.request import Request, make_list_request, make_list_requests
from shopsdk._http.response import Response, foreign_error
from shopsdk._http.transport import Transport

T = TypeVar("T")

_inherited: list[object] = []
"""Runtimes of the parent process, kept from collection: parent and child share their sockets and selectors."""
_within: ContextVar["Runtime | None"] = ContextVar("_within", default=None)
"""The runtime whose task is running, or started the running task."""


class Runtime:
    """All that belongs to one event loop in one process. It is made inside that loop."""

    def __init__(
        self,
        options: Options,
        retry: RetryPolicy,
        rate_limit: RateLimit | None,
        clock: Clock,
        hooks: Sequence[Hook],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.pid = os.getpid()
        self._clock = clock
        self._transport = Transport(options)
        self._closing = False
        self._closed = asyncio.Event()
        self._limiter = Limiter(options.max_in_flight, rate_limit, clock, self.pause)
        self.send = Caller(
            options=options,
            retry=retry,
            clock=clock,
            hooks=hooks,
            limiter=self._limiter,
            transport=self._transport,
            pause=self.pause,
            is_closing=lambda: self._closing,
        ).send
        self._tasks: set[Task[Any]] = set()
        self._locks: WeakValueDictionary[Hashable, Lock] = WeakValueDictionary()
        self._end = self._end_with_the_loop()
        with suppress(StopIteration):  # it runs to its yield, and the loop registers it
            self._end.__anext__().send(None)

    @property
    def ended(self) -> bool:
        """Whether it was closed, by ``close`` or by the end of its loop."""
        return self._closed.is_set()

    async def close(self) -> None:
        """Cancel and await the tasks of walks and waits, then close the connections.

        A second call waits for the first. From a task that the first call awaits, or one started by it, it returns at
        once.
        """
        if self._closing:
            if _within.get() is not self:
                await self._closed.wait()
            return
        self._closing = True  # from now on nothing is sent, and nothing waits
        me = asyncio.current_task()  # may be one of the tasks: a hook of a walk's request may close the session
        tasks = [task for task in self._tasks if task is not me]
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            try:
                await self._transport.close()
            finally:
                self._closed.set()
                with suppress(RuntimeError):  # the loop is ending it
                    await self._end.aclose()

    async def _end_with_the_loop(self) -> AsyncGenerator[None, None]:
        """Close when the loop shuts down its generators, as ``asyncio.run`` does at its end."""
        try:
            yield
        finally:
            await self.close()

    def abandon(self) -> None:
        """Give up the connections of a loop that was closed by hand, or of the parent process."""
        if self.pid != os.getpid():
            _inherited.append(self)
        self._transport.detach()

    def spawn(self, work: Coroutine[Any, Any, T]) -> Task[T]:
        """Start a task that the closing of the session cancels."""
        context = copy_context()
        context.run(_within.set, self)
        task = self.loop.create_task(work, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def lock(self, name: Hashable) -> Lock:
        """Find the lock of a name; it exists as long as somebody holds a reference to it."""
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = Lock()
        return lock

    async def pause(self, seconds: float) -> None:
        """Sleep by the session's clock, until the session is closed.

        Raises:
            SessionStateError: the session was closed meanwhile.
        """
        me = asyncio.current_task()
        cancels = me.cancelling() if me else 0
        if not self._closing:  # else nothing would end the sleep
            wait = self.spawn(_sleep(self._clock, seconds))
            try:
                await wait
            except asyncio.CancelledError:
                if me is None or me.cancelling() > cancels or not self._closing:
                    raise
            else:
                return
        raise SessionStateError("the session was closed while this call waited for its turn")


async def _sleep(clock: Clock, seconds: float) -> None:
    await clock.sleep(seconds)


@attrs.define(eq=False, repr=False)
class Core:
    """The state of an AsyncSession."""

    options: Options
    shop_id: int | None
    retry: RetryPolicy
    rate_limit: RateLimit | None
    list_params: ListParams
    clock: Clock
    hooks: list[Hook]
    """The callbacks for events; the list may change while calls are under way."""
    closed: bool = False
    _runtime: Runtime | None = None

    @property
    def state(self) -> str:
        """The state of the session: unopened, open or closed."""
        in_use = self._runtime is not None and not self._runtime.ended
        return "closed" if self.closed else "open" if in_use else "unopened"

    def runtime(self) -> Runtime:
        """Find or make the runtime of the running event loop.

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

    async def fetch(self, request: Request, as_type: type[T], *, max_rows: int | None = None) -> T:
        """Send a request and decode its answer. A wrong type is refused before anything is sent."""
        check_type(as_type)
        response = await self.runtime().send(request)
        if foreign := foreign_error(request, response, self.options.key.redact):
            raise foreign
        return decode(response.body, as_type, label=request.label, changes=request.changes, max_rows=max_rows)

    def start(self, request: Request, *, within: Deadline | None = None) -> Task[Response]:
        """Send a request in a task that the closing of the session cancels.

        Args:
            request: what to send.
            within: the deadline of the search that this is a part of.
        """
        runtime = self.runtime()
        return runtime.spawn(runtime.send(request, within=within))

    def deadline(self, seconds: float | None = None) -> Deadline:
        """Make the deadline of several calls together; default: as long as the session's deadline of one call."""
        return Deadline(self.clock, self.options.timeout.deadline if seconds is None else seconds)

    def list_requests(
        self, path: object, params: Mapping[str, object], *, route: str | None = None
    ) -> Callable[[int], Request]:
        """Make the GETs of a list by page, with the parameters where this session puts them."""
        return make_list_requests(path, params, list_params=self.list_params, route=route)

    def list_request(self, path: object, params: Mapping[str, object], *, route: str | None = None) -> Request:
        """Make one GET of a list, with the parameters where this session puts them."""
        return make_list_request(path, params, list_params=self.list_params, route=route)

    def shop(self, shop_id: int | None) -> int:
        """Find the shop of a call.

        Raises:
            ValueError: neither the call nor the session names one.
        """
        shop = self.shop_id if shop_id is None else shop_id
        if shop is None:
            raise ValueError("shop_id is missing: give shop_id=, here or to the session, or set SHOPSDK_SHOP_ID")
        return check_int("shop_id", shop, 1)


def _is_here(runtime: Runtime) -> bool:
    return runtime.loop is asyncio.get_running_loop() and runtime.pid == os.getpid()


def _leave(runtime: Runtime) -> None:
    """Give up the runtime of another loop or process, unless it is still in use there.

    Raises:
        SessionStateError: it is still in use.
    """
    if runtime.pid == os.getpid() and not runtime.ended and not runtime.loop.is_closed():
        raise SessionStateError(
            "this session is in use on another event loop; close it there, or make one session for each loop"
        )
    runtime.abandon()
