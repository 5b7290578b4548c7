"""The command ``export``."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from shopsdk.cli import _options as given
from shopsdk.cli._reach import Reach, ending, sentence, usage
from shopsdk.cli._run import STDOUT, Run
from shopsdk.export import IfExists


def export(
    *,
    out: Annotated[
        str,
        typer.Argument(
            metavar="OUT",
            help="The file, ending in .ndjson, .csv or .parquet (the first two also with .gz or .zst behind), or - for"
            " stdout. With {shop_id} in its name, every shop has its own; without, many shops share it, with a"
            " column shop_id.",
        ),
    ],
    form: Annotated[
        Literal["ndjson", "csv", "parquet"] | None,
        typer.Option("--format", help="The format; absent, from the ending."),
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Which columns, in this order, with commas in between.", metavar="A,B,...")
    ] = None,
    bom: Annotated[bool, typer.Option("--bom", help="Begin CSV with a byte order mark, for Excel.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an export that was interrupted.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there already.")] = False,
    concurrency: Annotated[int, typer.Option(min=1, help="Pages of a shop in flight at most.")] = 4,
    per_page: Annotated[int, typer.Option(min=1, max=100, help="Customers to a request.")] = 100,
    shop_ids: Annotated[
        list[int] | None,
        typer.Option("--shop-id", min=1, help="A shop; again for more. Absent, from SHOPSDK_SHOP_ID."),
    ] = None,
    shop_ids_file: Annotated[
        Path | None, typer.Option(help="A file of shop ids, one a line.", exists=True, dir_okay=False)
    ] = None,
    shops_at_once: Annotated[int, typer.Option(min=1, help="Shops under way at a time.")] = 4,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
    json_summary: Annotated[
        bool, typer.Option("--json-summary", help="Print a summary as JSON: to stdout, or to stderr if OUT is -.")
    ] = False,
    order_column: given.OrderBy = "id",
    order_direction: given.Direction = "asc",
    customer_id: given.ById = None,
    email: given.ByEmail = None,
    discord_id: given.ByDiscordId = None,
    discord_username: given.ByDiscordName = None,
    subscribed: given.Subscribed = None,
    affiliate_code: given.ByCode = None,
    affiliate_referrer_email: given.ByReferrer = None,
    list_params: given.ListParams = "both",
    rate_limit: given.Limit = None,
    sandbox: given.InSandbox = False,
    sandbox_customers: Annotated[
        int | None, typer.Option(min=0, help="With --sandbox: how many customers to make up.", show_default="250")
    ] = None,
    debug: given.Debug = False,
) -> None:
    """Export every customer, of one shop or of many, into a file.

    The file has its name only when it is whole. Until then it is OUT.part, and if anything interrupts the export, the
    same command with --resume goes on where it was.
    """
    _check_sandbox(sandbox=sandbox, customers=sandbox_customers, file=shop_ids_file)
    shops = _shops(shop_ids, shop_ids_file)
    options: dict[str, Any] = {
        "format": form,
        "columns": None if columns is None else [name.strip() for name in columns.split(",")],
        "bom": bom,
        "concurrency": concurrency,
        "per_page": per_page,
        "order_column": order_column,
        "order_direction": order_direction,
        **given.filters_of(
            id=customer_id,
            email=email,
            discord_id=discord_id,
            discord_username=discord_username,
            subscribed=subscribed,
            affiliate_code=affiliate_code,
            affiliate_referrer_email=affiliate_referrer_email,
        ),
    }
    if out == STDOUT and (resume or len(shops) > 1):
        usage("to stdout goes one shop at a time, from its beginning: --resume and several shops need a file")
    # Nothing in a sandbox is real, but the file that is there may be: only the very same bytes may be replaced unasked.
    if_exists: IfExists = "replace" if force else "same" if sandbox else "refuse"
    files = {} if out == STDOUT else {"resume": resume, "if_exists": if_exists}
    # A list in a file gives the same kind of file and summary, however many shops it names today.
    many = len(shops) > 1 or (shop_ids_file is not None and out != STDOUT)
    run = Run(out=out, shops=shops, quiet=quiet, json_summary=json_summary, debug=debug, options=options | files)
    reach = Reach(
        shop_id=shops[0] if shops else None,
        sandbox=sandbox,
        sandbox_customers=sandbox_customers,
        list_params=list_params,
        rate_limit=given.rate_limit_of(rate_limit),
        max_in_flight=max(16, concurrency * min(len(shops) or 1, shops_at_once)),
    )
    with ending(debug=debug):
        if many:
            run.tell_many(reach.run(run.many(shops_at_once)))
        else:
            run.tell_one(reach.run(run.one))


def _check_sandbox(*, sandbox: bool, customers: int | None, file: Path | None) -> None:
    """Refuse what is for a sandbox without one, and what is for real shops with one."""
    if customers is not None and not sandbox:
        usage("--sandbox-customers is for --sandbox: without it, the shop is a real one")
    if file is not None and sandbox:
        usage("--shop-ids-file is for real shops: the sandbox has one of its own")


def _shops(named: list[int] | None, file: Path | None) -> list[int]:
    """Put the shops together, each once, in the order given."""
    shops = list(named or [])
    if file is not None:
        for number, line in enumerate(_lines(file), 1):
            text = line.partition("#")[0].strip()
            if not text:
                continue
            if not (text.isascii() and text.isdigit() and int(text) > 0):
                usage(f"{file}, line {number}: a shop's id is a whole number, from 1")
            shops.append(int(text))
        if not shops:
            usage(f"{file} names no shop")
    return list(dict.fromkeys(shops))


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()  # what Windows writes begins with a mark
    except (OSError, UnicodeDecodeError) as error:
        usage(f"{file} cannot be read: {sentence(error)}")
