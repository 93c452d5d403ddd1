"""Measure how many rows an upgrade passes in a second, from an old schema.

Usage: python tests/bench/upgrade.py --rows 300000 --schema 0003
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from pathlib import Path

from agent.store import Store, store_url

DUMPS = Path(__file__).parents[1] / "golden" / "schemas"
SHARES = {"content": 0.35, "path": 0.35, "micrograph": 0.3}
UNIQUE = {"sha256", "public_id", "relative"}


def multiply(connection: sqlite3.Connection, table: str, rows: int) -> None:
    """Copy the newest row of a table so many times, with its own id and unique texts."""
    columns = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]
    first = connection.execute(f"SELECT max(id) FROM {table}").fetchone()[0]  # noqa: S608
    values = ", ".join(
        "n" if name == "id" else f"{name} || '-' || n" if name in UNIQUE else f'"{name}"'
        for name in columns
    )
    names = ", ".join(f'"{name}"' for name in columns)
    connection.execute(
        f"WITH RECURSIVE more(n) AS (SELECT {first} + 1 UNION ALL SELECT n + 1 FROM more "  # noqa: S608
        f"WHERE n < {first + rows}) INSERT INTO {table} ({names}) SELECT {values} "
        f"FROM {table}, more WHERE {table}.id = {first}"
    )


def main() -> None:
    """Make an old database, upgrade it, and print the rate."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--schema", default="0003")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "martensight.db"
        with sqlite3.connect(file) as connection:
            connection.executescript((DUMPS / f"{told.schema}.sql").read_text(encoding="utf-8"))
            connection.execute("PRAGMA foreign_keys = OFF")
            for table, share in SHARES.items():
                multiply(connection, table, int(told.rows * share))
        connection.close()
        heard = []
        began_s = time.perf_counter()
        Store.open(
            store_url(Path(folder)), site="Plant 1", agent="PC", on_upgrade=heard.append
        ).close()
        took_s = time.perf_counter() - began_s
    one = heard[-1]
    print(
        f"{one.rows} rows, {one.steps} steps: {took_s:.1f} s, estimated {one.estimate_s:.1f} s, "
        f"{one.rows * (one.steps + 1) / took_s:.0f} rows and steps a second"
    )


if __name__ == "__main__":
    main()
