"""Ctrl-C, SIGTERM, SIGHUP and SIGQUIT: each ends a command, and none leaves it open what was done.

While an event loop runs, a signal cancels its task, which can then clear up; at any other time it is a
``KeyboardInterrupt``. It is raised once at most, so that what handles it is not interrupted itself.

Python runs a signal's handler between two steps of its own. One that comes just before a system call that waits would
be seen only after it; so every signal also writes to a socket, and whatever waits, waits for that socket too.
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

# What Windows lacks: SIGHUP and SIGQUIT (it alone has SIGBREAK), to wait for a file, and loops that watch a socket.
_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGBREAK") if hasattr(signal, name)
]
_SELECTS_FILES = sys.platform != "win32"


class Signals:
    """What becomes of the signals of this process while a command runs."""

    received: int | None = None
    _held = False
    _running = False
    _task: asyncio.Task[Any] | None = None
    _bell: socket.socket | None = None

    @property
    def code(self) -> int:
        """The exit code of a command that was stopped."""
        return 128 + (self.received or signal.SIGINT)

    @contextmanager
    def caught(self) -> Generator[None]:
        """Catch them, and ignore them after that, to the very end of the process.

        A second one (a terminal that closes, or a service manager, sends several) would otherwise end the process
        while Python clears up, and its exit code would be lost.

        One that was ignored when the program started (``nohup``, a job in the background) stays so.
        """
        self.received, self._held = None, False
        if threading.current_thread() is not threading.main_thread():  # where nobody can
            yield
            return
        with ExitStack() as undo:
            self._bell, ringer = map(undo.enter_context, socket.socketpair())
            undo.callback(self._forget_the_bell)
            for end in (self._bell, ringer):
                end.settimeout(0)
            undo.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(ringer.fileno(), warn_on_full_buffer=False))
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
            KeyboardInterrupt: a signal has cancelled it.
        """

        async def cancellable() -> T:
            self._task = asyncio.current_task()
            if self.received is not None:  # since before there was a task to cancel
                raise asyncio.CancelledError
            loop = asyncio.get_running_loop()
            if self._bell is None:
                return await work
            with suppress(NotImplementedError):
                loop.add_reader(self._bell, self._drain)
            try:
                return await work
            finally:
                with suppress(NotImplementedError):
                    loop.remove_reader(self._bell)

        self._running = True
        try:
            return asyncio.run(cancellable())
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
        finally:
            self._running, self._task = False, None
            work.close()  # for one that was never begun

    def wait(self, *streams: TextIO) -> None:
        """Wait until one of the streams can be read; without any, for ever.

        Raises:
            KeyboardInterrupt: a signal came.
        """
        self.check()
        waits: list[Any] = [stream for stream in streams if _can_be_selected(stream)]
        if self._bell is not None and len(waits) == len(streams):
            ready, _, _ = select.select([self._bell, *waits], [], [])
            if self._bell in ready:
                self._drain()  # the handler has raised by now, unless it was held
        elif not streams:
            threading.Event().wait()

    def check(self) -> None:
        """Begin nothing new once a signal was received.

        Raises:
            KeyboardInterrupt: it was.
        """
        if self.received is not None:
            raise KeyboardInterrupt

    def hold(self) -> None:
        """From now on nothing is raised or cancelled: how the command ends is known."""
        self._held = True

    def _drain(self) -> None:
        if self._bell is not None:
            self._bell.recv(4096)

    def _forget_the_bell(self) -> None:
        self._bell = None

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
