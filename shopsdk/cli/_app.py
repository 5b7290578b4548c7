"""The commands, with their help and examples. Help is no docstring: ``python -OO`` has none."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from shopsdk import __version__
from shopsdk.cli._export import export
from shopsdk.cli._options import Command, Group
from shopsdk.cli._read import customer, customers, transactions
from shopsdk.cli._serve import sandbox
from shopsdk.cli._write import affiliate, balance

_EPILOG = """The key comes from the environment: SHOPSDK_API_KEY, with SHOPSDK_SHOP_ID and, if need be,
SHOPSDK_BASE_URL. Or a file has them, written as a .env. Without an account, try --sandbox.

\b
Example: shopsdk customers --env-file shop.env
Example: shopsdk export --sandbox customers.csv
Example: shopsdk help export

\b
Exit codes:
    0  all of it was done; a change was made, whatever failed after it
    1  failed
    2  wrong command
    3  refused by the shop
    4  a change may or may not have been made
  130  stopped by Ctrl-C
  143  stopped by SIGTERM; 129 by SIGHUP, 131 by SIGQUIT
  141  the reader of the output went away
"""

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="Read and edit the customers of a shop.",
    epilog=_EPILOG,
    # Plain text, so that a message stays one sentence in a log file.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:  # noqa: FBT001 - a callback of fixed shape
    if value:
        typer.echo(f"shopsdk {__version__}")
        raise typer.Exit


@app.callback()
def shopsdk(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Begin the command."""


def _complete(context: typer.Context, incomplete: str) -> list[str]:
    group: Any = context.find_root().command
    return [name for name in group.list_commands(context) if name.startswith(incomplete)]


def help_(
    *,
    context: typer.Context,
    command: Annotated[
        str | None, typer.Argument(metavar="COMMAND", autocompletion=_complete, help="The command.")
    ] = None,
) -> None:
    """Show the help of a command, or of all of it."""
    whole = context.find_root()
    group: Any = whole.command
    if command in {None, "help"}:
        typer.echo(whole.get_help())
        return
    name, found, _ = group.resolve_command(whole, [command])
    typer.echo(found.get_help(found.make_context(name, [], parent=whole, resilient_parsing=True)))


def _add(command: Callable[..., None], summary: str, *examples: str, more: str = "") -> None:
    """Add a command.

    Args:
        command: the function.
        summary: one sentence, which ``shopsdk --help`` shows too; it has room for 64 characters there.
        examples: the examples, each on a line of its own.
        more: the rest of its help.
    """
    # A line that is a lone backspace keeps the lines below it as they are.
    epilog = "\n".join(["\b", *(f"Example: {example}" for example in examples)])
    name = command.__name__.removesuffix("_")
    app.command(name, cls=Command, help=f"{summary}\n\n{more}", short_help=summary, epilog=epilog)(command)


_add(
    export,
    "Export every customer of one shop or of many into a file.",
    "shopsdk export customers.csv",
    "shopsdk export --shop-id 38 --shop-id 39 'shop-{shop_id}.parquet'",
    "shopsdk export --env-file 38.env --env-file 39.env '{shop_id}.csv'",
    "shopsdk export - --subscribed --columns id,email | head",
    more="The file gets its name only when it is whole; until then it is .OUT.part, a hidden file beside it. If the"
    " export is interrupted, the same command with --resume goes on where it stopped.",
)
_add(
    customers,
    "List one page of customers.",
    "shopsdk customers --email @example.com --order-column balance",
    "shopsdk customers --page 2 --json",
    more="Text filters match anywhere in the text. For all pages: shopsdk export.",
)
_add(
    customer,
    "Show one customer.",
    "shopsdk customer 1042 --json",
    "shopsdk customer ada@example.com",
)
_add(
    transactions,
    "Show a customer's balance transactions, newest first.",
    "shopsdk transactions 1042",
    "shopsdk transactions ada@example.com",
)
_add(
    balance,
    "Add to a customer's balance, or deduct from it.",
    "shopsdk balance 1042 5.00 --description 'Goodwill'",
    "shopsdk balance ada@example.com -5.00 --reference order-1187",
    "shopsdk balance 1042 -5.00 --reference order-1187 --yes",
    more="It shows whose balance it is and asks first; --sandbox and --yes ask nothing. It sends the edit at most once."
    " The exit code is 0 once the balance is known to be changed, whatever fails after that.",
)
_add(
    affiliate,
    "Set a customer's affiliate code, or clear it.",
    "shopsdk affiliate 1042 SUMMER25",
    "shopsdk affiliate ada@example.com --clear",
    more="With an e-mail address, it shows whose code it is and asks first.",
)
_add(
    sandbox,
    "Serve made-up shops on this machine until Ctrl-C.",
    "shopsdk sandbox --customers 10000 --rate-limit 60/60",
    more="It prints the environment variables that lead there, to be pasted into another shell. The key is random each"
    " time; set SHOPSDK_SANDBOX_KEY to choose one.",
)
_add(
    help_,
    "Show the help of a command.",
    "shopsdk help export",
)
