"""The command ``export``."""

import asyncio
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, get_args

import attrs
import msgspec
import typer

from shopsdk import AsyncSession
from shopsdk.cli import _options as given
from shopsdk.cli._env_file import read_env_files
from shopsdk.cli._progress import view
from shopsdk.cli._runner import (
    Quit,
    Runner,
    WrongCommandError,
    exit_code,
    exit_with_code,
    explain,
    format_error,
    shell_line,
    usage,
)
from shopsdk.cli._signals import signals
from shopsdk.cli._stdio import counted, data_output, put, say
from shopsdk.export import (
    COLUMNS,
    ExportProgress,
    ExportSummary,
    Format,
    IfExists,
    ShopsSummary,
    export_customers,
    export_shops,
)

STDOUT = "-"


@attrs.define(kw_only=True)
class ExportRun:
    """One export: its arguments, and what was written so far."""

    out: str
    shops: Sequence[int]
    quiet: bool
    json_summary: bool
    debug: bool
    options: dict[str, Any]
    _written: dict[int | None, int] = attrs.Factory(dict[int | None, int])

    async def export_one(self, session: AsyncSession, shop_id: int) -> ExportSummary:
        """Export one shop."""
        to_stdout = self.out == STDOUT
        with (
            self._resumable(),  # outside, so that it prints below the bar
            view(quiet=self.quiet, data_on_terminal=to_stdout and sys.stdout.isatty()) as shown,
        ):

            def show(progress: ExportProgress) -> None:
                self._written[progress.shop_id] = progress.rows
                shown.show(progress)

            with data_output() if to_stdout else nullcontext(self.out) as destination:
                return await export_customers(session, destination, shop_id=shop_id, on_progress=show, **self.options)

    def print_one(self, made: ExportSummary) -> None:
        """Print the summary of one shop."""
        self._sum_up(_facts(made))
        if not self.quiet:
            where = "stdout" if made.path is None else str(made.path)
            say(f"{_count(made)} in {_effort(made)}: {where} ({_size(made.bytes)})")

    async def export_many(
        self, session_or_connect: AsyncSession | Callable[[int], AsyncSession], shops_at_once: int
    ) -> ShopsSummary:
        """Export many shops."""
        with self._resumable(), view(quiet=self.quiet) as shown:

            def show(progress: ExportProgress) -> None:
                self._written[progress.shop_id] = progress.rows
                shown.show(progress)

            base_urls: dict[int, str] = {}
            source = session_or_connect
            if isinstance(source, AsyncSession):
                base_urls = dict.fromkeys(self.shops, source.base_url)
            else:
                source = _noting(source, base_urls)
            made = await export_shops(
                source, self.out, self.shops, shops_at_once=shops_at_once, on_progress=show, **self.options
            )
            for shop_id, error in made.failed.items():
                explain(error, base_urls.get(shop_id, ""))
            return made

    def print_many(self, made: ShopsSummary) -> None:
        """Print the summary of many shops.

        Raises:
            Quit: some of them failed.
        """
        self._sum_up(_many_facts(made))
        if not self.quiet:
            for shop_id, summary in made.shops.items():
                kept = "read" if summary.path is None else str(summary.path)
                say(f"shop {shop_id}: {_count(summary)} in {_effort(summary)}: {kept}")
            if made.path is not None:
                of = f"{counted(made.rows, 'customer')} of {counted(len(made.shops), 'shop')}"
                say(f"{of}: {made.path} ({_size(made.bytes)})")
        if made.failed:
            for shop_id, error in made.failed.items():
                say(f"shopsdk: shop {shop_id}: {format_error(error)}")
                if self.debug:
                    traceback.print_exception(error)
            notes = [note for error in made.failed.values() for note in getattr(error, "__notes__", ())]
            for note in dict.fromkeys(notes):  # most often, all shops have the same
                say(*note.split("\n"))
            failed = f"{len(made.failed)} of {counted(len(self.shops), 'shop')} failed"
            say(*f"{failed}. {self._how_to_go_on()}".split("\n"))
            codes = {exit_code(error) for error in made.failed.values()}
            raise Quit(codes.pop() if len(codes) == 1 else 1)

    def _resumable(self) -> "_Resumable":
        return _Resumable(self)

    def how_to_go_on(self) -> str | None:
        """Return how to resume the export; None if nothing was kept."""
        rows = sum(self._written.values())
        if self.out == STDOUT or not rows:
            return None
        kept = f"{counted(rows, 'customer')} {'is' if rows == 1 else 'are'} kept"
        return f"{kept}. {self._how_to_go_on()}"

    def _how_to_go_on(self) -> str:
        words = [word for word in sys.argv[1:] if word != "--resume"]
        words.insert(words.index("--") if "--" in words else len(words), "--resume")
        return f"To go on from there:\n  {shell_line('shopsdk', *words)}"

    def _sum_up(self, facts: dict[str, Any]) -> None:
        if self.json_summary:
            line = msgspec.json.encode(facts).decode()
            if self.out == STDOUT:
                say(line)
            else:
                put(f"{line}\n")


def _noting(connect: Callable[[int], AsyncSession], base_urls: dict[int, str]) -> Callable[[int], AsyncSession]:
    """Make a function that also notes the base URL of each shop's session."""

    def connect_and_note(shop_id: int) -> AsyncSession:
        session = connect(shop_id)
        base_urls[shop_id] = session.base_url
        return session

    return connect_and_note


class _Resumable:
    """A context that tells how to resume the export, if an error or a signal ends it."""

    def __init__(self, run: ExportRun) -> None:
        self._run = run

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is None or isinstance(error, BrokenPipeError | FileExistsError):
            return
        hint = self._run.how_to_go_on()
        if hint is None:
            return
        if isinstance(error, asyncio.CancelledError):
            say(*f"shopsdk: stopped. {hint}".split("\n"))
            raise Quit(signals.code) from None
        error.add_note(hint)


def _facts(summary: ExportSummary) -> dict[str, Any]:
    facts = attrs.asdict(summary)
    return facts | {"path": None if summary.path is None else str(summary.path)}


def _many_facts(made: ShopsSummary) -> dict[str, Any]:
    return {
        "path": None if made.path is None else str(made.path),
        "rows": made.rows,
        "bytes": made.bytes,
        "shops": {str(shop_id): _facts(summary) for shop_id, summary in made.shops.items()},
        "failed": {str(shop_id): format_error(error) for shop_id, error in made.failed.items()},
    }


def _count(summary: ExportSummary) -> str:
    resumed = f" ({summary.resumed:,} of them by an earlier run)" if summary.resumed else ""
    return f"{counted(summary.rows, 'customer')}{resumed}"


def _effort(summary: ExportSummary) -> str:
    """Return the time of an export, and those of its counts that are not 0."""
    told = [counted(summary.pages, "page"), counted(summary.requests, "request")]
    for number, what in (
        (summary.retries, f"{summary.retries:,} of them again"),
        (summary.reread, f"{counted(summary.reread, 'page')} read again, since rows had moved"),
        (summary.repeats, f"{counted(summary.repeats, 'repeat')} dropped"),
    ):
        told += [what] if number else []
    told += [f"{_seconds(summary.waited)} waited"] if summary.waited else []
    return f"{_seconds(summary.seconds)} ({', '.join(told)})"


def _seconds(seconds: float) -> str:
    """Write seconds with a tenth, or with the first digit that is not 0."""
    return f"{seconds:.1f} s" if seconds >= 0.1 else f"{seconds:.1g} s"


def _size(size: int) -> str:
    amount = float(size)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} GB"


def export(
    *,
    out: Annotated[
        str,
        typer.Argument(
            metavar="OUT",
            help="The file, or - for stdout. Its name ends in .ndjson, .csv or .parquet; .gz or .zst behind the first"
            " two compresses it. With {shop_id} in the name, each shop has its own file; without, all shops share one,"
            " with a column shop_id.",
        ),
    ],
    format: Annotated[
        Format | None,
        typer.Option(
            "--format",
            metavar="|".join(get_args(Format)),
            parser=given.one_of(get_args(Format)),
            help="The format of the file.",
            show_default="by the ending of OUT; ndjson for stdout",
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN,...",
            help=f"The columns, in this order: {', '.join(COLUMNS)}, shop_id. NDJSON also has affiliate_referrer.",
            show_default="all, but shop_id only if shops share a file",
        ),
    ] = None,
    bom: Annotated[bool, typer.Option("--bom", help="Begin CSV with a byte order mark, for Excel.")] = False,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw",
            help="Leave the text of CSV as it is. Without --raw, an apostrophe stands wherever a spreadsheet would"
            " begin a formula; shopsdk.export.unescape_formula takes it out again.",
        ),
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an export that was interrupted.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file or an unfinished export.")] = False,
    concurrency: Annotated[
        int,
        typer.Option(metavar="N", parser=given.whole_number(1), help="The most pages of a shop to ask for at a time."),
    ] = 4,
    per_page: given.PerPage = 100,
    shop_ids: Annotated[
        list[int] | None,
        typer.Option(
            "--shop-id",
            metavar="ID",
            parser=given.whole_number(1),
            help="A shop; repeat it for more.",
            show_default="SHOPSDK_SHOP_ID",
        ),
    ] = None,
    shop_ids_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A file of shop ids, each on a line; # begins a comment."),
    ] = None,
    env_file: given.EnvFiles = None,
    shops_at_once: Annotated[
        int, typer.Option(metavar="N", parser=given.whole_number(1), help="The most shops to export at a time.")
    ] = 4,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    json_summary: Annotated[
        bool, typer.Option("--json-summary", help="Print a summary as JSON on stdout, or on stderr if OUT is -.")
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
        int | None,
        typer.Option(
            metavar="N",
            parser=given.whole_number(0),
            help="With --sandbox: the number of customers to make up.",
            show_default="250",
        ),
    ] = None,
    verbose: given.Verbose = False,
    debug: given.Debug = False,
) -> None:
    """Export every customer of one shop or of many into a file."""
    env_paths = env_file or []
    if quiet and verbose:
        usage("give either --quiet or --verbose, not both")
    _check_sandbox(sandbox=sandbox, customers=sandbox_customers, file=shop_ids_file)
    given.check_env_files(env_paths, sandbox=sandbox)
    shops = _shops(shop_ids or [], shop_ids_file)
    options: dict[str, Any] = {
        "format": format,
        "columns": None if columns is None else [name.strip() for name in columns.split(",")],
        "bom": bom,
        "escape_formulas": not raw,
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
    if out == STDOUT and format == "parquet" and sys.stdout.isatty():
        usage("a terminal cannot show Parquet: send it to a file or another program")
    # The sandbox's customers are made up, but those in a file may be real: it must hold the same bytes, or stays.
    if_exists: IfExists = "replace" if force else "same" if sandbox else "refuse"
    files = {} if out == STDOUT else {"resume": resume, "if_exists": if_exists}
    with exit_with_code(debug=debug, verbose=verbose):
        env_files = read_env_files(env_paths, shops, quiet=quiet)
        own = [shop_id for shop_id in env_files if shop_id is not None]
        shops = own or shops
        if out == STDOUT and (resume or len(shops) > 1):
            usage("stdout takes one shop, from its beginning: --resume and several shops need a file")
        # A list of shops in a file gives the same kind of export and summary, even if it names one shop.
        many = len(shops) > 1 or (shop_ids_file is not None and out != STDOUT)
        run = ExportRun(
            out=out, shops=shops, quiet=quiet, json_summary=json_summary, debug=debug, options=options | files
        )
        runner = Runner(
            shop_id=shops[0] if shops else None,
            sandbox=sandbox,
            env_files=env_files,
            sandbox_customers=sandbox_customers,
            list_params=list_params,
            rate_limit=given.rate_limit_of(rate_limit),
            max_in_flight=max(16, concurrency * min(len(shops) or 1, shops_at_once)),
            quiet=quiet,
        )
        if not many:
            run.print_one(runner.run(run.export_one))
        elif own:
            run.print_many(signals.run(run.export_many(runner.session, shops_at_once)))
        else:
            run.print_many(runner.run(lambda session, _: run.export_many(session, shops_at_once)))


def _check_sandbox(*, sandbox: bool, customers: int | None, file: Path | None) -> None:
    """Refuse what is for a sandbox without one, and what is for real shops with one."""
    if customers is not None and not sandbox:
        usage("--sandbox-customers is for --sandbox: without it, the shop is a real one")
    if file is not None and sandbox:
        usage("--shop-ids-file is for real shops: the sandbox has one of its own")


def _shops(named: Sequence[int], file: Path | None) -> list[int]:
    """Return the shops, each once, in the order given."""
    shops = list(named)
    if file is not None:
        for number, line in enumerate(_lines(file), 1):
            text = line.partition("#")[0].strip()
            if not text:
                continue
            try:
                shops.append(given.whole_number(1)(text))
            except WrongCommandError:  # no line is quoted: the file may be another one, with a key in it
                usage(f"{file}, line {number}: a shop's id must be a whole number from 1")
        if not shops:
            usage(f"{file} names no shop")
    return list(dict.fromkeys(shops))


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()  # programs on Windows write a byte order mark
    except UnicodeDecodeError:
        why = "it is not UTF-8"
    except OSError as error:
        why = error.strerror or type(error).__name__
    return usage(f"--shop-ids-file {file} cannot be read: {why}")
