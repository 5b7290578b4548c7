"""Events that ``on_event`` gets: complete, in order, and without effect on the call."""

import asyncio
import logging
from typing import Any

import pytest

from shopsdk import (
    AttemptStarted,
    Event,
    NotSentError,
    RateLimitPaused,
    RateLimitResumed,
    RequestFinished,
    RequestStarted,
    RetryScheduled,
    ServerError,
    Timeout,
    get_customer,
    iter_customers,
)
from shopsdk._http.session import core_of
from shopsdk.sandbox import Sandbox
from shopsdk.testing import InstantClock
from tests.support.servers import CUSTOMER, answer, raw_server, silence

OPERATION = "GET /shops/{shop_id}/customers/{customer_id}"


async def test_events_cover_a_call_from_start_to_end() -> None:
    """The start, attempts, waits and end of each call are events, in order."""
    seen: list[Event] = []
    limited = answer({"message": "Too Many Attempts."}, 429, headers={"Retry-After": "10"})
    behaviours = [answer(None, 500), limited, answer(CUSTOMER)]
    async with raw_server(*behaviours) as server, server.session(on_event=seen.append, clock=InstantClock()) as session:
        await get_customer(session, 7)
    size = len(behaviours[-1].partition(b"\r\n\r\n")[2])
    assert [
        RequestStarted(operation=OPERATION, call=1),
        AttemptStarted(operation=OPERATION, call=1, attempt=1),
        RetryScheduled(operation=OPERATION, call=1, attempt=1, reason="ServerError", wait=0.25, status=500),
        AttemptStarted(operation=OPERATION, call=1, attempt=2),
        RateLimitPaused(operation=OPERATION, seconds=10.0),
        RetryScheduled(operation=OPERATION, call=1, attempt=2, reason="RateLimitedError", wait=10.5, status=429),
        RateLimitResumed(operation=OPERATION),
        AttemptStarted(operation=OPERATION, call=1, attempt=3),
        RequestFinished(operation=OPERATION, call=1, attempts=3, elapsed=10.75, status=200, received=size, error=None),
    ] == seen


@pytest.mark.parametrize(
    ("behaviour", "status", "error"),
    [(answer(None, 401), 401, "AuthenticationError"), (b"", None, "TransportError")],
)
async def test_a_call_that_fails_has_its_last_event(behaviour: Any, status: int | None, error: str) -> None:
    """A call that fails has its last event, with the name of its error."""
    seen: list[Event] = []
    async with raw_server(behaviour) as server, server.session(on_event=seen.append, clock=InstantClock()) as session:
        with pytest.raises(Exception, match="customers/7"):
            await get_customer(session, 7)
    done = seen[-1]
    assert isinstance(done, RequestFinished)
    assert (status, error, 0) == (done.status, done.error, done.received)


async def test_a_call_that_is_cancelled_has_its_last_event() -> None:
    """A call that is cancelled has its last event."""
    seen: list[Event] = []
    async with raw_server(silence) as server, server.session(on_event=seen.append) as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await get_customer(session, 7)
    assert isinstance(seen[-1], RequestFinished)
    assert "CancelledError" == seen[-1].error


async def test_a_hook_that_fails_breaks_no_call(caplog: pytest.LogCaptureFixture) -> None:
    """Exceptions of a callback are logged, and leave the call as it is."""

    def broken(_event: Event) -> None:
        raise LookupError("secret of the hook")

    async with raw_server(answer(CUSTOMER)) as server, server.session(on_event=broken) as session:
        assert 7 == (await get_customer(session, 7)).id
    assert {"on_event raised LookupError"} == {r.message for r in caplog.records if r.levelno == logging.WARNING}


async def test_who_was_handed_a_session_can_listen_for_a_while(shop: Sandbox) -> None:
    """A subscription to a session gets the events of its block, and none after it."""
    owner: list[Event] = []
    guest: list[Event] = []
    async with shop.session(on_event=owner.append) as session:
        with session.subscribe(guest.append):
            await get_customer(session, 1001)
        await get_customer(session, 1001)
        with pytest.raises(TypeError, match="on_event"), session.subscribe(5):  # type: ignore[arg-type]
            pass
    assert 3 == len(guest)
    assert owner[:3] == guest
    assert 6 == len(owner)


async def test_each_call_has_a_number_of_its_own(shop: Sandbox) -> None:
    """All events of one call have its number, and no other call's."""
    seen: list[Event] = []
    async with shop.session(on_event=seen.append) as session:
        assert 250 == len([c async for c in iter_customers(session, per_page=50, concurrency=3)])
    calls = [event.call for event in seen if isinstance(event, RequestStarted)]
    assert [1, 2, 3, 4, 5, 6] == calls
    assert sorted(calls) == sorted(event.call for event in seen if isinstance(event, RequestFinished))


async def test_a_deadline_that_passes_in_a_wait_ends_the_call() -> None:
    """A call whose deadline passes while it waits ends without another attempt."""
    clock = InstantClock(chance=0.0)
    async with raw_server(answer(None, 500), silence) as server:
        async with server.session(timeout=Timeout(total=5, deadline=5), clock=clock) as session:
            sleep = clock.sleep

            async def oversleep(_seconds: float) -> None:
                await sleep(6)

            clock.sleep = oversleep
            with pytest.raises(ServerError) as caught:
                await get_customer(session, 7)
    assert 1 == len(server.heard) == caught.value.attempts


async def test_a_deadline_that_passes_before_the_first_turn_is_surely_unsent() -> None:
    """A call whose deadline passes before its first attempt is reported as not sent."""
    clock = InstantClock()
    async with (
        raw_server(silence) as server,
        server.session(timeout=Timeout(total=5, deadline=8), clock=clock) as session,
    ):
        sleep = clock.sleep

        async def oversleep(_seconds: float) -> None:
            await sleep(9)

        clock.sleep = oversleep
        core_of(session).runtime()._limiter.of(OPERATION).block_for(5, 429)
        with pytest.raises(NotSentError) as caught:
            await get_customer(session, 8)
    assert (False, 0) == (caught.value.maybe_applied, caught.value.attempts)
    assert [] == server.heard
