"""Other ways to read the same lists, each at its best; their versions are pinned in requirements.txt."""

from pathlib import Path

from benchmarks._machine import version_of


def missing(*packages: str) -> str:
    """Say which of these packages are not installed, and how to get them; empty if all are there."""
    absent = [package for package in packages if version_of(package) is None]
    return f"not measured: no {', '.join(absent)} (pip install -r benchmarks/peers/requirements.txt)" if absent else ""


def unpinned() -> str:
    """Say which installed peers are of another version than the pinned one; empty if none is."""
    text = Path(__file__).with_name("requirements.txt").read_text(encoding="utf-8")
    pins = [line.partition("==")[::2] for line in text.splitlines() if "==" in line and not line.startswith("#")]
    other = [f"{name} {found}, not {pin}" for name, pin in pins if (found := version_of(name)) and found != pin]
    return f"other versions than pinned: {'; '.join(other)}" if other else ""
