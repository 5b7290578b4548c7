"""The shop that stands behind the proxies of these tests."""

from collections.abc import Iterator

import pytest

from shopsdk.sandbox import Sandbox
from tests.http.proxies.calls import PEOPLE


@pytest.fixture
def shop() -> Iterator[Sandbox]:
    """A shop of 240 customers, every other of whom is called Ann."""
    with Sandbox(PEOPLE) as sandbox:
        yield sandbox
