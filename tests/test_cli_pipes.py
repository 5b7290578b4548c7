"""The command among other programs: readers that go away, streams that are closed, shells that complete."""

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from shopsdk.cli import main
from shopsdk.sandbox import Sandbox
from tests.support_cli import COMMAND, environment, running, signals_restored
from tests.support_export import read_rows

pytestmark = pytest.mark.slow


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
    """A traceback from a job that runs without stdout, its messages within the export, or data gone unnoticed."""
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
    """A traceback for whoever notices the mistake at once."""

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
    """A shell that offers nothing, or the wrong thing."""
    words = f"shopsdk {line}"
    asked = {"_SHOPSDK_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        COMMAND, env=environment(shop, **asked), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [offered]
