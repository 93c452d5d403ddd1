"""Measure how many rows an upgrade passes in a second.

Usage: python tests/bench/upgrade.py --rows 300000 --steps 3
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from labs.later_versions import later_versions

from agent.store import Store, schema, store_url

DUMPS = Path(__file__).parents[1] / "golden" / "schemas"
SHARES = {"content": 0.3, "path": 0.3, "micrograph": 0.2, "search_entry": 0.2}
NUMBERS = {"id", "content_id", "micrograph_id"}
UNIQUE = {"sha256", "public_id", "relative"}


def multiply(connection: sqlite3.Connection, table: str, rows: int) -> None:
    """Copy the newest row of a table so many times, with its own id, content and unique texts."""
    columns = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]
    key = columns[0]
    first = connection.execute(f"SELECT max({key}) FROM {table}").fetchone()[0]  # noqa: S608
    values = ", ".join(
        "n" if name in NUMBERS else f"{name} || '-' || n" if name in UNIQUE else f'"{name}"'
        for name in columns
    )
    names = ", ".join(f'"{name}"' for name in columns)
    connection.execute(
        f"WITH RECURSIVE more(n) AS (SELECT {first} + 1 UNION ALL SELECT n + 1 FROM more "  # noqa: S608
        f"WHERE n < {first + rows}) INSERT INTO {table} ({names}) SELECT {values} "
        f"FROM {table}, more WHERE {table}.{key} = {first}"
    )


def main() -> None:
    """Make a database, upgrade it to a later version, and print the rate."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--steps", type=int, default=3)
    told = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        later_versions(Path(folder) / "versions") as install,
    ):
        file = Path(folder) / "martensight.db"
        address = {"site": "Plant 1", "agent": "PC"}
        with sqlite3.connect(file) as connection:
            dump = (DUMPS / f"{schema.HEAD}.sql").read_text(encoding="utf-8")
            connection.executescript(dump)
        Store.open(store_url(Path(folder)), **address).close()  # no dump holds the text search
        with sqlite3.connect(file) as connection:
            connection.execute("PRAGMA foreign_keys = OFF")
            for table, share in SHARES.items():
                multiply(connection, table, int(told.rows * share))
        connection.close()
        for _ in range(told.steps):
            install()
        heard = []
        began_s = time.perf_counter()
        Store.open(store_url(Path(folder)), **address, on_upgrade=heard.append).close()
        took_s = time.perf_counter() - began_s
    one = heard[-1]
    print(
        f"{one.rows} rows, {one.steps} steps: {took_s:.1f} s, estimated {one.estimate_s:.1f} s, "
        f"{one.rows * (one.steps + 1) / took_s:.0f} rows and steps a second"
    )


if __name__ == "__main__":
    main()
