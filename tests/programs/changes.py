"""Changes between two exports, by DuckDB: who came, who went, and what became of whom.

The API cannot be asked for what changed since, so read all, keep the file, and compare it with the one before::

    pip install '.[cli,parquet]' duckdb
    shopsdk export 09.parquet  # and an hour later 10.parquet
    python changes.py 09.parquet 10.parquet

It prints a line of JSON for each change. Somebody who seems to have gone may have been hidden from the walk, by others
who came and went meanwhile: call ``get_customer`` before you delete anything.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

import duckdb

CHANGES = """
SELECT id, before, after
FROM (SELECT id, before FROM read_parquet($before) AS before)
FULL JOIN (SELECT id, after FROM read_parquet($after) AS after) USING (id)
WHERE before IS DISTINCT FROM after
ORDER BY id
"""


def changes(before: str, after: str) -> Iterator[dict[str, Any]]:
    """Compare two exports; for each change give the customer's id and the columns that differ, before and after."""
    result = duckdb.execute(CHANGES, {"before": before, "after": after})
    while row := result.fetchone():
        customer_id, old, new = row
        if old is None or new is None:
            yield {"id": customer_id, "change": "came" if old is None else "went"}
        else:
            yield {
                "id": customer_id,
                "change": {name: [old[name], new[name]] for name in new if old[name] != new[name]},
            }


if __name__ == "__main__":
    for change in changes(*sys.argv[1:]):
        print(json.dumps(change, default=str))  # money and times as text
