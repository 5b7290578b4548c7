"""Helpers to run a program as its user does: in a process of its own, against a sandbox."""

import os
import subprocess
import sys
from pathlib import Path

import attrs

from shopsdk.sandbox import Sandbox

PROGRAMS = Path(__file__).parents[1] / "programs"


def environment(shop: Sandbox, **others: str) -> dict[str, str]:
    """Make the environment of somebody who has pasted the three lines of ``shopsdk sandbox``."""
    there = {"SHOPSDK_API_KEY": shop.api_key, "SHOPSDK_SHOP_ID": str(shop.shop_id), "SHOPSDK_BASE_URL": shop.base_url}
    return os.environ | there | others


@attrs.frozen
class Ran:
    """The exit code and the output of a program."""

    code: int
    out: str
    err: str


def run(name: str, *arguments: str | Path, shop: Sandbox, cwd: Path, stdin: str = "", **others: str) -> Ran:
    """Run a program to its end; a warning anywhere in it is an error."""
    result = subprocess.run(
        [sys.executable, "-W", "error", PROGRAMS / name, *arguments],
        env=environment(shop, **others),
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    return Ran(result.returncode, result.stdout, result.stderr)
