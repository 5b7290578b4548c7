"""Faults on request: which requests they hit. What they do is the server's part."""

import threading
from collections.abc import Iterable
from typing import Literal, TypedDict, Unpack, get_args

import attrs

from shopsdk.sandbox._message import plain_value

FaultKind = Literal[
    "drop_before", "drop_after", "error_500", "html_502", "truncate", "slow", "rate_limit", "ignore_body"
]
_MAY_APPLY = ("error_500", "html_502")


class FaultFields(TypedDict, total=False):
    """The fields of a ``Fault`` that ``Sandbox.fail_next`` takes."""

    method: str | None
    """As in ``Fault``."""
    path: str | None
    """As in ``Fault``."""
    applied: bool
    """As in ``Fault``."""
    seconds: float
    """As in ``Fault``."""
    retry_after: int | str | None
    """As in ``Fault``."""


def _known(_: object, attribute: "attrs.Attribute[FaultKind]", value: str) -> None:
    if plain_value(value) not in get_args(FaultKind):
        raise ValueError(f"{attribute.name} must be one of {', '.join(get_args(FaultKind))}, not {value!r}")


def _positive(_: object, attribute: "attrs.Attribute[int | None]", value: int | None) -> None:
    if value is not None and (isinstance(value, bool) or value < 1):
        raise ValueError(f"{attribute.name} must be at least 1, not {value!r}")


@attrs.frozen
class Fault:
    """One way in which the shop misbehaves, and when.

    - ``drop_before``: the connection is closed, and nothing was done.
    - ``drop_after``: the request is carried out, and the connection closed without an answer.
    - ``error_500``: the framework's own error; nothing was done unless ``applied``.
    - ``html_502``: a CDN's error page; nothing was done unless ``applied``.
    - ``truncate``: the request is carried out, and the answer breaks off half-way.
    - ``slow``: the request is carried out, and the answer comes ``seconds`` later.
    - ``rate_limit``: 429 with ``retry_after``; nothing was done.
    - ``ignore_body``: as behind a proxy that drops the body of a GET (of ``method``, where that is given).

    Requests are counted per fault, and only those that it could hit. Where several faults apply, the first one hits and
    those after it do not count the request.

    Args:
        kind: the kind of misbehaviour.
        every: hit every Nth request; default: 1, which is all of them, unless ``first`` is given.
        first: hit the first N requests, then never again; default: no such end.
        method: hit only requests with this verb; default: with any.
        path: hit only requests whose path contains this, such as ``/balance``; default: any path.
        applied: for ``error_500`` and ``html_502``: whether the request is carried out all the same; default: False.
        seconds: for ``slow``: the delay of the answer, in seconds, at least 0; default: 1.
        retry_after: for ``rate_limit``: the header's value, in seconds or as a date, sent as it is; None leaves the
            header out; default: 1.

    Raises:
        ValueError: The kind is unknown, both ``every`` and ``first`` are given or either is below 1, ``applied`` is set
            for a kind that leaves no choice, or ``seconds`` is negative.
    """

    kind: FaultKind = attrs.field(validator=_known)
    """The kind of misbehaviour."""
    every: int | None = attrs.field(default=None, kw_only=True, validator=_positive)
    """Hit every Nth request; default: 1, which is all of them, unless ``first`` is given."""
    first: int | None = attrs.field(default=None, kw_only=True, validator=_positive)
    """Hit the first N requests, then never again; default: no such end."""
    method: str | None = attrs.field(default=None, kw_only=True)
    """Hit only requests with this verb; default: with any."""
    path: str | None = attrs.field(default=None, kw_only=True)
    """Hit only requests whose path contains this, such as ``/balance``; default: any path."""
    applied: bool = attrs.field(default=False, kw_only=True)
    """For ``error_500`` and ``html_502``: whether the request is carried out all the same; default: False."""
    seconds: float = attrs.field(default=1.0, kw_only=True)
    """For ``slow``: the delay of the answer, in seconds, at least 0; default: 1."""
    retry_after: int | str | None = attrs.field(default=1, kw_only=True)
    """For ``rate_limit``: the header's value, in seconds or as a date, sent as it is; None leaves the header out;
    default: 1."""

    def __attrs_post_init__(self) -> None:
        for name in ("kind", "every", "first", "method", "path", "retry_after"):
            object.__setattr__(self, name, plain_value(getattr(self, name)))
        if self.every is not None and self.first is not None:
            raise ValueError("give every or first, not both")
        if self.applied and self.kind not in _MAY_APPLY:
            raise ValueError(f"applied is for {' and '.join(_MAY_APPLY)}, not for {self.kind}")
        if not 0 <= self.seconds < float("inf"):
            raise ValueError(f"seconds must be 0 or more, not {self.seconds!r}")

    def could_hit(self, method: str, path: str) -> bool:
        """Whether the fault is meant for this request.

        Args:
            method: The request's verb, in capitals.
            path: The request's path.
        """
        if self.method is not None:
            right_verb = method == self.method.upper()
        else:
            right_verb = self.kind != "ignore_body" or method in {"GET", "HEAD"}
        return right_verb and (self.path is None or self.path in path)


class FaultPlan:
    """All faults, each with its count of requests. Faults may be added from any thread while the shop runs."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self._lock = threading.Lock()
        self._faults = [_Counted(fault) for fault in faults]
        self._queued: list[_Counted] = []

    def fail_next(self, kind: FaultKind, times: int, **where: Unpack[FaultFields]) -> None:
        """Queue a fault for the next ``times`` requests; queued faults hit first, in their order."""
        counted = _Counted(Fault(kind, first=times, **where))
        with self._lock:
            self._queued.append(counted)

    def next(self, method: str, path: str) -> Fault | None:
        """Find the fault that hits this request, and count the request."""
        with self._lock:
            hit = next((c for c in (*self._queued, *self._faults) if c.hits(method, path)), None)
            self._queued = [c for c in self._queued if not c.exhausted]
            return None if hit is None else hit.fault


@attrs.define
class _Counted:
    fault: Fault
    seen: int = 0

    @property
    def exhausted(self) -> bool:
        return self.fault.first is not None and self.seen >= self.fault.first

    def hits(self, method: str, path: str) -> bool:
        if self.exhausted or not self.fault.could_hit(method, path):
            return False
        self.seen += 1
        return self.fault.first is not None or self.seen % (self.fault.every or 1) == 0
