"""Exit codes of commands that change something, when the output fails and when signals come."""

import fcntl
import inspect
import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

import pytest

from shopsdk import Customer, ShopError
from shopsdk.cli import _write, main
from shopsdk.cli._signals import signals
from shopsdk.sandbox import Fault, RecordedRequest, Sandbox
from tests.support.cli import COMMAND, Shell, Terminal, environment, run, running, signals_restored
from tests.support.export import read_rows

pytestmark = pytest.mark.slow

PEOPLE = [
    Customer(id=7, email="ada@example.com", discord_username="Ärger 😀 €", balance=Decimal(0)),
    Customer(id=8, email="ada@example.com.example"),
]


class Watched(list[RecordedRequest]):
    """A list of requests with an event that is set when the awaited request has arrived."""

    def __init__(self, method: str, count: int) -> None:
        super().__init__()
        self._wanted = (method, count)
        self.arrived = threading.Event()

    def append(self, request: RecordedRequest) -> None:
        super().append(request)
        method, count = self._wanted
        if sum(each.method == method for each in self) >= count:
            self.arrived.set()


@contextmanager
def shop_of_two(method: str = "POST", count: int = 1, **options: Any) -> Iterator[tuple[Sandbox, Watched]]:
    shop, watched = Sandbox(PEOPLE, **options), Watched(method, count)
    shop.requests = watched
    with shop:
        yield shop, watched


def shell(line: str, shop: Sandbox, **more: str) -> "subprocess.CompletedProcess[bytes]":
    """Run a line in bash, with ``shopsdk`` as the command."""
    command = " ".join(COMMAND)
    return subprocess.run(
        ["bash", "-c", line.replace("shopsdk", command)],
        env=environment(shop, **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
    )


# --- the output fails

BALANCE = "shopsdk balance 7 5 --yes"
OUTPUTS = {
    "a full disk": (
        f"{BALANCE} >/dev/full",
        b"the balance was changed, but it could not be written to stdout: No sp",
    ),
    "stdout closed": (f"{BALANCE} >&-", b"the balance was changed, but it could not be written to stdout: Bad file"),
    "both full": (f"{BALANCE} >/dev/full 2>/dev/full", b""),
    "both closed": (f"{BALANCE} >&- 2>&-", b""),
    "stderr full": (f"{BALANCE} 2>/dev/full", b""),
    "nobody reads": (f"set -o pipefail; {BALANCE} | sleep 0", b""),
    "JSON to a full disk": (f"{BALANCE} --json >/dev/full", b"the balance was changed, but"),
    "with a reference": (f"{BALANCE} --reference r-1 >/dev/full", b"the balance was changed, but"),
    "a code": ("shopsdk affiliate 7 SPRING >/dev/full", b"the affiliate code was set, but it could not be written"),
    "no code": ("shopsdk affiliate 7 --clear >&-", b"the affiliate code was cleared, but it could not be written"),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_change_that_was_made_is_exit_code_0_whatever_becomes_of_the_output(name: str) -> None:
    """A change that was made is exit code 0 with a full disk, a closed stream or a reader that has gone."""
    line, words = OUTPUTS[name]
    with shop_of_two() as (shop, _):
        ended = shell(line, shop)
        assert 0 == ended.returncode, ended.stderr
        assert words in ended.stderr
        assert b"Traceback" not in ended.stderr
        assert ("code" in name) or 1 == len(shop.transactions(7))


def test_a_loop_of_a_shell_stops_at_the_first_success_though_the_disk_is_full() -> None:
    """A shell loop that repeats an edit until it succeeds makes it once, though the disk is full."""
    with shop_of_two() as (shop, _):
        ended = shell(f"for n in 1 2 3; do {BALANCE} >/dev/full && break; done", shop)
        assert (0, 1) == (ended.returncode, len(shop.transactions(7)))


def test_an_edit_that_was_made_before_is_exit_code_0_too() -> None:
    """An edit whose reference is in the ledger already is exit code 0, even with stdout closed."""
    with shop_of_two() as (shop, _):
        assert 0 == shell(f"{BALANCE} --reference r-1", shop).returncode
        again = shell(f"{BALANCE} --reference r-1 >&-", shop)
        assert 0 == again.returncode
        assert b"the balance had been changed already, but it could not be written" in again.stderr
        assert 1 == len(shop.transactions(7))


@pytest.mark.parametrize(
    "line", ["shopsdk customer 7 >/dev/full", "shopsdk customers >&-", "shopsdk transactions 7 >&-"]
)
def test_a_read_that_nobody_gets_is_a_failure(line: str) -> None:
    """A read whose output cannot be written is exit code 1."""
    with shop_of_two() as (shop, _):
        ended = shell(line, shop)
    assert 1 == ended.returncode
    assert ended.stderr.startswith(b"shopsdk: ")
    assert b"Traceback" not in ended.stderr


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_text_that_a_code_page_lacks_is_escaped(encoding: str, shell: Shell) -> None:
    """Text that the stream's encoding lacks is escaped as in JSON, and JSON stays JSON."""

    def written(*words: str) -> str:
        with open(shell.folder / "out", "w", encoding=encoding) as out:
            shell.patch.setattr(sys, "stdout", out)
            ended = shell.run(*words)
        assert 0 == ended.code, ended.err
        return (shell.folder / "out").read_text(encoding)

    with shop_of_two() as (shop, _):
        shell.enter(shop)
        assert "Ärger 😀 €" == json.loads(written("customers", "--json"))["data"][0]["discord_username"]
        record = written("customer", "7")
        assert ("\\u20ac" in record) is (encoding == "ascii")
        assert ("\\ud83d\\ude00" in record) is (encoding != "utf-8")
        assert ("Ä€" in written("affiliate", "7", "Ä€")) is (encoding != "ascii")


def test_words_that_a_code_page_lacks_are_escaped_too() -> None:
    """Messages are printed in full in any encoding, and with an argument that is no text."""
    with shop_of_two() as (shop, _):
        for words, encoding, message in (
            ("nosuché€", "ascii", rb"No such command 'nosuch\u00e9\u20ac'"),
            ("customer €@x", "cp437", rb"no customer has the e-mail address \u20ac@x"),
            ("export $'\\xff/c.csv'", "utf-8", rb"/\udcff: there is no such folder"),
        ):
            assert message in shell(f"shopsdk {words}", shop, PYTHONIOENCODING=encoding).stderr


def test_an_answer_that_is_no_text_is_no_yes(shell: Shell, shop: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that are no text in the terminal's encoding are not a yes."""

    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(io.BytesIO(b"\xff\n"), encoding="utf-8"))
    ended = shell.run("balance", str(shop.customers()[0].id), "5")
    assert (1, []) == (ended.code, shop.transactions(shop.customers()[0].id))
    assert "nothing was changed" in ended.err


# --- signals

STOPS = [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGQUIT, 131)]


@pytest.mark.parametrize(("number", "code"), STOPS)
def test_a_signal_while_an_edit_is_under_way_is_exit_code_4(number: int, code: int, tmp_path: Path) -> None:
    """A command that is stopped when its edit may have been made is exit code 4, and says how to find out."""
    with shop_of_two(faults=[Fault("slow", method="POST", seconds=60)]) as (shop, watched):
        with running(shop, "balance", "7", "5", "--yes", "--reference", "r-1", cwd=tmp_path) as process:
            watched.arrived.wait()
            process.send_signal(number)
            _, message = process.communicate()
    assert 4 == process.returncode
    assert message.startswith(b"shopsdk: stopped. It is not known whether the balance of customer 7 was changed by 5")
    assert b"Its reference is r-1." in message


@pytest.mark.parametrize(("number", "code"), STOPS)
@pytest.mark.parametrize(
    ("words", "method", "count"),
    [
        (("balance", "7", "5", "--yes"), "GET", 1),  # the balance before is being read
        (("customers",), "GET", 1),
        (("export", "-"), "GET", 1),
        (("balance", "7", "5", "--yes", "--reference", "r-1"), "GET", 2),  # the ledger is being read
    ],
)
def test_a_signal_while_nothing_was_sent_is_its_own_exit_code(
    words: tuple[str, ...], method: str, count: int, number: int, code: int, tmp_path: Path
) -> None:
    """A command that is stopped before it sent a change has the exit code of the signal."""
    path = "balance-transactions" if "--reference" in words else None
    faults = [Fault("slow", method="GET", path=path, seconds=60)]
    with shop_of_two(method, count, faults=faults) as (shop, watched):
        with running(shop, *words, cwd=tmp_path) as process:
            watched.arrived.wait()
            process.send_signal(number)
            _, message = process.communicate()
        assert [] == shop.transactions(7)
    assert code == process.returncode
    assert message == b"shopsdk: stopped\n"


@pytest.mark.parametrize("number", [number for number, _ in STOPS])
def test_a_signal_after_the_edit_was_made_is_exit_code_0(number: int, tmp_path: Path) -> None:
    """A command that is stopped while it reads the balance after its edit is exit code 0, and says so."""
    faults = [Fault("slow", method="GET", path="/customers/7", every=2, seconds=60)]
    with shop_of_two("GET", 2, faults=faults) as (shop, watched):
        with running(shop, "balance", "7", "5", "--yes", cwd=tmp_path) as process:
            watched.arrived.wait()
            process.send_signal(number)
            out, message = process.communicate()
        assert 1 == len(shop.transactions(7))
    assert (0, b"The balance of customer 7 was changed by 5; it was 0.00 before\n") == (process.returncode, out)
    assert b"shopsdk: stopped; the balance was changed\n" in message


def test_a_code_that_may_have_been_set_is_exit_code_4(tmp_path: Path) -> None:
    """An affiliate code that may have been set is exit code 4, and the message says that setting it again is safe."""
    with shop_of_two("PUT", faults=[Fault("slow", method="PUT", seconds=60)]) as (shop, watched):
        with running(shop, "affiliate", "7", "SPRING", cwd=tmp_path) as process:
            watched.arrived.wait()
            process.send_signal(signal.SIGTERM)
            _, message = process.communicate()
    assert 4 == process.returncode
    assert b"running it again is safe:\n  shopsdk affiliate 7 SPRING\n" in message


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_at_the_question_changes_nothing(number: int, code: int, tmp_path: Path) -> None:
    """A signal at the question changes nothing."""
    with shop_of_two() as (shop, _), Terminal() as terminal:
        process = terminal.start([*COMMAND, "balance", "7", "5"], cwd=tmp_path, env=environment(shop))
        try:
            terminal.wait_for(rb"\[y/N\]: ")
            process.send_signal(number)
            assert code == process.wait()
        finally:
            process.kill()
            process.wait()
        assert [] == shop.transactions(7)
    assert b"balance 0.00, to 5.00" in terminal.drawn
    assert b"stopped, nothing was changed" in terminal.drawn


def test_a_stopped_export_says_how_to_go_on_and_does(tmp_path: Path) -> None:
    """SIGTERM keeps what an export has read, and ``--resume`` gives the same bytes."""
    shop, watched = Sandbox(300), Watched("GET", 10)
    shop.requests = watched
    with shop:
        with running(shop, "export", "c.csv", "--per-page", "10", "--concurrency", "1", cwd=tmp_path) as process:
            watched.arrived.wait()
            process.send_signal(signal.SIGTERM)
            _, message = process.communicate()
        assert 143 == process.returncode
        assert b"customers are kept. To go on from there:\n  shopsdk export c.csv" in message
        for words in (("c.csv", "--per-page", "10", "--concurrency", "1", "--resume"), ("whole.csv",)):
            with running(shop, "export", *words, cwd=tmp_path) as process:
                process.communicate()
            assert 0 == process.returncode
    assert (tmp_path / "c.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_sigterm_ends_a_job_in_the_background_that_ignores_ctrl_c() -> None:
    """SIGTERM ends a command that ignores Ctrl-C, as a background job does, or SIGHUP, as under nohup."""
    with shop_of_two("GET", faults=[Fault("slow", method="GET", seconds=60)]) as (shop, watched):
        line = "trap '' INT HUP; exec shopsdk customers".replace("shopsdk", " ".join(COMMAND))
        process = subprocess.Popen(
            ["bash", "-c", line], env=environment(shop), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            watched.arrived.wait()
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGTERM)
            _, message = process.communicate()
        finally:
            process.kill()
    assert (143, b"shopsdk: stopped\n") == (process.returncode, message)


def test_several_signals_at_once_are_one(tmp_path: Path) -> None:
    """Several signals, as from a terminal that closes, change neither message nor exit code of an unknown outcome."""
    with shop_of_two(faults=[Fault("slow", method="POST", seconds=60)]) as (shop, watched):
        with running(shop, "balance", "7", "5", "--yes", cwd=tmp_path) as process:
            watched.arrived.wait()
            for number, _ in STOPS:
                process.send_signal(number)
            _, message = process.communicate()
    assert 4 == process.returncode
    assert message.startswith(b"shopsdk: stopped. It is not known whether")
    assert b"Traceback" not in message


def test_the_first_signal_gives_the_exit_code() -> None:
    """The first signal gives the exit code, and a second one interrupts nothing."""
    with signals_restored(), signals.caught():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
        assert 143 == signals.code


@pytest.mark.parametrize(("number", "code"), STOPS)
def test_a_signal_before_a_command_has_begun_is_its_own_exit_code(
    number: int, code: int, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that is stopped while it starts has the exit code of the signal."""

    class Interrupted(ModuleType):
        def __getattr__(self, name: str) -> object:
            signal.raise_signal(number)
            return None

    def interrupted(*_: object) -> list[str]:
        signal.raise_signal(number)
        return []

    with monkeypatch.context() as patch:
        patch.setattr("shopsdk.cli._options.Group.parse_args", interrupted)
        assert code == shell.run("customers").code
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "shopsdk.cli._app", Interrupted("_app"))
        assert code == shell.run("customers").code


LATE = """
import atexit, os, signal, sys, threading, types, weakref
from shopsdk.cli import main

def late(where, kill=os.kill, write=os.write, pid=os.getpid(), numbers=(15, 1, 2, 3)):
    write(2, f"<{where}>".encode())
    for number in numbers:
        kill(pid, number)

class Last:
    def __init__(self, where):
        self.where = where

    def __del__(self, late=late):
        late(self.where)

class Thing:
    pass

threading._register_atexit(late, "threading")
atexit.register(late, "atexit")
thing = Thing()
weakref.finalize(thing, late, "finalizer")
last = Last("module")
sys.modules["last"] = types.ModuleType("last")
sys.modules["last"].last = Last("modules")
sys.last_of_all = Last("sys")
main()
"""
PLACES = ("threading", "atexit", "finalizer", "module", "modules", "sys")
ENDINGS: dict[str, tuple[tuple[str, ...], list[Fault], int]] = {
    "a change that was made": (("balance", "7", "5", "--yes"), [], 0),
    "a code that was set": (("affiliate", "7", "SPRING"), [], 0),
    "a change with an unknown outcome": (("balance", "7", "5", "--yes"), [Fault("drop_after", method="POST")], 4),
    "a code with an unknown outcome": (("affiliate", "7", "SPRING"), [Fault("error_500", method="PUT", first=9)], 4),
    "a rejection": (("affiliate", "9", "SPRING"), [], 3),
    "a failure": (("balance", "7", "5", "--yes"), [Fault("rate_limit", retry_after=9999)], 1),
    "a wrong command": (("balance", "7", "x", "--yes"), [], 2),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_a_signal_while_python_clears_up_changes_no_exit_code(name: str) -> None:
    """A signal after the last message changes no exit code."""
    words, faults, code = ENDINGS[name]
    with shop_of_two(faults=faults) as (shop, _):
        ended = subprocess.run(
            [sys.executable, "-c", LATE, *words], env=environment(shop), capture_output=True, check=False
        )
        changes = len(shop.transactions(7))
    assert all(f"<{place}>".encode() in ended.stderr for place in PLACES), ended.stderr
    assert (code, b"Traceback" in ended.stderr) == (ended.returncode, False), ended.stderr
    assert changes == (words[0] == "balance" and code in {0, 4})


class Tracer:
    """Sends this process a signal before the n-th line that the command runs once it is armed."""

    FILES = ("shopsdk/cli/", "/contextlib.py", "asyncio/runners.py", "typer/core.py")

    def __init__(self, number: int) -> None:
        self.number = number
        self.at = self.lines = 0
        self._watched: dict[CodeType, bool] = {}

    def begin_anew(self) -> bool:
        """Begin a run with the next line; return False if the last run did not reach its line."""
        self.at += 1
        more = self.at == 1 or self.lines >= self.at - 1
        self.lines = 0
        return more

    def _arm(self) -> None:
        """Trace from here on: what is called, and what has been called and not ended."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if self._traces(frame):
                frame.f_trace = self._line
            frame = frame.f_back
        sys.settrace(self)

    def arming(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Arm it where the function begins, or, if it is a coroutine function, where its outcome is known."""

        def begins(*args: Any) -> Any:
            self._arm()
            return function(*args)

        async def is_known(*args: Any, **options: Any) -> Any:
            try:
                answer = await function(*args, **options)
            except ShopError as error:
                if error.maybe_applied:
                    self._arm()
                raise
            self._arm()
            return answer

        return is_known if inspect.iscoroutinefunction(function) else begins

    def run(self) -> None:
        """Run the command."""

        def isolated() -> Iterator[None]:
            # A signal at the end of an except block leaves its exception behind as the one being handled. A generator
            # has a place of its own for that, or every exception of later tests would have this one as its context.
            main()
            yield

        before = sys.gettrace()
        sys.settrace(None)
        try:
            next(isolated())
        finally:
            sys.settrace(before)

    def _traces(self, frame: FrameType) -> Any:
        code = frame.f_code
        if code not in self._watched:
            self._watched[code] = any(name in code.co_filename for name in self.FILES)
        return self._line if self._watched[code] else None

    def __call__(self, frame: FrameType, _event: str, _argument: object) -> Any:
        return self._traces(frame)

    def _line(self, _frame: FrameType, event: str, _argument: object) -> Any:
        if event == "line":
            self.lines += 1
            if self.lines == self.at:
                signal.raise_signal(self.number)
        return self._line


KNOWN: dict[str, tuple[tuple[str, ...], str, int]] = {
    "made": (("balance", "7", "5", "--yes"), "_BalanceChange._send", 0),
    "made, to a full disk": (("balance", "7", "5", "--yes"), "_BalanceChange._send", 0),
    "set": (("affiliate", "7", "SPRING"), "edit_customer_affiliate_code", 0),
    "unknown": (("balance", "7", "5", "--yes"), "_BalanceChange._send", 4),
    "stopped, unknown": (("balance", "7", "5", "--yes"), "_BalanceChange.in_doubt", 4),
}
"""By outcome: the command, the function that arms the tracer, and the exit code."""


@pytest.mark.parametrize("name", KNOWN)
def test_a_signal_at_any_line_after_it_is_known_changes_no_exit_code(
    name: str, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once an outcome is known, a signal at any line of the command changes no exit code."""
    words, function, code = KNOWN[name]
    tracer = Tracer(signal.SIGINT)
    real = attrgetter(function)(_write)

    monkeypatch.setattr(f"shopsdk.cli._write.{function}", tracer.arming(real))
    monkeypatch.setattr("tests.support.cli.main", tracer.run)
    faults = {
        "unknown": [Fault("drop_after", method="POST")],
        "stopped, unknown": [Fault("slow", method="POST", seconds=60)],
    }
    with shop_of_two(faults=faults.get(name, [])) as (shop, watched), ExitStack() as files:
        shell.enter(shop)
        while tracer.begin_anew():
            watched.clear()
            watched.arrived.clear()
            stopper = threading.Thread(target=stop, args=(watched,))
            if name == "stopped, unknown":
                stopper.start()
            if name == "made, to a full disk":
                monkeypatch.setattr(sys, "stdout", files.enter_context(open("/dev/full", "w", encoding="utf-8")))
            ended = shell.run(*words)
            assert (code, "Traceback" in ended.err) == (ended.code, False), (tracer.at, ended)
            assert (code == 4) is ("It is not known whether" in ended.err)
            if name == "stopped, unknown":
                stopper.join()
            if words[0] == "balance":
                assert 1 == sum(request.method == "POST" for request in watched)
    assert tracer.at > 20
    assert sys.exc_info() == (None, None, None)


def stop(watched: Watched) -> None:
    """Stop the command once the change has arrived."""
    watched.arrived.wait()
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.skipif(sys.platform != "linux", reason="the size of a pipe can be set on Linux alone")
def test_a_signal_ends_a_command_whose_reader_reads_nothing(tmp_path: Path) -> None:
    """A signal ends a write that waits for its reader."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    with Sandbox(100) as shop:
        with running(shop, "customers", "--json", "--per-page", "100", cwd=tmp_path, stdout=write) as process:
            while select.select([], [write], [], 0)[1]:  # there is more of it than the pipe takes
                assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            assert process.stderr is not None
            assert (b"shopsdk: stopped\n", 143) == (process.stderr.read(), process.wait())
    os.close(read)
    os.close(write)


def test_a_signal_ends_a_change_whose_reader_reads_nothing(tmp_path: Path) -> None:
    """A signal ends an answer that waits for its reader, and the change is reported as made."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    with suppress(BlockingIOError):
        while True:
            os.write(write, b"x")
    os.set_blocking(write, True)
    with shop_of_two(faults=[Fault("rate_limit", method="GET", retry_after=100_000)]) as (shop, _):
        with running(shop, "balance", "7", "5", "--yes", cwd=tmp_path, stdout=write) as process:
            assert process.stderr is not None
            assert b"the new balance could not be read" in process.stderr.readline()  # next is the answer
            process.send_signal(signal.SIGTERM)
            assert (b"shopsdk: stopped; the balance was changed\n", 0) == (process.stderr.read(), process.wait())
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("hangs_up", [False, True])
def test_a_terminal_that_goes_away_costs_an_export_nothing(hangs_up: bool, tmp_path: Path) -> None:
    """A bar that cannot be drawn is no failure. A hang-up stops the export, which can be resumed."""
    shop, watched = Sandbox(300, latency=0.01), Watched("GET", 10)
    shop.requests = watched
    leader, follower = pty.openpty()
    with shop:
        words = ("export", "c.csv", "--per-page", "10", "--concurrency", "1")
        process = subprocess.Popen(
            [*COMMAND, *words], env=environment(shop), cwd=tmp_path, stdin=follower, stdout=follower, stderr=follower
        )
        try:
            os.close(follower)
            watched.arrived.wait()
            os.close(leader)
            if hangs_up:
                process.send_signal(signal.SIGHUP)
            assert (129 if hangs_up else 0) == process.wait()
        finally:
            process.kill()
            process.wait()
        if hangs_up:
            assert b" of them by an earlier run)" in run(shop, *words, "--resume", cwd=tmp_path).stderr
        assert read_rows(tmp_path / "c.csv") == shop.customers()


def test_the_sandbox_ends_by_sigterm(tmp_path: Path) -> None:
    """SIGTERM ends ``sandbox`` at once."""
    with shop_of_two() as (shop, _), running(shop, "sandbox", "--customers", "1", cwd=tmp_path) as process:
        assert process.stdout is not None
        while b"SHOPSDK_BASE_URL" not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGTERM)
        assert 143 == process.wait()


# --- messages


def test_the_answer_has_the_balance_before_and_after(shell: Shell, shop: Sandbox) -> None:
    """The answer to an edit has the balance before and after it, as text and as JSON."""
    who = shop.customers()[0]
    ended = shell.run("balance", str(who.id), "5", "--yes")
    assert f"was changed by 5: from {who.balance} to {who.balance + 5}\n" in ended.out  # type: ignore[operator]
    ended = shell.run("balance", str(who.id), "-5", "--yes", "--json", "--reference", "r-1")
    answer = json.loads(ended.out)
    assert (str(who.balance + 5), str(who.balance)) == (answer["balance_before"], answer["balance_after"])  # type: ignore[operator]
    ended = shell.run("balance", str(who.id), "-5", "--yes", "--reference", "r-1")
    assert f"had been changed already, nothing was sent: -5; it is {who.balance} now\n" in ended.out


@pytest.mark.parametrize("fails", ["after", "both"])
def test_a_balance_that_cannot_be_read_stops_no_edit(fails: str, shell: Shell, shop: Sandbox) -> None:
    """With ``--yes``, an edit is made and reported though the balance before or after it cannot be read."""
    who = shop.customers()[0].id
    if fails == "after":
        shop.fail_next("slow", method="GET", seconds=0.0)  # which lets the first one through
    shop.fail_next("rate_limit", method="GET", retry_after=100_000)
    ended = shell.run("balance", str(who), "5", "--yes")
    assert 0 == ended.code, ended.err
    assert "was changed by 5" in ended.out
    assert (fails == "after") is ("before" in ended.out)
    assert "could not be read" in ended.err
    assert 1 == len(shop.transactions(who))


def test_a_balance_that_is_slow_to_read_delays_no_edit(
    shell: Shell, shop: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow read of the balance is given up, and the edit is made and reported."""
    who = shop.customers()[0].id
    monkeypatch.setattr("shopsdk.cli._write._READ_SECONDS", 0.01)
    shop.fail_next("slow", method="GET", seconds=100.0, times=2)
    ended = shell.run("balance", str(who), "5", "--yes")
    assert (0, f"The balance of customer {who} was changed by 5\n") == (ended.code, ended.out)
    assert 1 == len(shop.transactions(who))


def test_a_reference_that_stands_twice_is_reported(shell: Shell, shop: Sandbox) -> None:
    """A reference that is in the ledger twice is reported on stderr, and is no failure."""
    who = str(shop.customers()[0].id)
    for _ in range(2):
        shell.run("balance", who, "5", "--yes", "--description", "x [ref:r-1]")
    ended = shell.run("balance", who, "5", "--yes", "--reference", "r-1")
    assert 0 == ended.code
    assert "is in the ledger more than once" in ended.err


def test_a_customer_is_found_by_the_whole_address(shell: Shell, tmp_path: Path) -> None:
    """``customer EMAIL`` shows who has that address, and nobody with a longer one."""
    with shop_of_two() as (shop, _):
        shell.enter(shop)
        assert 7 == json.loads(shell.run("customer", "ADA@example.com", "--json").out)["id"]
        assert "8" in shell.run("customer", "ada@example.com.example").out
        nobody = shell.run("customer", "da@example.com")
        assert (3, "shopsdk: no customer has the e-mail address da@example.com\n") == (nobody.code, nobody.err)
        shop.add_customer(id=9, email="Ada@Example.com")
        several = shell.run("customer", "ada@example.com")
        assert (1, True) == (several.code, "with the ids 7, 9" in several.err)


@pytest.mark.parametrize("who", ["0", "-1", "seven", "7.5", "", " ", "\N{FULLWIDTH DIGIT ONE}"])
def test_who_is_neither_an_id_nor_an_address_is_a_wrong_command(who: str, shell: Shell) -> None:
    """A word that is neither an id nor an e-mail address is refused before anything is sent."""
    ended = shell.run("customer", "--", who)
    assert 2 == ended.code
    assert "ID_OR_EMAIL must be a customer's id" in ended.err


def test_a_question_promises_no_balance_that_a_reference_may_have_brought_already(
    shell: Shell, shop: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a reference, the question names the present balance alone, since the edit may have been made."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    who = shop.customers()[0]
    for words, question in (
        ((), f"balance {who.balance}, to {who.balance + 5})"),  # type: ignore[operator]
        (("--reference", "r-1"), f"balance {who.balance})"),
    ):
        monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
        assert question in shell.run("balance", str(who.id), "5", *words).err
