"""Facts about the project that stand in two files agree."""

import pkgutil
import re
import tomllib
from pathlib import Path

import shopsdk

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def lowest(requirements: list[str]) -> set[str]:
    """Turn lower bounds into pins."""
    bounds = [re.match(r"([\w-]+)>=([\d.]+)", requirement) for requirement in requirements]
    return {f"{bound[1]}=={bound[2]}" for bound in bounds if bound}


def test_the_lowest_versions_are_the_ones_tested() -> None:
    """The lowest versions that the package admits are those that the tests pin."""
    extras = PROJECT["optional-dependencies"]
    fixtures = [requirement for requirement in extras["dev"] if re.match(r"pytest(-asyncio)?>", requirement)]
    pins = (ROOT / "tests" / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()[1:]
    assert lowest([*PROJECT["dependencies"], *extras["cli"], *extras["parquet"], *fixtures]) == set(pins)


def test_pre_commit_checks_what_ci_checks() -> None:
    """Each check before a commit is one of the gate."""
    entries = re.findall(r"entry: (.+?),", (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    gate = (ROOT / ".ci" / "run").read_text(encoding="utf-8") + (ROOT / "README.md").read_text(encoding="utf-8")
    assert 6 == len(entries)
    assert [] == [entry for entry in entries if f"bin/{entry}" not in gate]


def test_the_changelog_speaks_of_what_there_is() -> None:
    """Each name in the changelog exists."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    names = re.findall(r"`(shopsdk(?:\.\w+)+)", text)
    assert names
    for name in names:
        owner, _, last = name.rpartition(".")
        shown = pkgutil.resolve_name(owner)  # a field of a class is an annotation only
        assert hasattr(shown, last) or last in getattr(shown, "__annotations__", {}) or pkgutil.resolve_name(name)


def test_the_changelog_names_what_was_added() -> None:
    """The changelog names every operation."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    functions = [f"shopsdk.{name}" for name in shopsdk.__all__ if name[0].islower() and not name.startswith("_")]
    assert [] == [name for name in functions if f"`{name}`" not in text and f"`{name}(" not in text]


def test_no_private_package_is_open_to_what_stands_on_the_public_names() -> None:
    """The import contract of sandbox, export, fixtures and command names every private module and package."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    contract = next(each for each in settings["contracts"] if "public face" in each["name"])
    private = {path.stem for path in (ROOT / "shopsdk").glob("_[a-z]*")}
    assert set(contract["forbidden_modules"]) == {f"shopsdk.{name}" for name in private}


def test_the_changelog_has_this_version() -> None:
    """The newest section of the changelog is of the version that the package has."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    (newest, *_) = re.findall(r"^## (\S+)", text, re.MULTILINE)
    assert newest in {"Unreleased", shopsdk.__version__}
