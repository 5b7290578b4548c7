"""The command among other programs: closed pipes and streams, Ctrl-C, and completion by the shell."""

import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Self

import pytest

from shopsdk import AsyncSession
from shopsdk.cli import main
from shopsdk.sandbox import Fault, RecordedRequest, Sandbox
from shopsdk.testing import InstantClock
from tests.support.cli import COMMAND, Shell, environment, running, signals_restored
from tests.support.export import read_rows

pytestmark = pytest.mark.slow


def test_a_reader_that_goes_away_ends_it_quietly(tmp_path: Path) -> None:
    """``| head`` ends an export without a message."""
    with Sandbox(20_000) as shop:
        with running(shop, "export", "-", cwd=tmp_path) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            json.loads(process.stdout.readline())
            process.stdout.close()
            messages = process.stderr.read()
            assert process.wait() == 141
        assert messages == b""
        assert len(shop.requests) < 200
        for words in (
            ("customers", "--json", "--per-page", "100"),
            ("customer", "1001", "--json"),
            ("customer", "1001"),
        ):
            with running(shop, *words, cwd=tmp_path) as process:
                assert process.stdout is not None
                assert process.stderr is not None
                process.stdout.close()
                assert (process.stderr.read(), process.wait()) == (b"", 141)


def test_parquet_goes_down_a_pipe(tmp_path: Path) -> None:
    """Parquet on stdout is the file that a name would have got."""
    with Sandbox() as shop:
        there = environment(shop)
        words = [*COMMAND, "export", "-", "--format", "parquet"]
        piped = subprocess.run(words, env=there, cwd=tmp_path, stdout=subprocess.PIPE, check=True)
        subprocess.run([*COMMAND, "export", "c.parquet"], env=there, cwd=tmp_path, check=True)
        assert piped.stdout == (tmp_path / "c.parquet").read_bytes()
        assert read_rows(tmp_path / "c.parquet") == shop.customers()


def test_ctrl_c_works_while_nobody_reads(tmp_path: Path) -> None:
    """Ctrl-C ends a command whose output waits for a reader."""
    with Sandbox(20_000) as shop:
        read, write = os.pipe()
        with running(shop, "export", "-", cwd=tmp_path, stdout=write) as process:
            # Full, and the page that does not fit under way: page 8 is asked for once page 3 is being written.
            while select.select([], [write], [], 0)[1] or len(shop.requests) < 8:
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            assert process.wait() == 130
        os.close(read)
        os.close(write)


def test_the_sandbox_command_serves_until_ctrl_c(shell: Shell) -> None:
    """``sandbox`` serves its shops until Ctrl-C, twice in a row on one port; its lines lead other commands to them."""
    port, url = "0", ""
    for shop_ids, message in (
        ([7], b"Serving the embedded shop 7; nothing in it is real."),
        ([7, 8, 9], b"Serving the embedded shops 7, 8 and 9; nothing in them is real."),
    ):
        options = [word for shop_id in shop_ids for word in ("--shop-id", str(shop_id))]
        process = subprocess.Popen(
            [*COMMAND, "sandbox", "--customers", "42", "--port", port, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline().decode() for _ in range(3)]
            exports = dict(line.removeprefix("export ").rstrip().split("=", 1) for line in lines)
            assert list(exports) == ["SHOPSDK_API_KEY", "SHOPSDK_SHOP_ID", "SHOPSDK_BASE_URL"]
            assert exports["SHOPSDK_SHOP_ID"] == "7"
            for name, value in exports.items():
                shell.patch.setenv(name, value)
            assert shell.run("export", "c.csv", *options, "--force").code == 0
            assert (shell.folder / "c.csv").read_text().count("\n") == 1 + 42 * len(shop_ids)
            url = exports["SHOPSDK_BASE_URL"]
            port = url.split(":")[2].removesuffix("/v1")
            busy = shell.run("sandbox", "--port", port)
            assert (busy.code, busy.out) == (1, "")
            assert busy.err.startswith(f"shopsdk: port {port} is not available: ")
            process.send_signal(signal.SIGINT)
            _, messages = process.communicate()
            assert process.returncode == 0
            assert message in messages
            assert f"See it in a browser: http://127.0.0.1:{port}/\n".encode() in messages
            assert b"Traceback" not in messages
        finally:
            process.kill()
            process.communicate()
    shell.patch.setattr("shopsdk.cli._runner.AsyncSession", partial(AsyncSession, clock=InstantClock()))
    gone = shell.run("customers")
    assert gone.code == 1
    assert f"Nothing listens at {url}, where SHOPSDK_BASE_URL leads." in gone.err
    assert "start shopsdk sandbox again" in gone.err


def test_completion_is_there(tmp_path: Path) -> None:
    """``--show-completion`` prints a script for the shell."""
    with Sandbox(0) as shop:
        done = subprocess.run(
            # From a shell, which is what it looks for; exit, lest bash put the command in its own place.
            ["bash", "-c", '"$@"; exit $?', "bash", *COMMAND, "--show-completion"],
            env=environment(shop),
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
    assert done.returncode == 0
    assert b"complete" in done.stdout


def test_streams_that_are_closed_take_no_file_with_them(shop: Sandbox, tmp_path: Path) -> None:
    """With closed standard streams, no message goes into an export, and lost data is a failure."""
    command = " ".join(COMMAND)
    for ending, code in (
        ("export a.csv >&-", 0),
        ("export b.csv 2>&-", 0),
        ("export c.csv <&- >&- 2>&-", 0),
        ("balance 1001 5 <&-", 2),
        ("balance 1001 5 --yes <&-", 0),
        ("export - >&-", 1),
        ("customers >&-", 1),
        ("--help >&-", 1),
        ("customers >/dev/full", 1),
        ("--help >/dev/full", 1),
    ):
        done = subprocess.run(
            ["sh", "-c", f"{command} {ending}"], env=environment(shop), cwd=tmp_path, capture_output=True, check=False
        )
        assert done.returncode == code, (ending, done.stderr)
        assert b"Traceback" not in done.stderr
        assert b"ignored" not in done.stderr
    assert {len(read_rows(tmp_path / f"{name}.csv")) for name in "abc"} == {250}


def test_ctrl_c_before_any_command_has_begun(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C before a command has begun prints no traceback."""

    class Interrupted(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "shopsdk.cli._app", Interrupted("_app"))
    with pytest.raises(SystemExit) as end, signals_restored():
        main()
    assert (end.value.code, capsys.readouterr().err) == (130, "shopsdk: stopped\n")


@pytest.mark.parametrize(
    ("line", "offered"),
    [("ex", "export"), ("balance 42 --ref", "--reference"), ("export --order-column bal", "balance")],
)
def test_completion_completes(line: str, offered: str, shop: Sandbox, tmp_path: Path) -> None:
    """The shell is offered the commands and options that fit."""
    words = f"shopsdk {line}"
    asked = {"_SHOPSDK_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        COMMAND, env=environment(shop, **asked), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [offered]


@pytest.mark.parametrize("words", [("--help",), ("customers", "--help"), ("--version",)])
def test_help_that_nobody_reads_ends_as_other_output_does(
    words: tuple[str, ...], shop: Sandbox, tmp_path: Path
) -> None:
    """``--help | true`` has the exit code of any closed pipe."""
    read, write = os.pipe()
    os.close(read)
    with running(shop, *words, cwd=tmp_path, stdout=write) as process:
        os.close(write)
        assert process.stderr is not None
        assert (b"", 141) == (process.stderr.read(), process.wait())


def test_the_sandbox_command_draws_a_key_unless_it_is_given_one(tmp_path: Path) -> None:
    """``sandbox`` has a random key, unless the environment chooses one."""
    keys = []
    there = {name: value for name, value in os.environ.items() if not name.startswith("SHOPSDK_")}
    for more in (
        {},
        {},
        {"SHOPSDK_SANDBOX_KEY": " "},
        {"SHOPSDK_API_KEY": "real"},
        {"SHOPSDK_SANDBOX_KEY": "my 'key'"},
    ):
        process = subprocess.Popen(
            [*COMMAND, "sandbox", "--customers", "1"], env=there | more, cwd=tmp_path, stdout=subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            (word,) = shlex.split(process.stdout.readline().decode().removeprefix("export "))
            keys.append(word.removeprefix("SHOPSDK_API_KEY="))
        finally:
            process.kill()
            process.communicate()
    assert "my 'key'" == keys.pop()
    assert len(set(keys)) == 4
    assert all(len(key) >= 32 for key in keys)


def test_an_embedded_shop_has_a_key_of_its_own(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shop of ``--sandbox`` has a random key."""
    keys: list[str] = []

    class Seen(Sandbox):
        def __enter__(self) -> Self:
            keys.append(self.api_key)
            return super().__enter__()

    monkeypatch.setattr("shopsdk.sandbox.Sandbox", Seen)
    for _ in range(2):
        assert shell.run("customers", "--sandbox").code == 0
    assert len(set(keys)) == 2
    assert all(len(key) >= 32 for key in keys)


LACKING = """
import asyncio, os, select, signal, sys
{taken}
from shopsdk.cli import main
"""
ONE = LACKING + "main()"
EACH = (
    LACKING
    + """
for sys.argv[1:] in {commands}:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a process that has just started
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        main()
    except SystemExit as end:
        print("exit code", end.code or 0, file=sys.stderr)
"""
)
TAKEN = {
    "signals": "del signal.SIGHUP, signal.SIGQUIT",
    "files that can be selected": (
        "import shopsdk.cli._signals as s; s._SELECTS_FILES = False; whole = select.select\n"
        "def sockets(reads, *rest):\n"
        "    assert not any(hasattr(each, 'readline') for each in reads), 'this selects sockets alone'\n"
        "    return whole(reads, *rest)\n"
        "select.select = sockets"
    ),
    "loops that watch a socket": (
        "def no(*_): raise NotImplementedError\n"
        "asyncio.SelectorEventLoop.add_reader = asyncio.SelectorEventLoop.remove_reader = no"
    ),
    "modules": "sys.modules |= dict.fromkeys(['fcntl', 'termios', 'pwd', 'grp', 'resource'])",
    "users": "del os.getuid, os.geteuid, os.getgid, os.getegid, os.chown, os.fchown, os.fchmod",
    "links": "del os.O_NOFOLLOW, os.O_CLOEXEC",
    "forks": "del os.register_at_fork, os.fork",
}


@pytest.mark.parametrize("name", TAKEN)
def test_the_command_does_without_what_a_platform_lacks(name: str, tmp_path: Path) -> None:
    """Commands work, and end by signals, on a platform that lacks a call (Windows lacks all of these)."""
    program = [sys.executable, "-c", ONE.format(taken=TAKEN[name])]
    with Sandbox(3) as shop:
        there = environment(shop)
        commands = [("export", "-"), ("balance", "1001", "5", "--yes"), ("customer", "1")]
        done = subprocess.run(
            [sys.executable, "-c", EACH.format(taken=TAKEN[name], commands=commands)],
            env=there,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (0, False) == (done.returncode, "Traceback" in done.stderr), done.stderr
        assert ["0", "0", "3"] == re.findall(r"^exit code (\d+)$", done.stderr, re.MULTILINE)
        assert 1 == len(shop.transactions(1001))
        leader, follower = pty.openpty()
        asked = subprocess.Popen(
            [*program, "balance", "1001", "5"], env=there, stdin=follower, stdout=follower, stderr=follower
        )
        os.close(follower)
        drawn = b""
        try:
            while b"[y/N]: " not in drawn:
                drawn += os.read(leader, 65536)
            os.write(leader, b"y\n")
            assert 0 == asked.wait()
        finally:
            asked.kill()
            asked.wait()
            os.close(leader)
        assert 2 == len(shop.transactions(1001))
    serving = subprocess.Popen(
        [*program, "sandbox", "--customers", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert serving.stdout is not None
        while b"SHOPSDK_BASE_URL" not in serving.stdout.readline():
            assert serving.poll() is None
        serving.send_signal(signal.SIGTERM)
        assert 143 == serving.wait()
    finally:
        serving.kill()
        serving.communicate()


@pytest.mark.parametrize("name", TAKEN)
def test_ctrl_c_ends_a_command_whatever_a_platform_lacks(name: str, tmp_path: Path) -> None:
    """Ctrl-C during a request ends a command on a platform that lacks a call."""
    arrived = threading.Event()

    class Seen(list[RecordedRequest]):
        def append(self, request: RecordedRequest) -> None:
            super().append(request)
            arrived.set()

    shop = Sandbox(3, faults=[Fault("slow", seconds=60)])
    shop.requests = Seen()
    with shop:
        process = subprocess.Popen(
            [sys.executable, "-c", ONE.format(taken=TAKEN[name]), "customers"],
            env=environment(shop),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            arrived.wait()
            process.send_signal(signal.SIGINT)
            assert (b"", b"shopsdk: stopped\n") == process.communicate()
            assert 130 == process.returncode
        finally:
            process.kill()
            process.communicate()
