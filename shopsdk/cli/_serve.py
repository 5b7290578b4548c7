"""The command ``sandbox``: an embedded shop to try things on."""

import os
import secrets
import shlex
import signal
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shopsdk.cli import _options as given
from shopsdk.cli._runner import Quit, exit_with_code
from shopsdk.cli._signals import signals
from shopsdk.cli._stdio import put, say

if TYPE_CHECKING:
    from shopsdk.sandbox import Sandbox


def sandbox(
    *,
    customers: Annotated[int, typer.Option(min=0, help="How many customers to make up.")] = 250,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 for any free port.")] = 0,
    shop_id: Annotated[int, typer.Option(min=1, help="The shop's id.")] = 38,
    seed: Annotated[int, typer.Option(help="The same seed makes the same customers.")] = 0,
    latency: Annotated[float, typer.Option(min=0, help="Seconds by which to delay every answer.")] = 0.0,
    rate_limit: Annotated[
        str | None,
        typer.Option(
            metavar="N[/SECONDS]",
            help="Answer at most N requests per SECONDS, and the others with 429; default: per second.",
        ),
    ] = None,
    database: Annotated[
        Path | None, typer.Option(help="The file that keeps the shop; default: memory, until the end.")
    ] = None,
    debug: given.Debug = False,
) -> None:
    """Serve an embedded shop on this machine until Ctrl-C, and print the environment variables that lead to it.

    Its key is random each time; set SHOPSDK_SANDBOX_KEY to choose one.
    """
    from shopsdk.sandbox import Sandbox  # noqa: PLC0415 - only this needs the server

    with exit_with_code(debug=debug):
        shop = Sandbox(
            customers,
            shop_id=shop_id,
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
            say("Serving an embedded shop; nothing in it is real. Paste these lines elsewhere. Ctrl-C ends it.")
            try:
                signals.wait()
            except KeyboardInterrupt:
                say("")
                if signals.received != signal.SIGINT:  # Ctrl-C is the normal end
                    raise Quit(signals.code) from None


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
