"""The shop that stands behind the proxies of these tests."""

from collections.abc import Iterator
from decimal import Decimal

import pytest

from shopsdk import Customer
from shopsdk.sandbox import Sandbox

PEOPLE = [
    Customer(id=number, email=f"{'ann' if number % 2 else 'bob'}{number}@example.com", balance=Decimal(0))
    for number in range(1, 241)
]


@pytest.fixture
def shop() -> Iterator[Sandbox]:
    """A shop of 240 customers, every other of whom is called Ann."""
    with Sandbox(PEOPLE) as sandbox:
        yield sandbox
