"""A thread for an export's writing, so that neither a disk nor a slow reader blocks the event loop.

It is a daemon thread, not one of the loop's pool: a thread that writes to a pipe that nobody reads must not keep the
program from ending.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, ParamSpec, Self, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_Job = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class Worker:
    """A thread that runs one job after another. Use it as ``with Worker() as worker``, inside a running loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="shopsdk-export", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._jobs.put(None)

    def start(self, job: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> "asyncio.Future[R]":
        """Queue a call for the thread, and return the future of its result."""
        future: asyncio.Future[R] = self._loop.create_future()
        self._jobs.put((lambda: job(*args, **kwargs), future))
        return future

    async def run(self, job: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function in the thread, and wait for its end even if cancelled."""
        return await finished(self.start(job, *args, **kwargs))

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, future = item
            try:
                result = job()
            except BaseException as error:  # noqa: BLE001 - raised where the future is awaited
                self._tell(future, None, error)
            else:
                self._tell(future, result, None)
            del item, job, future

    def _tell(self, future: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
        def settle() -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(settle)


async def finished(future: "asyncio.Future[R]") -> R:
    """Wait for the end of a job even if cancelled; then raise the cancellation."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        future.exception()  # retrieved, or asyncio logs that it was not
        raise cancelled
    return future.result()
