"""The types of the public names: right uses pass mypy and pyright with the right types, and wrong ones do not."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TYPING = Path(__file__).parent / "typing"
WRONG = (TYPING / "wrong.py").read_text(encoding="utf-8")
QUIETED = re.compile(r"  # type: ignore\[([\w-]+)\]  # pyright: ignore\[(\w+)\]$", re.MULTILINE)

Found = dict[int, str]
"""The errors of a file, by line."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def mypy(*names: str, folder: Path) -> dict[str, Found]:
    """Return the errors that ``mypy --strict`` reports of each file."""
    command = ["-m", "mypy", "--strict", "--no-incremental", "--config-file=", "--output=json", *names]
    result = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode in {0, 1}, result.stdout + result.stderr
    found: dict[str, Found] = {name: {} for name in names}
    for line in result.stdout.splitlines():
        if line.startswith("{") and (error := json.loads(line))["severity"] == "error":
            found[error["file"]][error["line"]] = error["code"]
    return found


def pyright(*names: str, folder: Path) -> dict[str, Found]:
    """Return the errors that pyright reports of each file in its strict mode, which ignores comments for mypy."""
    settings = {
        "include": names,
        "typeCheckingMode": "strict",
        "enableTypeIgnoreComments": False,
        "reportUnnecessaryTypeIgnoreComment": "error",
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    command = ["-m", "pyright", "--pythonpath", sys.executable, "--outputjson"]
    result = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode in {0, 1}, result.stdout + result.stderr
    found: dict[str, Found] = {name: {} for name in names}
    for error in json.loads(result.stdout)["generalDiagnostics"]:
        line = error["range"]["start"]["line"] + 1
        found[Path(error["file"]).name][line] = error.get("rule", error["message"])
    return found


@pytest.mark.parametrize(("check", "column"), [(mypy, 0), (pyright, 1)])
def test_right_uses_pass_and_wrong_ones_are_errors(
    check: Callable[..., dict[str, Found]], column: int, tmp_path: Path
) -> None:
    """Right uses have the types they should, and each wrong one is the error that stands beside it."""
    shutil.copy(TYPING / "api.py", tmp_path)
    (tmp_path / "wrong.py").write_text(QUIETED.sub("", WRONG), encoding="utf-8")
    lines = WRONG.splitlines()
    expected = {
        number: found.groups()[column] for number, line in enumerate(lines, 1) if (found := QUIETED.search(line))
    }
    assert WRONG.count("ignore[") == 2 * len(expected)
    assert {"api.py": {}, "wrong.py": expected} == check("api.py", "wrong.py", folder=tmp_path)
