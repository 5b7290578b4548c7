"""The help of the command: whole sentences at any width, plain words for values, and the same without docstrings."""

import json
import re
import subprocess
import sys
from typing import Any, get_args

import pytest
from typer.main import get_command

from shopsdk import OrderColumn
from shopsdk.cli._app import app
from shopsdk.sandbox import Sandbox
from tests.support.cli import Shell

group: Any = get_command(app)
COMMANDS = sorted(group.commands)
COPIED = ("Usage:", "Example:")
"""The beginnings of lines that are not broken, so that they can be copied."""


def text_of(shell: Shell, *words: str) -> str:
    """Return the help of a command as one line."""
    return " ".join(shell.run(*words, "--help").out.split())


def test_every_summary_is_whole(shell: Shell) -> None:
    """``shopsdk --help`` has the first sentence of each command, whole and on one line of 80 columns."""
    shell.patch.setenv("COLUMNS", "80")
    listed = shell.run("--help").out.splitlines()
    assert not any("..." in line for line in listed[1:])
    for command in COMMANDS:
        summary = shell.run(command, "--help").out.split("\n\n")[1].strip()
        assert f"  {command:<12}  {summary}" in listed


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_help_fits_the_terminal(columns: int, shell: Shell) -> None:
    """No line of a help is wider than the terminal, nor wider than 100, but for lines to copy and exit codes."""
    shell.patch.setenv("COLUMNS", str(columns))
    for command in ((), *([name] for name in COMMANDS)):
        for line in shell.run(*command, "--help").out.partition("Exit codes:")[0].splitlines():
            assert len(line) <= min(columns, 100) or (columns < 80 and line.strip().startswith(COPIED)), line


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_values_in_words(command: str, shell: Shell) -> None:
    """No help shows a type or a formula, and each default stands there as it is given."""
    shell.patch.setenv("COLUMNS", "100")
    text = text_of(shell, command)
    assert re.match(
        r"Usage: shopsdk \w+ \[OPTIONS\]( [A-Z_]+)*( \[(CODE|COMMAND)\])? [A-Z][a-z]", text
    )  # as messages name them
    assert not re.search(r"<\w|\brange\b|INTEGER|[<>]=|\(\d+\)\]|\[required", text)
    for param in group.commands[command].params:
        if isinstance(param.default, int | float | str) and not isinstance(param.default, bool):
            name = max(param.opts, key=len)
            assert re.search(rf"{name} [^\[]*(\[/SECONDS\][^\[]*)?\[default: {param.default}\]", text), name


def test_help_names_the_columns(shell: Shell, shop: Sandbox) -> None:
    """The help names every column of an export and of an order, and no other."""
    found = re.search(r"The columns, in this order: ([^.]+)\.", text_of(shell, "export"))
    assert found is not None
    exported = shell.run("export", "-", "--format", "csv", "--columns", found[1].replace(" ", ""))
    assert (exported.code, exported.out.splitlines()[0]) == (0, found[1].replace(" ", ""))
    default = shell.run("export", "-", "--format", "csv").out.splitlines()[0]
    assert f"{default},shop_id" == found[1].replace(" ", "")
    line = json.loads(shell.run("export", "-", "--columns", "affiliate_referrer,id").out.splitlines()[0])
    assert list(line) == ["affiliate_referrer", "id"]
    for command in ("export", "customers"):
        assert f"order by: {', '.join(get_args(OrderColumn))}. [default: id]" in text_of(shell, command)


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in {"help", "sandbox"}])
def test_help_says_how_long_a_sandbox_lasts(command: str, shell: Shell) -> None:
    """The help of every command says what ``--sandbox`` keeps, and how to have a shop that lasts."""
    text = text_of(shell, command)
    assert "--sandbox Use a made-up shop that ends with this command" in text
    assert "shopsdk sandbox, with --database to keep it in a file" in text


def test_help_is_a_command_too(shell: Shell) -> None:
    """``shopsdk help`` and ``shopsdk help COMMAND`` print what ``--help`` prints."""
    whole = shell.run("--help")
    assert shell.run("help") == shell.run("help", "help") == whole
    assert shell.run().err == whole.out
    assert shell.run("help", "export") == shell.run("export", "--help") == shell.run("export", "-h")
    assert "  help          Show the help of a command." in whole.out.splitlines()
    junk = shell.run("help", "export", "junk")
    assert (junk.code, junk.out, "extra argument(s) (junk)" in junk.err) == (2, "", True)


@pytest.mark.parametrize(("line", "names"), [("shopsdk he", ["help"]), ("shopsdk help ex", ["export"])])
def test_help_completes_commands(line: str, names: list[str], shell: Shell) -> None:
    """A shell completes ``help``, and the command behind it."""
    shell.patch.setenv("_SHOPSDK_COMPLETE", "complete_bash")
    shell.patch.setenv("COMP_WORDS", line)
    shell.patch.setenv("COMP_CWORD", str(line.count(" ")))
    assert shell.run().out.split() == names


@pytest.mark.parametrize(
    "words", [("-v", "customers"), ("--shop-id", "38", "customers"), ("--env-file=a.env", "export"), ("--sandbox",)]
)
def test_an_option_before_its_command_is_told_where_to_stand(
    words: tuple[str, ...], shell: Shell, shop: Sandbox
) -> None:
    """The error of a command's option that stands before the command says where it belongs."""
    ended = shell.run(*words)
    assert (ended.code, ended.out, shop.requests) == (2, "", [])
    option = words[0].partition("=")[0]
    assert ended.err == f"Error: {option} is an option of a command: it goes behind the command's name\n"
    assert "No such option: --nonsense" in shell.run("--nonsense", "customers").err


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (("exprot", "c.csv"), "'exprot'. Did you mean 'export'?"),
        (("help", "expot"), "'expot'. Did you mean 'export'?"),
        (("custmers",), "'customers'"),
        (("customers", "--emial", "x"), "Possible options: --email"),
        (("export", "c.csv", "--colums", "id"), "--columns, --order-column"),
        (
            ("export", "c.csv", "--format", "pakret"),
            "must be ndjson, csv or parquet, not 'pakret'; did you mean parquet?",
        ),
        (("customers", "--order-column", "emial"), "not 'emial'; did you mean email?"),
        (("export", "c.csv", "--columns", "id,emial"), "'emial' is not a column of csv (did you mean 'email'?); there"),
        (("export", "c.csv", "--columns", "nothing like it"), "is not a column of csv; there are id, email, "),
    ],
)
def test_a_mistyped_word_suggests_the_nearest(words: tuple[str, ...], near: str, shell: Shell, shop: Sandbox) -> None:
    """The error of a mistyped command, option or name suggests the nearest one."""
    ended = shell.run(*words)
    assert (ended.code, ended.out, near in ended.err) == (2, "", True), ended.err
    assert not shop.requests


WITHOUT_DOCSTRINGS = """
import contextlib, io, json, sys
assert False, "optimized away"
from shopsdk.cli import _command

def run(words):
    sys.argv, out, err = ["shopsdk", *words], io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            _command()
        except SystemExit as end:
            return [end.code or 0, out.getvalue(), err.getvalue()]

print(json.dumps([run(words) for words in json.loads(sys.argv[1])]))
"""


@pytest.mark.slow
def test_optimized_python_changes_nothing(shell: Shell) -> None:
    """``python -OO``, which drops docstrings and assertions, prints the same help, data, messages and exit codes."""
    lines = [["--help"], ["--version"], ["exprot"], *[[name, "--help"] for name in COMMANDS]]
    lines += [
        ["customers", "--sandbox", "--per-page", "3"],
        ["customer", "1001", "--sandbox", "--json"],
        ["customer", "42", "--sandbox"],
        ["transactions", "1001", "--sandbox"],
        ["balance", "1001", "5", "--sandbox"],
        ["affiliate", "1001", "X", "--sandbox"],
        ["export", "c.csv", "--sandbox", "--quiet"],
        ["export", "c.parquet", "--sandbox", "--quiet"],
        ["customer", "x"],
    ]
    shell.patch.setenv("COLUMNS", "80")
    shell.patch.delenv("PYTHONOPTIMIZE", raising=False)
    words = [sys.executable, "-OO", "-c", WITHOUT_DOCSTRINGS, json.dumps(lines)]
    done = subprocess.run(words, capture_output=True, check=True, text=True)
    optimized = dict(zip(map(tuple, lines), json.loads(done.stdout), strict=True))
    for line in lines:
        ended = shell.run(*line)
        assert [ended.code, ended.out, ended.err] == optimized[tuple(line)], line
    assert optimized["export", "--help"][1].count("\n") > 50
