"""When to try again, as a pure decision: (error, attempt, idempotent) -> seconds to wait, or None to give up.

A request that was surely not sent, or that a rate limit refused, may be repeated whatever the verb. One that may have
been carried out is repeated only if it is idempotent: reads, and writes that set a value. A balance edit adds, so it is
never repeated then. Randomness is an argument, so that a test can set it.
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
_MIN_WAIT = 0.25
"""Seconds to wait at least, even after ``Retry-After: 0``."""
_JITTER = 0.1
"""The share by which a wait that the server asked for is lengthened at most, so that not all come back at once."""


def decide(
    error: ShopError, attempt: int, *, idempotent: bool, policy: RetryPolicy, random: Callable[[], float]
) -> float | None:
    """Decide how many seconds to wait before attempt number ``attempt + 1``; None to give up."""
    if attempt >= policy.attempts or not repeatable(error, idempotent=idempotent):
        return None
    ceiling = min(policy.wait_max, policy.wait_initial * 2.0 ** min(attempt - 1, 60))
    asked = error.retry_after if isinstance(error, ResponseError) else None
    if asked is not None:
        if asked > policy.retry_after_max:
            return None
        stretched = max(asked, _MIN_WAIT) * (1 + _JITTER * random())
        return min(stretched, policy.retry_after_max)
    if isinstance(error, RateLimitedError):
        wait = max(ceiling, _MIN_WAIT) * (1 + _JITTER * random())  # a limit without a figure: wait it out in full
        return min(wait, policy.retry_after_max)
    return ceiling * random()


def repeatable(error: ShopError, *, idempotent: bool) -> bool:
    """Whether repeating is safe at all; the README has this as a table."""
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


def blocks_operation(status: int, asked: float | None, policy: RetryPolicy) -> bool:
    """Whether an answer blocks all calls of its operation.

    A 429 does. A 503 does if it says for how long, and for no longer than the policy allows: nginx answers one when its
    ``limit_req`` is exceeded. Without a figure, it is the failure of one call, as any 5xx.
    """
    return status == 429 or (status == 503 and asked is not None and asked <= policy.retry_after_max)


def retry_after(headers: Mapping[str, str], *, now: Callable[[], float] = time) -> float | None:
    """Read how many seconds the server asks to wait: from Retry-After in any of its forms, else X-RateLimit-Reset.

    A date is compared with the answer's own Date, so a wrong clock, ours or theirs, does no harm. Anything but a finite
    number of seconds, at least 0, counts as missing.
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
