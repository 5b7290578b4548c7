"""Laravel's throttle: a fixed window that its first request opens. Requests that are refused do not count."""

import math
import time
from collections.abc import Callable

from shopsdk import RateLimit
from shopsdk.sandbox._message import HTTPError


class Throttle:
    """Counts the requests of one key; used from the server's loop alone."""

    def __init__(self, limit: RateLimit, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._hits = 0
        self._window_end = -math.inf

    def hit(self) -> None:
        """Count one request.

        Raises:
            HTTPError: The window is full (429).
        """
        self._reset_if_over()
        if self._hits >= self._limit.max_requests:
            wait = math.ceil(self._window_end - self._clock())
            headers = {"Retry-After": str(wait), "X-RateLimit-Reset": str(math.ceil(time.time()) + wait)}
            raise HTTPError(429, "Too Many Attempts.", headers=headers)
        if self._hits == 0:
            self._window_end = self._clock() + self._limit.per_seconds
        self._hits += 1

    def headers(self) -> dict[str, str]:
        """The headers of every answer while a limit is set."""
        self._reset_if_over()
        limit = self._limit.max_requests
        return {"X-RateLimit-Limit": str(limit), "X-RateLimit-Remaining": str(limit - self._hits)}

    def _reset_if_over(self) -> None:
        if self._clock() >= self._window_end:
            self._hits = 0
