"""Retries: Retry-After in all its forms, the table of what is repeated, and the bounds of each wait."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from math import inf, isfinite
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict

from shopsdk import (
    AuthenticationError,
    DecodeError,
    InvalidRequestError,
    MultipleCustomersError,
    NotFoundError,
    NotSentError,
    PaginationError,
    PermissionDeniedError,
    RateLimitedError,
    ReferenceConflictError,
    ResponseError,
    RetryPolicy,
    ServerError,
    SessionStateError,
    ShopError,
    TransportError,
    UnknownOutcomeError,
)
from shopsdk._http.retry import decide, repeatable, retry_after

NOON = datetime(2025, 7, 27, 12, tzinfo=UTC)


def seconds(**headers: str) -> float | None:
    given = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return retry_after(given, now=NOON.timestamp)


def http_date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


# --- Retry-After


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0.0),
        ("30", 30.0),
        (" 30 ", 30.0),
        ("1.5", 1.5),
        ("1.", 1.0),
        ("99999", 99999.0),
        ("9" * 300, float("9" * 300)),
        (http_date(NOON + timedelta(seconds=42)), 42.0),
        ("Sunday, 27-Jul-25 12:00:42 GMT", 42.0),
        (http_date(NOON - timedelta(days=1)), 0.0),
        *((text, None) for text in ("", " ", "-1", "nan", "inf", "-inf", "1e3", "1_0", "+5", "٣", "soon", "5 seconds")),
        *((text, None) for text in ("9" * 301, "0x10", "Sun, 99 Foo 2025 12:00:00 GMT", "1,5", ".5", "\x00")),
    ],
)
def test_every_form_of_retry_after(text: str, expected: float | None) -> None:
    """Retry-After is read as seconds and as a date in each of HTTP's forms."""
    assert expected == seconds(retry_after=text)


def test_no_header_is_no_wait_asked_for() -> None:
    """Without a header, no wait is asked for."""
    assert None is seconds()


@given(st.integers(-86_400 * 365, 86_400 * 365), st.integers(0, 86_400))
def test_a_skewed_clock_does_no_harm(skew: int, wait: int) -> None:
    """A date is compared with the answer's own Date."""
    theirs = NOON + timedelta(seconds=skew)
    asked = seconds(retry_after=http_date(theirs + timedelta(seconds=wait)), date=http_date(theirs))
    assert wait == asked


@pytest.mark.parametrize("date", ["", "nonsense", "Sun, 99 Foo 2025 12:00:00 GMT"])
def test_without_a_date_of_its_own_the_clock_here_must_do(date: str) -> None:
    """A date is compared with the local clock if the answer has no Date."""
    assert 42.0 == seconds(retry_after=http_date(NOON + timedelta(seconds=42)), date=date)


@pytest.mark.parametrize("absent", [{}, {"retry_after": "soon"}, {"retry_after": "-1"}, {"retry_after": ""}])
def test_the_reset_of_the_window_stands_in(absent: dict[str, str]) -> None:
    """X-RateLimit-Reset stands in for a missing Retry-After."""
    reset = str(int(NOON.timestamp()) + 17)
    assert 17.0 == seconds(**absent, x_ratelimit_reset=reset)
    skewed = http_date(NOON + timedelta(seconds=10))
    assert 7.0 == seconds(**absent, x_ratelimit_reset=reset, date=skewed)


def test_retry_after_wins_over_the_reset() -> None:
    """Retry-After, the standard's header, wins over X-RateLimit-Reset."""
    assert 3.0 == seconds(retry_after="3", x_ratelimit_reset=str(int(NOON.timestamp()) + 17))


@pytest.mark.parametrize("reset", ["nan", "inf", "-5", "", "soon", "1e9"])
def test_a_reset_that_is_no_moment_is_as_good_as_absent(reset: str) -> None:
    """A reset that is no moment counts as missing."""
    assert None is seconds(x_ratelimit_reset=reset)


def test_a_reset_that_is_over_is_no_wait() -> None:
    """A reset in the past is a wait of 0 seconds."""
    assert 0.0 == seconds(x_ratelimit_reset="5")


DATES = st.builds(
    "{}{} {} {} {}:{}:{} {}".format,
    st.sampled_from(["Sun, ", "", "Sunday, ", "x, "]),
    st.integers(-1, 99),
    st.sampled_from(["Jul", "Foo", "7", ""]),
    st.integers(-1, 10**6),
    st.integers(-1, 99),
    st.integers(-1, 99),
    st.integers(-1, 99),
    st.sampled_from(["GMT", "+0200", "-9999", "+99999999999", "", "EST", "-0000"]),
)
HEADER = st.one_of(st.text(), DATES, st.text(st.sampled_from("0123456789.-+eE naif:, GMT")), st.floats().map(str))


@given(HEADER, HEADER, HEADER)
@example("Sun, 27 Jul 9999999 12:00:00 GMT", "", "")
@example("27 Jul 2025 12:00:00 +99999999999999999999", "", "")
@example("0" * 301, "1 Jan 1 0:0:0 +2300", "9" * 300)
def test_no_header_can_do_harm(text: str, date: str, reset: str) -> None:
    """Any header gives no wait, or a finite one of at least 0 seconds."""
    asked = seconds(retry_after=text, date=date, x_ratelimit_reset=reset)
    assert asked is None or (isfinite(asked) and asked >= 0)


# --- what is repeated

EITHER: Mapping[type[ShopError], tuple[bool, bool]] = {
    # error: (where it may be done twice, where it may not)
    NotSentError: (True, True),
    RateLimitedError: (True, True),
    TransportError: (True, False),
    UnknownOutcomeError: (True, False),
    ServerError: (True, False),
    ShopError: (False, False),
    SessionStateError: (False, False),
    ResponseError: (False, False),
    AuthenticationError: (False, False),
    PermissionDeniedError: (False, False),
    NotFoundError: (False, False),
    InvalidRequestError: (False, False),
    DecodeError: (False, False),
    PaginationError: (False, False),
    MultipleCustomersError: (False, False),
    ReferenceConflictError: (False, False),
}


def everything() -> list[type[ShopError]]:
    found = [ShopError]
    for cls in found:
        found.extend(child for child in cls.__subclasses__() if child.__module__ == ShopError.__module__)
    return found


@pytest.mark.parametrize("cls", everything())
def test_the_table_of_what_is_repeated(cls: type[ShopError]) -> None:
    """Errors are repeated as the table says."""
    got = tuple(repeatable(cls(), idempotent=idempotent) for idempotent in (True, False))
    assert EITHER[cls] == got
    policy = RetryPolicy()
    for idempotent, again in zip((True, False), EITHER[cls], strict=True):
        wait = decide(cls(), 1, idempotent=idempotent, policy=policy, random=lambda: 0.5)
        assert again == (wait is not None)


@pytest.mark.parametrize("idempotent", [True, False])
def test_a_certificate_that_does_not_hold_is_not_tried_again(idempotent: bool) -> None:
    """An error that is marked as not repeatable is not repeated."""
    error = NotSentError()
    error.repeatable = False
    assert None is decide(error, 1, idempotent=idempotent, policy=RetryPolicy(), random=lambda: 0.5)


# --- how long

POLICIES = st.builds(
    RetryPolicy,
    attempts=st.integers(1, 10),
    wait_initial=st.floats(0, 100),
    wait_max=st.floats(0, 100),
    retry_after_max=st.floats(0, 1000),
)
CHANCE = st.floats(0, 1, exclude_max=True)
REPEATED = st.sampled_from([cls for cls, (twice, _) in EITHER.items() if twice])


@given(POLICIES, REPEATED, st.integers(1, 12), CHANCE)
@example(RetryPolicy(), TransportError, 1, 0.25)
def test_a_backoff_stays_below_its_ceiling(
    policy: RetryPolicy, cls: type[ShopError], attempt: int, chance: float
) -> None:
    """A backoff stays below its ceiling, and attempts end."""
    wait = decide(cls(), attempt, idempotent=True, policy=policy, random=lambda: chance)
    if attempt >= policy.attempts:
        assert None is wait
        return
    assert wait is not None
    ceiling = min(policy.wait_max, policy.wait_initial * 2 ** (attempt - 1))
    if cls is RateLimitedError:  # waited out in full: a 429 asks to wait, even if it does not say for how long
        shortest = max(ceiling, 0.25)
        assert min(shortest, policy.retry_after_max) <= wait <= min(shortest * 1.1, policy.retry_after_max)
    else:
        assert 0 <= wait <= ceiling
        assert ceiling * chance == pytest.approx(wait)


@given(POLICIES, st.sampled_from([RateLimitedError, ServerError]), st.integers(1, 10), st.floats(0, 2000), CHANCE)
@example(RetryPolicy(), RateLimitedError, 1, 0.0, 0.0)
@example(RetryPolicy(), RateLimitedError, 1, 90.0, 0.99)
def test_what_the_server_asks_for_is_a_floor(
    policy: RetryPolicy, cls: type[ResponseError], attempt: int, asked: float, chance: float
) -> None:
    """The server's wait is a lower bound, lengthened at random by a tenth at most."""
    error = cls()
    error.retry_after = asked
    wait = decide(error, attempt, idempotent=True, policy=policy, random=lambda: chance)
    if attempt >= policy.attempts or asked > policy.retry_after_max:
        assert None is wait
        return
    assert wait is not None
    assert asked <= wait <= max(asked, policy.retry_after_max)
    assert wait >= min(0.25, policy.retry_after_max)
    assert wait <= max(asked, 0.25) * 1.1


def test_tasks_with_the_same_wait_come_back_apart() -> None:
    """Tasks that were given the same wait come back at different times."""
    error = RateLimitedError()
    error.retry_after = 30.0
    waits = [
        decide(error, 1, idempotent=False, policy=RetryPolicy(), random=lambda chance=n / 10: chance)  # type: ignore[misc]
        for n in range(10)
    ]
    assert [pytest.approx(30 + 0.3 * n) for n in range(10)] == waits


def test_the_wait_doubles_to_its_limit() -> None:
    """The wait doubles with each attempt, up to its limit."""
    waits = [
        decide(TransportError(), attempt, idempotent=True, policy=RetryPolicy(attempts=9), random=lambda: 1.0)
        for attempt in range(1, 9)
    ]
    assert [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0] == waits


@pytest.mark.parametrize("cls", [cls for cls, (_, once) in EITHER.items() if not once])
@given(policy=POLICIES, attempt=st.integers(0, 20), chance=CHANCE, asked=st.one_of(st.none(), st.floats(0, 100)))
def test_nothing_makes_an_edit_repeated_that_may_have_been_made(
    cls: type[ShopError], policy: RetryPolicy, attempt: int, chance: float, asked: float | None
) -> None:
    """No policy repeats an edit that may have been made."""
    error: Any = cls()
    error.retry_after = asked
    assert None is decide(error, attempt, idempotent=False, policy=policy, random=lambda: chance)


@given(st.integers(1, 50))
def test_attempts_are_what_they_say(attempts: int) -> None:
    """``attempts`` counts requests, the first included."""
    policy = attrs.evolve(RetryPolicy(), attempts=attempts)
    made = 1
    while decide(NotSentError(), made, idempotent=False, policy=policy, random=lambda: 0.0) is not None:
        made += 1
    assert attempts == made


def test_a_wait_is_never_endless() -> None:
    """A wait is finite after any number of attempts."""
    policy = RetryPolicy(attempts=10**6, wait_initial=1e300, wait_max=1e300)
    wait = decide(TransportError(), 10**6 - 1, idempotent=True, policy=policy, random=lambda: 0.5)
    assert wait is not None
    assert wait < inf
