"""When to try again, as a pure decision: (error, attempt, idempotent) -> seconds to wait, or None to give up.

What was surely not sent, and what a rate limit refused, may be repeated whatever the verb. What may have been carried
out is repeated only if doing it twice is doing it once: reads, and writes that set a value. A balance edit adds, so it
never is. Randomness is handed in, so that a test can say what it is.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from time import time

from shopsdk._config import RetryPolicy
from shopsdk._errors import (
    DecodeError,
    NotSentError,
    RateLimitedError,
    ResponseError,
    ServerError,
    ShopError,
    TransportError,
)

_NUMBER = re.compile(r"[0-9]{1,300}(\.[0-9]{0,300})?")
_LEAST_WAIT = 0.25
"""Seconds; a server that says ``Retry-After: 0`` means the next moment, not this one."""
_UPWARD = 0.1
"""A wait that the server asked for is stretched by up to this share, so that not all come back at once."""


def decide(
    error: ShopError, attempt: int, *, idempotent: bool, policy: RetryPolicy, random: Callable[[], float]
) -> float | None:
    """Say how many seconds to wait before attempt number ``attempt + 1``, or None to give up."""
    if attempt >= policy.attempts or not repeatable(error, idempotent=idempotent):
        return None
    ceiling = min(policy.wait_max, policy.wait_initial * 2.0 ** min(attempt - 1, 60))
    asked = error.retry_after if isinstance(error, ResponseError) else None
    if asked is not None:
        if asked > policy.retry_after_max:
            return None
        stretched = max(asked, _LEAST_WAIT) * (1 + _UPWARD * random())
        return min(stretched, policy.retry_after_max)
    if isinstance(error, RateLimitedError):
        wait = max(ceiling, _LEAST_WAIT) * (1 + _UPWARD * random())  # a limit without a figure: wait it out in full
        return min(wait, policy.retry_after_max)
    return ceiling * random()


def repeatable(error: ShopError, *, idempotent: bool) -> bool:
    """Say whether repeating is safe at all: the table in the README, as code."""
    match error:
        case NotSentError():
            return error.repeatable
        case RateLimitedError():
            return True
        case TransportError() | ServerError():
            return idempotent
        case DecodeError():
            return idempotent and error.repeatable
        case _:
            return False


def holds_operation(status: int, asked: float | None, policy: RetryPolicy) -> bool:
    """Say whether an answer speaks for all calls of its operation, which then wait.

    A 429 does. A 503 does where it says for how long, and that is bearable: nginx answers one of its own to what
    exceeds ``limit_req``. Without a figure it is a failure of one call, as any 5xx.
    """
    return status == 429 or (status == 503 and asked is not None and asked <= policy.retry_after_max)


def retry_after(headers: Mapping[str, str], *, now: Callable[[], float] = time) -> float | None:
    """Read how many seconds the server asks to wait: from Retry-After in any of its forms, else X-RateLimit-Reset.

    A date is measured against the answer's own Date, so a skewed clock, ours or theirs, does no harm. What is not a
    finite number of seconds, not negative, is as good as absent.
    """
    text = headers.get("retry-after", "").strip()
    if _NUMBER.fullmatch(text):
        return float(text)
    server_now = _date(headers.get("date", ""))
    moment = _date(text)
    if moment is None:
        reset = headers.get("x-ratelimit-reset", "").strip()
        moment = float(reset) if _NUMBER.fullmatch(reset) else None
    if moment is None:
        return None
    return max(0.0, moment - (now() if server_now is None else server_now))


def _date(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
