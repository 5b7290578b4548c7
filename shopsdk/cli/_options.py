"""The options that commands share, and how a command line is read."""

import difflib
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Literal, cast, get_args

import typer
from typer.core import TyperCommand, TyperGroup

from shopsdk import CustomerFilters, OrderColumn, OrderDirection, RateLimit
from shopsdk.cli._env_file import read_env_files
from shopsdk.cli._runner import Runner, WrongCommandError, tell_wait, usage

_MAX_ID = 2**63 - 1
_PLACES = ("both", "body", "query")


def whole_number(minimum: int, maximum: int = _MAX_ID) -> Callable[[object], int]:
    """Make a parser of whole numbers with these bounds."""

    def parse(given: object) -> int:
        text = str(given)  # typer parses defaults too
        number = int(text) if re.fullmatch("-?[0-9]{1,30}", text) else minimum - 1
        if minimum <= number <= maximum:
            return number
        end = f" to {maximum}" if maximum != _MAX_ID or number > maximum else ""
        raise WrongCommandError(f"must be a whole number from {minimum}{end}, not {text!r}")

    return parse


def one_of(names: Sequence[str]) -> Callable[[str], str]:
    """Make a parser of these names."""

    def parse(given: str) -> str:
        if given in names:
            return given
        near = difflib.get_close_matches(given, names, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise WrongCommandError(f"must be {', '.join(names[:-1])} or {names[-1]}, not {given!r}{hint}")

    return parse


PerPage = Annotated[int, typer.Option(metavar="N", parser=whole_number(1, 100), help="Customers per page, 1 to 100.")]
ShopId = Annotated[
    int | None,
    typer.Option("--shop-id", metavar="ID", parser=whole_number(1), help="The shop.", show_default="SHOPSDK_SHOP_ID"),
]
_FROM_FILE = (
    "Take SHOPSDK_API_KEY from this file, written as a .env, and SHOPSDK_SHOP_ID and SHOPSDK_BASE_URL if it has them."
    " It wins over the environment, and --shop-id wins over it."
)
EnvFile = Annotated[str | None, typer.Option("--env-file", metavar="FILE", help=_FROM_FILE)]
EnvFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--env-file",
        metavar="FILE",
        help=f"{_FROM_FILE} If the shops belong to several accounts, repeat --env-file, and name the shop in each"
        " file; or write {shop_id} in FILE, and give each --shop-id.",
    ),
]
InSandbox = Annotated[
    bool,
    typer.Option(
        "--sandbox",
        help="Use a made-up shop that ends with this command; no key is needed. Each run has the same customers, with"
        " ids from 1001. For a shop that lasts longer: shopsdk sandbox, with --database to keep it in a file.",
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of a failure.")]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        help="Print each request (its route, without ids), each retry with its reason and wait, and the proxy if there"
        " is one.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ListParams = Annotated[
    Literal["both", "body", "query"],
    typer.Option(
        metavar="|".join(_PLACES),
        parser=one_of(_PLACES),
        help="Send the parameters of lists in the body, in the query, or in both. In the query, filters appear in URLs"
        " and access logs. In the body alone, some proxies drop them, and some caches ignore them.",
    ),
]
Limit = Annotated[
    str | None,
    typer.Option(
        "--rate-limit",
        metavar="N[/SECONDS]",
        help="Send at most N requests per SECONDS with each key; without /SECONDS, per second.",
        show_default="no limit",
    ),
]
OrderBy = Annotated[
    OrderColumn,
    typer.Option(
        "--order-column",
        metavar="COLUMN",
        parser=one_of(get_args(OrderColumn)),
        help=f"The column to order by: {', '.join(get_args(OrderColumn))}.",
    ),
]
Direction = Annotated[
    OrderDirection,
    typer.Option(
        "--order-direction",
        metavar="|".join(get_args(OrderDirection)),
        parser=one_of(get_args(OrderDirection)),
        help="Ascending or descending.",
    ),
]

ById = Annotated[
    int | None,
    typer.Option("--id", metavar="ID", parser=whole_number(1), help="Only the customer with this id."),
]


def _text_filter(option: str, of: str) -> Any:
    return typer.Option(option, metavar="TEXT", help=f"Only customers with this text in {of}.")


ByEmail = Annotated[str | None, _text_filter("--email", "the e-mail address")]
ByDiscordId = Annotated[str | None, _text_filter("--discord-id", "the Discord id")]
ByDiscordName = Annotated[str | None, _text_filter("--discord-username", "the Discord name")]
Subscribed = Annotated[
    bool | None,
    typer.Option("--subscribed/--not-subscribed", help="Only customers who take the newsletter, or who do not."),
]
ByCode = Annotated[str | None, _text_filter("--affiliate-code", "the affiliate code")]
ByReferrer = Annotated[str | None, _text_filter("--affiliate-referrer-email", "the referrer's e-mail address")]

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
        usage(f"--rate-limit must be requests per seconds, such as 60/60 or 5, not {text!r}")


def runner_of(
    shop_id: int | None, env_file: str | None, *, sandbox: bool, verbose: bool, list_params: ListParams = "both"
) -> Runner:
    """Make the runner of a command that is for one shop.

    Raises:
        ValueError: the file cannot be used.
    """
    paths = [] if env_file is None else [env_file]
    check_env_files(paths, sandbox=sandbox)
    env_files = read_env_files(paths, [] if shop_id is None else [shop_id])
    return Runner(
        shop_id=shop_id,
        sandbox=sandbox,
        env_files=env_files,
        list_params=list_params,
        on_event=None if verbose else tell_wait,  # the log tells it too
    )


def check_env_files(paths: Sequence[str], *, sandbox: bool) -> None:
    """Refuse a file with a key beside a sandbox."""
    if paths and sandbox:
        usage("--env-file is for real shops: the sandbox has a key of its own")


class Group(TyperGroup):
    """The command itself; it takes no secret as an argument."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse a key on the command line, without repeating it, and an option of a command before its name."""
        if any(arg.partition("=")[0] in _SECRETS for arg in args):
            usage(
                "the key is taken only from the environment variable SHOPSDK_API_KEY, or from --env-file: every user of"
                " this machine can read a command line"
            )
        first = args[0].partition("=")[0] if args else ""
        if first in _options(cast("list[Any]", self.commands.values())) - _options([self]):
            usage(f"{first} is an option of a command: it goes behind the command's name")
        ctx.terminal_width = min(max(shutil.get_terminal_size().columns, 40), 100) - 2  # typer's own minimum is 50
        return super().parse_args(ctx, args)


def _options(commands: Iterable[Any]) -> set[str]:
    """Return the options of commands, but for those for help."""
    params = [param for command in commands for param in command.params if param.param_type_name == "option"]
    return {name for param in params for name in (*param.opts, *param.secondary_opts)}


class Command(TyperCommand):
    """A command whose help is plain text, and in which a number is never an option, negative amounts included.

    click's own ``ignore_unknown_options`` would take ``-y5`` for ``--yes`` and the amount -5.
    """

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Name an argument as messages do: braces stand for a place in a file's name here."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """List arguments and options. Their help has the bounds in words; only the default is added."""
        for title in ("Argument", "Option"):
            params = [param for param in self.get_params(ctx) if param.param_type_name == title.lower()]
            if params:
                with formatter.section(f"{title}s"):
                    rows = [(_name(param), f"{param.help}{_default(param)}") for param in cast("list[Any]", params)]
                    formatter.write_dl(rows, col_max=30 if formatter.width >= 70 else 8)

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
                value = next(rest, None)
                if value is None:  # click refuses this; it would take the -- for the value
                    return super().parse_args(ctx, [*options, arg])
                options += [arg, value]
            elif arg.startswith("-") and arg != "-" and not re.match(r"--?[.,]?[0-9]", arg):
                options.append(arg)
            else:
                arguments.append(arg)
        return super().parse_args(ctx, [*options, "--", *arguments])


def _name(param: Any) -> str:
    if param.param_type_name == "argument":
        return str(param.metavar)
    names = ", ".join(sorted(param.opts, key=len))
    if param.is_flag:
        return " / ".join([names, *param.secondary_opts])
    return f"{names} {param.metavar or param.name.upper()}"


def _default(param: Any) -> str:
    shown = param.show_default
    if shown is True:
        shown = None if getattr(param, "is_flag", False) else param.default
    return "" if shown is None or shown is False else f" [default: {shown}]"
