"""Messages: the command names options, the library names arguments."""

import ast
import errno
import re
import socket
from pathlib import Path

import pytest

import shopsdk
from shopsdk import AsyncSession, InvalidRequestError
from shopsdk.cli._runner import _WORDS, format_error
from shopsdk.export._part import checkpoint_path, part_path
from shopsdk.sandbox import Sandbox
from tests.support.cli import Shell

PACKAGE = Path(shopsdk.__file__).parent
LIBRARY = [path for path in PACKAGE.rglob("*.py") if "cli" not in path.parts]
CHECKPOINT = b"""{"shopsdk_export":1,"parameters":{}}
{"offset":5,"rows":1,"pages":1,"page":1,"per_page":100,"ids":[1],"synced":true}
"""


def test_the_library_names_no_option() -> None:
    """The library's messages name no option of the command."""
    for path in LIBRARY:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not re.search(r"(^| )--[a-z]", node.value), path


def test_the_expressions_that_are_replaced_exist() -> None:
    """Each expression of the library's messages that the command replaces is still in the library."""
    library = "".join(path.read_text(encoding="utf-8") for path in LIBRARY)
    assert [argument for argument, _ in _WORDS if argument not in library] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("export", "there.csv"), "it exists already; --force replaces it"),
        (
            ("export", "begun.csv"),
            "an unfinished export of 1 row is there; --resume goes on with it, --force begins anew",
        ),
        (("export", "begun.csv", "--resume"), "or begin anew with --force and without --resume"),
        (("export", "c.txt"), "or give the format"),
        (("export", "/dev/null", "--format", "csv"), "it is no regular file; it can only be written as a stream"),
        (("export", "c.ndjson", "--bom"), "Error: --bom is for csv alone"),
        (("export", "c.ndjson", "--raw"), "Error: --raw is for csv alone"),
        (("export", "c.csv", "--columns", "x"), "Error: --columns: 'x' is not a column"),
        (("export", "c.csv", "--columns", "id,id"), "Error: --columns must name"),
        (("balance", "1001", "2000", "--yes"), "Error: AMOUNT must be"),
        (("balance", "1001", "5", "--reference", "a b", "--yes"), "Error: --reference must be"),
        (
            ("customers", "--affiliate-referrer-email", ""),
            "Error: --affiliate-referrer-email must not be empty",
        ),
        (("affiliate", "1001", "x" * 51), "Error: CODE must be at most 50"),
        (("affiliate", "1001", ""), "Error: CODE must not be empty: --clear clears it"),
    ],
)
def test_the_command_speaks_of_options(words: tuple[str, ...], message: str, shell: Shell, shop: Sandbox) -> None:
    """The command's messages name options, not Python arguments."""
    Path("there.csv").write_text("precious")
    part_path(Path("begun.csv")).write_bytes(b"12345")
    checkpoint_path(Path("begun.csv")).write_bytes(CHECKPOINT)
    ended = shell.run(*words)
    assert message in ended.err
    assert ended.code in {1, 2}
    assert not re.search("if_exists|resume=|api_key|None", ended.err.replace("was None", ""))
    assert not shop.requests


def test_what_the_shop_says_is_left_as_it_is() -> None:
    """A message of the shop is printed unchanged."""
    message = "422: The amount must be a number, the description must be a text"
    assert format_error(InvalidRequestError(message, status=422)) == message


def test_a_key_that_is_not_set_is_missing(shell: Shell) -> None:
    """A missing or empty key is named by its environment variable, and by its argument from Python."""
    shell.patch.setenv("SHOPSDK_API_KEY", " ")
    message = shell.run("customer", "1001").err
    assert message == (
        "shopsdk: SHOPSDK_API_KEY is empty: set it to the key of your account (quote it: it holds a |),"
        " give --env-file, or try --sandbox\n"
    )
    shell.patch.delenv("SHOPSDK_API_KEY")
    assert shell.run("customer", "1001").err == message.replace("empty", "missing")
    with pytest.raises(ValueError, match=r"^api_key is missing: give api_key= or set SHOPSDK_API_KEY$"):
        AsyncSession()
    with pytest.raises(ValueError, match=r"^api_key is empty: "):
        AsyncSession("")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--sandbox-customers", "7"), "--sandbox-customers is for --sandbox"),
        (("--sandbox", "--shop-ids-file", "shops.txt"), "--shop-ids-file is for real shops"),
        (("--sandbox", "--shop-id", "38"), "--shop-id is for real shops"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    words: tuple[str, ...], message: str, shell: Shell, shop: Sandbox
) -> None:
    """Options that exclude each other are refused by name before anything is sent."""
    Path("shops.txt").write_text("38\n")
    ended = shell.run("export", "c.csv", *words)
    assert (ended.code, message in ended.err, shop.requests) == (2, True, [])
    assert not Path("c.csv").exists()


@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_a_page_past_the_end_is_reported(as_json: tuple[str, ...], shell: Shell) -> None:
    """A page behind the last one is reported as missing, with the number of the last."""
    ended = shell.run("customers", "--page", "99", *as_json)
    assert (ended.code, ended.err) == (0, "there is no page 99: the last is page 13, 250 customers in all\n")
    assert "no page" not in shell.run("customers", "--page", "13", *as_json).err


def test_a_wrong_command_is_one_sentence(shell: Shell) -> None:
    """The error of a command that is wrong as a whole is one sentence."""
    for words in (("affiliate", "1001"), ("balance", "1001", "5"), ("--token=x", "customers")):
        assert "Invalid value" not in shell.run(*words).err
    assert "Error: give either a CODE or --clear\n" in shell.run("affiliate", "1001").err


def test_a_port_that_is_taken_is_named(shell: Shell) -> None:
    """A port that is in use is named in the message."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = shell.run("sandbox", "--port", str(port))
    assert ended.code == 1
    assert ended.err.startswith(f"shopsdk: port {port} is not available: ")
    assert ended.err.endswith("; --port 0 takes a free one\n")
    assert errno.errorcode[errno.EADDRINUSE] not in ended.err


def test_help_says_what_a_limit_and_a_reference_are(shell: Shell) -> None:
    """The help explains the forms of a limit and what a reference is."""
    help_text = " ".join(shell.run("sandbox", "--help").out.split())
    assert "--rate-limit N[/SECONDS] Answer at most N requests per SECONDS" in help_text
    assert "without /SECONDS, per second" in help_text
    help_text = " ".join(shell.run("balance", "--help").out.split())
    assert "Your own name for this edit of this customer: 1 to 64 letters, digits and . _ : -" in help_text
