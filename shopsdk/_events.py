"""What a session tells of its doings: small values for metrics and dashboards, without keys, bodies or addresses.

Operations are named by verb and route template, such as ``GET /shops/{shop_id}/customers``, so that they can label a
metric as they are.
"""

import logging
from collections.abc import Callable

import attrs

logger = logging.getLogger("shopsdk")


@attrs.frozen(kw_only=True)
class RequestStarted:
    """A call of an operation begins; one call may take several attempts."""

    operation: str
    """Verb and route template."""
    call: int
    """What ties the events of one call together: a number, unique within the session."""


@attrs.frozen(kw_only=True)
class AttemptStarted:
    """A request is about to leave."""

    operation: str
    """Verb and route template."""
    call: int
    """The call's number."""
    attempt: int
    """Which attempt of the call this is, from 1."""


@attrs.frozen(kw_only=True)
class RetryScheduled:
    """An attempt failed, and another will follow."""

    operation: str
    """Verb and route template."""
    call: int
    """The call's number."""
    attempt: int
    """Which attempt failed, from 1."""
    reason: str
    """The name of the error's class."""
    wait: float
    """Seconds until the next attempt, at the least."""


@attrs.frozen(kw_only=True)
class GateClosed:
    """The shop refused a request for a while: all calls of this operation wait."""

    operation: str
    """Verb and route template."""
    seconds: float
    """For how long, at the least."""
    status: int = 429
    """The status that said so: 429 for the shop's rate limit, or 503 with a ``Retry-After``."""


@attrs.frozen(kw_only=True)
class GateOpened:
    """The wait is over, and the first call that waited leaves."""

    operation: str
    """Verb and route template."""


@attrs.frozen(kw_only=True)
class RequestDone:
    """A call has ended, in success, failure or cancellation."""

    operation: str
    """Verb and route template."""
    call: int
    """The call's number."""
    attempts: int
    """How many requests it took."""
    elapsed: float
    """Seconds since it had its first slot, waits included."""
    status: int | None
    """The HTTP status it ended with; None where there was none."""
    received: int
    """Bytes of the answer's body, after decompression; 0 where it failed."""
    error: str | None
    """The name of the error's class; None for success."""


Event = RequestStarted | AttemptStarted | RetryScheduled | GateClosed | GateOpened | RequestDone
"""What ``on_event`` is given."""


class Hook:
    """A function that listens, such as the caller's ``on_event``, and can never break a call."""

    def __init__(self, on_event: Callable[[Event], object]) -> None:
        self._on_event = on_event

    def __call__(self, event: Event) -> None:
        """Tell; whatever the caller's function raises is logged, and goes no further."""
        try:
            self._on_event(event)
        except Exception as error:  # noqa: BLE001 - the one place where a stranger's error must not end our call
            logger.warning("on_event raised %s", type(error).__name__)
