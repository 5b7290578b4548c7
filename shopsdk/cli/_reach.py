"""How a command reaches a shop, and how it ends: every failure is one sentence and an exit code."""

import asyncio
import os
import sys
import traceback
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import Any, Literal, NoReturn

import attrs
import typer

from shopsdk import AsyncSession, AuthenticationError, RateLimit, ResponseError, ShopError
from shopsdk.cli._words import in_words_of_the_command

FAILED, USAGE, REFUSED, UNKNOWN, STOPPED, NO_READER = 1, 2, 3, 4, 130, 141

Work = Callable[[AsyncSession, int], Coroutine[Any, Any, None]]


class Quit(Exception):  # noqa: N818 - not an error: the word has been said already
    """End with this exit code; everything that was to be said has been said."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class WrongCommandError(typer.BadParameter):
    """The command makes no sense as a whole: there is no one value to be called invalid."""

    def format_message(self) -> str:
        """Say just what is wrong."""
        return self.message


@attrs.frozen(kw_only=True)
class Reach:
    """Which shop, and by what way."""

    shop_id: int | None
    sandbox: bool
    debug: bool
    sandbox_customers: int | None = None
    list_params: Literal["body", "query"] = "body"
    rate_limit: RateLimit | None = None
    max_in_flight: int = 16
    needs_shop: bool = True

    def run(self, work: Work) -> None:
        """Open a session, do the work with it and the shop's id, and exit.

        Raises:
            SystemExit: always, unless it went well.
        """
        with ending(debug=self.debug):
            if not self.sandbox:
                session = AsyncSession(shop_id=self.shop_id, **self._settings())
                if self.needs_shop and session.shop_id is None:
                    raise ValueError("which shop? Give --shop-id, or set SHOPSDK_SHOP_ID")
                asyncio.run(self._with(session, session.shop_id or 0, work))
                return
            if self.shop_id is not None:
                raise ValueError("--shop-id is for real shops: the sandbox has one of its own")
            from shopsdk.sandbox import Sandbox  # noqa: PLC0415 - a server that only this needs

            with Sandbox(250 if self.sandbox_customers is None else self.sandbox_customers) as shop:
                say("This is a sandbox, an embedded shop with made-up customers: nothing in it is real.")
                asyncio.run(self._with(shop.session(**self._settings()), shop.shop_id, work))

    def _settings(self) -> dict[str, Any]:
        return {
            "list_params": self.list_params,
            "rate_limit": self.rate_limit,
            "max_in_flight": self.max_in_flight,
        }

    @staticmethod
    async def _with(session: AsyncSession, shop_id: int, work: Work) -> None:
        async with session:
            await work(session, shop_id)


def say(text: str) -> None:
    """Tell something that is not data."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@contextmanager
def ending(*, debug: bool) -> Generator[None]:
    """Turn what goes wrong into a sentence and an exit code.

    Raises:
        SystemExit: something went wrong.
    """
    code = 0
    try:
        yield
        sys.stdout.flush()
    except Quit as end:
        code = end.code
    except KeyboardInterrupt:
        say("shopsdk: stopped")
        code = STOPPED
    except BrokenPipeError:
        code = NO_READER
    except (ShopError, OSError, ValueError, TypeError) as error:
        if debug:
            traceback.print_exc()
        else:
            say(f"shopsdk: {sentence(error)}")
        for note in getattr(error, "__notes__", ()):
            say(note)
        code = exit_code(error)
    if code:
        _settle_stdout()
        sys.exit(code)


def exit_code(error: BaseException) -> int:
    """Find the exit code of a failure."""
    if isinstance(error, ShopError):
        if error.maybe_applied:
            return UNKNOWN
        refused = isinstance(error, ResponseError) and 400 <= error.status < 500 and error.status != 429
        return REFUSED if refused else FAILED
    return FAILED if isinstance(error, OSError) else USAGE


def sentence(error: BaseException) -> str:
    """Say in one sentence what went wrong."""
    if isinstance(error, OSError) and error.strerror:
        why = in_words_of_the_command(error.strerror)
        return f"{error.filename}: {why}" if error.filename else why
    page = getattr(error, "page", None)
    # What the shop says is left as it is, whatever words it has in it.
    said = str(error) if isinstance(error, ResponseError) else in_words_of_the_command(str(error))
    said = said or type(error).__name__
    if isinstance(error, AuthenticationError):
        said = f"{said.removesuffix('.')}; is SHOPSDK_API_KEY the key of this shop?"
    return f"at page {page}: {said}" if page else said


def usage(message: str) -> NoReturn:
    """Refuse a command that makes no sense.

    Raises:
        WrongCommandError: always.
    """
    raise WrongCommandError(message)


def _settle_stdout() -> None:
    """Write what is left; where nothing takes it any more, Python must not complain of that at the end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
