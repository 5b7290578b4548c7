"""Export every customer of a shop to NDJSON, CSV or Parquet, in a file or a stream, or to a sink of your own.

```python
from shopsdk.export import export_customers

async with AsyncSession() as session:
    summary = await export_customers(session, "customers.csv")
    print(summary.rows, "customers in", summary.seconds, "seconds")
```

A file has its final name only when it is whole, and an interrupted export goes on where it stopped: see
``export_customers``.

- One shop: ``export_customers``, ``ExportSummary``, ``Destination``, ``CustomerSink``, ``Format``, ``COLUMNS``,
  ``IfExists``
- Many shops: ``export_shops``, ``ShopsSummary``
- Progress: ``OnProgress``, ``ExportProgress``, ``Stage``
- Errors: ``ExportError``, ``CheckpointError``
- Values: ``to_plain``, ``escape_formula``, ``unescape_formula``
"""

from shopsdk.export._export import Destination, export_customers
from shopsdk.export._part import IfExists
from shopsdk.export._rows import COLUMNS, Format, to_plain
from shopsdk.export._shops import ShopsSummary, export_shops
from shopsdk.export._summary import (
    CheckpointError,
    CustomerSink,
    ExportError,
    ExportProgress,
    ExportSummary,
    OnProgress,
    Stage,
)
from shopsdk.export._text import escape_formula, unescape_formula

__all__ = [
    "COLUMNS",
    "CheckpointError",
    "CustomerSink",
    "Destination",
    "ExportError",
    "ExportProgress",
    "ExportSummary",
    "Format",
    "IfExists",
    "OnProgress",
    "ShopsSummary",
    "Stage",
    "escape_formula",
    "export_customers",
    "export_shops",
    "to_plain",
    "unescape_formula",
]
