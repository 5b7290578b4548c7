"""Start and stop the system's own programs: nginx, haproxy, varnish, squid (the tests marked ``proxies``), PostgreSQL.

Each runs in the foreground as the user who runs the tests, on loopback, with its files in a folder of the test.
PostgreSQL refuses to run as root: then it runs as ``nobody``. It listens on a socket in its folder alone.
"""

import asyncio
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest
import trustme

from shopsdk import AsyncSession
from shopsdk.sandbox import Sandbox
from shopsdk.testing import InstantClock
from tests.support.needs import missing

_START_SECONDS = 60
_STOP_SECONDS = 20


def find_program(name: str) -> str:
    """Find a program; skip the test without it, or fail where ``.ci/system`` is known to have run."""
    debian = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")))  # in nobody's PATH
    folders = [os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", *debian]
    path = shutil.which(name, path=os.pathsep.join(folders))
    if path is None:
        missing(f"{name} is not installed: .ci/system installs it")
    return path


@contextmanager
def reserve_port() -> Iterator[int]:
    """Reserve a port of loopback. A program can listen on it by its number; the system gives it to nobody else."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        yield port


@contextmanager
def reserve_ports(*names: str) -> Iterator[dict[str, int]]:
    """Reserve a port for each name."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(reserve_port()) for name in names}


def fill(template: Path, folder: Path, /, **values: object) -> Path:
    """Write a template to a folder, with ``@name@`` replaced by the value of that name."""
    text = template.read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    assert [] == re.findall(r"@\w+@", text)
    path = folder / template.name
    path.write_text(text)
    return path


@attrs.define
class Program:
    """A program in a process group of its own."""

    command: Sequence[str]
    ports: Sequence[int]
    """The ports that it listens on once it is ready."""
    log: Path
    """What it writes to standard output and error."""
    stop_signal: signal.Signals = signal.SIGTERM
    process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start it, anew if it was killed, and wait until it accepts connections."""
        self.stop()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        deadline = time.monotonic() + _START_SECONDS
        for port in self.ports:
            while not _accepts(port):
                if self._ended or time.monotonic() > deadline:
                    self.stop()
                    pytest.fail(f"{self.command[0]} did not start:\n{self.log.read_text(errors='replace')[-4_000:]}")
                time.sleep(0.005)

    def members(self) -> dict[int, str]:
        """The command lines of its processes that have not ended, by their ids; Linux only."""
        return members_of(self.pid)

    def kill(self, pids: Collection[int] | None = None) -> None:
        """Kill processes of it with SIGKILL, by default all; return when they have closed all that they had open."""
        if pids is None:
            os.killpg(self.pid, signal.SIGKILL)  # at once, so that none starts another
        for pid in pids or ():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while any(pids is None or pid in pids for pid in self.members()):
            time.sleep(0.001)

    def stop(self) -> None:
        """Stop it, unless it is stopped: with SIGKILL in the end, and so whatever it has left running."""
        if self.process is None:
            return
        if not self._ended:
            self.process.send_signal(self.stop_signal)
        deadline = time.monotonic() + _STOP_SECONDS
        while not self._ended and time.monotonic() < deadline:
            time.sleep(0.002)
        with suppress(ProcessLookupError, PermissionError):  # macOS refuses where only zombies are left
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    @property
    def _ended(self) -> bool:
        """Whether its first process has ended. It is not waited for here, so nobody else gets its id meanwhile."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def members_of(group: int) -> dict[int, str]:
    """The command lines of the processes of a group that have not ended, by their ids; Linux only."""
    members: dict[int, str] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                line = stat.with_name("cmdline").read_bytes()
                members[int(stat.parent.name)] = line.replace(b"\0", b" ").decode().strip()
    return members


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(
    command: Sequence[str], *, ports: Sequence[int], folder: Path, stop_signal: signal.Signals = signal.SIGTERM
) -> Iterator[Program]:
    """Run a program until the block ends."""
    program = Program(command, ports, folder / "output.log", stop_signal)
    try:
        program.start()
        yield program
    finally:
        program.stop()


@contextmanager
def postgresql() -> Iterator[Path]:
    """Run a PostgreSQL server until the block ends; return the folder of its socket. Its user is ``shop``."""
    postgres, initdb = find_program("postgres"), find_program("initdb")
    with tempfile.TemporaryDirectory(prefix="postgresql-") as made:  # nobody cannot enter the folders of pytest
        folder = Path(made)
        other: list[str] = []
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody")
            other = [find_program("setpriv"), "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]
        data = folder / "data"
        make = [initdb, "--username=shop", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", str(data)]
        subprocess.run([*other, *make], check=True, cwd=folder, stdout=subprocess.DEVNULL)
        serve = [*other, postgres, "-D", str(data), "-k", str(folder), "-c", "listen_addresses=", "-c", "fsync=off"]
        with running(serve, ports=(), folder=folder, stop_signal=signal.SIGINT) as server:
            ready = [find_program("pg_isready"), "--quiet", "--host", str(folder)]
            deadline = time.monotonic() + _START_SECONDS
            while subprocess.run(ready, check=False).returncode:
                if not server.members() or time.monotonic() > deadline:
                    pytest.fail(f"postgres did not start:\n{server.log.read_text(errors='replace')[-4_000:]}")
                time.sleep(0.005)
            yield folder


def has_unread(port: int) -> bool:
    """Whether a server on loopback has yet to read what came in, or to see that the other side has closed; Linux only.

    The connections of a killed process look so until the server has dealt with all that the process sent.
    """
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, queues, *_ = line.split()
        close_wait, unread = state == "08", int(queues.rpartition(":")[2], 16) > 0
        if int(local.rpartition(":")[2], 16) == port and (close_wait or unread):
            return True
    return False


def port_of(shop: Sandbox) -> int:
    """The port that a sandbox listens on."""
    return int(shop.base_url.rpartition(":")[2].removesuffix("/v1"))


@cache
def _authority() -> trustme.CA:
    return trustme.CA()


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for loopback and its key to a folder."""
    issued = _authority().issue_cert("localhost", "127.0.0.1")
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    return chain, key


def trusting() -> ssl.SSLContext:
    """Make a client's context that trusts those certificates."""
    context = ssl.create_default_context()
    _authority().configure_trust(context)
    return context


@asynccontextmanager
async def session_by(shop: Sandbox, port: int, *, tls: bool = False, **options: Any) -> AsyncIterator[AsyncSession]:
    """A session that reaches a shop by a port of loopback; its retries take no time, and it leaves no task behind."""
    settings: dict[str, Any] = {"api_key": shop.api_key, "shop_id": shop.shop_id, "clock": InstantClock(), **options}
    async with AsyncExitStack() as stack:
        if tls:
            settings["connector"] = await stack.enter_async_context(aiohttp.TCPConnector(ssl=trusting()))
        base_url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/v1"
        yield await stack.enter_async_context(AsyncSession(base_url=base_url, **settings))
    assert {asyncio.current_task()} == asyncio.all_tasks()
