"""Print what a lab's database and folders grow by, from a lab that ran: per micrograph and million.

    python tests/bench/growth.py DATA [--micrographs N]

Reads the SQLite database of a data folder and the sizes of its folders, and changes nothing. A
table that does not depend on the number of micrographs (accounts, settings) is printed as it is.
"""

from __future__ import annotations

import argparse
import sqlite3
from contextlib import closing
from pathlib import Path

FOLDERS = ("crops", "originals", "statements", "reports", "kept-features", "bundles")
SMALLEST = 4096 * 4
"""Tables of fewer bytes say nothing about growth."""


def measure_tables(database: Path) -> tuple[int, dict[str, tuple[int, int]]]:
    """Return the number of micrographs, and rows and bytes (with indexes) of each table."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
        owner = dict(
            opened.execute(
                "SELECT name, tbl_name FROM sqlite_master WHERE type IN ('table', 'index')"
            ).fetchall()
        )
        sizes: dict[str, int] = {}
        for name, size in opened.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name"):
            table = owner.get(name, name)
            sizes[table] = sizes.get(table, 0) + size
        tables = {}
        for table, size in sizes.items():
            rows = opened.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]  # noqa: S608
            tables[table] = (rows, size)
        micrographs = opened.execute("SELECT count(*) FROM micrograph").fetchone()[0]
    return micrographs, tables


def measure_folder(folder: Path) -> tuple[int, int]:
    """Return files and bytes of a folder."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--micrographs", type=int, help="how many to scale by; default: all rows")
    given = parser.parse_args()
    micrographs, tables = measure_tables(given.data / "martensight.db")
    n = given.micrographs or micrographs
    print(f"{n} micrographs\n")
    print(f"{'table':<28}{'rows':>9}{'bytes':>12}{'B/micrograph':>14}{'GB per million':>16}")
    total = 0
    for table, (rows, size) in sorted(tables.items(), key=lambda item: -item[1][1]):
        if size < SMALLEST:
            continue
        total += size
        print(f"{table:<28}{rows:>9}{size:>12}{size / n:>14.0f}{size / n / 1e3:>16.2f}")
    print(f"{'all of these':<28}{'':>9}{total:>12}{total / n:>14.0f}{total / n / 1e3:>16.2f}\n")
    print(f"{'folder':<28}{'files':>9}{'bytes':>12}{'kB/micrograph':>14}{'TB per million':>16}")
    for name in FOLDERS:
        files, size = measure_folder(given.data / name)
        print(f"{name:<28}{files:>9}{size:>12}{size / n / 1e3:>14.1f}{size / n / 1e6:>16.3f}")


if __name__ == "__main__":
    main()
