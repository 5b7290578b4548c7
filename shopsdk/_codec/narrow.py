"""Parsed JSON, narrowed: what type checkers cannot see behind ``isinstance(value, dict)``."""

from typing import cast


def as_object(value: object) -> dict[str, object] | None:
    """Give back a JSON object, or None for anything else."""
    return cast(dict[str, object], value) if isinstance(value, dict) else None


def as_list(value: object) -> list[object] | None:
    """Give back a JSON list, or None for anything else."""
    return cast(list[object], value) if isinstance(value, list) else None
