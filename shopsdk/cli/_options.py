"""The options that commands share."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, cast

import typer
from typer.core import TyperCommand, TyperGroup

from shopsdk import CustomerFilters, OrderColumn, OrderDirection, RateLimit
from shopsdk.cli._env_file import read_env_files
from shopsdk.cli._runner import Runner, usage

ShopId = Annotated[
    int | None, typer.Option("--shop-id", min=1, help="The shop; default: SHOPSDK_SHOP_ID.", show_default=False)
]
EnvFile = Annotated[
    str | None,
    typer.Option(
        "--env-file",
        metavar="FILE",
        help="Take SHOPSDK_API_KEY, and SHOPSDK_SHOP_ID and SHOPSDK_BASE_URL if it has them, from this file, written as"
        " a .env. It wins over the environment, and --shop-id wins over it.",
    ),
]
EnvFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--env-file",
        metavar="FILE",
        help="Take SHOPSDK_API_KEY, and SHOPSDK_SHOP_ID and SHOPSDK_BASE_URL if it has them, from this file, written as"
        " a .env. It wins over the environment, and --shop-id wins over it. If each shop has a key of its own, repeat"
        " --env-file, and name the shop in each file; or write {shop_id} in FILE, and give each --shop-id.",
    ),
]
InSandbox = Annotated[
    bool, typer.Option("--sandbox", help="Use an embedded shop with made-up customers; no key is needed.")
]
Debug = Annotated[bool, typer.Option("--debug", help="On failure, show the traceback.")]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Print each request, retry and wait, and the proxy, if there is one."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ListParams = Annotated[
    Literal["both", "body", "query"],
    typer.Option(
        help="Where lists carry their parameters. In the query, filters appear in URLs and access logs. In the body"
        " alone, some proxies drop them, and some caches ignore them."
    ),
]
Limit = Annotated[
    str | None,
    typer.Option(
        "--rate-limit",
        metavar="N[/SECONDS]",
        help="Send at most N requests per SECONDS, by each key; default: per second.",
    ),
]
OrderBy = Annotated[OrderColumn, typer.Option("--order-column", help="The column to order by.")]
Direction = Annotated[OrderDirection, typer.Option("--order-direction", help="Ascending or descending.")]

ById = Annotated[int | None, typer.Option("--id", help="Only this customer id.")]
ByEmail = Annotated[str | None, typer.Option("--email", help="Only with this text in the e-mail address.")]
ByDiscordId = Annotated[str | None, typer.Option("--discord-id", help="Only with this text in the Discord id.")]
ByDiscordName = Annotated[
    str | None, typer.Option("--discord-username", help="Only with this text in the Discord name.")
]
Subscribed = Annotated[
    bool | None,
    typer.Option("--subscribed/--not-subscribed", help="Only customers who take the newsletter, or who do not."),
]
ByCode = Annotated[str | None, typer.Option("--affiliate-code", help="Only with this text in the affiliate code.")]
ByReferrer = Annotated[
    str | None,
    typer.Option("--affiliate-referrer-email", help="Only with this text in the referrer's e-mail address."),
]

_SECRETS = ("--api-key", "--apikey", "--key", "--token")


def filters_of(**given: Any) -> CustomerFilters:
    """Return the filters that were given."""
    return cast(CustomerFilters, {name: value for name, value in given.items() if value is not None})


def rate_limit_of(text: str | None) -> RateLimit | None:
    """Read a rate limit such as ``60/60`` or ``5``."""
    if text is None:
        return None
    most, _, seconds = text.partition("/")
    try:
        return RateLimit(int(most), float(seconds or 1))
    except ValueError:
        why = "it must be requests per seconds, such as 60/60 or 5"
        raise typer.BadParameter(why, param_hint="--rate-limit") from None


def runner_of(shop_id: int | None, env_file: str | None, *, sandbox: bool, list_params: ListParams = "both") -> Runner:
    """Make the runner of a command that is for one shop.

    Raises:
        ValueError: the file cannot be used.
    """
    paths = [] if env_file is None else [env_file]
    check_env_files(paths, sandbox=sandbox)
    env_files = read_env_files(paths, [] if shop_id is None else [shop_id])
    return Runner(shop_id=shop_id, sandbox=sandbox, env_files=env_files, list_params=list_params)


def check_env_files(paths: Sequence[str], *, sandbox: bool) -> None:
    """Refuse a file with a key beside a sandbox."""
    if paths and sandbox:
        usage("--env-file is for real shops: the sandbox has a key of its own")


class Group(TyperGroup):
    """The command itself; it takes no secret as an argument."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse a key on the command line, without repeating it."""
        if any(arg.partition("=")[0] in _SECRETS for arg in args):
            usage(
                "the key is taken only from the environment variable SHOPSDK_API_KEY, or from --env-file: every user of"
                " this machine can read a command line"
            )
        return super().parse_args(ctx, args)


class AmountCommand(TyperCommand):
    """A command with an amount among its arguments; a negative amount is no option.

    click's own ``ignore_unknown_options`` would take ``-y5`` for ``--yes`` and the amount -5.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the options first and the arguments behind a ``--``, so that a number is never taken for an option."""
        with_value = {
            name
            for param in self.params
            if not getattr(param, "is_flag", False)
            for name in param.opts
            if name.startswith("-")
        }
        options: list[str] = []
        arguments: list[str] = []
        rest = iter(args)
        for arg in rest:
            if arg == "--":
                arguments += rest
            elif arg in with_value:
                options += [arg, *[value for value in [next(rest, None)] if value is not None]]
            elif arg.startswith("-") and arg != "-" and not _is_number(arg):
                options.append(arg)
            else:
                arguments.append(arg)
        return super().parse_args(ctx, [*options, "--", *arguments])


def _is_number(text: str) -> bool:
    digits = text.removeprefix("-").replace(".", "", 1).replace(",", "")
    return digits.isascii() and digits.isdigit()
