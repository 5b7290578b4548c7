"""The machine: its cores, its memory, and the description under every table."""

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("shopsdk", "aiohttp", "msgspec", "attrs", "cattrs", "uvloop", "httpx", "pydantic", "requests", "pyarrow")


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def origin_core() -> int | None:
    """The core the origin has to itself; None where there is but one, or where nobody can be tied to one."""
    cores = _cores()
    return cores[-1] if len(cores) > 1 else None


def client_core() -> int | None:
    """The core that every measured client runs on."""
    cores = _cores()
    return cores[-2] if len(cores) > 1 else None


def pin(core: int | None) -> None:
    """Tie this process to a core."""
    if core is not None:
        os.sched_setaffinity(0, {core})


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def version_of(package: str) -> str | None:
    """The installed version, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def describe() -> str:
    """Machine, versions and date, for below a table."""
    found = [f"{package} {number}" for package in _PACKAGES if (number := version_of(package))]
    return "\n".join(
        [
            f"{_processor()}, {len(_cores()) or os.cpu_count()} cores, {platform.system()} {platform.release()}",
            f"Python {sys.version.split()[0]}, {', '.join(found)}",
            datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        ]
    )


def peak_memory() -> int:
    """The most memory this process ever held, in bytes."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        import resource  # noqa: PLC0415 - not on Windows

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
