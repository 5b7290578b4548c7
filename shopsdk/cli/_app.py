"""The commands, with their examples."""

from collections.abc import Callable
from typing import Annotated

import typer
from typer.core import TyperCommand

from shopsdk import __version__
from shopsdk.cli._export import export
from shopsdk.cli._options import AmountCommand, Group
from shopsdk.cli._read import customer, customers, transactions
from shopsdk.cli._serve import sandbox
from shopsdk.cli._write import affiliate, balance

_EPILOG = """\b
The key comes from the environment: SHOPSDK_API_KEY, with SHOPSDK_SHOP_ID and, if need be,
SHOPSDK_BASE_URL. Or a file has them, written as a .env:
    shopsdk customers --env-file shop.env
Without an account, try --sandbox:
    shopsdk export --sandbox customers.csv

\b
Exit codes: 0 all of it was done   1 failed   2 wrong command   3 refused by the shop
            4 a change may or may not have been made
            130 stopped by Ctrl-C   143 by SIGTERM   129 by SIGHUP   131 by SIGQUIT
            141 the reader of the output went away
A change that is known to be made is 0, whatever fails after it.
"""

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    epilog=_EPILOG,
    # Plain text, so that a message stays one sentence in a log file.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
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
    """Read and edit the customers of a shop."""


def _add(command: Callable[..., None], *examples: str, cls: type[TyperCommand] | None = None) -> None:
    """Add a command with its examples, each on a line of its own."""
    # A line that is a lone backspace keeps the lines below it as they are.
    epilog = "\n".join(["\b", *(f"Example: {example}" for example in examples)])
    app.command(cls=cls, epilog=epilog)(command)


_add(
    export,
    "shopsdk export customers.csv",
    "shopsdk export --shop-id 38 --shop-id 39 'customers-{shop_id}.parquet'",
    "shopsdk export --env-file 38.env --env-file 39.env 'customers-{shop_id}.csv'",
    "shopsdk export - --subscribed --columns id,email | head",
)
_add(
    customers,
    "shopsdk customers --email @example.com --order-column balance --order-direction desc",
)
_add(
    customer,
    "shopsdk customer 1042 --json",
    "shopsdk customer ada@example.com",
)
_add(
    transactions,
    "shopsdk transactions 1042",
)
_add(
    balance,
    'shopsdk balance 1042 -5.00 --reference refund-1187 --description "Order 1187, refunded"',
    cls=AmountCommand,
)
_add(
    affiliate,
    "shopsdk affiliate 1042 SUMMER25",
    "shopsdk affiliate 1042 --clear",
)
_add(
    sandbox,
    "shopsdk sandbox --customers 10000 --rate-limit 60/60",
)
