"""The README is the product's face: every block of it is run here as it stands (the first two, by the gate of CI)."""

import ast
import inspect
import re
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from shopsdk import Customer
from shopsdk.sandbox import Sandbox

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text(encoding="utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
SHELL = re.findall(r"^```sh\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture
async def readers_shop(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sandbox]:
    """The shop of somebody who reads: it has a customer 42, and the environment names it."""
    people = [
        Customer(id=number, email=f"reader{number}@example.com", balance=Decimal("20.00")) for number in range(1, 251)
    ]
    async with Sandbox(people) as shop:
        monkeypatch.setenv("SHOPSDK_API_KEY", shop.api_key)
        monkeypatch.setenv("SHOPSDK_SHOP_ID", str(shop.shop_id))
        monkeypatch.setenv("SHOPSDK_BASE_URL", shop.base_url)
        yield shop


def compiled(source: str, name: str) -> CodeType:
    code: CodeType = compile(source, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return code


@pytest.mark.parametrize("number", [n for n, block in enumerate(PYTHON) if "asyncio.run(" in block])
def test_programs_run(
    number: int, readers_shop: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The program that a newcomer pastes first would not work."""
    exec(compiled(PYTHON[number], f"README block {number}"), {"__name__": "__main__"})
    assert 250 == len(capsys.readouterr().out.splitlines())


@pytest.mark.parametrize("number", [n for n, block in enumerate(PYTHON) if "asyncio.run(" not in block])
async def test_fragments_run(number: int, readers_shop: Sandbox) -> None:
    """An example would not do what the text beside it says, or not run at all."""
    async with readers_shop.session() as session:
        scope: dict[str, Any] = {"session": session}
        result = eval(compiled(PYTHON[number], f"README block {number}"), scope)
        if inspect.isawaitable(result):
            await result
    assert all(request.status == 200 for request in readers_shop.requests)


def test_the_two_commands_come_first() -> None:
    """A newcomer, and the gate of CI, which runs the second as it stands, would look for them in vain."""
    assert "shopsdk export --sandbox customers.csv" in SHELL[0]
    assert "coverage run -m pytest" in SHELL[1]
    assert TEXT.index(SHELL[1]) < TEXT.index(PYTHON[0])


def test_every_error_is_in_the_readme() -> None:
    """A reader could not tell what to catch."""
    import shopsdk

    names = [name for name in shopsdk.__all__ if name.endswith("Error")]
    assert [] == [name for name in names if f"`{name}`" not in TEXT]
