"""A relay that adds a round trip to a server on this machine: bytes arrive half a round trip after they were sent.

To connect takes a round trip too. The kernel connects at once, so what the client sends until then is held back.
"""

import asyncio
from asyncio import BaseTransport, Transport
from typing import cast


class _Line:
    """One direction of the link: it delivers what is sent, in order, after a delay."""

    def __init__(self, delay: float, opens: float = 0.0) -> None:
        self._loop = asyncio.get_running_loop()
        self._delay = delay
        self._last = opens
        self.end: Transport | None = None
        self._early: list[bytes | None] = []

    def send(self, data: bytes | None) -> None:
        """Send bytes, or (None) the end of them."""
        self._last = max(self._loop.time(), self._last + 1e-9)  # timers of one time have no order
        self._loop.call_at(self._last + self._delay, self._arrive, data)

    def connect(self, end: BaseTransport) -> None:
        """Set the receiving end."""
        self.end = cast(Transport, end)
        early, self._early = self._early, []
        for data in early:
            self._arrive(data)

    def _arrive(self, data: bytes | None) -> None:
        if self.end is None:
            self._early.append(data)
        elif data is None:
            self.end.close()
        elif not self.end.is_closing():
            self.end.write(data)


class Near(asyncio.Protocol):
    """The end of the link where the client is."""

    def __init__(self, port: int, round_trip: float) -> None:
        loop = asyncio.get_running_loop()
        self._there = _Line(round_trip / 2, opens=loop.time() + round_trip)
        self._back = _Line(round_trip / 2)
        self._connecting = loop.create_task(
            loop.create_connection(lambda: _Far(self._there, self._back), "127.0.0.1", port)
        )

    def connection_made(self, transport: BaseTransport) -> None:
        self._back.connect(transport)

    def data_received(self, data: bytes) -> None:
        self._there.send(data)

    def connection_lost(self, _: Exception | None) -> None:
        self._there.send(None)


class _Far(asyncio.Protocol):
    """The end where the server is."""

    def __init__(self, there: _Line, back: _Line) -> None:
        self._there = there
        self._back = back

    def connection_made(self, transport: BaseTransport) -> None:
        self._there.connect(transport)

    def data_received(self, data: bytes) -> None:
        self._back.send(data)

    def connection_lost(self, _: Exception | None) -> None:
        self._back.send(None)
