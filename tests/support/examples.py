"""Helpers for the tests of README and docstrings: find the code blocks of a text, and run one as it stands."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import CodeType
from typing import Any

README = Path(__file__).parents[2] / "README.md"


def blocks(text: str, language: str) -> list[str]:
    """Find the code blocks of a text in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def compiled(source: str, name: str) -> CodeType:
    """Compile the code of a block, which may await at its top level."""
    code: CodeType = compile(source, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return code


def imports(source: str) -> set[str]:
    """Find the modules that a block imports."""
    nodes = list(ast.walk(ast.parse(source)))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


def run_as_test(conftest: str, test: str, folder: Path) -> str:
    """Run a block that is a test; return the last line of pytest's output, or all of it if it failed."""
    (folder / "conftest.py").write_text(conftest, encoding="utf-8")
    (folder / "test_first.py").write_text(test, encoding="utf-8")
    options = ["-p", "no:cacheprovider", "--override-ini=asyncio_default_fixture_loop_scope=function"]
    command = [sys.executable, "-W", "error", "-m", "pytest", "--rootdir=.", *options]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        return result.stdout + result.stderr
    return result.stdout.splitlines()[-1].strip("= ").partition(" in ")[0]


async def run_fragment(source: str, name: str, scope: dict[str, Any]) -> None:
    """Run a block that stands inside somebody's program; the scope is the names of that program."""
    result = eval(compiled(source, name), scope)
    if inspect.isawaitable(result):
        await result
