"""The command: reading, changing, wrong arguments, and its exit codes."""

import io
import json
import re
import sys

import pytest

from shopsdk import Clock, Customer
from shopsdk.sandbox import Sandbox
from shopsdk.testing import InstantClock
from tests.support.cli import Shell

COMMANDS = ("export", "customers", "customer", "transactions", "balance", "affiliate", "sandbox")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_helps_with_an_example(command: str, shell: Shell) -> None:
    """The help of every command has an example."""
    ended = shell.run(command, "--help")
    assert ended.code == 0
    assert f"Example: shopsdk {command} " in ended.out
    assert not re.search(r"[{\[][a-z_]+[}\]]", ended.out.splitlines()[0])  # but OUT, AMOUNT, as messages call them


def test_help_documents_the_exit_codes(shell: Shell) -> None:
    """The help lists the exit codes."""
    ended = shell.run("--help")
    assert all(f"{code} " in ended.out for code in (0, 1, 2, 3, 4, 130, 141))
    assert "--install-completion" in ended.out


def test_version(shell: Shell) -> None:
    """``--version`` prints the version."""
    from shopsdk import __version__

    assert shell.run("--version").out == f"shopsdk {__version__}\n"


def test_customers_lists_a_page(shell: Shell, shop: Sandbox) -> None:
    """``customers`` lists a page with its filters and order; a pipe gets whole columns."""
    shop.add_customer(id=5000, email=f"{'long' * 40}@example.com")
    ended = shell.run("customers", "--per-page", "2", "--order-direction", "desc")
    lines = ended.out.splitlines()
    assert len(lines) == 3
    assert f"{'long' * 40}@example.com" in lines[1]
    assert "page 1 of 126, 251 customers" in ended.err
    only = json.loads(shell.run("customers", "--id", "1001", "--json").out)
    assert (only["total"], only["data"][0]["id"], only["current_page"]) == (1, 1001, 1)
    assert shell.run("customers", "--not-subscribed", "--list-params", "query").code == 0
    assert shop.requests[-1].query["subscribed"] == "0"


@pytest.mark.parametrize("words", [("customers",), ("export", "c.csv", "--force")])
def test_lists_carry_their_parameters_where_the_option_says(
    words: tuple[str, ...], shell: Shell, shop: Sandbox
) -> None:
    """Parameters are sent in the body and in the query, unless one of them is chosen."""
    for chosen, in_body, in_query in (((), 7, "7"), (("body",), 7, None), (("query",), None, "7"), (("both",), 7, "7")):
        options = ("--list-params", *chosen) if chosen else ()
        assert shell.run(*words, "--per-page", "7", *options).code == 0
        request = shop.requests[-1]
        assert ((request.json or {}).get("perPage"), request.query.get("perPage")) == (in_body, in_query)


def test_customer_shows_all_fields(shell: Shell, shop: Sandbox) -> None:
    """``customer`` shows every field, and money as text in JSON."""
    shop.add_customer(id=5000, email="five@example.com", affiliate_code="FIVE")
    text = shell.run("customer", "5000").out
    assert "affiliate code" in text
    assert "FIVE" in text
    data = json.loads(shell.run("customer", "5000", "--json").out)
    assert (data["id"], data["email"], type(data["balance"])) == (5000, "five@example.com", str)


def test_what_customers_wrote_cannot_steer_the_terminal(shell: Shell, shop: Sandbox) -> None:
    """Control characters and markup in a name are printed as text."""
    shop.add_customer(Customer(id=5000, email="[red]x\x1b]0;owned\x07@example.com"))
    out = shell.run("customer", "5000").out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "[red]x" in out


def test_a_negative_amount_is_an_amount(shell: Shell, shop: Sandbox) -> None:
    """A negative amount is an argument, wherever it stands."""
    for words in (("1001", "-5.00", "--yes"), ("--yes", "1001", "-5"), ("1001", "--description", "-7", "-0.5", "-y")):
        assert shell.run("balance", *words).code == 0
    assert [(str(t.amount), t.description) for t in shop.transactions(1001)] == [
        ("-0.50", "-7"), ("-5.00", None), ("-5.00", None),
    ]  # fmt: skip


@pytest.mark.parametrize("word", ["-y5", "-y-5", "-h5x"])
def test_an_option_and_an_amount_in_one_word_change_nothing(word: str, shell: Shell, shop: Sandbox) -> None:
    """``-y5`` is neither an amount nor a yes, though click's ``ignore_unknown_options`` would deduct 5."""
    assert shell.run("balance", "1001", word).code in {0, 2}
    assert [] == shop.transactions(1001)


@pytest.mark.parametrize("words", [("--yse",), ("--refrence", "x"), ("-x",), ("--", "--yes"), ("-5.00.1",), ("12",)])
def test_a_mistyped_option_of_balance_is_refused(words: tuple[str, ...], shell: Shell, shop: Sandbox) -> None:
    """A mistyped option of ``balance`` is refused before anything is sent."""
    ended = shell.run("balance", "1001", "-5.00", "--yes", *words)
    assert ended.code == 2
    assert not shop.requests


@pytest.mark.parametrize("amount", ["five", "1e", "0.001", "1001", "NaN", "-1e3", "1,5"])
def test_an_amount_that_is_none_is_refused(amount: str, shell: Shell, shop: Sandbox) -> None:
    """An amount that is no plain number in its bounds is refused before anything is sent."""
    ended = shell.run("balance", "1001", amount, "--yes")
    assert (ended.code, shop.requests) == (2, [])


def test_money_is_not_moved_unasked(shell: Shell, shop: Sandbox) -> None:
    """Without a terminal, ``balance`` needs ``--yes``."""
    ended = shell.run("balance", "1001", "5")
    assert (ended.code, shop.requests) == (2, [])
    assert "--yes" in ended.err


class Terminal(io.StringIO):
    """A standard input that is a terminal, with the text that somebody types."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("typed", "code", "lines"),
    [("y\n", 0, 1), ("n\n", 1, 0), ("\n", 1, 0), ("5\nYES\n", 0, 1), ("", 1, 0), ("what\n", 1, 0)],
)
def test_it_asks_and_does_as_answered(
    typed: str, code: int, lines: int, shell: Shell, shop: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``balance`` asks before it changes a balance, and changes it only on a yes."""
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    ended = shell.run("balance", "1001", "5")
    assert (ended.code, len(shop.transactions(1001))) == (code, lines)
    assert f"({shop.customers()[0].email}, balance " in ended.err
    assert "of shop 38 by 5? [y/N]: " in ended.err
    assert ("nothing was changed" in ended.err) is (code == 1)
    assert "Abort" not in ended.err


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (("2000",), "AMOUNT: it must be"),
        (("0.001",), "AMOUNT: it must have"),
        (("5", "--description", "x" * 256), "--description: it must"),
        (("5", "--reference", "a b"), "--reference: it must"),
    ],
)
def test_it_asks_nothing_that_it_would_refuse(words: tuple[str, ...], wrong: str, shell: Shell, shop: Sandbox) -> None:
    """Arguments are checked before the question."""
    shell.patch.setattr(sys, "stdin", Terminal("y\n"))
    ended = shell.run("balance", "1001", *words)
    assert (ended.code, shop.requests, "[y/N]" in ended.err) == (2, [], False)
    assert f"Error: Invalid value for {wrong}" in ended.err


def test_a_reference_is_used_once(shell: Shell, shop: Sandbox) -> None:
    """An edit is made once under its reference."""
    words = ("balance", "1001", "5.00", "--reference", "r-1", "--yes")
    assert "was changed by 5.00" in shell.run(*words).out
    assert "had been changed already, nothing was sent" in shell.run(*words).out
    assert json.loads(shell.run(*words, "--json").out)["replayed"] is True
    assert len(shop.transactions(1001)) == 1
    conflict = shell.run("balance", "1001", "6.00", "--reference", "r-1", "--yes")
    assert (conflict.code, "'r-1'" in conflict.err) == (1, True)


def test_an_unknown_outcome_says_what_is_known(shell: Shell, shop: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit whose outcome is unknown is exit code 4, and the message names the command to run next."""
    monkeypatch.setattr("shopsdk._api.balance._SEARCH_PAUSES", (0.0,))
    shop.fail_next("drop_before", method="POST")
    ended = shell.run("balance", "1001", "-5.00", "--reference", "r-1", "--description", "a b", "--yes")
    assert ended.code == 4
    assert "Its reference is r-1" in ended.err
    assert "\n  shopsdk balance 1001 -5.00 --description 'a b' --reference r-1 --yes" in ended.err
    shop.fail_next("drop_after", method="POST")
    ended = shell.run("balance", "1001", "-5.00", "--shop-id", "38", "--yes")
    assert ended.code == 4
    assert "shopsdk transactions 1001 --shop-id 38" in ended.err
    assert "Traceback" not in ended.err


def test_affiliate_sets_and_clears(shell: Shell, shop: Sandbox) -> None:
    """``affiliate`` sets a code, and clears it with ``--clear`` alone."""
    assert shell.run("affiliate", "1001", "SUMMER").code == 0
    assert shop.customers()[0].affiliate_code == "SUMMER"
    assert json.loads(shell.run("affiliate", "1001", "--clear", "--json").out)["message"]
    assert shop.customers()[0].affiliate_code is None

    async def at_once(_seconds: float) -> None:
        pass

    shell.patch.setattr("shopsdk._http.session.Clock", lambda: Clock(sleep=at_once))
    shop.fail_next("drop_before", method="PUT", times=9)
    ended = shell.run("affiliate", "1001", "--clear", "--shop-id", "38")
    assert (ended.code, "shopsdk affiliate 1001 --clear --shop-id 38" in ended.err) == (4, True)
    for words in (("1001",), ("1001", "X", "--clear")):
        assert shell.run("affiliate", *words).code == 2


def test_transactions_are_listed(shell: Shell) -> None:
    """``transactions`` lists the ledger, money as text in JSON."""
    assert "no balance transactions" in shell.run("transactions", "1001").err
    shell.run("balance", "1001", "2.50", "--description", "Goodwill", "--yes")
    assert "Goodwill" in shell.run("transactions", "1001").out
    assert json.loads(shell.run("transactions", "1001", "--json").out)[0]["amount"] == "2.50"


def test_rejections_by_the_shop_have_their_code(shell: Shell) -> None:
    """A rejection by the shop is exit code 3, and the message of a wrong key does not show the key."""
    assert shell.run("customer", "999999").code == 3
    assert shell.run("customer", "1001", "--shop-id", "39").code == 3
    shell.patch.setenv("SHOPSDK_API_KEY", "wrong")
    ended = shell.run("customer", "1001")
    assert (ended.code, ended.out) == (3, "")
    assert "401" in ended.err
    assert "is SHOPSDK_API_KEY the key of this shop?" in ended.err
    assert "wrong" not in ended.err


@pytest.mark.slow
def test_failures_are_a_sentence_or_on_request_a_traceback(shell: Shell) -> None:
    """A failure is one sentence, or a traceback with ``--debug``."""
    shell.patch.setattr("shopsdk._http.session.Clock", InstantClock)
    shell.patch.setenv("SHOPSDK_BASE_URL", "http://127.0.0.1:9/v1")
    ended = shell.run("customer", "1001", "--shop-id", "1")
    assert (ended.code, "Traceback" in ended.err) == (1, False)
    assert ended.err.startswith("shopsdk: ")
    ended = shell.run("customer", "1001", "--shop-id", "1", "--debug")
    assert (ended.code, "Traceback" in ended.err) == (1, True)


def test_a_missing_key_or_shop_is_named(shell: Shell) -> None:
    """A missing key or shop is named in the message."""
    shell.patch.delenv("SHOPSDK_SHOP_ID")
    assert "--shop-id" in shell.run("customer", "1001").err
    shell.patch.setenv("SHOPSDK_SHOP_ID", "x")
    assert "SHOPSDK_SHOP_ID must be a whole number" in shell.run("customer", "1001").err
    shell.patch.delenv("SHOPSDK_API_KEY")
    ended = shell.run("customer", "1001", "--shop-id", "38")
    assert (ended.code, "SHOPSDK_API_KEY" in ended.err) == (2, True)


@pytest.mark.parametrize("words", [("--api-key", "sk-secret"), ("--api-key=sk-secret",), ("--token=sk-secret",)])
def test_the_key_is_not_taken_from_the_command_line(words: tuple[str, ...], shell: Shell, shop: Sandbox) -> None:
    """A key on the command line is refused, and not repeated."""
    for place in ((*words, "customer", "1001"), ("customer", "1001", *words)):
        ended = shell.run(*place)
        assert (ended.code, "SHOPSDK_API_KEY" in ended.err, "sk-secret" in ended.err) == (2, True, False)
    assert not shop.requests


@pytest.mark.parametrize(
    "words",
    [("export", "c.csv"), ("customers",), ("customer", "1001"), ("transactions", "1001"), ("balance", "1001", "-5"),
     ("affiliate", "1001", "X")],
)  # fmt: skip
def test_the_sandbox_is_named_on_stderr(words: tuple[str, ...], shell: Shell, shop: Sandbox) -> None:
    """``--sandbox`` says on stderr that nothing is real, and sends nothing to the real shop."""
    ended = shell.run(*words, "--sandbox")
    assert ended.code == 0
    assert "nothing in it is real" in ended.err
    assert "nothing in it is real" not in ended.out
    assert shell.run(*words, "--sandbox", "--shop-id", "1").code == 2
    assert not shop.requests


@pytest.mark.parametrize("missing", ["typer", "rich", "dotenv"])
def test_without_its_extra_the_command_says_so(missing: str, shell: Shell) -> None:
    """Without its extra, the command names the package to install."""
    for name in list(sys.modules):
        if name.startswith(("shopsdk.cli.", "typer", "rich", "dotenv")):
            shell.patch.delitem(sys.modules, name)
    shell.patch.setitem(sys.modules, missing, None)
    ended = shell.run("customers")
    message = "shopsdk: the command needs typer, rich and python-dotenv: pip install 'shopsdk[cli]'\n"
    assert (ended.code, ended.err) == (1, message)
