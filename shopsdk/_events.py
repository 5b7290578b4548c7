"""The events of a session: small values for metrics and dashboards, without keys, bodies or addresses.

They name an operation by verb and route template, such as ``GET /shops/{shop_id}/customers``, which can label a metric.
"""

import logging
from collections.abc import Callable

import attrs

logger = logging.getLogger("shopsdk")


@attrs.frozen(kw_only=True)
class RequestStarted:
    """A call of an operation begins; it may take several attempts."""

    operation: str
    """Verb and route template."""
    call: int
    """The call's number, unique within the session, which all events of the call have."""


@attrs.frozen(kw_only=True)
class AttemptStarted:
    """A request is about to be sent."""

    operation: str
    """Verb and route template."""
    call: int
    """The call's number."""
    attempt: int
    """The number of the attempt, from 1."""


@attrs.frozen(kw_only=True)
class RetryScheduled:
    """An attempt failed, and another will follow."""

    operation: str
    """Verb and route template."""
    call: int
    """The call's number."""
    attempt: int
    """The number of the attempt that failed, from 1."""
    reason: str
    """The name of the error's class: ``NotSentError`` if it could not connect, for instance."""
    wait: float
    """The shortest time until the next attempt, in seconds."""
    status: int | None = None
    """The status of the answer that was an error; None if no whole answer came, or the session could not connect."""


@attrs.frozen(kw_only=True)
class RateLimitPaused:
    """The shop asked for a wait; all calls of this operation are paused."""

    operation: str
    """Verb and route template."""
    seconds: float
    """The shortest pause, in seconds."""
    status: int = 429
    """The status of the answer: 429 for the shop's rate limit, or 503 with a ``Retry-After``."""


@attrs.frozen(kw_only=True)
class RateLimitResumed:
    """The pause is over, and the first call that waited is sent."""

    operation: str
    """Verb and route template."""


@attrs.frozen(kw_only=True)
class RequestFinished:
    """A call has ended, in success, failure or cancellation."""

    operation: str
    """Verb and route template."""
    call: int
    """The call's number."""
    attempts: int
    """The number of its attempts."""
    elapsed: float
    """Seconds since its first slot, waits included."""
    status: int | None
    """The HTTP status that it ended with, or None."""
    received: int
    """Bytes of the answer's body, after decompression; 0 if it failed."""
    error: str | None
    """The name of the error's class; None for success."""


Event = RequestStarted | AttemptStarted | RetryScheduled | RateLimitPaused | RateLimitResumed | RequestFinished
"""Any event; ``on_event`` is called with it."""


class Hook:
    """A callback, such as the caller's ``on_event``, whose exceptions are logged and ignored."""

    def __init__(self, on_event: Callable[[Event], object]) -> None:
        self._on_event = on_event

    def __call__(self, event: Event) -> None:
        """Call it with an event."""
        try:
            self._on_event(event)
        except Exception as error:  # noqa: BLE001 - a failing callback must not end the call
            logger.warning("on_event raised %s", type(error).__name__)
