"""Customers as a frame: pandas, polars, DuckDB; money stays exact in all three.

In one shell ``shopsdk sandbox``; paste the three lines that it prints into another, and there::

    pip install '.[parquet]' pandas polars duckdb
    python frames.py
"""

import asyncio

import duckdb
import pandas as pd
import polars as pl

from shopsdk import AsyncSession
from shopsdk.arrow import read_customers


async def main() -> None:
    """Answer one question three times: how much store credit do those hold who have bought nothing?"""
    async with AsyncSession() as session:
        customers = await read_customers(session, columns=["id", "email", "balance", "total_completed"])

    pandas_frame = customers.to_pandas(types_mapper=pd.ArrowDtype)  # without it, money becomes Python objects
    print("pandas", pandas_frame.loc[pandas_frame["total_completed"] == 0, "balance"].sum())

    polars_frame = pl.from_arrow(customers)
    assert isinstance(polars_frame, pl.DataFrame)  # an array would be a Series
    print("polars", polars_frame.filter(total_completed=0)["balance"].sum())

    # DuckDB finds the table by the name of the variable.
    (balance,) = duckdb.sql("SELECT sum(balance) FROM customers WHERE total_completed = 0").fetchall()[0]
    print("DuckDB", balance)


if __name__ == "__main__":
    asyncio.run(main())
