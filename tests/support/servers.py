"""A raw TCP server whose behaviour a test decides, and the answers that it sends."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs

from shopsdk import AsyncSession


@attrs.frozen
class ReceivedRequest:
    """One request, as the raw server read it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@attrs.define
class Wire:
    """The connection of a request, for a behaviour."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def reset(self) -> None:
        """Close with a TCP reset."""
        self.writer.transport.abort()


Behaviour = bytes | Callable[[ReceivedRequest, Wire], Awaitable[None] | None]
"""The answer to one request: bytes as they are, or a function; ``b""`` closes the connection."""


def answer(
    body: object = None, status: int = 200, *, headers: dict[str, str] | None = None, raw: bytes | None = None
) -> bytes:
    """Make a whole HTTP answer, with ``body`` as JSON, or ``raw`` as it is."""
    content = json.dumps(body).encode() if raw is None else raw
    fields = {"Content-Type": "application/json", "Content-Length": str(len(content))} | (headers or {})
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + content


@attrs.define
class RawServer:
    """A raw TCP server. It answers request n with behaviour n, repeats the last one, and records the requests."""

    behaviours: Sequence[Behaviour]
    heard: list[ReceivedRequest] = attrs.Factory(list)
    port: int = 0
    connections: int = 0
    open_now: int = 0
    listener: asyncio.Server = attrs.field(init=False)
    _tasks: set["asyncio.Task[Any]"] = attrs.Factory(set)
    _writers: list[asyncio.StreamWriter] = attrs.Factory(list)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def session(self, **kwargs: Any) -> AsyncSession:
        return AsyncSession("raw-key", shop_id=38, base_url=self.base_url, **kwargs)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_now += 1
        number = self.connections
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.append(writer)
        try:
            while (heard := await read_request(reader, number)) is not None:
                self.heard.append(heard)
                behaviour = self.behaviours[min(len(self.heard), len(self.behaviours)) - 1]
                if behaviour == b"":
                    return
                if isinstance(behaviour, bytes):
                    writer.write(behaviour)
                else:
                    result = behaviour(heard, Wire(reader, writer))
                    if result is not None:
                        await result
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has left, or the test is over
        finally:
            self.open_now -= 1
            self._tasks.discard(task)
            writer.close()

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:  # a client may not read to the end
            writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)


async def read_request(reader: asyncio.StreamReader, connection: int) -> ReceivedRequest | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return ReceivedRequest(method, target, headers, body, connection)


@asynccontextmanager
async def raw_server(*behaviours: Behaviour) -> AsyncIterator[RawServer]:
    """Serve on loopback, with one behaviour for each request; the last one is repeated."""
    server = RawServer(behaviours)
    async with listening(server.serve) as listener:
        server.listener = listener
        server.port = listener.sockets[0].getsockname()[1]
        try:
            yield server
        finally:
            await stop_accepting(listener)  # afterwards the server knows every connection
            await server.stop()


async def stop_accepting(listener: asyncio.Server) -> None:
    """Let the loop run until accepted connections are served and closed ones released; then close the listener."""
    for sock in listener.sockets:
        asyncio.get_running_loop().remove_reader(sock.fileno())
    for _ in range(10):
        await asyncio.sleep(0)
    listener.close()


@asynccontextmanager
async def listening(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None], **options: Any
) -> AsyncIterator[asyncio.Server]:
    """Accept connections on loopback; none is half open or half closed at the end."""
    listener = await asyncio.start_server(handle, "127.0.0.1", 0, **options)
    try:
        yield listener
    finally:
        await stop_accepting(listener)


def close_after(data: bytes) -> Behaviour:
    """Make a behaviour that sends the data, then closes the connection."""

    def behave(_heard: ReceivedRequest, wire: Wire) -> None:
        wire.send(data)
        wire.writer.close()

    return behave


async def silence(_heard: ReceivedRequest, wire: Wire) -> None:
    """Never answer; read until the client closes the connection."""
    await wire.reader.read()


async def time_out(heard: ReceivedRequest, wire: Wire) -> None:
    """Never answer; let the attempt time out once the client has read what was sent."""
    for _ in range(10):
        await asyncio.sleep(0)
    pass_time(60)  # longer than an attempt, shorter than a call
    await silence(heard, wire)


def pass_time(seconds: float) -> None:
    """Set the running loop's time forward, so that its timers ring now, however busy the machine is."""
    loop = asyncio.get_running_loop()
    now = loop.time
    loop.time = lambda: now() + seconds  # type: ignore[method-assign]


CUSTOMER = {"id": 7, "email": "seven@example.com", "balance": "1.50"}


def customer_named(heard: ReceivedRequest) -> bytes:
    """Make the answer to Get Customer, with the customer that was asked for."""
    return answer(CUSTOMER | {"id": int(heard.target.rsplit("/", 1)[1])})


def page_of(
    rows: Sequence[object], page: int = 1, *, last: int = 1, per_page: int = 100, total: int | None = None
) -> dict[str, object]:
    """Make a paginator's envelope with the fields that the API promises."""
    return {
        "current_page": page,
        "data": list(rows),
        "last_page": last,
        "per_page": per_page,
        "total": len(rows) if total is None else total,
    }
