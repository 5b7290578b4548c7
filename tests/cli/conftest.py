"""Fixtures for the tests of the command."""

import pytest


@pytest.fixture
def _processes_are_not_measured() -> None:
    """Have coverage measure processes: signals and closed streams are met in them alone."""
