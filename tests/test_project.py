"""Things that have to be said twice about the project, and are held together here."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def lowest(requirements: list[str]) -> set[str]:
    """Turn lower bounds into pins."""
    bounds = [re.match(r"([\w-]+)>=([\d.]+)", requirement) for requirement in requirements]
    return {f"{bound[1]}=={bound[2]}" for bound in bounds if bound}


def test_the_lowest_versions_are_the_ones_tested() -> None:
    """The package would promise to work with versions that nobody has tried."""
    extras = PROJECT["optional-dependencies"]
    fixtures = [requirement for requirement in extras["dev"] if re.match(r"pytest(-asyncio)?>", requirement)]
    pins = (ROOT / "tests" / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()[1:]
    assert lowest([*PROJECT["dependencies"], *extras["cli"], *extras["parquet"], *fixtures]) == set(pins)


def test_pre_commit_checks_what_ci_checks() -> None:
    """A commit that passes here would be refused there."""
    entries = re.findall(r"entry: (.+?),", (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    gate = (ROOT / ".ci" / "run").read_text(encoding="utf-8") + (ROOT / "README.md").read_text(encoding="utf-8")
    assert 6 == len(entries)
    assert [] == [entry for entry in entries if f"bin/{entry}" not in gate]
