"""Fixtures for the tests of code that uses shopsdk.

One line in the ``conftest.py`` at the root of the tests switches them on:

```python
pytest_plugins = ["shopsdk.testing"]
```

There is no entry point, so nobody pays for them who does not ask. They need pytest alone. Asynchronous tests need a
plugin that runs them: pytest-asyncio, at any loop scope, or anyio's. A test then reads:

```python
import pytest

from shopsdk import edit_customer_balance


@pytest.mark.asyncio
@pytest.mark.shop(customers=50, seed=1)
async def test_a_lost_answer_is_looked_up(shop_sandbox, shop_session):
    number = shop_sandbox.customers()[0].id
    shop_sandbox.fail_next("drop_after", method="POST")
    edit = await edit_customer_balance(shop_session, number, 5, reference="order-1187")
    assert [edit.transaction] == shop_sandbox.transactions(number)
```

``shop_sandbox`` is a shop of the test's own, a real HTTP server on loopback. ``shop_session`` talks to it by the time
of ``shop_clock``, where no wait between attempts takes any time, nor one for a session's own ``rate_limit``. What does
not go by that clock stays real: the fault ``slow``, the sandbox's own ``rate_limit`` and ``latency``, and a session's
request timeouts.
"""

import asyncio
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from shopsdk import AsyncSession, Clock

if TYPE_CHECKING:
    from shopsdk.sandbox import Sandbox

__all__ = ["InstantClock", "pytest_configure", "shop_clock", "shop_sandbox", "shop_session"]

_MARKER = """\
shop(customers=0, seed=0, faults=(), ...): what the fixture shop_sandbox is made of; the arguments of \
shopsdk.sandbox.Sandbox. A marker on the test goes before one on its class or module, argument by argument."""


@attrs.define(init=False, eq=False, repr=False)
class InstantClock(Clock):
    """A clock on which nobody waits: who sleeps wakes at once, and finds the time passed. Give it to an AsyncSession.

    Sleepers wake in the order of their times, so tasks that wait side by side do so as they would in earnest. For one
    event loop at a time.

    ```python
    from shopsdk.sandbox import Sandbox

    clock = InstantClock()
    with Sandbox(customers=10) as shop:
        shop.fail_next("rate_limit", retry_after=60)
        async with shop.session(clock=clock) as session:
            await get_customers(session)
    assert clock.slept[0] >= 60
    ```

    Args:
        chance: what ``chance`` is at first.
    """

    slept: list[float] = attrs.field(init=False)
    """What was slept, in seconds, in the order in which it began: each backoff and each Retry-After; may be cleared."""
    time: float = attrs.field(init=False)
    """Seconds that have passed; moves by itself when somebody sleeps, and may be set forward."""
    chance: float = attrs.field(init=False)
    """What stands for every random number, from 0 up to, but not including, 1.

    A backoff is this share of its longest; a wait that the server asked for is stretched by a tenth of this share.
    """
    _wakes: list[float] = attrs.field(init=False)

    def __init__(self, *, chance: float = 0.5) -> None:
        super().__init__(now=lambda: self.time, sleep=self._sleep, random=lambda: self.chance)
        self.slept = []
        self.time = 0.0
        self.chance = chance
        self._wakes = []

    def __repr__(self) -> str:
        return f"<InstantClock at {self.time} s, slept {self.slept}>"

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        wake = self.time + max(0.0, seconds)
        self._wakes.append(wake)
        try:
            while True:
                await asyncio.sleep(0)
                if wake == min(self._wakes):
                    break
            self.time = max(self.time, wake)
        finally:
            self._wakes.remove(wake)


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest of the marker ``shop``; pytest itself calls this.

    Args:
        config: pytest's own.
    """
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def shop_clock() -> InstantClock:
    """The time of ``shop_session``, for one test: ``slept`` tells what a real clock would have waited."""
    return InstantClock()


@pytest.fixture
def shop_sandbox(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> "Generator[Sandbox, None, None]":
    """A running ``shopsdk.sandbox.Sandbox`` for one test, empty unless ``@pytest.mark.shop(customers=50)`` says more.

    ``shop_sandbox.fail_next("drop_after", method="POST")`` lets a request fail. While the test runs, the environment
    names this shop, so that ``AsyncSession()`` in the code under test leads here, and never to a real one.
    """
    from shopsdk.sandbox import Sandbox  # noqa: PLC0415 - a server that only this needs

    options: dict[str, Any] = {"customers": 0}
    for marker in reversed(list(request.node.iter_markers("shop"))):
        if marker.args:
            raise pytest.UsageError("the marker shop takes its arguments by name: @pytest.mark.shop(customers=50)")
        options |= marker.kwargs
    with Sandbox(**options) as sandbox:
        monkeypatch.setenv("SHOPSDK_API_KEY", sandbox.api_key)
        monkeypatch.setenv("SHOPSDK_SHOP_ID", str(sandbox.shop_id))
        monkeypatch.setenv("SHOPSDK_BASE_URL", sandbox.base_url)
        yield sandbox


@pytest.fixture
def shop_session(shop_sandbox: "Sandbox", shop_clock: InstantClock) -> Generator[AsyncSession, None, None]:
    """An ``AsyncSession`` on ``shop_sandbox``, by the time of ``shop_clock``; closed at the end of the test.

    It is handed out unopened and opens in the event loop that uses it first, whichever plugin runs that loop.
    """
    loops: set[asyncio.AbstractEventLoop] = set()
    session = shop_sandbox.session(clock=shop_clock)
    with session.subscribe(lambda _: loops.add(asyncio.get_running_loop())):
        yield session
    for loop in loops:
        if not loop.is_closed() and not loop.is_running():  # what used a closed loop, the session let go by itself
            loop.run_until_complete(session.close())
