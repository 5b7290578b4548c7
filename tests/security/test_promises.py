"""The promises of SECURITY.md and CONTRIBUTING.md are held by tests that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECURITY = (ROOT / ".github" / "SECURITY.md").read_text()
PROMISES = re.findall(r"^### (.+?)\n(.+?)(?=^##)", SECURITY, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("promise", "text"), PROMISES, ids=[promise for promise, _ in PROMISES])
def test_each_promise_names_tests_that_exist(promise: str, text: str) -> None:
    """A promise of SECURITY.md is followed by the tests that hold it."""
    named = re.findall(r"^- `(tests/[\w/]+\.py)::(\w+)`$", text, re.MULTILINE)
    assert len(named) == text.count("\n- ") > 1
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text())
        tests = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        assert name in [test.name for test in tests], f"{path}::{name}, which holds {promise!r}"


def test_each_promise_of_the_table_names_a_test_that_exists() -> None:
    """The table of CONTRIBUTING.md leads from each promise to a test that exists."""
    text = (ROOT / ".github" / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| [A-Z][^|]+ \| (.+) \|$", text, re.MULTILINE)
    assert len(rows) > 10
    for row in rows:
        path, _, name = row.strip("`").partition("::")
        assert f"def {name}(" in (ROOT / path).read_text()


def test_each_rule_of_the_table_is_where_it_says() -> None:
    """The table of CONTRIBUTING.md that says where each rule is names modules and functions that exist."""
    text = (ROOT / ".github" / "CONTRIBUTING.md").read_text().partition("| where is")[2].partition("\n\n")[0]
    named = re.findall(r"`(_[\w/]+\.py)` `([\w.]+)`", text)
    assert len(named) >= 8
    for path, name in named:
        assert re.search(rf"\b(def|class) {name.split('.')[-1]}\b", (ROOT / "shopsdk" / path).read_text()), (path, name)


def test_all_promises_are_read() -> None:
    """SECURITY.md is read in full: six promises, and what is not covered."""
    assert 6 == len(PROMISES)
    assert "## What is not covered" in SECURITY
