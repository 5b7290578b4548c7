"""Tests that need what the README's command does not install: skipped without it, but in the gate a failure."""

import importlib.util
import os
from typing import NoReturn

import pytest

REQUIRED = "CI_SYSTEM"
"""The environment variable that the gate sets: all is installed there, so nothing may be missing."""


def missing(message: str) -> NoReturn:
    """Skip the test, or fail in the gate."""
    if os.environ.get(REQUIRED):
        pytest.fail(message)
    pytest.skip(message)


def is_installed(module: str) -> bool:
    """Whether a module is there, without importing it."""
    parent = module.rpartition(".")[0]
    return (not parent or is_installed(parent)) and importlib.util.find_spec(module) is not None


def need(*modules: str) -> None:
    """Skip the test, or fail in the gate, unless one of these modules is there."""
    if not any(map(is_installed, modules)):
        missing(f"{' or '.join(modules)} is not installed: pip install '.[dev,programs]'")
