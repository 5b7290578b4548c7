"""A server that is faster than any client: a raw protocol in a process of its own, with pages from templates.

``python -m benchmarks.origin --customers 1000000`` prints its port and serves until its standard input ends.
"""

import argparse
import asyncio
import json
import math
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from benchmarks._machine import origin_core, pin
from benchmarks._relay import Near

FIRST_ID = 1_000_000
"""Ids start here, so that all of them have as many digits, and every page as many bytes."""
PATH = "/v1/shops/38/customers"
_LENGTH = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)
_TARGET = re.compile(rb"GET " + PATH.encode() + rb"(?:/([0-9]+))?(?:\?([^ ]*))? ")
_EDIT = re.compile(rb"(?:POST|PUT) " + PATH.encode() + rb"/[0-9]+/balance ")
_PLACE = "%d"
_STALL = 4
"""The delay of a stalled answer, in latencies."""


def _row(index: int) -> str:
    """One of a hundred kinds of customer, with a place for every id in it."""
    known = bool(index % 2)
    referred = index % 5 == 0
    customer: dict[str, Any] = {
        "id": _PLACE,
        "email": f"customer.{_PLACE}@mail.example.com",
        "discord_id": f"84170{index:02}59328140{index:02}7" if known else None,
        "discord_username": f"somebody_{index:02}" if known else None,
        "balance": f"{index * 7 % 90}.{index:02}",
        "total_completed": index % 23,
        "total_spent_usd": f"{index * 37 % 900}.{index:02}",
        "last_completed_at": f"2025-07-{1 + index % 28:02} 18:04:28" if index % 3 else None,
        "newsletter_at": f"2025-01-{1 + index % 28:02} 07:30:{index % 60:02}" if index % 4 == 0 else None,
        "affiliate_code": f"FRIEND{index:02}" if index % 10 == 0 else None,
        "affiliate_referrer_id": FIRST_ID if referred else None,
        "affiliate_referrer": {"id": FIRST_ID, "email": "the.first@mail.example.com"} if referred else None,
    }
    return json.dumps(customer, separators=(",", ":")).replace(f'"{_PLACE}"', _PLACE)


_ROWS = [_row(index) for index in range(100)]


@cache
def _rows_template(kind: int, count: int) -> bytes:
    return ",".join(_ROWS[(kind + i) % 100] for i in range(count)).encode()


def render_rows(offset: int, count: int) -> bytes:
    """Render customers number ``offset`` and following, as JSON objects with commas between them."""
    ids = [FIRST_ID + offset + i for i in range(count)]
    return _rows_template(offset % 100, count) % tuple([number for number in ids for _ in range(2)])


def render_page(page: int, per_page: int, total: int) -> bytes:
    """Render a page as Laravel's paginator does: every documented key, slashes escaped."""
    last = max(1, -(-total // per_page))
    offset = (page - 1) * per_page
    count = max(0, min(per_page, total - offset))
    url = f"http://127.0.0.1{PATH}".replace("/", "\\/")

    def link(number: int) -> str:
        return f'"{url}?page={number}"' if 1 <= number <= last else "null"

    window = [number for number in range(page - 3, page + 4) if 1 <= number <= last]
    labels = [("&laquo; Previous", page - 1), *((str(n), n) for n in window), ("Next &raquo;", page + 1)]
    links = ",".join(
        f'{{"url":{link(n)},"label":"{label}","active":{"true" if label == str(page) else "false"}}}'
        for label, n in labels
    )
    tail = (
        f'],"first_page_url":"{url}?page=1","from":{offset + 1 if count else "null"},"last_page":{last},'
        f'"last_page_url":"{url}?page={last}","links":[{links}],"next_page_url":{link(page + 1)},"path":"{url}",'
        f'"per_page":{per_page},"prev_page_url":{link(page - 1)},"to":{offset + count if count else "null"},'
        f'"total":{total}}}'
    )
    return b'{"current_page":%d,"data":[%b%b' % (page, render_rows(offset, count), tail.encode())


def render_customer(number: int) -> bytes:
    """Render the answer to Get Customer."""
    return render_rows(number - FIRST_ID, 1)


def _answer(status: str, body: bytes, headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


class Shop:
    """The server's answers. The page that is likely to be asked next is rendered while no request waits."""

    def __init__(self, total: int, latency: float, limit: int, window: float, stall_every: int) -> None:
        self.total = total
        self._latency = latency
        self._stall_every = stall_every
        self._answered = 0
        self._limit = limit
        self._window = window
        self._window_ends = 0.0
        self._used = 0
        self._ready: dict[tuple[int, int], bytes] = {}

    def latency(self) -> float:
        """Return the seconds before the next answer; a stalled one takes as long as a lost packet's timeout more."""
        self._answered += 1
        stalled = self._stall_every and self._answered % self._stall_every == 0
        return self._latency * (1 + _STALL) if stalled else self._latency

    def answer(self, head: bytes, body: bytes) -> bytes:
        """Answer one request."""
        if (seconds := self._retry_after()) is not None:
            headers = f"Retry-After: {seconds}\r\nX-RateLimit-Limit: {self._limit}\r\nX-RateLimit-Remaining: 0\r\n"
            return _answer("429 Too Many Requests", b'{"message":"Too Many Attempts."}', headers)
        target = _TARGET.match(head)
        if target is None and _EDIT.match(head):
            return _answer("200 OK", b'{"message":"Customer balance updated successfully."}')
        if target is None:
            return _answer("404 Not Found", b'{"message":"The route could not be found."}')
        if target[1]:
            return _answer("200 OK", render_customer(int(target[1])))
        asked = json.loads(body) if body else dict(part.split("=") for part in (target[2] or b"").decode().split("&"))
        key = (int(asked.get("page", 1)), int(asked.get("perPage", 10)))
        page = self._ready.pop(key, None) or self._page(*key)
        asyncio.get_running_loop().call_soon(self._prepare, key[0] + 1, key[1])
        return page

    def _prepare(self, page: int, per_page: int) -> None:
        if len(self._ready) > 200:
            self._ready.clear()
        if (page, per_page) not in self._ready and (page - 1) * per_page < self.total:
            self._ready[page, per_page] = self._page(page, per_page)

    def _page(self, page: int, per_page: int) -> bytes:
        return _answer("200 OK", render_page(page, per_page, self.total))

    def _retry_after(self) -> int | None:
        if not self._limit:
            return None
        now = time.monotonic()
        if now >= self._window_ends:
            self._window_ends, self._used = now + self._window, 0
        if self._used >= self._limit:
            return math.ceil(self._window_ends - now)
        self._used += 1
        return None


class _Connection(asyncio.Protocol):
    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._received = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n") + 4) > 3:
            length = _LENGTH.search(self._received, 0, end)
            whole = end + (int(length[1]) if length else 0)
            if len(self._received) < whole:
                return
            answer = self._shop.answer(self._received[:end], self._received[end:whole])
            self._received = self._received[whole:]
            if latency := self._shop.latency():
                asyncio.get_running_loop().call_later(latency, self._write, answer)
            else:
                self._transport.write(answer)

    def _write(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


def _stay_awake(loop: asyncio.AbstractEventLoop) -> None:
    """Keep the core busy: waking an idle core costs its sender time, which would count as the client's."""
    loop.call_soon(_stay_awake, loop)


async def _serve(shop: Shop, certificate: str, round_trip: float, *, awake: bool) -> None:
    loop = asyncio.get_running_loop()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if certificate else None
    if tls is not None:
        tls.load_cert_chain(certificate)
    server = await loop.create_server(lambda: _Connection(shop), "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    relay = await loop.create_server(lambda: Near(port, round_trip), "127.0.0.1", 0) if round_trip else server
    if awake:
        _stay_awake(loop)
    print(relay.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    relay.close()
    server.close()


@contextmanager
def serving(
    customers: int = 100_000,
    *,
    latency: float = 0.0,
    rate_limit: tuple[int, float] = (0, 1.0),
    certificate: str = "",
    round_trip: float = 0.0,
    stall_every: int = 0,
) -> Iterator[str]:
    """Run an origin for the length of a block; yield its base URL.

    ``latency`` delays answers alone; ``round_trip`` puts a link in front, which delays handshakes too.
    ``stall_every`` delays every so many answers one by four more latencies.
    """
    arguments = ["--customers", customers, "--latency", latency, "--limit", rate_limit[0], "--window", rate_limit[1]]
    arguments += ["--certificate", certificate, "--round-trip", round_trip, "--stall-every", stall_every]
    command = [sys.executable, "-m", "benchmarks.origin", *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        port = process.stdout.readline().strip()
        try:
            yield f"{'https' if certificate else 'http'}://127.0.0.1:{port}/v1"
        finally:
            process.stdin.close()
            process.wait()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--limit", type=int, default=0, help="requests to a window; 0: no limit")
    parser.add_argument("--window", type=float, default=1.0, help="seconds")
    parser.add_argument("--certificate", default="", help="a file with certificate and key: serve https")
    parser.add_argument("--round-trip", type=float, default=0.0, help="seconds that a round trip takes")
    parser.add_argument("--stall-every", type=int, default=0, help="answers to a stalled one; 0: none is")
    options = parser.parse_args(arguments)
    core = origin_core()
    pin(core)
    shop = Shop(options.customers, options.latency, options.limit, options.window, options.stall_every)
    asyncio.run(_serve(shop, options.certificate, options.round_trip, awake=core is not None))


if __name__ == "__main__":
    main()
