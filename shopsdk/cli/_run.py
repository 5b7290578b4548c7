"""Running an export for the command: show it, sum it up, and say how to go on where it did not end well."""

import asyncio
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import attrs
import msgspec

from shopsdk import AsyncSession
from shopsdk.cli._progress import view
from shopsdk.cli._reach import Quit, Work, exit_code, sentence
from shopsdk.cli._signals import signals
from shopsdk.cli._stdio import data_output, put, say
from shopsdk.cli._words import shell_line
from shopsdk.export import ExportProgress, ExportSummary, ShopsSummary, export_customers, export_shops

STDOUT = "-"


@attrs.define(kw_only=True)
class Run:
    """One export, as it was asked for."""

    out: str
    shops: Sequence[int]
    quiet: bool
    json_summary: bool
    debug: bool
    options: dict[str, Any]
    _written: dict[int | None, int] = attrs.Factory(dict[int | None, int])

    async def one(self, session: AsyncSession, shop_id: int) -> ExportSummary:
        """Export one shop."""
        to_stdout = self.out == STDOUT
        with (
            view(quiet=self.quiet, data_on_terminal=to_stdout and sys.stdout.isatty()) as shown,
            self._resumable(),
        ):

            def show(progress: ExportProgress) -> None:
                self._written[progress.shop_id] = progress.rows
                shown.show(progress)

            with data_output() if to_stdout else nullcontext(self.out) as destination:
                return await export_customers(session, destination, shop_id=shop_id, on_progress=show, **self.options)

    def tell_one(self, made: ExportSummary) -> None:
        """Sum up an export of one shop."""
        self._sum_up(_facts(made))
        if not self.quiet:
            where = "stdout" if made.path is None else str(made.path)
            say(f"{_count(made)} in {_effort(made)}: {where} ({_size(made.bytes)})")

    def many(self, shops_at_once: int) -> Work[ShopsSummary]:
        """Export many shops."""

        async def work(session: AsyncSession, _: int) -> ShopsSummary:
            with view(quiet=self.quiet) as shown, self._resumable():

                def show(progress: ExportProgress) -> None:
                    self._written[progress.shop_id] = progress.rows
                    shown.show(progress)

                return await export_shops(
                    session, self.out, self.shops, shops_at_once=shops_at_once, on_progress=show, **self.options
                )

        return work

    def tell_many(self, made: ShopsSummary) -> None:
        """Sum up an export of many shops.

        Raises:
            Quit: some of them failed.
        """
        self._sum_up(_many_facts(made))
        if not self.quiet:
            for shop_id, summary in made.shops.items():
                kept = "read" if summary.path is None else str(summary.path)
                say(f"shop {shop_id}: {_count(summary)} in {_effort(summary)}: {kept}")
            if made.path is not None:
                say(f"{made.rows:,} customers of {len(made.shops)} shops: {made.path} ({_size(made.bytes)})")
        if made.failed:
            for shop_id, error in made.failed.items():
                say(f"shopsdk: shop {shop_id}: {sentence(error)}")
                if self.debug:
                    traceback.print_exception(error)
            say(*f"{len(made.failed)} of {len(self.shops)} shops failed. {self._how_to_go_on()}".split("\n"))
            codes = {exit_code(error) for error in made.failed.values()}
            raise Quit(codes.pop() if len(codes) == 1 else 1)

    def _resumable(self) -> "_Resumable":
        return _Resumable(self)

    def how_to_go_on(self) -> str | None:
        """Say how to go on; None if there is nothing to go on with."""
        rows = sum(self._written.values())
        if self.out == STDOUT or not rows:
            return None
        return f"{rows:,} customers are kept. {self._how_to_go_on()}"

    def _how_to_go_on(self) -> str:
        words = [word for word in sys.argv[1:] if word != "--resume"]
        return f"To go on from there:\n  {shell_line('shopsdk', *words, '--resume')}"

    def _sum_up(self, facts: dict[str, Any]) -> None:
        if self.json_summary:
            line = msgspec.json.encode(facts).decode()
            if self.out == STDOUT:
                say(line)
            else:
                put(f"{line}\n")


class _Resumable:
    """Adds to whatever ends an export early how to go on with it."""

    def __init__(self, run: Run) -> None:
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
        "failed": {str(shop_id): sentence(error) for shop_id, error in made.failed.items()},
    }


def _count(summary: ExportSummary) -> str:
    resumed = f" ({summary.resumed:,} of them by an earlier run)" if summary.resumed else ""
    return f"{summary.rows:,} customers{resumed}"


def _effort(summary: ExportSummary) -> str:
    """Say what it took; what did not happen is not mentioned."""
    told = [f"{summary.pages:,} pages", f"{summary.requests:,} requests"]
    for number, what in (
        (summary.retries, "of them again"),
        (summary.reread, "pages read again, since rows had slipped"),
        (summary.repeats, "repeats dropped"),
    ):
        told += [f"{number:,} {what}"] if number else []
    told += [f"{summary.waited:.1f} s waited"] if summary.waited else []
    return f"{summary.seconds:.1f} s ({', '.join(told)})"


def _size(size: int) -> str:
    amount = float(size)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} GB"
