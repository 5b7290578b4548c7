"""What the tests of README and docstrings stand on: finding the code blocks of a text, and running one as it stands."""

import ast
import inspect
import re
from pathlib import Path
from types import CodeType
from typing import Any

README = Path(__file__).parent.parent / "README.md"


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of a text in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def compiled(source: str, name: str) -> CodeType:
    """Make code of a block, which may await at its top level."""
    code: CodeType = compile(source, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return code


async def run_fragment(source: str, name: str, scope: dict[str, Any]) -> None:
    """Run a block that stands inside somebody's program; the scope is what that program has."""
    result = eval(compiled(source, name), scope)
    if inspect.isawaitable(result):
        await result
