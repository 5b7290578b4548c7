"""json and plain cattrs: the two hooks that it needs for money and times, and nothing else."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import cattrs

from benchmarks.peers.bare import Customer, Page

_converter = cattrs.Converter()
_converter.register_structure_hook(Decimal, lambda value, _: Decimal(value))
_converter.register_structure_hook(datetime, lambda value, _: datetime.fromisoformat(value).replace(tzinfo=UTC))


def decode_page(body: bytes) -> Page[Customer]:
    """Read a page; its times made aware as they are read."""
    return _converter.structure(json.loads(body), Page[Customer])
