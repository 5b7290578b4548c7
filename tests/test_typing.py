"""What mypy and pyright make of the public face: right uses pass with the types they should have, wrong ones do not."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TYPING = Path(__file__).parent / "typing"
WRONG = (TYPING / "wrong.py").read_text(encoding="utf-8")
QUIETED = re.compile(r"  # type: ignore\[([\w-]+)\]  # pyright: ignore\[(\w+)\]$", re.MULTILINE)

Found = dict[int, str]
"""The errors of a file: by line, which."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def mypy(path: Path) -> Found:
    """What ``mypy --strict`` reports."""
    command = ["-m", "mypy", "--strict", "--no-incremental", "--config-file=", "--output=json", path.name]
    result = subprocess.run([sys.executable, *command], cwd=path.parent, capture_output=True, text=True, check=False)
    assert result.returncode in {0, 1}, result.stdout + result.stderr
    said = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    return {error["line"]: error["code"] for error in said if error["severity"] == "error"}


def pyright(path: Path) -> Found:
    """What pyright reports in its strict mode; comments for mypy mean nothing to it."""
    settings = {
        "include": [path.name],
        "typeCheckingMode": "strict",
        "enableTypeIgnoreComments": False,
        "reportUnnecessaryTypeIgnoreComment": "error",
    }
    (path.parent / "pyrightconfig.json").write_text(json.dumps(settings))
    command = ["-m", "pyright", "--pythonpath", sys.executable, "--outputjson"]
    result = subprocess.run([sys.executable, *command], cwd=path.parent, capture_output=True, text=True, check=False)
    assert result.returncode in {0, 1}, result.stdout + result.stderr
    said = json.loads(result.stdout)["generalDiagnostics"]
    return {error["range"]["start"]["line"] + 1: error.get("rule", error["message"]) for error in said}


@pytest.mark.parametrize("check", [mypy, pyright])
def test_right_uses_have_the_right_types(check: Callable[[Path], Found], tmp_path: Path) -> None:
    """Users' editors would complain about good code, or say Any where there is a type."""
    path = tmp_path / "api.py"
    path.write_text((TYPING / "api.py").read_text(encoding="utf-8"))
    assert {} == check(path)


@pytest.mark.parametrize(("check", "column"), [(mypy, 0), (pyright, 1)])
def test_wrong_uses_are_refused(check: Callable[[Path], Found], column: int, tmp_path: Path) -> None:
    """A float for money, a forgotten await or a misspelt filter would be found by the shop's customers."""
    path = tmp_path / "wrong.py"
    path.write_text(QUIETED.sub("", WRONG))
    lines = WRONG.splitlines()
    expected = {
        number: found.groups()[column] for number, line in enumerate(lines, 1) if (found := QUIETED.search(line))
    }
    assert WRONG.count("ignore[") == 2 * len(expected)
    assert expected == check(path)
