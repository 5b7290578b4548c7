"""The longest wait of other tasks on the event loop: the time between two turns of a callback that does nothing."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks._harness import Row, alone
from benchmarks._table import quick, run
from benchmarks.origin import serving
from benchmarks.peers import missing
from shopsdk import AsyncSession, iter_customers
from shopsdk.export import export_customers


class _Pulse:
    """A callback that schedules itself again and again, and keeps the longest time between two turns."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.longest = 0.0
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._last = clock()
        self._handle = self._loop.call_soon(self._beat)

    def _beat(self) -> None:
        now = self._clock()
        self.longest = max(self.longest, now - self._last)
        self._last = now
        self._handle = self._loop.call_soon(self._beat)

    def stop(self) -> None:
        self._handle.cancel()


@contextmanager
def _pulse(clock: Callable[[], float]) -> Iterator[_Pulse]:
    pulse = _Pulse(clock)
    try:
        yield pulse
    finally:
        pulse.stop()


def walking(url: str, concurrency: int) -> float:
    """Stream every customer; return the longest slice, in seconds of CPU, to leave out other processes."""

    async def whole() -> float:
        walk = iter_customers(session := AsyncSession("bench-key", shop_id=38, base_url=url), concurrency=concurrency)
        async with session, aclosing(walk) as customers:
            await anext(customers)  # connected, and everything made that is made once
            with _pulse(time.thread_time) as pulse:
                async for _ in customers:
                    pass
        return pulse.longest

    return asyncio.run(whole())


def exporting(url: str, ending: str) -> float:
    """Export every customer; return the longest stall, in seconds of wall time, since a write waits for a disk."""

    async def whole(path: Path) -> float:
        async with AsyncSession("bench-key", shop_id=38, base_url=url) as session:
            with _pulse(time.perf_counter) as pulse:
                await export_customers(session, path, concurrency=4)
        return pulse.longest

    with TemporaryDirectory() as folder:
        return asyncio.run(whole(Path(folder, f"customers.{ending}")))


def measure() -> list[Row]:
    """Milliseconds, at 100 customers a page: the least of the longest slices of three runs."""
    rows = []
    with serving(9_950 if quick() else 99_950) as url:
        for concurrency in (1, 8):
            longest = _least("walking", url=url, concurrency=concurrency)
            rows.append(_row(f"longest slice of a walk, concurrency {concurrency}, CPU", longest, 5.0))
        for ending, package in (("ndjson", ""), ("csv", ""), ("parquet", "pyarrow")):
            what = f"longest stall of the loop, export to {ending}"
            if package and (without := missing(package)):
                rows.append(Row(what=what, measured=float("nan"), note=without))
                continue
            longest = _least("exporting", url=url, ending=ending)
            rows.append(_row(what, longest, 50.0))
    return rows


def _least(name: str, **arguments: Any) -> float:
    return min(float(alone(f"benchmarks.fairness:{name}", **arguments).result) for _ in range(2 if quick() else 3))


def _row(what: str, seconds: float, bound: float) -> Row:
    return Row(what=what, measured=seconds * 1e3, bound=bound, at_least=False, unit="ms")


if __name__ == "__main__":
    run(measure)
