"""A thousand shops on a Dask cluster: the worker function of ``shops.py``, and a frame over its files.

    pip install '.[parquet]' 'dask[dataframe]' distributed
    export SHOPSDK_API_KEY_38='12345|...' SHOPSDK_API_KEY_39='12346|...'
    python shops_dask.py lake 38 39

Here the cluster is two processes of this machine. Elsewhere, pass the scheduler's address to ``Client``: then the
workers need this folder, a ``shops`` module to import, and the keys in an environment of their own.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import dask.dataframe as dd
from distributed import Client, LocalCluster, as_completed
from shops import export, show, split  # imported, so a task names it; a function of this file would travel whole


def main(folder: str, shop_ids: Sequence[int]) -> dict[int, int | str]:
    """Export the shops, and print the store credit of each; return the report."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    report: dict[int, int | str] = {}
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        print("dashboard:", cluster.dashboard_link, file=sys.stderr, flush=True)
        # pure=False: a result is of its moment, and is not reused. A task whose worker dies runs again elsewhere.
        for _, part in as_completed(
            client.map(export, split(shop_ids, 4), folder=folder, pure=False), with_results=True
        ):
            report |= part
        customers = dd.read_parquet(folder, dtype_backend="pyarrow")  # money stays exact
        print(customers.groupby("shop_id")["balance"].sum().compute().to_string())
    return report


if __name__ == "__main__":
    sys.exit(show(main(sys.argv[1], [int(shop_id) for shop_id in sys.argv[2:]])))
