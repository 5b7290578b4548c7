"""Fixtures for the tests of code that uses shopsdk.

One line in the ``conftest.py`` at the root of the tests switches them on:

```python
pytest_plugins = ["shopsdk.testing"]
```

``shop_sandbox`` is a shop of the test's own, a real HTTP server on loopback. It has no customers unless a marker says
how many: ``@pytest.mark.shop(customers=50)``, on the test, its class or its module. A test then reads:

```python
import pytest

from shopsdk import edit_customer_balance


@pytest.mark.asyncio
@pytest.mark.shop(customers=50, seed=1)
async def test_a_lost_answer_is_looked_up(shop_sandbox, shop_session):
    number = shop_sandbox.customers()[0].id
    shop_sandbox.fail_next("drop_after", method="POST")
    edit = await edit_customer_balance(shop_session, number, 5, reference="order-1187")
    assert edit.transaction == shop_sandbox.transactions(number)[0]
```

``shop_session`` is a session on that shop, on the clock ``shop_clock``: waits between attempts, and for the session's
``rate_limit``, take no time. The fault ``slow``, the sandbox's own ``rate_limit`` and ``latency``, and the session's
timeouts of requests stay real.

While a test has ``shop_sandbox``, the environment variables name it, and ``AsyncSession()`` reads them when it is made.
A session that a module of yours makes when it is imported cannot follow: give the module the fixture's, as in
``monkeypatch.setattr(shop_app, "session", shop_session)``.

There is no entry point: suites without that line load none of this. The fixtures need pytest alone. Asynchronous tests
need a plugin that runs them: pytest-asyncio, at any loop scope, or anyio's.

- Fixtures: ``shop_sandbox``, ``shop_session``, ``shop_clock``
- Clock: ``InstantClock``
- Plugin: ``pytest_configure``
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
shop(customers=0, seed=0, faults=(), ...): the arguments of shopsdk.sandbox.Sandbox for the fixture shop_sandbox. \
Without customers= the shop has no customers. A marker on the test overrides one on its class or module, argument by \
argument."""


@attrs.define(init=False, eq=False, repr=False)
class InstantClock(Clock):
    """A clock whose sleeps end at once and move its time. Give it to an AsyncSession.

    Tasks that sleep side by side wake in the order of their times, as on a real clock. For one event loop at a time.

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
        chance: the first value of ``chance``.
    """

    slept: list[float] = attrs.field(init=False)
    """The sleeps so far, in seconds, in order: each backoff and each Retry-After; may be cleared."""
    time: float = attrs.field(init=False)
    """Seconds that have passed; each sleep moves it, and it may be set forward."""
    chance: float = attrs.field(init=False)
    """The value of every random number, from 0 up to, but not including, 1.

    A backoff is this share of its longest; a Retry-After is lengthened by a tenth of this share.
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
    """Register the marker ``shop``; pytest calls this.

    Args:
        config: pytest's configuration.
    """
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def shop_clock() -> InstantClock:
    """The clock of ``shop_session``, for one test; ``slept`` has the waits that a real clock would have made."""
    return InstantClock()


@pytest.fixture
def shop_sandbox(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> "Generator[Sandbox, None, None]":
    """A running ``Sandbox`` for one test. It has no customers unless marked: ``@pytest.mark.shop(customers=50)``.

    ``shop_sandbox.fail_next("drop_after", method="POST")`` lets a request fail. While the test runs, the environment
    variables name this shop, so that ``AsyncSession()`` in the code under test uses it, and never a real shop.
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
    """An ``AsyncSession`` on ``shop_sandbox`` with the clock ``shop_clock``; closed at the end of the test.

    It opens in the event loop that uses it first, whichever plugin runs that loop.
    """
    loops: set[asyncio.AbstractEventLoop] = set()
    session = shop_sandbox.session(clock=shop_clock)
    with session.subscribe(lambda _: loops.add(asyncio.get_running_loop())):
        yield session
    for loop in loops:
        if not loop.is_closed() and not loop.is_running():  # of a closed loop, the session has let go already
            loop.run_until_complete(session.close())
