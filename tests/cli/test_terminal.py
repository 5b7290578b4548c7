"""The command on a terminal of its own, a pseudo-tty, and without one."""

import io
import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from shopsdk.cli._progress import Bars, Lines
from shopsdk.export import ExportProgress
from shopsdk.sandbox import Fault, Sandbox
from tests.support.cli import COMMAND, Terminal, environment, run

pytestmark = pytest.mark.slow


@contextmanager
def started(
    shop: Sandbox, *words: str, cwd: Path, columns: int = 140
) -> Iterator[tuple["subprocess.Popen[bytes]", Terminal]]:
    """Start a command on a terminal of its own; it is killed when the context ends."""
    env = environment(shop, TERM="xterm-256color", COLUMNS=str(columns), LINES="40")
    with Terminal() as terminal:
        process = terminal.start([*COMMAND, *words], cwd=cwd, env=env)
        try:
            yield process, terminal
        finally:
            process.kill()
            process.wait()


def on_terminal(shop: Sandbox, *words: str, cwd: Path, keys: bytes = b"", columns: int = 140) -> tuple[int, str]:
    """Run a command on a terminal of its own, type at its question; returns its exit code and all that was drawn."""
    with started(shop, *words, cwd=cwd, columns=columns) as (process, terminal):
        if keys:
            terminal.wait_for(rb"\[y/N\]: ")
            terminal.press(keys)
        code = process.wait()
    return code, terminal.drawn.decode()


def test_a_terminal_sees_a_bar(tmp_path: Path) -> None:
    """On a terminal, an export draws a bar that ends at 100 %."""
    with Sandbox(3000, latency=0.02) as shop:
        code, drawn = on_terminal(shop, "export", "c.csv", "--concurrency", "1", cwd=tmp_path)
    assert code == 0
    assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}" in drawn
    assert "shop 38" in drawn
    assert "3,000/3,000 customers, done, page 30/30, " in drawn
    assert re.search(r"customers, \d:\d\d left, page \d+/30, [\d,]+/s", drawn)
    assert "100%" in drawn
    assert "done" in drawn
    assert "3,000 customers in" in drawn
    assert drawn.endswith("kB)\r\n")


def test_a_terminal_sees_what_is_waited_for(tmp_path: Path) -> None:
    """A bar shows the wait and its length, and stays on the screen after Ctrl-C."""
    with Sandbox(300, faults=[Fault("rate_limit", retry_after="60")]) as shop:
        with started(shop, "export", "c.csv", cwd=tmp_path) as (process, terminal):
            terminal.wait_for(rb"waiting (6\d|5\d) s for the rate limit")
            process.send_signal(signal.SIGINT)
            assert 130 == process.wait()


STAGES: list[dict[str, Any]] = [
    {"stage": "reading", "rows": 0, "page": 0},
    {"stage": "waiting", "rows": 700, "page": 7, "waiting": 0.3, "reason": "RateLimitedError", "status": 429},
    {"stage": "waiting", "rows": 700, "page": 7, "waiting": 61.2, "reason": "ServerError", "status": 503},
    {"stage": "waiting", "rows": 700, "page": 7, "waiting": 0.0, "reason": "NotSentError"},
    {"stage": "reading", "rows": 64_500, "page": 645},
    {"stage": "assembling", "rows": 99_000, "page": 990},
    {"stage": "done", "rows": 99_000, "page": 990},
]
SHOWN = {
    0: "0/99,000 customers",
    1: "waiting 1 s for the rate limit",
    2: "trying again in 62 s: 503",
    3: "trying again: could not connect",
}


@pytest.mark.parametrize("number", range(len(STAGES)))
def test_a_narrow_terminal_sees_one_line_a_shop(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar takes one line of a narrow terminal, the most important first."""
    now = 1000.0
    monkeypatch.setattr("shopsdk.cli._progress.time.monotonic", lambda: now)
    bars = Bars()
    whole = {"shop_id": 38, "total": 99_000, "last_page": 990, "resumed": 0, "seconds": 17.0}
    for stage in STAGES[: number + 1]:
        bars.show(ExportProgress(**{**whole, **stage}))
    drawn = io.StringIO()
    Console(file=drawn, width=80).print(bars._progress.get_renderable())
    lines = [line for line in drawn.getvalue().splitlines() if line.strip()]
    assert 1 == len(lines)
    assert lines[0].startswith("shop 38 ")
    assert len(lines[0]) <= 80
    assert SHOWN.get(number, "customers") in lines[0]
    assert re.sub("[━╸╺]", "", lines[0]).isascii()  # as wide in any encoding: rich has other bars for ASCII


@pytest.mark.parametrize("columns", [40, 140])
def test_ctrl_c_leaves_one_bar(columns: int, tmp_path: Path) -> None:
    """Ctrl-C leaves one bar for each shop, above the message; the ^C that the terminal echoes is erased."""
    faults = [Fault("rate_limit", every=3, retry_after="60")]
    words = ("export", "c.csv", "--per-page", "10", "--concurrency", "1")
    with Sandbox(300, faults=faults) as shop:
        with started(shop, *words, cwd=tmp_path, columns=columns) as (process, terminal):
            terminal.wait_for(rb"20/300 customers, w")
            terminal.press(b"\x03")
            terminal.wait_for(rb"\^C")
            process.send_signal(signal.SIGINT)  # the command is not in the foreground of this terminal
            assert 130 == process.wait()
    drawn = re.sub(r"\x1b\[(?!2K)[\d;?]*[a-zA-Z]", "", terminal.drawn.decode())
    bars, _, message = drawn.partition("shopsdk: stopped. 20 customers are kept.")
    assert "customers, w" not in message
    *erased, left = re.split(r"\r\x1b\[2K", bars)
    assert any("^C" in bar for bar in erased)
    assert all(len(bar) <= columns and "\n" not in bar for bar in erased)
    assert re.fullmatch(r"shop 38 [^\r\n]+\r\n", left)


def test_a_dumb_terminal_sees_lines(tmp_path: Path) -> None:
    """With TERM=dumb, no control sequence and no bar is written, and a table fits the terminal."""
    with Sandbox(30) as shop, Terminal() as terminal:
        env = environment(shop, TERM="dumb", COLUMNS="50")
        for words in (("export", "c.csv"), ("customers", "--per-page", "2"), ("customer", "1001")):
            assert 0 == terminal.start([*COMMAND, *words], cwd=tmp_path, env=env).wait()
    drawn = terminal.drawn.decode()
    assert "\x1b" not in drawn
    assert drawn.startswith("30 customers in ")
    table = drawn.partition("\n")[2].splitlines()
    assert max(len(line.rstrip("\r")) for line in table if "too narrow" not in line) <= 50


def test_no_terminal_sees_no_bar(tmp_path: Path) -> None:
    """Without a terminal, no bar and no control character is written."""
    with Sandbox(300, faults=[Fault("rate_limit", first=1, retry_after="1.2")]) as shop:
        done = run(shop, "export", "c.csv", cwd=tmp_path)
    assert b"\x1b" not in done.stderr
    assert b"\r" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_terminal_sees_a_table_and_is_asked(tmp_path: Path) -> None:
    """A table fits the terminal, and ``balance`` asks on it."""
    with Sandbox(30) as shop:
        code, drawn = on_terminal(shop, "customers", cwd=tmp_path)
        assert code == 0
        assert shop.customers()[0].email in drawn
        assert "last completed at" in drawn
        _, drawn = on_terminal(shop, "customers", cwd=tmp_path, columns=80)
        rows = [line for line in drawn.splitlines() if line.strip()[:4].isdigit()]
        assert [str(c.balance) in row for c, row in zip(shop.customers(), rows, strict=False)] == [True] * 20
        assert [c.email in row for c, row in zip(shop.customers(), rows, strict=False)] == [True] * 20
        assert "too narrow for last_completed_at, discord_username" in drawn
        code, drawn = on_terminal(shop, "balance", "1001", "-5.00", cwd=tmp_path, keys=b"n\n")
        assert (code, shop.transactions(1001)) == (1, [])
        assert "nothing was changed" in drawn
        code, _ = on_terminal(shop, "balance", "1001", "-5.00", cwd=tmp_path, keys=b"y\n")
        assert (code, [str(t.amount) for t in shop.transactions(1001)]) == (0, ["-5.00"])


def test_ctrl_c_at_the_question_ends_it(tmp_path: Path) -> None:
    """Ctrl-C at the question ends the command at once, and says that nothing was changed."""
    with Sandbox(1) as shop:
        with started(shop, "balance", "1001", "-5.00", cwd=tmp_path) as (process, terminal):
            terminal.wait_for(rb"\[y/N\]: ")
            process.send_signal(signal.SIGINT)
            assert 130 == process.wait()
        assert [] == shop.transactions(1001)
    assert terminal.drawn.endswith(b"[y/N]: \r\nshopsdk: stopped, nothing was changed\r\n")


def test_what_was_typed_before_the_question_is_no_answer(tmp_path: Path) -> None:
    """A yes that was typed before the question was there, as in a pasted block, moves no money."""
    with Sandbox(1) as shop:
        with started(shop, "balance", "1001", "-5.00", cwd=tmp_path) as (process, terminal):
            terminal.press(b"y\n")
            terminal.wait_for(rb"\[y/N\]: ")
            terminal.press(b"n\n")
            assert 1 == process.wait()
        assert [] == shop.transactions(1001)


def test_a_question_that_nobody_sees_is_not_asked(tmp_path: Path) -> None:
    """Where stderr is no terminal, a question would not be seen, so ``--yes`` is needed."""
    leader, follower = pty.openpty()
    try:
        with Sandbox(1) as shop:
            ended = subprocess.run(
                [*COMMAND, "balance", "1001", "5"],
                env=environment(shop),
                cwd=tmp_path,
                stdin=follower,
                stdout=follower,
                stderr=subprocess.PIPE,
                check=False,
            )
            assert (2, []) == (ended.returncode, shop.requests)
    finally:
        os.close(leader)
        os.close(follower)
    assert b"there is no terminal to ask on" in ended.stderr


def test_ctrl_d_at_the_question_is_no(tmp_path: Path) -> None:
    """Ctrl-D at the question changes nothing, and says so."""
    with Sandbox(1) as shop:
        code, drawn = on_terminal(shop, "balance", "1001", "-5.00", cwd=tmp_path, keys=b"\x04")
        assert (code, shop.transactions(1001)) == (1, [])
    assert drawn.endswith("\r\nshopsdk: there was no answer, and nothing was changed\r\n")


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A log gets a line every ten seconds, and one before a long wait."""
    now = [0.0]
    monkeypatch.setattr("shopsdk.cli._progress.time.monotonic", lambda: now[0])
    lines = Lines()
    for page in (1, 9, 10, 19, 21):
        now[0] = page
        lines.show(newest(page))
    lines.show(newest(21, stage="waiting", waiting=0.4))
    lines.show(newest(21, stage="waiting", waiting=59.5, reason="RateLimitedError", status=429))
    assert capsys.readouterr().err.splitlines() == [
        "shop 38: 1,000/9,000 customers, page 10/90, 100/s, 1:20 left",
        "shop 38: 2,100/9,000 customers, page 21/90, 100/s, 1:09 left",
        "shop 38: 2,100/9,000 customers, page 21/90, 100/s, waiting 60 s for the rate limit",
    ]


def newest(page: int, **more: Any) -> ExportProgress:
    """Make the progress of an export of a hundred customers a second."""
    fields: dict[str, Any] = {"stage": "reading", "rows": 100 * page, "total": 9000, "last_page": 90, "seconds": page}
    return ExportProgress(shop_id=38, page=page, resumed=0, **fields | more)
