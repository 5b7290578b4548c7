"""A thread with an event loop of its own, so that the server answers while the test's loop is busy or absent."""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, suppress
from typing import Any, Self

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from shopsdk.sandbox._server import Server

_ACCEPT_TURNS = 5
"""Turns of the loop until the server knows a connection that was just accepted, and so will close it.

No connection is accepted meanwhile. If the listener is closed before, such a connection stays open for ever.
"""


def _keep_short(record: logging.LogRecord) -> bool:
    """Log what is no HTTP in one line: the traceback would quote it, a key in it included."""
    if record.exc_info is not None and isinstance(record.exc_info[1], HttpProcessingError):
        record.exc_info = None
    return True


_logger = logging.getLogger("shopsdk.sandbox.http")
_logger.addFilter(_keep_short)


class ServerThread:
    """Serves a listening socket while the context is entered."""

    def __init__(self, listener: socket.socket, make_server: Callable[[], Server]) -> None:
        self._listener = listener
        self._make_server = make_server
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="shopsdk-sandbox", daemon=True)
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self._thread.start()
            undo.callback(self._stop_loop)
            server, runner = self._run(self._open())
            undo.callback(lambda: self._run(self._close(server, runner)))
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._undo.close()

    async def _open(self) -> tuple[Server, web.ServerRunner]:
        server = self._make_server()
        runner = web.ServerRunner(web.Server(server.handle, access_log=None, logger=_logger), shutdown_timeout=1.0)
        await runner.setup()
        await web.SockSite(runner, self._listener).start()
        return server, runner

    async def _close(self, server: Server, runner: web.ServerRunner) -> None:
        server.close()
        with suppress(NotImplementedError):  # a proactor's loop
            self._loop.remove_reader(self._listener)
        for _ in range(_ACCEPT_TURNS):
            await asyncio.sleep(0)
        await runner.cleanup()
        left = asyncio.all_tasks() - {asyncio.current_task()}  # of connections that were lost just now
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket on a loopback address.

    Raises:
        OSError: The port is taken.
    """
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


async def enter_in_thread(start: Callable[[], None], close: Callable[[], None]) -> None:
    """Start without blocking the event loop; a cancelled start is undone."""
    starting = asyncio.create_task(asyncio.to_thread(start))
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        # Nobody will leave a block that was never entered, and the thread cannot be told to stop half-way.
        await asyncio.gather(starting, return_exceptions=True)
        await asyncio.to_thread(close)
        raise
