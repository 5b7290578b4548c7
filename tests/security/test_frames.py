"""Frames of exceptions: none shows the key or a password, whatever raised the exception."""

import asyncio
import subprocess
import sys
from typing import Any

import aiohttp
import pytest

from shopsdk import AsyncSession, NotSentError, RetryPolicy, edit_customer_balance, get_customer
from shopsdk._config import Secret
from shopsdk.testing import InstantClock
from tests.security.test_foreign_text import SANCTUM, shown_of
from tests.security.test_secrecy import Seen, chain, in_frames, key_stays_in

_PROGRAM = """
import asyncio, logging, sys, traceback
from shopsdk import AsyncSession, Customer, RetryPolicy, edit_customer_balance, get_customer, get_customers
from shopsdk.sandbox import Sandbox

KEY, CALL, STEP = sys.argv[1], sys.argv[2], int(sys.argv[3])
PARTS = [KEY[at : at + 16] for at in range(len(KEY) - 15)]
CALLS = {
    "read": lambda session: get_customer(session, 7),
    "list": lambda session: get_customers(session),
    "edit": lambda session: edit_customer_balance(session, 7, 1),
    "refused": lambda session: get_customer(session, 8),
}
logging.disable()


class Interrupt(KeyboardInterrupt):
    "What a handler of a signal raises."


async def call(shop):
    async with AsyncSession(KEY, shop_id=38, base_url=shop.base_url, retry=RetryPolicy(attempts=1)) as session:
        await CALLS[CALL](session)


def under_way(frame):
    while frame is not None:
        code = frame.f_code
        if (code.co_name, code.co_filename[-7:]) == ("send", "call.py") or code.co_name == "write_bytes":
            return True
        frame = frame.f_back
    return False


def text_of(value):
    try:
        return repr(value)
    except Exception:  # one that was not made whole
        return ""


def shown(error):
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            texts = [text_of(value) for value in frame.f_locals.values()]
            if frame.f_code.co_filename != __file__ and any(part in text for part in PARTS for text in texts):
                yield f"{frame.f_code.co_filename} {frame.f_code.co_name}"
        error = error.__cause__ or error.__context__


with Sandbox([Customer(id=7, email="x")], api_key=KEY) as shop:
    for interrupted in range(10_000):
        left = interrupted * STEP

        def trace(frame, event, arg):
            global left
            if left >= 0 and under_way(frame):
                left -= 1
                if left < 0:
                    raise Interrupt

        sys.settrace(trace)
        try:
            asyncio.run(call(shop))
        except BaseException as error:
            sys.settrace(None)
            for place in shown(error):
                print("the key stands in", place)
        sys.settrace(None)
        if left >= 0:
            break
print("interrupted", interrupted)
"""


@pytest.mark.slow
@pytest.mark.parametrize("call", ["read", "list", "edit", "refused"])
def test_a_signal_at_any_place_leaves_no_frame_with_the_key(call: str, tmp_path: Any) -> None:
    """An exception of a signal's handler, raised at the entry of any function under a call, shows no key."""
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM)
    command = [sys.executable, "-W", "ignore", program, SANCTUM, call, "1" if call != "edit" else "7"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    *places, last = ended.stdout.splitlines() or [""]
    assert ([], "interrupted") == (places, last.partition(" ")[0]), ended.stderr[-2_000:]
    assert int(last.partition(" ")[2]) > 50


class OddError(BaseException):
    """An exception that a connector might raise."""


class OddConnector(aiohttp.TCPConnector):
    def __init__(self, odd: type[BaseException]) -> None:
        super().__init__()
        self.odd = odd

    async def connect(self, req: aiohttp.ClientRequest, *args: Any, **kwargs: Any) -> Any:
        held = f"{req.proxy} {dict(req.headers)}"
        error = self.odd("odd")
        error.__context__ = LookupError(held)
        raise error


@pytest.mark.parametrize("odd", [OddError, KeyboardInterrupt, SystemExit, GeneratorExit, RuntimeError, RecursionError])
@pytest.mark.parametrize("call", ["read", "edit"])
async def test_whatever_a_connector_raises_shows_no_password(call: str, odd: type[BaseException]) -> None:
    """An exception of a borrowed connector is raised without frames and causes: they hold the key and a password."""
    async with OddConnector(odd) as connector:
        session = AsyncSession(
            SANCTUM,
            shop_id=38,
            base_url="https://shop.invalid",
            proxy="http://user:hunter2@127.0.0.1:1",
            connector=connector,
            clock=InstantClock(),
            retry=RetryPolicy(attempts=1),
        )
        made = get_customer(session, 7) if call == "read" else edit_customer_balance(session, 7, 1)
        caught = drive(made)
    expected = NotSentError if issubclass(odd, Exception) else odd
    assert expected is type(caught)
    assert [] == [text for text in in_frames(caught) if "hunter2" in text or SANCTUM in text]
    assert 1 == len(list(chain(caught)))
    key_stays_in(Seen(caught))


def drive(call: Any) -> BaseException:
    """Run a call to its end without a task, since asyncio keeps some of these exceptions in one."""

    async def run() -> None:
        await call

    runner = run()
    try:
        while True:
            runner.send(None)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is searched
        return error


@pytest.mark.parametrize("at", range(12))
def test_a_secret_that_is_interrupted_shows_nothing(at: int) -> None:
    """An exception of a signal's handler, raised while a server's text is searched for the key, shows no key."""
    secret = Secret(SANCTUM)
    left = at

    def trace(frame: Any, event: str, arg: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename.endswith("_config.py"):
            left -= 1
            if left < 0:
                raise OddError
            return trace
        return None

    before, caught = sys.gettrace(), None
    sys.settrace(trace)
    try:
        secret.redact(f"a word of {SANCTUM[:14]}")
    except OddError as error:
        caught = error
    finally:
        sys.settrace(before)
    assert caught is not None
    assert [] == [text for text in in_frames(caught) if shown_of(SANCTUM, text, 16)]


def test_a_secret_is_revealed_without_a_frame() -> None:
    """A secret is read by no Python function, so a signal's handler cannot raise where a frame holds it alone."""
    secret = Secret(SANCTUM)
    assert (SANCTUM, SANCTUM) == (secret.reveal(), secret.reveal())
    assert not hasattr(secret.reveal, "__code__")
    assert SANCTUM not in repr(secret.reveal)


def test_the_search_for_frames_would_find_the_key() -> None:
    """The search of these tests finds a frame that holds a password."""

    async def fail() -> None:
        async with OddConnector(OddError) as connector:
            request: Any = type("Request", (), {"proxy": "http://user:hunter2@x", "headers": {}})
            await connector.connect(request, [], aiohttp.ClientTimeout())

    with pytest.raises(OddError) as caught:
        asyncio.run(fail())
    frames = [frame for frame in caught.traceback if frame.name == "connect"]
    assert any("hunter2" in str(frame.locals) for frame in frames)
