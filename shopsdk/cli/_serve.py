"""The command ``sandbox``: embedded shops to try things on."""

import math
import os
import secrets
import shlex
import signal
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shopsdk.cli import _options as given
from shopsdk.cli._runner import Quit, WrongCommandError, exit_with_code
from shopsdk.cli._signals import signals
from shopsdk.cli._stdio import put, say

if TYPE_CHECKING:
    from shopsdk.sandbox import Sandbox


def _seconds(given: object) -> float:
    try:
        seconds = float(str(given))
    except ValueError:
        seconds = -1.0
    if 0 <= seconds < math.inf:
        return seconds
    raise WrongCommandError(f"must be a number of seconds, 0 or more, not {str(given)!r}")


def sandbox(
    *,
    customers: Annotated[
        int,
        typer.Option(metavar="N", parser=given.whole_number(0), help="How many customers to make up for each shop."),
    ] = 250,
    port: Annotated[
        int,
        typer.Option(metavar="PORT", parser=given.whole_number(0, 65535), help="The port; 0 for any free port."),
    ] = 0,
    shop_ids: Annotated[
        list[int] | None,
        typer.Option(
            "--shop-id",
            metavar="ID",
            parser=given.whole_number(1),
            help="A shop's id; repeat it for more shops, all with one key.",
            show_default="38",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", parser=given.whole_number(0), help="The same seed makes the same customers.")
    ] = 0,
    latency: Annotated[
        float, typer.Option(metavar="SECONDS", parser=_seconds, help="Seconds by which to delay every answer.")
    ] = 0,
    rate_limit: Annotated[
        str | None,
        typer.Option(
            metavar="N[/SECONDS]",
            help="Answer at most N requests per SECONDS, and the others with 429; without /SECONDS, per second.",
            show_default="no limit",
        ),
    ] = None,
    database: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The file that keeps the shops; give the same --shop-id again.",
            show_default="memory, until the end",
        ),
    ] = None,
    debug: given.Debug = False,
) -> None:
    """Serve made-up shops until Ctrl-C, and print the variables that lead there."""
    from shopsdk.sandbox import Sandbox  # noqa: PLC0415 - only this needs the server

    with exit_with_code(debug=debug):
        shop = Sandbox(
            customers,
            shop_id=shop_ids or 38,
            api_key=os.environ.get("SHOPSDK_SANDBOX_KEY", "").strip() or secrets.token_urlsafe(),
            port=port,
            seed=seed,
            latency=latency,
            rate_limit=given.rate_limit_of(rate_limit),
            database=":memory:" if database is None else database,
        )
        with _served(shop, port):
            put(f"export SHOPSDK_API_KEY={shlex.quote(shop.api_key)}\n")
            put(f"export SHOPSDK_SHOP_ID={shop.shop_id}\n")
            put(f"export SHOPSDK_BASE_URL={shop.base_url}\n")
            say(_what_is_served(shop.shop_ids))
            say(f"See it in a browser: {shop.base_url.removesuffix('v1')}")
            try:
                signals.wait()
            except KeyboardInterrupt:
                say("")
                if signals.received != signal.SIGINT:  # Ctrl-C is the normal end
                    raise Quit(signals.code) from None


def _what_is_served(shop_ids: Sequence[int]) -> str:
    first, *others = shop_ids
    if not others:
        return f"Serving the embedded shop {first}; nothing in it is real. Paste these lines elsewhere. Ctrl-C ends it."
    return (
        f"Serving the embedded shops {', '.join(map(str, shop_ids[:-1]))} and {others[-1]}; nothing in them is real."
        f" Paste these lines elsewhere: they lead to shop {first}, and with --shop-id to the others. Ctrl-C ends it."
    )


@contextmanager
def _served(shop: "Sandbox", port: int) -> Generator[None]:
    """Serve the shop.

    Raises:
        OSError: the port is not available; the message names it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(shop)
        except OSError as error:
            number = error.errno or 0
            why = f"port {port} is not available: {os.strerror(number)}; --port 0 takes a free one"
            raise OSError(number, why) from error
        yield
