"""The built archives, and a consumer's own tests where only the wheel is installed."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.needs import need

ROOT = Path(__file__).parents[2]
CONSUMER = ROOT / "tests" / "consumer"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command without this process's own environment; return its output."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE", "SHOPSDK"))}
    result = subprocess.run(command, cwd=cwd, env=kept, capture_output=True, text=True, check=False)
    assert 0 == result.returncode, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the archives from a copy of the tree, so that nothing is left in it."""
    need("build")
    source = tmp_path_factory.mktemp("source") / "shopsdk"
    ignored = shutil.ignore_patterns(".git", ".venv*", ".tox", ".*_cache", "__pycache__", "dist", "build", "*.part")
    shutil.copytree(ROOT, source, ignore=ignored)
    run(sys.executable, "-m", "build", "--outdir", "dist", cwd=source)
    return source / "dist"


def install(python: Path, *packages: str | Path, cwd: Path) -> None:
    """Install these packages, and what they need, by this process's own pip."""
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *packages, cwd=cwd)


def names(archive: Path) -> set[str]:
    """Return the names of the files in an archive, without the sdist's folder."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return set(wheel.namelist())
    with tarfile.open(archive) as sdist:
        return {name.partition("/")[2] for name in sdist.getnames()}


def test_the_wheel_holds_the_package_and_nothing_else(dist: Path) -> None:
    """The wheel holds the package, py.typed and the licence, and no tests."""
    found = names(next(dist.glob("*.whl")))
    files = [path for path in (ROOT / "shopsdk").rglob("*") if path.suffix in {".html", ".py", ".typed"}]
    ours = {path.relative_to(ROOT).as_posix() for path in files}
    assert {"shopsdk/py.typed", "shopsdk/sandbox/page.html"} <= ours
    assert ours == {name for name in found if ".dist-info/" not in name}
    assert {"LICENSE"} == {Path(name).name for name in found if "/licenses/" in name}


def test_the_sdist_can_be_tested(dist: Path) -> None:
    """The sdist holds what the tests need, and no caches or environments."""
    found = names(next(dist.glob("*.tar.gz")))
    assert {
        "shopsdk/py.typed",
        "shopsdk/sandbox/page.html",
        "tests/conftest.py",
        "tests/consumer/pytest.ini",
        "README.md",
        "CHANGELOG.md",
    } <= found
    assert {"LICENSE", "pyproject.toml", "PKG-INFO"} <= found
    assert {".ci/run", ".pre-commit-config.yaml", ".pdoc/module.html.jinja2"} <= found  # tests read them
    assert [] == [name for name in found if "__pycache__" in name or name.startswith((".venv", ".git/", "dist"))]


def test_the_registry_would_take_it(dist: Path) -> None:
    """The archives pass the registry's checks, the README's rendering among them."""
    need("twine")
    output = run(sys.executable, "-m", "twine", "check", "--strict", *sorted(dist.iterdir()), cwd=dist)
    assert 2 == output.count("PASSED")


LOOP_SCOPE = "--override-ini=asyncio_default_fixture_loop_scope=function"
"""The setting without which pytest-asyncio warns."""


def test_a_consumer_s_own_tests(dist: Path, tmp_path: Path) -> None:
    """A consumer's tests run without a warning where only the built wheel is: with pytest alone, and pytest-asyncio."""
    run(sys.executable, "-m", "venv", "--without-pip", "env", cwd=tmp_path)  # pip takes longer than all the rest
    python = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    suite = shutil.copytree(CONSUMER, tmp_path / "consumer", ignore=shutil.ignore_patterns("__pycache__"))

    def passed(*arguments: str) -> str:
        output = run(python, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", *arguments, cwd=suite)
        return output.splitlines()[-1].strip("= ").partition(" in ")[0]

    install(python, *dist.glob("*.whl"), "pytest", cwd=tmp_path)
    assert "6 passed" == passed("test_script.py")
    install(python, "pytest-asyncio", cwd=tmp_path)
    assert "9 passed" == passed("--override-ini=asyncio_mode=strict", LOOP_SCOPE)
    assert "9 passed" == passed("--override-ini=asyncio_mode=auto", LOOP_SCOPE)
