"""The command as a process of its own: kills, Ctrl-C, full disks and missing permissions."""

import asyncio
import json
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shopsdk import __version__
from shopsdk.export import export_customers
from shopsdk.export._part import checkpoint_path, part_path
from shopsdk.sandbox import Fault, Sandbox
from tests.support.cli import COMMAND, environment, run, running
from tests.support.export import read_rows

pytestmark = pytest.mark.slow


class Tripwire(list[Any]):
    """A list of requests with an event that is set when there are so many."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at
        self.reached = threading.Event()

    def append(self, item: object) -> None:
        super().append(item)
        if len(self) >= self.at:
            self.reached.set()


def watched(customers: int, at: int, **options: Any) -> tuple[Sandbox, Tripwire]:
    """Make a shop, and the list of its requests that sets its event at so many."""
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
    """After kill -9 at any point, ``--resume`` gives the same bytes and asks for no page twice."""
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
            if (folder / name).exists():  # it ended before the kill
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
    """Count the rows that a journal records."""
    journal = checkpoint_path(target)
    if not journal.exists():
        return 0
    rows = re.findall(rb'"rows":(\d+)[^\n]*\n', journal.read_bytes())
    return int(rows[-1]) if rows else 0


@cache
def unbroken(name: str) -> bytes:
    """Return the bytes of an export that is not interrupted."""

    async def export(path: Path) -> None:
        with Sandbox(300) as shop:
            async with shop.session() as session:
                await export_customers(session, path, per_page=10)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(export(Path(folder) / name))
        return (Path(folder) / name).read_bytes()


def test_ctrl_c_stops_at_a_page_and_says_how_to_go_on(tmp_path: Path) -> None:
    """Ctrl-C keeps whole pages, and prints the command that goes on."""
    shop, wire = watched(300, 12, latency=0.005)
    with shop:
        with running(shop, "export", "c.csv", "--per-page", "10", "--concurrency", "1", cwd=tmp_path) as process:
            wire.reached.wait()
            process.send_signal(signal.SIGINT)
            _, message = process.communicate()
        assert process.returncode == 130
        assert b"shopsdk: stopped. " in message
        assert b"shopsdk export c.csv --per-page 10 --concurrency 1 --resume" in message
        assert b"Traceback" not in message
        assert part_path(tmp_path / "c.csv").read_bytes().count(b"\r\n") % 10 == 1
        wire.clear()
        assert run(shop, "export", "c.csv", "--per-page", "10", "--resume", cwd=tmp_path).returncode == 0
        assert min(request.json["page"] for request in wire) > 8
        assert read_rows(tmp_path / "c.csv") == shop.customers()


def test_ctrl_c_on_an_edit_is_an_unknown_outcome(tmp_path: Path) -> None:
    """Ctrl-C on an edit that may have been made is exit code 4, and says how to find out."""
    shop, wire = watched(1, 2, faults=[Fault("slow", method="POST", seconds=60)])  # the balance before it is read first
    with shop, running(shop, "balance", "1001", "-5.00", "--yes", cwd=tmp_path) as process:
        wire.reached.wait()
        process.send_signal(signal.SIGINT)
        _, message = process.communicate()
    assert process.returncode == 4
    assert message.startswith(
        b"shopsdk: stopped. It is not known whether the balance of customer 1001 was changed by -5.00"
    )
    assert message.endswith(b"\n  shopsdk balance 1001 -5.00 --yes\n")


def test_a_full_disk_is_a_sentence_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    """The message of a full disk is one sentence, and what was read is kept."""
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
        assert b"/.c.csv.part: File too large" in done.stderr
        assert b"Traceback" not in done.stderr
        assert b"--resume" in done.stderr
        assert not (tmp_path / "c.csv").exists()
        assert run(shop, "export", "c.csv", "--resume", cwd=tmp_path).returncode == 0
        assert read_rows(tmp_path / "c.csv") == shop.customers()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A folder without write permission is named in the message."""
    with Sandbox(1) as shop:
        done = run(shop, "export", "/sys/c.csv", cwd=tmp_path)  # where not even root may create a file
    assert done.returncode == 1
    assert b"/sys" in done.stderr
    assert b"Traceback" not in done.stderr


def test_python_m_shopsdk_is_the_command(tmp_path: Path) -> None:
    """``python -m shopsdk`` is the command."""
    done = subprocess.run(
        [sys.executable, "-m", "shopsdk", "--version"], cwd=tmp_path, capture_output=True, check=False, text=True
    )
    assert (done.returncode, done.stdout) == (0, f"shopsdk {__version__}\n")
