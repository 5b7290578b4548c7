"""Ctrl-C, SIGTERM, SIGHUP and SIGQUIT: each ends a command, which still tells what was done.

While an event loop runs, a signal cancels its task, which can then clean up. At any other time it raises
``KeyboardInterrupt``, at most once, so that its handling is not interrupted.

**Problem.** Python runs a signal's handler between two bytecodes. A signal just before a system call that waits would
be seen only after the call. So every signal also writes to a socket, and whatever waits, waits for that socket too.
"""

import asyncio
import select
import signal
import socket
import sys
import threading
from collections.abc import Coroutine, Generator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TextIO, TypeVar

T = TypeVar("T")

# Windows has no SIGHUP and no SIGQUIT (it alone has SIGBREAK), cannot select files, and its loop watches no sockets.
_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGBREAK") if hasattr(signal, name)
]
_SELECTS_FILES = sys.platform != "win32"


class Signals:
    """The treatment of this process's signals while a command runs."""

    received: int | None = None
    _held = False
    _running = False
    _task: asyncio.Task[Any] | None = None
    _wakeup: socket.socket | None = None

    @property
    def code(self) -> int:
        """The exit code of a command that was stopped."""
        return 128 + (self.received or signal.SIGINT)

    @contextmanager
    def caught(self) -> Generator[None]:
        """Catch the signals inside the context, and ignore them behind it, until the process ends.

        A second signal (a terminal that closes, or a service manager, sends several) would otherwise end the process
        while Python cleans up, and its exit code would be lost.

        A signal that was ignored when the program started (``nohup``, a job in the background) stays ignored.
        """
        self.received, self._held = None, False
        if threading.current_thread() is not threading.main_thread():  # no other thread can
            yield
            return
        with ExitStack() as undo:
            self._wakeup, writer = map(undo.enter_context, socket.socketpair())
            undo.callback(self._forget_wakeup)
            for end in (self._wakeup, writer):
                end.settimeout(0)
            undo.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False))
            caught = [each for each in _SIGNALS if signal.getsignal(each) not in (signal.SIG_IGN, None)]
            for number in caught:
                signal.signal(number, self._arrived)
            try:
                yield
            finally:
                self.hold()
                for number in caught:
                    signal.signal(number, signal.SIG_IGN)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run work in an event loop of its own.

        Raises:
            KeyboardInterrupt: a signal cancelled it.
        """

        async def cancellable() -> T:
            self._task = asyncio.current_task()
            if self.received is not None:  # before there was a task to cancel
                raise asyncio.CancelledError
            loop = asyncio.get_running_loop()
            if self._wakeup is None:
                return await work
            with suppress(NotImplementedError):
                loop.add_reader(self._wakeup, self._drain)
            try:
                return await work
            finally:
                with suppress(NotImplementedError):
                    loop.remove_reader(self._wakeup)

        self._running = True
        try:
            return asyncio.run(cancellable())
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
        finally:
            self._running, self._task = False, None
            work.close()  # if it was never begun

    def wait(self, *streams: TextIO) -> None:
        """Wait until one of the streams can be read; without streams, wait for a signal.

        Raises:
            KeyboardInterrupt: a signal came.
        """
        self.check()
        waits: list[Any] = [stream for stream in streams if _can_be_selected(stream)]
        if self._wakeup is not None and len(waits) == len(streams):
            ready, _, _ = select.select([self._wakeup, *waits], [], [])
            if self._wakeup in ready:
                self._drain()  # the handler has raised by now, unless it was held
        elif not streams:
            threading.Event().wait()

    def check(self) -> None:
        """Raise if a signal was received, so that nothing new is begun.

        Raises:
            KeyboardInterrupt: a signal was received.
        """
        if self.received is not None:
            raise KeyboardInterrupt

    def hold(self) -> None:
        """Let no signal raise or cancel anything from now on: the outcome of the command is known."""
        self._held = True

    def _drain(self) -> None:
        if self._wakeup is not None:
            self._wakeup.recv(4096)

    def _forget_wakeup(self) -> None:
        self._wakeup = None

    def _arrived(self, number: int, _frame: object) -> None:
        self.received = self.received or number
        if self._held:
            return
        if self._running:
            if self._task is not None:
                with suppress(RuntimeError):  # the loop is closed
                    self._task.get_loop().call_soon_threadsafe(self._task.cancel)
        else:
            self._held = True
            raise KeyboardInterrupt


def _can_be_selected(stream: TextIO) -> bool:
    try:
        stream.fileno()
    except (OSError, ValueError):  # no file is behind it
        return False
    return _SELECTS_FILES


signals = Signals()
