"""Helpers for the tests of the export: stop it, and read its files back into models with common tools."""

import csv
import gzip
import io
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shopsdk import AffiliateReferrer, Customer
from shopsdk.export import ExportProgress, unescape_formula

_TEXT = ("email", "discord_id", "discord_username", "affiliate_code", "affiliate_referrer_email")
_NUMBERS = ("id", "total_completed", "affiliate_referrer_id")
_MONEY = ("balance", "total_spent_usd")
_TIMES = ("last_completed_at", "newsletter_at")


def read_rows(path: Path) -> list[Customer]:
    """Read an export of any format back into customers."""
    if path.suffix == ".parquet":
        return [_customer(row) for row in pq.read_table(path).to_pylist()]
    name, data = path.name, path.read_bytes()
    if path.suffix == ".gz":
        name, data = path.stem, gzip.decompress(data)
    if path.suffix == ".zst":
        name, data = path.stem, pa.CompressedInputStream(pa.BufferReader(data), "zstd").read()
    if name.endswith(".csv"):
        return [_customer(row) for row in csv.DictReader(io.StringIO(data.decode(), newline=""))]
    rows = [json.loads(line) for line in data.splitlines()]
    for row in rows:
        row["affiliate_referrer_email"] = (row.pop("affiliate_referrer") or {}).get("email")
    return [_customer(row) for row in rows]


def _customer(row: dict[str, Any]) -> Customer:
    values: dict[str, Any] = {
        name: unescape_formula(value) if isinstance(value, str) else value for name, value in row.items() if value != ""
    }
    for name in _NUMBERS:
        values[name] = None if values.get(name) is None else int(values[name])
    for name in _MONEY:
        values[name] = None if values.get(name) is None else Decimal(values[name])
    for name in _TIMES:
        moment = values.get(name)
        values[name] = datetime.fromisoformat(moment).astimezone(UTC) if isinstance(moment, str) else moment
    email = values.pop("affiliate_referrer_email", None)
    referrer = AffiliateReferrer(id=values["affiliate_referrer_id"], email=email) if email else None
    return Customer(**{name: value for name, value in values.items() if value is not None}, affiliate_referrer=referrer)


class StopHereError(Exception):
    """Raised by a test to end an export."""


def stop_at(page: int) -> Callable[[ExportProgress], None]:
    """Make a callback that ends the export when it has taken a page."""

    def stop(progress: ExportProgress) -> None:
        if progress.page >= page and progress.stage == "reading":
            raise StopHereError

    return stop


def name_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop every export that is about to give its file the final name."""

    def stop(*_: object) -> None:
        raise StopHereError

    for call in ("link", "replace"):
        monkeypatch.setattr(os, call, stop)
