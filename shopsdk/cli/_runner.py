"""The run of a command: a session, its work, and an end with an exit code, on failure with one sentence."""

import asyncio
import errno
import logging
import os
import re
import secrets
import shlex
import sys
import traceback
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, NoReturn, Protocol, TypeVar

import attrs
import typer

from shopsdk import (
    AsyncSession,
    AuthenticationError,
    Event,
    MultipleCustomersError,
    NotFoundError,
    NotSentError,
    RateLimit,
    ResponseError,
    RetryScheduled,
    ShopError,
)
from shopsdk.cli._env_file import EnvFiles
from shopsdk.cli._signals import signals
from shopsdk.cli._stdio import one_line, printable, retry, say

FAILED, USAGE, REFUSED, UNKNOWN, NO_READER = 1, 2, 3, 4, 141

T = TypeVar("T")
Work = Callable[[AsyncSession, int], Coroutine[Any, Any, T]]

# How the library begins to refuse an argument: "amount must be ...", "bom is for ...", "columns: ...".
_ARGUMENT = re.compile(r"(?P<name>[a-z_]+)(?:: (?P<why>.+)| (?P<what>(?:must|is) .+))", re.DOTALL)
_OPTIONS = {
    "amount": "AMOUNT",
    "affiliate_code": "CODE",
    "api_key": "SHOPSDK_API_KEY",
    "base_url": "SHOPSDK_BASE_URL",
    "escape_formulas": "--raw",
}
"""The arguments that are no options of the same name."""
_OF_SHOP = re.compile(r"/shops/(?P<shop>[0-9]+)/customers(?:/(?P<customer>[0-9]+)(?:/[a-z-]+)?)?")
_WORDS = (("if_exists='replace'", "--force"), ("resume=True", "--resume"))


class Quit(Exception):  # noqa: N818 - it is no error
    """End with this exit code; everything was printed already."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class CustomerNotFoundError(Exception):
    """No customer has the e-mail address."""


class WrongCommandError(typer.BadParameter):
    """A wrong command. If the parser of an argument or an option raises it, its name begins the sentence."""

    def format_message(self) -> str:
        """Say what is wrong, on one line of a terminal."""
        param: Any = self.param
        if param is None:
            return one_line(self.message)
        name = param.metavar if param.param_type_name == "argument" else max(param.opts, key=len)
        return one_line(f"{name} {self.message}")


class Change(Protocol):
    """A change that a command makes."""

    made: str
    """The change as a sentence, once it is known to be made; empty until then."""

    async def make(self, session: AsyncSession, shop: int) -> None:
        """Make it, and set ``made`` at once: reads after that may fail."""
        ...

    def tell(self) -> None:
        """Print the answer."""
        ...

    def in_doubt(self) -> str:
        """Return what to do if nobody knows whether it was made."""
        ...


@attrs.frozen(kw_only=True)
class Runner:
    """The shop of a command, and the settings of its session."""

    shop_id: int | None
    sandbox: bool
    env_files: EnvFiles
    sandbox_customers: int | None = None
    list_params: Literal["both", "body", "query"] = "both"
    rate_limit: RateLimit | None = None
    max_in_flight: int = 16
    on_event: Callable[[Event], object] | None = None
    quiet: bool = False

    def run(self, work: Work[T]) -> T:
        """Open a session, and do the work with it and the shop's id.

        Print data after the work, not in it: a signal ends a write that waits for a reader only outside the event loop.
        """
        if not self.sandbox:
            session = self.session(self.shop_id)
            if session.shop_id is None:
                raise ValueError("the shop is missing: give --shop-id, or set SHOPSDK_SHOP_ID")
            return signals.run(_with(session, session.shop_id, work))
        if self.shop_id is not None:
            raise ValueError("--shop-id is for real shops: the sandbox has one of its own")
        from shopsdk.sandbox import Sandbox  # noqa: PLC0415 - only this needs the server

        customers = 250 if self.sandbox_customers is None else self.sandbox_customers
        with Sandbox(customers, api_key=secrets.token_urlsafe()) as shop:  # others on this machine can reach it
            if not self.quiet:
                say(
                    "This is a sandbox: nothing in it is real, and each run has the same customers.",
                    "It ends with this command. For a shop that lasts: shopsdk sandbox",
                )
            try:
                return signals.run(_with(shop.session(**self._settings()), shop.shop_id, work))
            except (NotFoundError, CustomerNotFoundError) as error:
                there = shop.customers()
                error.add_note(
                    f"The first customer of the sandbox is {there[0].id}, {there[0].email}"
                    if there
                    else "The sandbox has no customers"
                )
                raise

    def session(self, shop_id: int | None) -> AsyncSession:
        """Make a session for a shop (None: the default one), with the key of its file or of the environment.

        Raises:
            ValueError: there is no key, or one of the settings is refused.
        """
        env_file = self.env_files.get(shop_id) or self.env_files.get(None)
        if env_file is not None:
            return env_file.session(shop_id, **self._settings())
        if not os.environ.get("SHOPSDK_API_KEY", "").strip():
            state = "empty" if "SHOPSDK_API_KEY" in os.environ else "missing"
            raise ValueError(
                f"SHOPSDK_API_KEY is {state}: set it to the key of your account (quote it: it holds a |), give"
                " --env-file, or try --sandbox"
            )
        return AsyncSession(shop_id=shop_id, **self._settings())

    def change(self, change: Change) -> NoReturn:
        """Make a change, print its outcome, and end the command.

        Once the change is known to be made, the exit code is 0, whatever fails after that: a script that sees a failure
        makes the change again.

        Raises:
            Quit: it was made; or the command was stopped, and nobody knows whether it was made.
        """
        doubts: list[Quit | ShopError] = []

        async def work(session: AsyncSession, shop: int) -> None:
            try:
                await _make(change, session, shop)
            except (Quit, ShopError) as error:
                if isinstance(error, Quit) or error.maybe_applied:
                    doubts.append(error)
                raise

        try:
            try:
                with _no_failure_once_made(change, "but what came after it failed"):
                    self.run(work)
                with _no_failure_once_made(change, "but it could not be written to stdout"):
                    change.tell()
            finally:
                if change.made:
                    signals.hold()
        except BaseException:  # a signal between the two, or while one of them prints a failure
            # A late signal cancels the session's close, and would hide what is known of the change.
            if doubts and not change.made:
                raise doubts[0] from None
            if not change.made:
                raise
        raise Quit(0)

    def _settings(self) -> dict[str, Any]:
        return {
            "list_params": self.list_params,
            "trust_env": True,
            "rate_limit": self.rate_limit,
            "max_in_flight": self.max_in_flight,
            "on_event": self.on_event,
        }


def tell_wait(event: Event) -> None:
    """Print that a call waits for a second or more before its next attempt."""
    if isinstance(event, RetryScheduled) and event.wait >= 1:
        say(f"shopsdk: {retry(event.wait, event.reason, event.status)}")


async def _with(session: AsyncSession, shop_id: int, work: Work[T]) -> T:
    async with session:
        try:
            return await work(session, shop_id)
        except ShopError as error:
            explain(error, session.base_url)
            raise


def explain(error: Exception, base_url: str) -> None:
    """Add a note to an error that SHOPSDK_BASE_URL may have caused: a sandbox may have ended, or /v1 is missing."""
    # The library's errors have no cause, whose frames would hold the key: they name it in the system's words.
    refused = isinstance(error, NotSentError) and os.strerror(errno.ECONNREFUSED) in str(error)
    if refused and base_url.startswith("http:"):  # without TLS, a session goes to this machine alone
        error.add_note(
            f"Nothing listens at {base_url}, where SHOPSDK_BASE_URL leads. If it was a sandbox, it has ended: start"
            " shopsdk sandbox again, and paste its new lines"
        )
    elif isinstance(error, NotFoundError) and not base_url.endswith("/v1"):
        error.add_note(f"SHOPSDK_BASE_URL leads to {base_url}, but the API's own address ends in /v1")


async def _make(change: Change, session: AsyncSession, shop: int) -> None:
    """Make a change. If nobody knows whether it was made, tell what to do."""
    try:
        await change.make(session, shop)
    except asyncio.CancelledError as stopped:
        # The library adds a note if the change was sent, or may have been.
        if change.made or not getattr(stopped, "__notes__", None):
            raise
        signals.hold()  # a second signal would change exit code 4
        say(*f"shopsdk: stopped. {change.in_doubt()}".split("\n"))
        raise Quit(UNKNOWN) from None
    except ShopError as error:
        if error.maybe_applied and not change.made:
            signals.hold()
            error.add_note(change.in_doubt())
        raise


@contextmanager
def _no_failure_once_made(change: Change, but: str) -> Generator[None]:
    """Print whatever goes wrong after a change was made, as a sentence."""
    try:
        yield
    except BaseException as error:
        if not change.made or isinstance(error, GeneratorExit):  # a signal, on leaving this, left it behind
            raise
        if isinstance(error, KeyboardInterrupt):
            say(f"shopsdk: stopped; {change.made}")
        else:
            why = format_error(error) if isinstance(error, ShopError | OSError) else type(error).__name__
            say(f"shopsdk: {change.made}, {but}: {why}")


@contextmanager
def exit_with_code(*, debug: bool, verbose: bool = False) -> Generator[None]:
    """Turn a failure into a sentence and an exit code.

    Args:
        debug: whether to print the traceback too.
        verbose: whether to print what the library logs.

    Raises:
        SystemExit: the command failed.
        WrongCommandError: the library refused an argument.
    """
    code = 0
    try:
        try:
            with _logged() if verbose else nullcontext():
                yield
        finally:
            signals.hold()
    except Quit as end:
        code = end.code
    except KeyboardInterrupt:
        say("shopsdk: stopped")
        code = signals.code
    except BrokenPipeError:
        code = NO_READER
    except (ShopError, CustomerNotFoundError, OSError, ValueError, TypeError) as error:
        if debug:
            traceback.print_exc()  # with its notes
        elif isinstance(error, ValueError | TypeError) and _ARGUMENT.match(str(error)):
            raise WrongCommandError(format_error(error)) from None
        else:
            say(f"shopsdk: {format_error(error)}")
            for note in getattr(error, "__notes__", ()):
                say(*note.split("\n"))
        code = exit_code(error)
    if code:
        sys.exit(code)


class _Printed(logging.Handler):
    """Prints each record as a line."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record of the library's; those of a sandbox beside it are its own."""
        if record.name == "shopsdk":
            say(f"shopsdk: {record.getMessage()}")


@contextmanager
def _logged() -> Generator[None]:
    """Print what the library logs: it names operations by their routes, and holds no key and no address."""
    logger, handler = logging.getLogger("shopsdk"), _Printed()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def exit_code(error: BaseException) -> int:
    """Return the exit code of a failure."""
    if isinstance(error, ShopError):
        if error.maybe_applied:
            return UNKNOWN
        refused = isinstance(error, ResponseError) and 400 <= error.status < 500 and error.status != 429
        return REFUSED if refused else FAILED
    if isinstance(error, CustomerNotFoundError):
        return REFUSED
    return FAILED if isinstance(error, OSError) else USAGE


def format_error(error: BaseException) -> str:
    """Return one sentence that says what went wrong."""
    if isinstance(error, OSError) and error.strerror:
        why = _with_options(error.strerror)
        return f"{error.filename}: {why}" if error.filename else why
    if isinstance(error, NotFoundError) and (missing := _missing(error)):
        return missing
    page = getattr(error, "page", None)
    # The shop's own words are not replaced.
    said = str(error) if isinstance(error, ResponseError) else _with_options(str(error))
    if isinstance(error, ValueError | TypeError) and (found := _ARGUMENT.match(said)):
        said = f"{_option(found)}: {found['why']}" if found["why"] else f"{_option(found)} {found['what']}"
    said = said or type(error).__name__
    if isinstance(error, AuthenticationError) and error.body.lstrip().startswith("{"):  # else it is not the shop's
        said = f"{said.removesuffix('.')}; is SHOPSDK_API_KEY the key of your account?"
    if isinstance(error, MultipleCustomersError):
        said = f"{said}, with the ids {', '.join(map(str, error.customer_ids))}"
    return f"at page {page}: {said}" if page else said


def _missing(error: NotFoundError) -> str:
    """Say what is missing by the request's path; empty if the 404 may not be the API's.

    The API answers the same for a shop that is not there, for one of another account, and for a missing customer.
    """
    found = _OF_SHOP.fullmatch(error.path)
    if found is None or not error.body.lstrip().startswith("{"):
        return ""
    no_shop = f"the account of this key has no shop {found['shop']} (404)"
    return f"shop {found['shop']} has no customer {found['customer']}, or {no_shop}" if found["customer"] else no_shop


def usage(message: str) -> NoReturn:
    """Refuse a command that makes no sense.

    Raises:
        WrongCommandError: always.
    """
    raise WrongCommandError(message)


def _option(found: re.Match[str]) -> str:
    """Return the option of the argument that the library refuses."""
    return _OPTIONS.get(found["name"], f"--{found['name'].replace('_', '-')}")


def _with_options(text: str) -> str:
    """Name options where the library names arguments and their values."""
    for argument, option in _WORDS:
        text = text.replace(argument, option)
    return text


def shell_line(*words: str) -> str:
    """Quote a command for a shell, whatever a file's name holds."""
    return " ".join(shlex.quote(word) if printable(word) == word else _as_bytes(word) for word in words)


def _as_bytes(word: str) -> str:
    """Quote a word as bash, zsh and POSIX 2024 allow, with printable characters alone."""
    plain = b"-./0123456789_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return "".join(["$'", *(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in os.fsencode(word)), "'"])
