"""The command: reading, changing, wrong arguments, and its exit codes."""

import io
import json
import re
import shlex
import sys
from decimal import Decimal
from functools import partial

import pytest

from shopsdk import Clock, Customer, NotFoundError, RetryScheduled
from shopsdk.cli._runner import format_error, tell_wait
from shopsdk.sandbox import Fault, Sandbox
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


WIDE = "\N{FULLWIDTH DIGIT ONE}"
WRONG_AMOUNTS = [
    *("five", "1e", "0.001", "1001", "1000.01", "NaN", "-1e3", "1e3", "1,50", "5 EUR", "--5", "", "1_0", WIDE)
]


@pytest.mark.parametrize("amount", WRONG_AMOUNTS)
def test_an_amount_that_is_none_is_refused(amount: str, shell: Shell, shop: Sandbox) -> None:
    """An amount that is no plain number in its bounds is refused before anything is sent."""
    ended = shell.run("balance", "1001", amount, "--yes")
    assert (ended.code, shop.requests) == (2, [])
    wanted = "a plain number from -1000 to 1000 with at most two decimals, such as 12.50 or -5"
    assert ended.err.endswith(f"\nError: AMOUNT must be {wanted}, not {amount!r}\n")


@pytest.mark.parametrize("amount", ["1000", "-1000.00", "+5", "0", "1.500"])
def test_an_amount_that_the_library_takes_is_taken(amount: str, shell: Shell, shop: Sandbox) -> None:
    """The command takes the amounts that the library takes."""
    assert shell.run("balance", "1001", amount, "--yes").code == 0
    assert shop.transactions(1001)[0].amount == Decimal(amount)


@pytest.mark.parametrize("command", ["customer", "transactions", "balance", "affiliate"])
@pytest.mark.parametrize(
    "who", ["abc", "0", "-3", "1.5", "-1.5", f"1{'0' * 30}", WIDE, "1 2", "a b@example.com", "@", ""]
)
def test_a_word_that_names_no_customer_is_refused(who: str, command: str, shell: Shell, shop: Sandbox) -> None:
    """A word that is neither an id nor an e-mail address is refused in one sentence, and nothing is sent."""
    ended = shell.run(command, who, *{"balance": ["5", "--yes"], "affiliate": ["X"]}.get(command, []))
    assert (ended.code, shop.requests) == (2, [])
    wanted = "a customer's id (a whole number from 1) or a whole e-mail address"
    assert ended.err.endswith(f"\nError: ID_OR_EMAIL must be {wanted}, not {who!r}\n")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("customers", "--per-page", "101"), "--per-page must be a whole number from 1 to 100, not '101'"),
        (("export", "c.csv", "--per-page", "x"), "--per-page must be a whole number from 1 to 100, not 'x'"),
        (("customers", "--page", "-1"), "--page must be a whole number from 1, not '-1'"),
        (("customers", "--page=1.5"), "--page must be a whole number from 1, not '1.5'"),
        (("customers", "--id", "0"), "--id must be a whole number from 1, not '0'"),
        (("customers", "--id", "9" * 19), f"--id must be a whole number from 1 to {2**63 - 1}, not '{'9' * 19}'"),
        (("customers", "--shop-id", "abc"), "--shop-id must be a whole number from 1, not 'abc'"),
        (("export", "c.csv", "--shop-id", "38", "--shop-id", "x"), "--shop-id must be a whole number from 1, not 'x'"),
        (("customers", "--id", WIDE), f"--id must be a whole number from 1, not '{WIDE}'"),
        (("export", "c.csv", "--concurrency", "0"), "--concurrency must be a whole number from 1, not '0'"),
        (("export", "c.csv", "--shops-at-once", ""), "--shops-at-once must be a whole number from 1, not ''"),
        (("export", "c.csv", "--sandbox", "--sandbox-customers", "-1"),
         "--sandbox-customers must be a whole number from 0, not '-1'"),
        (("export", "c.csv", "--rate-limit", "5/0"),
         "--rate-limit must be requests per seconds, such as 60/60 or 5, not '5/0'"),
        (("customers", "--order-direction", "up"), "--order-direction must be asc or desc, not 'up'"),
        (("customers", "--list-params", "url"), "--list-params must be both, body or query, not 'url'"),
        (("customers", "--page"), "Option '--page' requires an argument."),
        (("balance", "1001", "-5", "--yes", "--description"), "Option '--description' requires an argument."),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_sentence(words: tuple[str, ...], sentence: str, shell: Shell, shop: Sandbox) -> None:
    """The error of a wrong value says what was given and what is wanted, and nothing is sent."""
    ended = shell.run(*words)
    assert (ended.code, ended.out, shop.requests) == (2, "", [])
    assert ended.err.endswith(f"Error: {sentence}\n")


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
        (("2000",), "AMOUNT must be"),
        (("0.001",), "AMOUNT must be"),
        (("5", "--description", "x" * 256), "--description must"),
        (("5", "--reference", "a b"), "--reference must"),
    ],
)
def test_it_asks_nothing_that_it_would_refuse(words: tuple[str, ...], wrong: str, shell: Shell, shop: Sandbox) -> None:
    """Arguments are checked before the question."""
    shell.patch.setattr(sys, "stdin", Terminal("y\n"))
    ended = shell.run("balance", "1001", *words)
    assert (ended.code, shop.requests, "[y/N]" in ended.err) == (2, [], False)
    assert f"Error: {wrong}" in ended.err


ADA = "ada@example.com"


@pytest.fixture
def ada(shop: Sandbox) -> Sandbox:
    """A shop with one customer of that address, and one of a longer one."""
    shop.add_customer(id=5000, email="ada@example.com.example", balance=Decimal("9.00"))
    shop.add_customer(id=5001, email="Ada@example.com", balance=Decimal("7.00"), affiliate_code="OLD")
    return shop


@pytest.mark.parametrize("typed", ["y\n", "n\n"])
def test_balance_by_email_shows_whose_it_is(typed: str, shell: Shell, ada: Sandbox) -> None:
    """With an e-mail address, ``balance`` asks with id, address and balance, and changes that customer's on a yes."""
    before = ada.transactions(5001)
    shell.patch.setattr(sys, "stdin", Terminal(typed))
    ended = shell.run("balance", ADA, "-5", "--shop-id", "38")
    question = "Change the balance of customer 5001 (Ada@example.com, balance 7.00, to 2.00) of shop 38 by -5? [y/N]: "
    assert ended.err.startswith(question)
    if typed == "y\n":
        assert (ended.code, ended.out) == (0, "The balance of customer 5001 was changed by -5: from 7.00 to 2.00\n")
        assert ada.transactions(5001)[0].amount == Decimal(-5)
    else:
        assert (ended.code, ada.transactions(5001)) == (1, before)


@pytest.mark.parametrize("words", [("balance", ADA, "5"), ("affiliate", ADA, "NEW")])
def test_a_change_is_for_the_customer_who_was_shown(words: tuple[str, ...], shell: Shell, ada: Sandbox) -> None:
    """A yes changes the customer whom the question showed, whoever has the e-mail address by then."""

    class Slow(Terminal):
        def readline(self, *_: object) -> str:  # type: ignore[override]
            ada.update_customer(5001, email="moved@example.com")
            ada.update_customer(5000, email=ADA)
            return "y\n"

    shell.patch.setattr(sys, "stdin", Slow())
    ended = shell.run(*words)
    assert (ended.code, " of customer 5001 was " in ended.out) == (0, True)
    (change,) = [request for request in ada.requests if request.method != "GET"]
    assert "/customers/5001/" in change.path


@pytest.mark.parametrize(
    ("words", "question", "code"),
    [
        (("NEW",), "Set the affiliate code to NEW", "NEW"),
        (("--clear",), "Clear the affiliate code", None),
    ],
)
def test_affiliate_asks_about_an_email(
    words: tuple[str, ...], question: str, code: str | None, shell: Shell, ada: Sandbox
) -> None:
    """With an e-mail address, ``affiliate`` asks with id, address and present code; with an id it asks nothing."""
    who = "customer 5001 (Ada@example.com, affiliate code OLD)"
    for typed, then, ends in (("n\n", "OLD", 1), ("y\n", code, 0)):
        shell.patch.setattr(sys, "stdin", Terminal(typed))
        ended = shell.run("affiliate", ADA, *words)
        assert (ended.code, ended.err.startswith(f"{question} for {who} of shop 38? [y/N]: ")) == (ends, True)
        assert {c.id: c.affiliate_code for c in ada.customers()}[5001] == then
    shell.patch.setattr(sys, "stdin", Terminal(""))
    assert shell.run("affiliate", "5001", *words).err == ""
    assert shell.run("affiliate", ADA, "x" * 51).err.endswith("Error: CODE must be at most 50 characters, not 51\n")


@pytest.mark.parametrize("words", [("balance", ADA, "5"), ("balance", ADA, "5", "--yes"), ("affiliate", ADA, "X")])
def test_a_script_changes_nothing_by_email(words: tuple[str, ...], shell: Shell, ada: Sandbox) -> None:
    """With ``--yes`` or without a terminal, a change takes an id, and the message says why and how to find it."""
    if "--yes" in words:
        shell.patch.setattr(sys, "stdin", Terminal("y\n"))
    ended = shell.run(*words)
    assert (ended.code, ada.requests) == (2, [])
    assert "the customer's id" in ended.err
    assert "an e-mail address may belong to somebody else by the time that this runs" in ended.err
    assert f"(shopsdk customer {ADA} shows the id)\n" in ended.err
    ended = shell.run(*words, "--shop-id", "38", "--env-file", "a b.env")
    assert f"(shopsdk customer {ADA} --shop-id 38 --env-file 'a b.env' shows the id)\n" in ended.err


@pytest.mark.parametrize("words", [("customer",), ("transactions",), ("balance", "5"), ("affiliate", "X")])
def test_an_email_of_nobody_or_of_several_is_told(words: tuple[str, ...], shell: Shell, ada: Sandbox) -> None:
    """An address that nobody has, or several have, is told, with the ids, before any question."""
    command, *more = words
    for who, code, message in (
        ("da@example.com", 3, "shopsdk: no customer has the e-mail address da@example.com\n"),
        (ADA, 1, ", with the ids 5001, 5002\n"),
    ):
        if who == ADA:
            ada.add_customer(id=5002, email=ADA)
        shell.patch.setattr(sys, "stdin", Terminal("y\n"))
        ended = shell.run(command, who, *more)
        assert (ended.code, ended.out, "[y/N]" in ended.err) == (code, "", False)
        assert ended.err.endswith(message)
        assert {request.method for request in ada.requests} == {"GET"}


def test_transactions_are_found_by_email(shell: Shell, ada: Sandbox) -> None:
    """``transactions EMAIL`` lists the ledger of the customer with that address."""
    shell.run("balance", "5001", "2.50", "--description", "Goodwill", "--yes")
    by_email = shell.run("transactions", ADA, "--json")
    assert json.loads(by_email.out)[0]["description"] == "Goodwill"
    assert by_email == shell.run("transactions", "5001", "--json")


def test_a_long_wait_is_told_with_its_reason(shell: Shell, shop: Sandbox) -> None:
    """Without -v too, a wait of a second or more stands on stderr with its reason; -v tells it once."""
    shell.patch.setattr("shopsdk._http.session.Clock", lambda: Clock(sleep=at_once, random=lambda: 0.0))
    for more in ((), ("-v",)):
        shop.fail_next("rate_limit", retry_after=2)
        ended = shell.run("customer", "1001", "--json", *more)
        assert json.loads(ended.out)["id"] == 1001
        assert ("shopsdk: trying again in 2 s: 429 Too Many Requests\n" == ended.err) is (not more)
        assert ("trying again" in ended.err) is not bool(more)
        assert ("RateLimitedError, again in 2.00 s" in ended.err) is bool(more)
        assert shop.api_key not in ended.err
    for wait, reason, status in (
        (0.9, "ServerError", 503),
        (1.2, "ServerError", 503),
        (1.0, "TransportError", None),
        (2.5, "NotSentError", None),
        (7.0, "ServerError", 599),
    ):
        tell_wait(RetryScheduled(operation="GET /x", call=1, attempt=1, reason=reason, wait=wait, status=status))
    assert shell.capture.readouterr().err.splitlines() == [
        "shopsdk: trying again in 2 s: 503 Service Unavailable",
        "shopsdk: trying again in 1 s: no whole answer",
        "shopsdk: trying again in 3 s: could not connect",
        "shopsdk: trying again in 7 s: 599",
    ]


async def at_once(_seconds: float) -> None:
    """Wait for nothing."""


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


def test_the_commands_of_a_doubt_lead_to_the_same_shop(shell: Shell, shop: Sandbox) -> None:
    """Every command that the message of an unknown outcome names has the shop and the file of its key."""
    (shell.folder / "a b.env").write_text(f"SHOPSDK_API_KEY={shop.api_key}\n")
    (shell.folder / "a b.env").chmod(0o600)
    shell.patch.setenv("SHOPSDK_API_KEY", "another")
    shell.patch.setenv("SHOPSDK_SHOP_ID", "39")
    shell.patch.setattr("shopsdk._api.balance._SEARCH_PAUSES", (0.0,))
    shell.patch.setattr("shopsdk._http.session.Clock", lambda: Clock(sleep=at_once))
    place = ("--shop-id", "38", "--env-file", "a b.env")
    for words, method, times, count in (
        (("balance", "1001", "5", "--yes"), "POST", 1, 2),
        (("balance", "1001", "5", "--yes", "--reference", "r-1"), "POST", 1, 1),
        (("affiliate", "1001", "X"), "PUT", 9, 1),
    ):
        shop.fail_next("drop_before", method=method, times=times)
        doubt = shell.run(*words, *place)
        commands = [shlex.split(line)[1:] for line in doubt.err.splitlines() if line.startswith("  shopsdk ")]
        assert (doubt.code, len(commands)) == (4, count)
        for command in commands:
            assert place == tuple(word for word in command if word in place)


def test_affiliate_sets_and_clears(shell: Shell, shop: Sandbox) -> None:
    """``affiliate`` sets a code, and clears it with ``--clear`` alone."""
    assert shell.run("affiliate", "1001", "SUMMER").code == 0
    assert shop.customers()[0].affiliate_code == "SUMMER"
    assert json.loads(shell.run("affiliate", "1001", "--clear", "--json").out)["message"]
    assert shop.customers()[0].affiliate_code is None

    shell.patch.setattr("shopsdk._http.session.Clock", lambda: Clock(sleep=at_once))
    shop.fail_next("drop_before", method="PUT", times=9)
    ended = shell.run("affiliate", "1001", "--clear", "--shop-id", "38")
    assert (ended.code, "shopsdk affiliate 1001 --clear --shop-id 38" in ended.err) == (4, True)
    for words in (("1001",), ("1001", "X", "--clear")):
        assert shell.run("affiliate", *words).code == 2


def test_a_code_that_looks_like_an_option_is_repeated_as_a_code(shell: Shell, shop: Sandbox) -> None:
    """The command that a message names sets the same code, even if the code begins with a hyphen."""
    shell.patch.setattr("shopsdk._http.session.Clock", lambda: Clock(sleep=at_once))
    shop.fail_next("drop_before", method="PUT", times=9)
    ended = shell.run("affiliate", "1001", "--shop-id", "38", "--", "--clear")
    assert ended.code == 4
    again = shlex.split(ended.err.splitlines()[-1])
    assert again == ["shopsdk", "affiliate", "1001", "--shop-id", "38", "--", "--clear"]


@pytest.mark.parametrize(
    "words",
    [
        ("balance", "1001", "5"),
        ("balance", "1001", "5", "--yes", "--reference", "r-1"),
        ("affiliate", "1001", "X"),
        ("affiliate", "1001", "--clear"),
    ],
)
def test_a_doubt_in_a_sandbox_names_no_command(words: tuple[str, ...], shell: Shell, shop: Sandbox) -> None:
    """With ``--sandbox``, an unknown outcome names no command, which would go to the real customer with that id."""
    shell.patch.setattr("shopsdk._api.balance._SEARCH_PAUSES", (0.0,))
    shell.patch.setattr("shopsdk._http.session.Clock", lambda: Clock(sleep=at_once))
    lossy = partial(Sandbox, faults=[Fault("drop_before", method=method) for method in ("POST", "PUT")])
    shell.patch.setattr("shopsdk.sandbox.Sandbox", lossy)
    ended = shell.run(*words, "--sandbox")
    assert ended.code == 4
    doubt = ended.err.partition("It is not known whether ")[2].splitlines()
    assert doubt[1:] == ["The sandbox ends with this command, and its shop with it; nothing real was changed"]
    assert not shop.requests


def test_transactions_are_listed(shell: Shell) -> None:
    """``transactions`` lists the ledger, money as text in JSON."""
    assert "no balance transactions" in shell.run("transactions", "1001").err
    shell.run("balance", "1001", "2.50", "--description", "Goodwill", "--yes")
    assert "Goodwill" in shell.run("transactions", "1001").out
    assert json.loads(shell.run("transactions", "1001", "--json").out)[0]["amount"] == "2.50"


def test_rejections_by_the_shop_have_their_code(shell: Shell) -> None:
    """A rejection by the shop is exit code 3, and the message of a wrong key does not show the key."""
    shell.patch.setenv("SHOPSDK_API_KEY", "wrong")
    ended = shell.run("customer", "1001")
    assert (ended.code, ended.out) == (3, "")
    assert "401" in ended.err
    assert "is SHOPSDK_API_KEY the key of your account?" in ended.err
    assert "wrong" not in ended.err


@pytest.mark.parametrize(
    "words",
    [
        ("customer", "99"),
        ("transactions", "99"),
        ("balance", "99", "5", "--yes"),
        ("balance", "99", "5", "--yes", "--reference", "r-1"),
        ("affiliate", "99", "X"),
    ],
)
def test_a_customer_or_a_shop_that_is_missing_is_named(words: tuple[str, ...], shell: Shell) -> None:
    """A 404 of the API names the customer, and the shop, since the API answers the same for either."""
    for shop_id, more in (("38", ()), ("39", ("--shop-id", "39"))):
        ended = shell.run(*words, *more)
        no_shop = f"the account of this key has no shop {shop_id} (404)"
        assert (ended.code, ended.out) == (3, "")
        assert ended.err == f"shopsdk: shop {shop_id} has no customer 99, or {no_shop}\n"


def test_a_list_of_a_missing_shop_names_the_shop(shell: Shell) -> None:
    """A 404 of the API to a list names the shop."""
    ended = shell.run("customers", "--shop-id", "39")
    assert (ended.code, ended.err) == (3, "shopsdk: the account of this key has no shop 39 (404)\n")


@pytest.mark.parametrize(
    "words", [("customer", "1001"), ("customers",), ("export", "c.csv", "--shop-id", "38", "--shop-id", "39")]
)
def test_a_base_url_without_v1_is_named(words: tuple[str, ...], shell: Shell, shop: Sandbox) -> None:
    """A 404 where SHOPSDK_BASE_URL does not end in /v1 is told with that address, once."""
    address = shop.base_url.removesuffix("/v1")
    shell.patch.setenv("SHOPSDK_BASE_URL", address)
    ended = shell.run(*words)
    note = f"\nSHOPSDK_BASE_URL leads to {address}, but the API's own address ends in /v1\n"
    assert (ended.code, ended.err.count(note)) == (3, 1)


def test_a_404_of_another_than_the_api_is_left_as_it_is() -> None:
    """A 404 without the API's JSON, or of another route, names no customer and no shop."""
    message = "GET /shops/38/customers/99 answered 404, with a web page"
    page = NotFoundError(message, status=404, path="/shops/38/customers/99", body="<html>")
    assert format_error(page) == message
    assert format_error(NotFoundError(message, status=404, path="/coupons/1", body='{"message": ""}')) == message


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


@pytest.mark.parametrize("words", [("customer", "42"), ("transactions", "42"), ("balance", "42", "5"),
                                   ("affiliate", "42", "X"), ("customer", ADA), ("balance", ADA, "5")])  # fmt: skip
def test_a_sandbox_names_its_first_customer(words: tuple[str, ...], shell: Shell) -> None:
    """If the customer is not in the sandbox, the message names the first who is."""
    ended = shell.run(*words, "--sandbox")
    assert ended.code == 3
    hint = re.search(r"\nThe first customer of the sandbox is (\d+), (\S+)\n$", ended.err)
    assert hint is not None
    for who in hint.groups():
        assert json.loads(shell.run("customer", who, "--sandbox", "--json").out)["email"] == hint[2]
    assert shell.run(*words, "--sandbox", "--debug").err.count("The first customer") == 1
    assert "The first customer" not in shell.run("customer", "42").err


def test_a_sandbox_says_what_it_keeps(shell: Shell) -> None:
    """Each run of ``--sandbox`` says that it keeps nothing and how to have a shop that lasts; ``--quiet`` does not."""
    first = shell.run("customers", "--sandbox")
    assert "each run has the same customers" in first.err
    assert "It ends with this command. For a shop that lasts: shopsdk sandbox" in first.err
    assert max(map(len, first.err.splitlines())) < 80
    shell.run("balance", "1001", "5", "--sandbox")
    assert shell.run("customers", "--sandbox") == first
    assert shell.run("export", "c.csv", "--sandbox", "--quiet").err == ""


def test_one_is_no_plural(shell: Shell) -> None:
    """A noun beside 1 is singular."""
    with Sandbox(1) as one:
        shell.enter(one)
        assert shell.run("customers").err == "page 1 of 1, 1 customer in all\n"
        assert (
            shell.run("customers", "--page", "2").err == "there is no page 2: the last is page 1, 1 customer in all\n"
        )
        assert re.match(r"1 customer in [\d.]+ s \(1 page, 1 request\): ", shell.run("export", "c.csv").err)
        (shell.folder / "ids.txt").write_text("38\n")
        ended = shell.run("export", "many.csv", "--shop-ids-file", "ids.txt")
        assert "shop 38: 1 customer in " in ended.err
        assert "\n1 customer of 1 shop: " in ended.err
        (shell.folder / "ids.txt").write_text("39\n")
        assert "\n1 of 1 shop failed. " in shell.run("export", "no.csv", "--shop-ids-file", "ids.txt").err


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
