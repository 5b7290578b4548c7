"""How the tests run the command: in this process where that is enough, as a process of its own where it is not."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

from shopsdk.cli import main
from shopsdk.sandbox import Sandbox

COMMAND = (sys.executable, "-m", "shopsdk.cli")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def environment(shop: Sandbox, **more: str) -> dict[str, str]:
    """The environment of a command that is to reach a shop."""
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


@attrs.frozen
class Ended:
    """How a command ended."""

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
        """Let it reach a shop."""
        for name, value in environment(shop).items():
            self.patch.setenv(name, value)

    def run(self, *words: str) -> Ended:
        """Run ``shopsdk`` with these words."""
        self.patch.setattr(sys, "argv", ["shopsdk", *words])
        self.capture.readouterr()
        try:
            with signals_restored():
                main()
        except SystemExit as end:
            code = end.code
        said = self.capture.readouterr()
        if isinstance(code, str):  # what Python itself would print
            return Ended(1, said.out, said.err + code)
        return Ended(code or 0, said.out, said.err)


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
