"""The command as a process of its own: killed, interrupted, on a terminal, on a pipe, on a full disk."""

import asyncio
import contextlib
import json
import os
import pty
import re
import resource
import select
import signal
import subprocess
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shopsdk.export import export_customers
from shopsdk.export._part import part_path
from shopsdk.sandbox import Fault, Sandbox
from tests.support_cli import COMMAND, environment, run, running
from tests.support_export import read_rows


class Tripwire(list[Any]):
    """What a shop remembers of its requests; tells when there are so many."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at
        self.reached = threading.Event()

    def append(self, item: object) -> None:
        super().append(item)
        if len(self) >= self.at:
            self.reached.set()


def watched(customers: int, at: int, **options: Any) -> tuple[Sandbox, Tripwire]:
    """A shop that tells when it has had so many requests."""
    shop, wire = Sandbox(customers, **options), Tripwire(at)
    shop.requests = wire
    return shop, wire


@settings(max_examples=6)
@given(
    name=st.sampled_from(["c.ndjson", "c.csv", "c.csv.gz", "c.parquet"]),
    kill_at=st.integers(1, 30),
    again_at=st.none() | st.integers(1, 20),
)
def test_killed_at_any_point_it_goes_on_to_the_same_bytes(
    name: str, kill_at: int, again_at: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A customer lost or doubled by kill -9, a page asked for again, or a broken file under the final name."""
    folder = tmp_path_factory.mktemp("killed")
    words = ("export", name, "--per-page", "10", "--concurrency", "2")
    shop, wire = watched(300, kill_at)
    with shop:
        for at in (kill_at, again_at):
            if at is None:
                continue
            wire.at = at
            wire.clear()
            wire.reached.clear()
            with running(shop, *words, "--resume", cwd=folder) as process:
                while not wire.reached.wait(0.01) and process.poll() is None:
                    pass
                process.kill()
                process.wait()
            if (folder / name).exists():  # it was faster
                assert read_rows(folder / name) == shop.customers()
                (folder / name).unlink()
        done = rows_of_journal(folder / name)
        wire.clear()
        ended = run(shop, *words, "--resume", "--json-summary", cwd=folder)
        assert ended.returncode == 0, ended.stderr
        assert json.loads(ended.stdout)["resumed"] == done
        assert min((request.json["page"] for request in wire), default=31) == done // 10 + 1
        assert read_rows(folder / name) == shop.customers()
    assert (folder / name).read_bytes() == unbroken(name)


def rows_of_journal(target: Path) -> int:
    """How many rows the journal speaks of."""
    journal = part_path(target).with_name(f"{target.name}.part.checkpoint")
    if not journal.exists():
        return 0
    rows = re.findall(rb'"rows":(\d+)[^\n]*\n', journal.read_bytes())
    return int(rows[-1]) if rows else 0


@cache
def unbroken(name: str) -> bytes:
    """What comes of an export that nobody kills."""

    async def export(path: Path) -> None:
        with Sandbox(300) as shop:
            async with shop.session() as session:
                await export_customers(session, path, per_page=10)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(export(Path(folder) / name))
        return (Path(folder) / name).read_bytes()


def test_ctrl_c_stops_at_a_page_and_says_how_to_go_on(tmp_path: Path) -> None:
    """Work lost by Ctrl-C, a traceback, or an exit code that scripts take for a failure."""
    shop, wire = watched(300, 12, latency=0.005)
    with shop:
        with running(shop, "export", "c.csv", "--per-page", "10", "--concurrency", "1", cwd=tmp_path) as process:
            wire.reached.wait()
            process.send_signal(signal.SIGINT)
            _, said = process.communicate()
        assert process.returncode == 130
        assert b"shopsdk: stopped. " in said
        assert b"shopsdk export c.csv --per-page 10 --concurrency 1 --resume" in said
        assert b"Traceback" not in said
        assert part_path(tmp_path / "c.csv").read_bytes().count(b"\r\n") % 10 == 1
        wire.clear()
        assert run(shop, "export", "c.csv", "--per-page", "10", "--resume", cwd=tmp_path).returncode == 0
        assert min(request.json["page"] for request in wire) > 8
        assert read_rows(tmp_path / "c.csv") == shop.customers()


def test_a_reader_that_goes_away_ends_it_quietly(tmp_path: Path) -> None:
    """``| head`` that ends in a traceback, or in an export that goes on for nobody."""
    with Sandbox(20_000) as shop:
        with running(shop, "export", "-", cwd=tmp_path) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            json.loads(process.stdout.readline())
            process.stdout.close()
            said = process.stderr.read()
            assert process.wait() == 141
        assert said == b""
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


def test_ctrl_c_works_while_nobody_reads(tmp_path: Path) -> None:
    """A command that cannot be stopped because its output is stuck in a pager."""
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


def test_a_full_disk_is_a_sentence_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    """Half a file under the final name, a traceback, or no way to go on when there is room again."""
    with Sandbox(2000) as shop:
        # Whoever measures coverage writes files too.
        there = {name: value for name, value in environment(shop).items() if not name.startswith("COVERAGE")}
        done = subprocess.run(
            [*COMMAND, "export", "c.csv"],
            env=there,
            cwd=tmp_path,
            capture_output=True,
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY)),
        )
        assert done.returncode == 1
        assert b"c.csv.part: File too large" in done.stderr
        assert b"Traceback" not in done.stderr
        assert b"--resume" in done.stderr
        assert not (tmp_path / "c.csv").exists()
        assert run(shop, "export", "c.csv", "--resume", cwd=tmp_path).returncode == 0
        assert read_rows(tmp_path / "c.csv") == shop.customers()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A traceback for a mistake in permissions."""
    with Sandbox(1) as shop:
        done = run(shop, "export", "/sys/c.csv", cwd=tmp_path)  # where not even root may create a file
    assert done.returncode == 1
    assert b"/sys" in done.stderr
    assert b"Traceback" not in done.stderr


def on_terminal(shop: Sandbox, *words: str, cwd: Path, keys: bytes = b"") -> tuple[int, str]:
    """Run a command on a terminal of its own; gives its exit code and all that was drawn."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *words],
        env=environment(shop, TERM="xterm-256color", COLUMNS="140", LINES="40"),
        cwd=cwd,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    os.write(leader, keys)
    drawn = b""
    with contextlib.suppress(OSError):  # EIO: the terminal's last process has gone
        while data := os.read(leader, 65536):
            drawn += data
    os.close(leader)
    return process.wait(), drawn.decode()


def test_a_terminal_sees_a_bar(tmp_path: Path) -> None:
    """A long export that says nothing, or a bar that does not end at 100 %."""
    with Sandbox(3000, latency=0.002) as shop:
        code, drawn = on_terminal(shop, "export", "c.csv", cwd=tmp_path)
    assert code == 0
    assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}" in drawn
    assert "shop 38" in drawn
    assert "3,000/3,000 customers · page 30/30" in drawn
    assert "100%" in drawn
    assert "done" in drawn
    assert "3,000 customers in" in drawn
    assert drawn.endswith("kB)\r\n")


def test_a_terminal_sees_what_is_waited_for(tmp_path: Path) -> None:
    """A bar that stands still for the rate limit, and nobody knows why."""
    with Sandbox(300, faults=[Fault("rate_limit", first=1, retry_after="1.2")]) as shop:
        code, drawn = on_terminal(shop, "export", "c.csv", cwd=tmp_path)
    assert code == 0
    assert re.search(r"waiting \d s for the rate limit", drawn)


def test_no_terminal_sees_no_bar(tmp_path: Path) -> None:
    """Control characters in a log file."""
    with Sandbox(300, faults=[Fault("rate_limit", first=1, retry_after="1.2")]) as shop:
        done = run(shop, "export", "c.csv", cwd=tmp_path)
    assert b"\x1b" not in done.stderr
    assert b"\r" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_terminal_sees_a_table_and_is_asked(tmp_path: Path) -> None:
    """A question that cannot be answered, or a table that runs over the edge."""
    with Sandbox(30) as shop:
        code, drawn = on_terminal(shop, "customers", cwd=tmp_path)
        assert code == 0
        assert shop.customers()[0].email in drawn
        code, drawn = on_terminal(shop, "balance", "1001", "-5.00", cwd=tmp_path, keys=b"n\n")
        assert (code, shop.transactions(1001)) == (1, [])
        assert "nothing was changed" in drawn
        code, _ = on_terminal(shop, "balance", "1001", "-5.00", cwd=tmp_path, keys=b"y\n")
        assert (code, [str(t.amount) for t in shop.transactions(1001)]) == (0, ["-5.00"])


def test_the_sandbox_command_serves_until_ctrl_c(tmp_path: Path) -> None:
    """Lines that lead nowhere when pasted, or a server that does not end."""
    process = subprocess.Popen(
        [*COMMAND, "sandbox", "--customers", "42", "--shop-id", "7"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline().decode() for _ in range(3)]
        exports = dict(line.removeprefix("export ").rstrip().split("=", 1) for line in lines)
        assert list(exports) == ["SHOPSDK_API_KEY", "SHOPSDK_SHOP_ID", "SHOPSDK_BASE_URL"]
        done = subprocess.run(
            [*COMMAND, "export", "c.csv"], env={**os.environ, **exports}, cwd=tmp_path, capture_output=True, check=False
        )
        assert done.returncode == 0
        assert len(read_rows(tmp_path / "c.csv")) == 42
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
        assert process.returncode == 0
        assert b"Traceback" not in said
    finally:
        process.kill()
        process.communicate()


def test_completion_is_there(tmp_path: Path) -> None:
    """``--show-completion`` that prints nothing a shell can use."""
    with Sandbox(0) as shop:
        done = subprocess.run(
            [*COMMAND, "--show-completion", "bash"],
            env=environment(shop),
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
    assert done.returncode == 0
    assert b"complete" in done.stdout
