"""A raw server behind TLS, and an HTTP proxy that makes tunnels to it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import attrs
import trustme

from tests.support.servers import RawServer, ReceivedRequest, Wire, listening, read_request, stop_accepting

_AUTHORITY = trustme.CA()


def server_tls(*names: str, not_before: datetime | None = None, not_after: datetime | None = None) -> ssl.SSLContext:
    """Make a server's context, with a certificate for loopback or for other names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    names = names or ("localhost", "127.0.0.1", "shop.example")
    _AUTHORITY.issue_cert(*names, not_before=not_before, not_after=not_after).configure_cert(context)
    return context


def certificate_file(folder: Path, name: str = "authority.pem") -> str:
    """Write the authority's certificate to a file, for SSL_CERT_FILE."""
    path = folder / name
    _AUTHORITY.cert_pem.write_to_path(path)
    return str(path)


def client_tls() -> ssl.SSLContext:
    """Make a client's context that trusts the authority."""
    context = ssl.create_default_context()
    _AUTHORITY.configure_trust(context)
    return context


@asynccontextmanager
async def tls_server(*behaviours: object) -> AsyncIterator[RawServer]:
    """Serve on loopback over TLS, with one behaviour for each request."""
    server = RawServer(behaviours)  # type: ignore[arg-type]
    async with listening(server.serve, ssl=server_tls()) as listener:
        server.listener = listener
        server.port = listener.sockets[0].getsockname()[1]
        try:
            yield server
        finally:
            await stop_accepting(listener)
            await server.stop()


@attrs.define
class Tunnel:
    """An HTTP proxy for CONNECT alone; ``refuse`` answers a request for a tunnel in its place."""

    refuse: Callable[[ReceivedRequest, Wire], object] | None = None
    heard: list[ReceivedRequest] = attrs.Factory(list)
    url: str = ""
    _tasks: "set[asyncio.Task[None]]" = attrs.Factory(set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            heard = await read_request(reader, 0)
            if heard is None:
                return
            self.heard.append(heard)
            if self.refuse is not None:
                result = self.refuse(heard, Wire(reader, writer))
                if asyncio.iscoroutine(result):
                    await result
                return
            await self.through(heard, Wire(reader, writer))
        except (OSError, asyncio.CancelledError):
            pass  # the client has left, or the test is over
        finally:
            self._tasks.discard(task)
            writer.close()

    async def through(self, heard: ReceivedRequest, wire: Wire) -> None:
        """Open the tunnel, to this machine whatever host is named, and pass bytes both ways."""
        there_in, there_out = await asyncio.open_connection("127.0.0.1", int(heard.target.rpartition(":")[2]))
        wire.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.gather(_pump(wire.reader, there_out), _pump(there_in, wire.writer))
        finally:
            there_out.close()

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def tunnel(refuse: Callable[[ReceivedRequest, Wire], object] | None = None) -> AsyncIterator[Tunnel]:
    """Serve a proxy on loopback."""
    proxy = Tunnel(refuse)
    async with listening(proxy.serve) as listener:
        proxy.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        try:
            yield proxy
        finally:
            await stop_accepting(listener)
            await proxy.stop()


@asynccontextmanager
async def socks_server(user: bytes = b"", password: bytes = b"") -> AsyncIterator[tuple[int, list[str]]]:
    """Serve SOCKS 5 on loopback; yield its port and the targets that it is asked for, all of them on this machine.

    With a user it asks for the password (RFC 1929).
    """
    targets: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            _, methods = await reader.readexactly(2)
            await reader.readexactly(methods)
            writer.write(b"\x05\x02" if user else b"\x05\x00")
            if user:
                _, length = await reader.readexactly(2)
                given = await reader.readexactly(length)
                (length,) = await reader.readexactly(1)
                right = (user, password) == (given, await reader.readexactly(length))
                writer.write(b"\x01\x00" if right else b"\x01\x01")
                if not right:
                    return
            _, _, _, kind = await reader.readexactly(4)
            assert kind == 3  # a host by its name
            (length,) = await reader.readexactly(1)
            host = await reader.readexactly(length)
            port = int.from_bytes(await reader.readexactly(2), "big")
            targets.append(f"{host.decode()}:{port}")
            there_in, there_out = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
            await asyncio.gather(_pump(reader, there_out), _pump(there_in, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has left
        finally:
            writer.close()

    async with listening(serve) as listener:
        yield listener.sockets[0].getsockname()[1], targets
