"""Ways to run the command: in this process, or as a process of its own."""

import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import attrs
import pytest

from shopsdk.cli import main
from shopsdk.sandbox import Sandbox

COMMAND = (sys.executable, "-m", "shopsdk.cli")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def environment(shop: Sandbox, **more: str) -> dict[str, str]:
    """Make the environment of a command that is to reach a shop."""
    there = {key: value for key, value in os.environ.items() if not key.startswith("SHOPSDK_")}
    there.pop("PYTHONUNBUFFERED", None)  # buffers are where a closed pipe shows late
    return {
        **there,
        "SHOPSDK_API_KEY": shop.api_key,
        "SHOPSDK_SHOP_ID": str(shop.shop_id),
        "SHOPSDK_BASE_URL": shop.base_url,
        **more,
    }


@contextmanager
def signals_restored() -> Iterator[None]:
    """Leave the signals as they were: the command ignores them to the end of its process."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


class Terminal:
    """A terminal, and all that was drawn on it once its context has ended.

    It stays open until then: what nobody has read yet may be lost when the last one closes it.
    """

    _END = b"\x1c the end \x1c"

    def __init__(self) -> None:
        self._leader, self.follower = pty.openpty()
        self.drawn = b""
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read)

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(self, *exc: object) -> None:
        os.write(self.follower, self._END)
        self._reader.join()
        self.drawn, _, _ = self.drawn.partition(self._END)
        os.close(self.follower)
        os.close(self._leader)

    def start(self, words: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        """Start a process that has nothing but this terminal."""
        here = self.follower
        return subprocess.Popen(words, cwd=cwd, env=env, stdin=here, stdout=here, stderr=here, start_new_session=True)

    def press(self, keys: bytes) -> None:
        """Type keys."""
        os.write(self._leader, keys)

    def wait_for(self, pattern: bytes) -> None:
        """Wait until something is drawn."""
        with self._more:
            self._more.wait_for(lambda: re.search(pattern, self.drawn))

    def _read(self) -> None:
        while self._END not in self.drawn:
            data = os.read(self._leader, 65536)
            with self._more:
                self.drawn += data
                self._more.notify_all()


@attrs.frozen
class Ended:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


@attrs.frozen
class Shell:
    """Runs the command in this process, in an empty folder."""

    capture: pytest.CaptureFixture[str]
    patch: pytest.MonkeyPatch
    folder: Path

    def enter(self, shop: Sandbox) -> None:
        """Set the environment so that the command reaches a shop."""
        for name, value in environment(shop).items():
            self.patch.setenv(name, value)

    def run(self, *words: str) -> Ended:
        """Run ``shopsdk`` with these words; where stdin is a terminal, stderr is one too."""
        if sys.stdin.isatty():
            self.patch.setattr(sys.stderr, "isatty", lambda: True)
        self.patch.setattr(sys, "argv", ["shopsdk", *words])
        self.capture.readouterr()
        try:
            with signals_restored():
                main()
        except SystemExit as end:
            code = end.code
        captured = self.capture.readouterr()
        if isinstance(code, str):  # what Python itself would print
            return Ended(1, captured.out, captured.err + code)
        return Ended(code or 0, captured.out, captured.err)


@contextmanager
def running(
    shop: Sandbox, *words: str, cwd: Path, stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run ``shopsdk`` as a process of its own; killed at the end if it still runs."""
    process = subprocess.Popen(
        [*COMMAND, *words], env=environment(shop), cwd=cwd, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def run(shop: Sandbox, *words: str, cwd: Path) -> "subprocess.CompletedProcess[bytes]":
    """Run ``shopsdk`` as a process of its own to its end."""
    return subprocess.run(
        [*COMMAND, *words],
        env=environment(shop),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
    )
