"""Hostile bodies, and a client in its own process that reports how each call on each of them ends, and its peak."""

import asyncio
import gc
import gzip
import json
import sys
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from decimal import Decimal
from itertools import count
from typing import Any

import attrs

from shopsdk import (
    AsyncSession,
    BalanceTransaction,
    Customer,
    Page,
    RetryPolicy,
    ShopError,
    edit_customer_affiliate_code,
    edit_customer_balance,
    find_balance_edit,
    find_customer,
    get_customer,
    get_customer_balance_transactions,
    get_customers,
    iter_customer_pages,
    iter_customers,
    paginate,
)
from shopsdk.testing import InstantClock

CAP = 32 * 2**10
"""The session's max_response_bytes."""


@attrs.frozen
class Own:
    """A class of the caller's whose fields can hold much."""

    id: int = 0
    rows: list["Own"] = attrs.Factory(list)
    by_name: dict[str, "Own"] = attrs.Factory(dict)
    prices: list[Decimal] = attrs.Factory(list)
    extra: Any = None


async def _walk(session: AsyncSession) -> None:
    async with aclosing(iter_customers(session)) as customers:
        async for _ in customers:
            pass


async def _walk_pages(session: AsyncSession) -> None:
    async with aclosing(iter_customer_pages(session)) as pages:
        async for _ in pages:
            pass


async def _paginate(session: AsyncSession) -> None:
    async with aclosing(paginate(session, ["x"], Own)) as pages:
        async for _ in pages:
            pass


OPERATIONS: dict[str, Callable[[AsyncSession], Awaitable[object]]] = {
    "get_customers": get_customers,
    "get_customer": lambda session: get_customer(session, 7),
    "find_customer": lambda session: find_customer(session, email="a@example.com"),
    "iter_customers": _walk,
    "iter_customer_pages": _walk_pages,
    "get_customer_balance_transactions": lambda session: get_customer_balance_transactions(session, 7),
    "find_balance_edit": lambda session: find_balance_edit(session, 7, "r"),
    "edit_customer_balance": lambda session: edit_customer_balance(session, 7, 1),
    "edit_customer_balance, by reference": lambda session: edit_customer_balance(session, 7, 1, reference="r"),
    "edit_customer_affiliate_code": lambda session: edit_customer_affiliate_code(session, 7, "A"),
    "paginate": _paginate,
    "request": lambda session: session.request("GET", ["x"]),
    "a class": lambda session: session.request("GET", ["x"], as_type=Own),
    "a list": lambda session: session.request("GET", ["x"], as_type=list[Own]),
    "a list of lines": lambda session: session.request("GET", ["x"], as_type=list[BalanceTransaction]),
    "a page": lambda session: session.request("GET", ["x"], as_type=Page[Customer]),
    "a set": lambda session: session.request("GET", ["x"], as_type=set[int]),
    "a mapping": lambda session: session.request("GET", ["x"], as_type=dict[str, Decimal]),
}


def filled(units: Iterator[str] | str, head: str, tail: str) -> bytes:
    """Make a body of as many of these units as there is room for, with commas between."""
    room = CAP - len(head) - len(tail)
    parts: list[str] = []
    for unit in iter(lambda: units, None) if isinstance(units, str) else units:
        room -= len(unit) + 1
        if room < 0:
            break
        parts.append(unit)
    return (head + ",".join(parts) + tail).encode()


def _numbered(row: str) -> Callable[[], Iterator[str]]:
    return lambda: (row.replace("#", str(number)) for number in count())


ROWS: dict[str, Callable[[], Iterator[str] | str]] = {
    "empty objects": lambda: "{}",
    "empty lists": lambda: "[]",
    "nulls": lambda: "null",
    "whole numbers": lambda: "7",
    "distinct numbers": lambda: (str(number) for number in count(10**5)),
    "numbers of one hash": lambda: (str(number * (2**61 - 1)) for number in count(1)),
    "fractions": lambda: "0.1",
    "exponents": lambda: "1e9999999",
    "texts": lambda: '"aa"',
    "wide texts": lambda: '"\\ud83d\\ude00"',
    "small objects": lambda: '{"a":0}',
    "objects within objects": lambda: '{"a":{}}',
    "small lists": lambda: "[0]",
    "lists of a fraction": lambda: "[1.0]",
    "objects of a fraction": lambda: '{"":1.0}',
    "deep lists": lambda: f"{'[' * 100}{']' * 100}",
    "deeper lists": lambda: f"{'[' * 400}{']' * 400}",
    "deep objects": lambda: '{"":' * 300 + "0" + "}" * 300,
    "customers": _numbered('{"id":#,"email":""}'),
    "customers with ids as text": _numbered('{"id":"#","email":""}'),
    "lines": _numbered('{"id":#,"amount":1}'),
    "lines with ids as text": _numbered('{"id":"#","amount":1}'),
    "lines of one hash": lambda: (f'{{"id":{number * (2**61 - 1)},"amount":1}}' for number in count(1)),
    "rows within rows": lambda: '{"rows":[{},{}]}',
    "rows by name": lambda: '{"by_name":{"a":{}}}',
}
_PAGE = ',"current_page":1,"last_page":1,"per_page":100,"total":1}'
FRAMES: dict[str, tuple[str, str]] = {
    "bare": ("[", "]"),
    "a page": ('{"data":[', "]" + _PAGE),
    "own": ('{"rows":[', "]}"),
    "own, any": ('{"extra":[', '],"prices":["x"]}'),
    "own, prices": ('{"prices":[', "]}"),
    "total": ('{"data":[],"last_page":1,"current_page":1,"total":[', "]}"),
}


def _bodies() -> Iterator[tuple[str, bytes]]:
    for rows, units in ROWS.items():
        for frame, (head, tail) in FRAMES.items():
            yield f"{rows}, {frame}", filled(units(), head, tail)
    for name, pattern in {"rows by index": '"#":{}', "wide": '"k#":0', "nulls by name": '"#":null'}.items():
        yield f"{name}, bare", filled(_numbered(pattern)(), "{", "}")
        yield f"{name}, a page", filled(_numbered(pattern)(), '{"data":{', "}" + _PAGE)
    yield "customers by index", filled(_numbered('"#":{"id":#,"email":""}')(), '{"data":{', "}" + _PAGE)
    yield "one name again and again", filled('"data":[[],{}]', "{", "}")
    for depth in (300, 900, CAP // 12):
        for opening, closing in (("[", "]"), ('{"a":', "}"), ('{"rows":[', "]}"), ('{"extra":[', "]}")):
            nested = opening * depth + ("0" if closing == "}" else "") + closing * depth
            yield f"{depth} deep, {opening}", nested.encode()
            yield f"{depth} deep, {opening}, as an id", f'{{"data":[{{"id":{nested},"email":""}}]{_PAGE}'.encode()
            yield f"{depth} deep, {opening}, as a total", f'{{"data":[],"last_page":1,"total":{nested}}}'.encode()
    long = CAP - 200
    for name, value in {
        "digits": "7" * long,
        "4,000 digits": "7" * 4000,
        "a long fraction": "1." + "7" * (long - 2),
        "an exponent": "1e999999999",
        "a long exponent": "1e" + "9" * (long - 2),
        "a long text": f'"{"a" * long}"',
        "a text of digits": f'"{"7" * long}"',
        "a text of zeros": f'"{"0" * long}"',
        "escapes": f'"{chr(92) + "u0041"}{(chr(92) + "u0041") * (long // 6 - 1)}"',
        "surrogates": f'"{(chr(92) + "ud83d" + chr(92) + "ude00") * (long // 12)}"',
        "addresses": f'"{"a@" * (long // 2)}"',
        "almost an address": f'"{"a." * (long // 2)}"',
        "entities": f'"{"&#" * (long // 2)}"',
        "a time": f'"0000-00-00 00:00:00.{"0" * (long - 30)}"',
        "an empty time": f'"2025-07-27 18:04:28.{"1" * (long - 30)}"',
    }.items():
        yield name, value.encode()
        fields = ("id", "email", "balance", "last_completed_at", "amount", "message", "errors", "extra", "total")
        for field in fields:
            row = f'"{field}":{value}'
            yield f"{name}, as {field}", f'{{"id":7,"email":"","amount":1,{row}}}'.encode()
        yield f"{name}, in a row", f'{{"data":[{{"id":{value},"email":""}}]{_PAGE}'.encode()
        yield f"{name}, as a page's number", f'{{"data":[],"current_page":{value}{_PAGE[17:]}'.encode()
    yield "errors of many fields", filled(_numbered('"f#":["no"]')(), '{"message":"no","errors":{', "}}")
    yield "errors of many lines", filled('"a@b"', '{"message":"no","errors":{"f":[', "]}}")
    yield "white space", b" " * CAP
    yield "white space around", b" " * (CAP // 2) + b"{}" + b" " * (CAP // 2 - 2)
    yield "white space before a colon", b'{"balance"' + b" " * (CAP - 40) + b":1}"
    yield "white space behind money", b'{"balance":1' + b" " * (CAP - 40) + b"}"
    yield "HTML", b"<html>" + b"<p>" * (CAP // 3 - 2)
    yield "quotes", b'"' * CAP
    yield "brackets", b"[" * CAP
    yield "cut short", filled("{}", "[", ",")


BODIES = dict(_bodies())
BOMB = gzip.compress(b'{"data":[' + b",".join([b"{}"] * 160_000) + b"]" + _PAGE.encode())
"""160,000 empty rows."""


async def _measure(root: str, calls: list[tuple[str, int]], cases: int) -> None:
    for operation, status in calls:
        for case in range(cases):
            url = f"{root}/{status}/{case}"
            async with AsyncSession(
                "key-of-sixteen-letters",
                shop_id=38,
                base_url=url,
                max_response_bytes=CAP,
                retry=RetryPolicy(attempts=1),
                clock=InstantClock(),
            ) as session:
                gc.collect()
                tracemalloc.reset_peak()
                before = tracemalloc.get_traced_memory()[0]
                try:
                    await OPERATIONS[operation](session)
                except ShopError as error:
                    outcome = type(error).__name__
                    shown = len(str(error))
                except Exception as error:  # noqa: BLE001 - what the test is after
                    outcome, shown = f"bare {type(error).__name__}", len(str(error))
                else:
                    outcome, shown = "value", 0
                peak = tracemalloc.get_traced_memory()[1] - before
            sys.stdout.write(json.dumps([operation, status, case, outcome, shown, peak]) + "\n")


def main() -> None:
    """Run the calls that the arguments name, each on all of the server's bodies, and print how each ends."""
    root, calls, cases = sys.argv[1:]
    gc.freeze()  # a collection before each case then takes no time
    tracemalloc.start()
    asyncio.run(_measure(root, json.loads(calls), int(cases)))


if __name__ == "__main__":
    main()
