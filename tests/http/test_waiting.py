"""Waits: shared by operation, bounded by the caller's limits, and never too short."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shopsdk import (
    AsyncSession,
    NotSentError,
    RateLimit,
    RateLimitedError,
    RetryPolicy,
    ServerError,
    Timeout,
    TransportError,
    edit_customer_affiliate_code,
    edit_customer_balance,
    get_customer,
    get_customer_balance_transactions,
    iter_customers,
)
from shopsdk._config import Clock
from shopsdk._http.limits import Deadline, Limiter, OperationLimiter
from shopsdk._http.session import core_of
from shopsdk.sandbox import Sandbox
from shopsdk.testing import InstantClock
from tests.support.servers import CUSTOMER, ReceivedRequest, Wire, answer, pass_time, raw_server, silence

LIMITED = answer({"message": "Too Many Attempts."}, 429, headers={"Retry-After": "30"})


def limited(after: str | None = None, **headers: str) -> bytes:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return answer(
        {"message": "Too Many Attempts."}, 429, headers=fields | ({} if after is None else {"Retry-After": after})
    )


async def test_a_429_to_one_task_blocks_all_of_its_operation() -> None:
    """A 429 to one task blocks all tasks of its operation."""
    clock = InstantClock()
    times: list[float] = []

    def behave(heard: ReceivedRequest, wire: Wire) -> None:
        times.append(clock.time)
        wire.send(LIMITED if len(times) == 1 else answer(CUSTOMER))

    async with raw_server(behave) as server, server.session(max_in_flight=1, clock=clock) as session:
        await asyncio.gather(*(get_customer(session, 7) for _ in range(50)))
    assert len(times) == 51
    assert times[0] + 30 <= min(times[1:])


async def test_none_starts_once_a_429_was_read() -> None:
    """No request of an operation starts once a 429 to it was read."""
    release = asyncio.Event()
    started: list[int] = []

    async def behave(heard: ReceivedRequest, wire: Wire) -> None:
        started.append(heard.connection)
        if len(started) == 1:
            wire.send(limited("30"))
            await wire.writer.drain()
            return
        await release.wait()
        wire.send(answer(CUSTOMER))

    async with raw_server(behave) as server, server.session(retry=RetryPolicy(attempts=1)) as session:
        with pytest.raises(RateLimitedError):
            await get_customer(session, 7)
        tasks = [asyncio.create_task(get_customer(session, 7)) for _ in range(10)]
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(started) == 1
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_429_blocks_before_its_body() -> None:
    """A 429 blocks its operation before its body is read."""
    seen = asyncio.Event()

    async def behave(_heard: ReceivedRequest, wire: Wire) -> None:
        wire.send(b"HTTP/1.1 429 X\r\nRetry-After: 30\r\nContent-Length: 2\r\n\r\n")
        await wire.writer.drain()
        await seen.wait()
        wire.send(b"{}")

    async with raw_server(behave) as server, server.session(retry=RetryPolicy(attempts=1)) as session:
        calls = [asyncio.create_task(get_customer(session, 7))]
        operation = core_of(session).runtime()._limiter.of("GET /shops/{shop_id}/customers/{customer_id}")
        while operation.blocked_for <= 0:
            await asyncio.sleep(0)
        calls.append(asyncio.create_task(get_customer(session, 7)))
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(server.heard) == 1
        seen.set()
        calls[1].cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def test_another_operation_goes_on() -> None:
    """A block of one operation leaves the others free."""

    def behave(heard: ReceivedRequest, wire: Wire) -> None:
        wire.send(answer([]) if heard.target.endswith("transactions") else LIMITED)

    async with raw_server(behave) as server, server.session(max_in_flight=2) as session:
        held = [asyncio.create_task(get_customer(session, 7)) for _ in range(9)]
        while len(server.heard) < 1:
            await asyncio.sleep(0)
        assert await get_customer_balance_transactions(session, 7) == []
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)


def blocked_for_good() -> tuple[OperationLimiter, list[float]]:
    """An operation that is blocked for 10 seconds that never pass, and the list of the waits for it."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.Event().wait()

    operation = OperationLimiter(Clock(now=lambda: 0.0, random=lambda: 0.5), sleep)
    operation.block_for(10, 429)
    return operation, waits


async def test_who_waited_leaves_one_after_the_other() -> None:
    """Tasks that waited for a block leave one after the other."""
    operation, waits = blocked_for_good()
    waiting = [asyncio.create_task(operation.wait(inf, lambda: inf)) for _ in range(5)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert pytest.approx(waits) == [10.0, 10.05, 10.1, 10.15, 10.2]


async def test_who_gave_up_waiting_leaves_the_queue() -> None:
    """A task that gives up waiting leaves its place to those behind it."""
    operation, waits = blocked_for_good()
    for _ in range(100):
        task = asyncio.create_task(operation.wait(inf, lambda: inf))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert {10.0} == {round(wait, 6) for wait in waits}


async def test_a_timer_that_rings_early_costs_nobody_the_turn() -> None:
    """A task whose timer rings early, as uvloop's do, keeps its turn."""
    clock = InstantClock(chance=1.0)

    async def early(seconds: float) -> None:
        await clock.sleep(seconds - 0.0005 if seconds > 1 else seconds)

    operation = OperationLimiter(clock, early)
    operation.block_for(10, 429)
    await operation.wait(inf, lambda: inf)
    assert clock.time == pytest.approx(10)
    assert clock.slept == pytest.approx([10, 0.0005], abs=0.001)


async def test_an_operation_is_remembered_while_it_is_blocked() -> None:
    """A block is remembered among thousands of operations, though it came while a request was under way."""
    clock = InstantClock()
    limiter = limiter_of(clock, RateLimit(1000, 1))
    await limiter.acquire("under way", Deadline(limiter._clock, 100), 100)
    limiter.of("blocked").block_for(10, 429)
    for number in range(2000):
        limiter.of(str(number))
    limiter.of("under way").block_for(10, 429)
    limiter.release()
    assert (limiter.of("under way").blocked_for, limiter.of("blocked").blocked_for) == (10, 10)
    assert len(limiter._operations) < 2000


async def test_a_waiter_sees_a_new_block_of_an_operation_that_was_forgotten() -> None:
    """A task that waits for an operation waits for a new block too, though the operation was forgotten meanwhile."""
    clock = InstantClock(chance=0.0)
    limiter = limiter_of(clock, None)

    async def pause(seconds: float) -> None:
        await clock.sleep(seconds)
        if clock.time == 10:  # the first block is over
            for number in range(2000):
                limiter.of(str(number))
            limiter.of("a").block_for(40, 429)

    limiter._pause = pause
    limiter.of("a").block_for(10, 429)
    await limiter.acquire("a", Deadline(limiter._clock, 100), 100)
    assert clock.time == 50


async def test_a_block_that_comes_while_the_rate_limit_is_waited_for_counts() -> None:
    """A block that comes while a task waits for the rate limit holds that task."""
    clock = InstantClock()
    limiter = limiter_of(clock, RateLimit(1, 0.01))
    operation = limiter.of("a")
    await limiter.acquire("a", Deadline(limiter._clock, 100), 100)
    limiter.release()
    waiting = asyncio.create_task(limiter.acquire("a", Deadline(limiter._clock, 100), 100))
    await asyncio.sleep(0)
    operation.block_for(50, 429)
    await waiting
    assert clock.time >= 50


async def test_the_queue_for_a_slot_between_attempts_is_free() -> None:
    """The queue for a slot between two attempts does not count against the deadline."""
    clock = InstantClock()
    limiter = limiter_of(clock, None)
    deadline = Deadline(limiter._clock, 10)
    await limiter.acquire("a", deadline, 100)
    limiter.release()
    await limiter.acquire("a", Deadline(limiter._clock, 10), 100)
    again = asyncio.create_task(limiter.acquire("a", deadline, 100))
    await asyncio.sleep(0)
    clock.time += 100
    limiter.release()
    await again
    assert deadline.remaining == 10


def limiter_of(clock: InstantClock, limit: RateLimit | None) -> Limiter:
    return Limiter(1, limit, clock, clock.sleep)


async def test_a_call_whose_turn_comes_too_late_raises_the_last_answer() -> None:
    """A call whose next turn comes too late raises what the server answered before."""
    async with raw_server(answer(None, 503)) as server:
        policy = RetryPolicy(wait_initial=0)
        async with server.session(
            rate_limit=RateLimit(1, 3600), timeout=Timeout(deadline=0.2), retry=policy
        ) as session:
            with pytest.raises(ServerError):
                await get_customer(session, 7)
    assert len(server.heard) == 1


async def test_a_change_that_was_lost_keeps_its_unknown_outcome_while_blocked() -> None:
    """A change that may have been made stays so when a block holds its next attempt."""
    async with raw_server(b"") as server, server.session() as session:
        limiter = core_of(session).runtime()._limiter

        async def sleep(_seconds: float) -> None:
            limiter.of("PUT /shops/{shop_id}/customers/{customer_id}/affiliate-code").block_for(1000, 429)

        core_of(session).clock.sleep = sleep
        with pytest.raises(RateLimitedError, match="not sent") as caught:
            await edit_customer_affiliate_code(session, 7, "x")
    assert caught.value.maybe_applied
    assert caught.value.attempts == 1


def test_a_block_never_ends_earlier_than_the_server_asked() -> None:
    """A later answer with a shorter wait does not shorten a block."""
    clock = InstantClock()
    operation = OperationLimiter(clock, clock.sleep)
    operation.block_for(10, 429)
    operation.block_for(3, 429)
    assert operation.blocked_for == 10
    operation.block_for(1e9, 429)
    assert operation.blocked_for == 3600


async def test_a_block_that_is_prolonged_is_waited_for_again() -> None:
    """A task that wakes while a block was prolonged waits for the rest."""
    clock = InstantClock(chance=0.0)
    operation = OperationLimiter(clock, clock.sleep)

    async def sleep(seconds: float) -> None:
        if len(clock.slept) == 0:
            operation.block_for(50, 429)
        await clock.sleep(seconds)

    operation.pause = sleep
    operation.block_for(10, 429)
    await operation.wait(inf, lambda: inf)
    assert clock.time >= 50


def later(seconds: float) -> str:
    return format_datetime(datetime(2031, 5, 5, tzinfo=UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("first", "minimum", "maximum"),
    [
        (limited("12"), 12, 13.3),
        (limited("1.5"), 1.5, 1.7),
        (limited("0"), 0.25, 0.3),
        (limited(later(20), Date=later(0)), 20, 22.1),
        (limited(later(-20), Date=later(0)), 0.25, 0.3),
        (
            limited(None, X_RateLimit_Reset=str(int(datetime(2031, 5, 5, tzinfo=UTC).timestamp()) + 9), Date=later(0)),
            9,
            10,
        ),
        (limited(None), 0.5, 0.6),
        (limited("soon"), 0.5, 0.6),
        (limited("-5"), 0.5, 0.6),
        (limited("nan"), 0.5, 0.6),
        (limited("inf"), 0.5, 0.6),
        (limited("90"), 90, 90.1),
    ],
)
async def test_the_servers_wait_is_kept_and_only_stretched(first: bytes, minimum: float, maximum: float) -> None:
    """The server's wait is kept, and only lengthened."""
    clock = InstantClock()
    async with raw_server(first, answer(CUSTOMER)) as server, server.session(clock=clock) as session:
        await get_customer(session, 7)
    assert minimum <= sum(clock.slept) <= maximum


@pytest.mark.parametrize("after", ["91", "86400", "9" * 30])
async def test_a_wait_longer_than_allowed_is_raised_at_once(after: str) -> None:
    """A longer wait than ``retry_after_max`` is raised at once."""
    clock = InstantClock()
    async with raw_server(limited(after)) as server, server.session(clock=clock) as session:
        with pytest.raises(RateLimitedError) as caught:
            await get_customer(session, 7)
        assert float(after) == caught.value.retry_after
        assert (caught.value.attempts, clock.slept) == (1, [])
        with pytest.raises(RateLimitedError, match="not sent") as held:
            await get_customer(session, 8)
        assert held.value.retry_after is not None
        assert 90 < held.value.retry_after <= 3600
    assert len(server.heard) == 1


async def test_a_429_says_what_is_left() -> None:
    """A 429 has the server's limit and what remains of it."""
    async with raw_server(limited("91", X_RateLimit_Limit="60", X_RateLimit_Remaining="0")) as server:
        async with server.session() as session:
            with pytest.raises(RateLimitedError) as caught:
                await get_customer(session, 7)
    assert (caught.value.limit, caught.value.remaining) == (60, 0)


async def test_attempts_end() -> None:
    """A call ends after its last attempt."""
    clock = InstantClock(chance=1.0)
    async with raw_server(answer(None, 503)) as server, server.session(clock=clock) as session:
        with pytest.raises(ServerError) as caught:
            await get_customer(session, 7)
    assert 4 == len(server.heard) == caught.value.attempts
    assert clock.slept == [0.5, 1, 2]


async def test_a_503_with_retry_after_is_waited_out() -> None:
    """A 503 with a Retry-After is waited out."""
    clock = InstantClock()
    async with raw_server(answer(None, 503, headers={"Retry-After": "20"}), answer(CUSTOMER)) as server:
        async with server.session(clock=clock) as session:
            await get_customer(session, 7)
    assert 20 <= sum(clock.slept) <= 22


async def test_the_deadline_covers_the_waits() -> None:
    """The deadline covers all attempts and the waits between them."""
    clock = InstantClock(chance=0.0)
    async with raw_server(answer(None, 503, headers={"Retry-After": "20"})) as server:
        async with server.session(timeout=Timeout(deadline=50), retry=RetryPolicy(attempts=9), clock=clock) as session:
            with pytest.raises(ServerError):
                await get_customer(session, 7)
    assert len(server.heard) == 3
    assert clock.slept == [20, 20]


async def test_an_attempt_gets_what_is_left_of_the_deadline() -> None:
    """An attempt may take no longer than what remains of the deadline."""

    async def wait_and_answer(_heard: ReceivedRequest, wire: Wire) -> None:
        pass_time(20)
        for _ in range(10):
            await asyncio.sleep(0)
        wire.send(answer(CUSTOMER))

    async with raw_server(wait_and_answer) as server:
        async with server.session(timeout=Timeout(total=30, deadline=15), retry=RetryPolicy(attempts=1)) as session:
            with pytest.raises(TransportError):
                await get_customer(session, 7)
    assert len(server.heard) == 1


async def test_a_turn_that_comes_after_the_deadline_is_not_waited_for() -> None:
    """A turn that comes after the deadline is not waited for."""
    clock = InstantClock()
    operation = OperationLimiter(clock, clock.sleep)
    operation.block_for(1.0, 429)
    for _ in range(10):
        operation._next_leave += 0.1
    with pytest.raises(RateLimitedError) as caught:
        await operation.wait(90, lambda: 1.5)
    assert 2.0 == pytest.approx(caught.value.retry_after)
    assert [] == clock.slept


async def test_a_limit_without_a_figure_keeps_to_the_longest_wait() -> None:
    """A 429 without a wait of its own is waited out for no longer than the policy allows."""
    clock = InstantClock()
    async with raw_server(limited(None), answer(CUSTOMER)) as server:
        async with server.session(retry=RetryPolicy(retry_after_max=0.2), clock=clock) as session:
            await get_customer(session, 7)
    assert 0.2 == pytest.approx(sum(clock.slept))


async def test_the_queue_for_a_slot_counts_against_no_timeout() -> None:
    """The queue for a slot counts against no timeout."""
    clock = InstantClock()

    def behave(_heard: ReceivedRequest, wire: Wire) -> None:
        clock.time += 10
        wire.send(answer(CUSTOMER))

    async with raw_server(behave) as server:
        async with server.session(max_in_flight=1, timeout=Timeout(total=30, deadline=15), clock=clock) as session:
            got = await asyncio.gather(*(get_customer(session, 7) for _ in range(30)))
    assert len(got) == 30


async def test_a_queue_between_attempts_is_free_too() -> None:
    """The queue for a slot between attempts counts against no timeout."""
    deadline = Deadline(Clock(now=lambda: moment), 10.0)
    moment = 100.0
    assert (deadline.elapsed, deadline.remaining) == (0.0, 10.0)
    deadline.exclude_queue_time(5.0)
    moment = 104.0
    deadline.exclude_queue_time(3.0)
    assert (deadline.elapsed, deadline.remaining) == (4.0, 9.0)


async def test_no_more_are_in_flight_than_allowed() -> None:
    """No more requests are in flight than ``max_in_flight``."""
    now = most = 0
    full = asyncio.Event()

    async def behave(_heard: ReceivedRequest, wire: Wire) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        if now == 3:
            full.set()
        await full.wait()
        for _ in range(10):  # a fourth would come
            await asyncio.sleep(0)
        now -= 1
        wire.send(answer(CUSTOMER))

    async with raw_server(behave) as server, server.session(max_in_flight=3) as session:
        await asyncio.gather(*(get_customer(session, 7) for _ in range(19)))
    assert most == 3


class Agenda:
    """A clock that a test moves on to the next moment at which somebody's sleep ends; its timers may ring early."""

    def __init__(self, early: float) -> None:
        self.time = 0.0
        self._early = early
        self._wakes: list[tuple[float, asyncio.Future[None]]] = []
        self.clock = Clock(now=lambda: self.time, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        early = self._early if seconds > 2 * self._early else 0.0
        wake = self.time + max(0.0, seconds - early), asyncio.get_running_loop().create_future()
        self._wakes.append(wake)
        try:
            await wake[1]
        finally:
            self._wakes.remove(wake)

    async def pass_to(self, moment: float) -> None:
        """Let time pass, and let all run whose sleep ends meanwhile."""
        while True:
            for _ in range(10):
                await asyncio.sleep(0)
            due = min((wake for wake in self._wakes if not wake[1].done()), key=lambda wake: wake[0], default=None)
            if due is None or due[0] > moment:
                break
            self.time = max(self.time, due[0])
            due[1].set_result(None)
        self.time = max(self.time, moment)


async def started(calls: list[tuple[float, float, int]], limit: RateLimit, early: float = 0.0) -> list[float]:
    """Return when calls start, of which each has a pause before it, a deadline, and maybe a call that it cancels."""

    async def one(deadline: float) -> None:
        began = agenda.time
        await limiter.acquire("a", Deadline(agenda.clock, deadline), 100)
        assert agenda.time <= began + deadline + 1e-6
        starts.append(agenda.time)
        limiter.release()

    starts: list[float] = []
    agenda = Agenda(early)
    limiter = Limiter(100, limit, agenda.clock, agenda.clock.sleep)
    tasks = []
    for gap, deadline, cancels in calls:
        await agenda.pass_to(agenda.time + gap)
        tasks.append(asyncio.create_task(one(deadline)))
        await asyncio.sleep(0)
        if cancels:
            tasks[-min(cancels, len(tasks))].cancel()
    await agenda.pass_to(1e9)
    for error in await asyncio.gather(*tasks, return_exceptions=True):
        assert error is None or isinstance(error, NotSentError | asyncio.CancelledError), error
    return starts


async def test_the_sessions_own_rate_limit_spaces_requests() -> None:
    """The session's own rate limit spaces requests evenly; the first leaves at once, and a lull saves up no burst."""
    calls = [(0.0, 99.0, 0)] * 4 + [(100.0, 99.0, 0)] + [(0.0, 99.0, 0)] * 2
    assert [0, 0.1, 0.2, 0.3, 100, 100.1, 100.2] == pytest.approx(await started(calls, RateLimit(10, 1)))


@given(
    st.lists(st.tuples(st.floats(0, 3), st.floats(0.01, 20), st.integers(0, 4)), max_size=12),
    st.integers(1, 5),
    st.floats(0.1, 3),
    st.sampled_from([0.0, 0.01]),
)
def test_no_more_start_than_the_rate_limit_allows(
    calls: list[tuple[float, float, int]], most: int, seconds: float, early: float
) -> None:
    """Any two starts are a turn apart and none is late, however calls come, are cancelled or run out of time."""
    starts = asyncio.run(started(calls, RateLimit(most, seconds), early))
    assert all(later - earlier >= seconds / most - 1e-6 for earlier, later in pairwise(starts))


async def test_a_turn_behind_the_deadline_fails_at_once() -> None:
    """A call whose turn by the session's own rate limit comes after its deadline fails at once, unsent."""
    clock = InstantClock()
    async with raw_server(answer(CUSTOMER)) as server:
        session = server.session(rate_limit=RateLimit(1, 60), timeout=Timeout(deadline=90), clock=clock)
        async with session:
            await get_customer(session, 7)
            second = asyncio.create_task(get_customer(session, 7))
            await asyncio.sleep(0)
            with pytest.raises(NotSentError, match="rate limit") as caught:
                await edit_customer_balance(session, 3, 1)
            assert 0 == clock.time
            await second
            assert 60 == clock.time
            await get_customer(session, 7)
    assert not caught.value.maybe_applied
    assert 3 == len(server.heard)


async def test_a_turn_that_is_cancelled_is_given_back() -> None:
    """A call that is cancelled at the end of the session's own rate limit's queue gives its turn back."""
    clock = InstantClock()
    limiter = limiter_of(clock, RateLimit(1, 60))
    limiter._slots = asyncio.Semaphore(9)
    await limiter.acquire("a", Deadline(clock, 1000), 100)
    leaving = asyncio.create_task(limiter.acquire("a", Deadline(clock, 1000), 100))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await limiter.acquire("a", Deadline(clock, 1000), 100)
    assert 60 == clock.time


async def in_a_wait(session: AsyncSession) -> Any:
    return await get_customer(session, 7)


async def in_a_walk(session: AsyncSession) -> Any:
    return [c async for c in iter_customers(session)]


async def in_an_edit(session: AsyncSession) -> Any:
    return await edit_customer_balance(session, 7, 1)


async def half_a_body(_heard: ReceivedRequest, wire: Wire) -> None:
    wire.send(answer(CUSTOMER)[:-5])
    await wire.reader.read()


@pytest.mark.parametrize("call", [in_a_wait, in_a_walk, in_an_edit])
@pytest.mark.parametrize("behaviour", [LIMITED, silence, half_a_body], ids=["blocked", "answer", "body"])
async def test_cancellation_is_honoured(call: Callable[[AsyncSession], Awaitable[Any]], behaviour: Any) -> None:
    """A cancelled task ends at once, and frees its slot."""
    async with raw_server(behaviour) as server, server.session(max_in_flight=1) as session:
        task = asyncio.ensure_future(call(session))
        while not server.heard:
            await asyncio.sleep(0)
        for _ in range(10):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        server.behaviours = [answer([])]
        assert await get_customer_balance_transactions(session, 7) == []


async def test_a_cancelled_task_gives_its_place_back_while_rate_limited() -> None:
    """A task that is cancelled while it waits for the rate limit frees its slot and its turn."""
    limiter = limiter_of(InstantClock(), RateLimit(1, 60))
    clock = limiter._clock
    await limiter.acquire("a", Deadline(clock, 100), 100)
    limiter.release()
    task = asyncio.create_task(limiter.acquire("a", Deadline(clock, 100), 100))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    free = limiter_of(InstantClock(), None)
    free._slots = limiter._slots
    await asyncio.wait_for(free.acquire("b", Deadline(clock, 100), 100), 5)


@pytest.mark.slow
async def test_a_bulk_read_succeeds_under_a_real_limit(shop: Sandbox) -> None:
    """A bulk read succeeds against a server that counts, with few 429s."""
    with Sandbox(60, rate_limit=RateLimit(20, 1)) as strict:
        async with strict.session(retry=RetryPolicy(attempts=10)) as session:
            ids = [c.id async for c in iter_customers(session, per_page=2, concurrency=4)]
    assert len(ids) == 60
    refused = [request for request in strict.requests if request.status == 429]
    assert len(refused) <= 4 * 3
