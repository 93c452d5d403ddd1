# ruff: noqa: E501, S608 - SQL that the bench itself writes, a statement to a line
"""Print how long searches take when a lab has a million micrographs, on each database.

    python tests/bench/search.py                    1 000 000 rows, SQLite and PostgreSQL
    python tests/bench/search.py --quick            50 000 rows
    python tests/bench/search.py --only sqlite --rows 200000

The entries are written by the database itself with the terms that the agent writes, and the parts of
a micrograph that a page shows are those of `tests/bench/store.py`. A question is the first page of 60
hits with the counts of all facets. Times are wall clock, median and worst, and the processor time of
this process and of PostgreSQL's, which a busy machine stretches less (PostgreSQL's is counted in steps
of 10 ms, so its mean is given).
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy import text

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from collections.abc import Mapping

import store as store_bench
from servers.databases import Postgres

from agent.store import SearchQuery, Store, engine
from agent.store.search.search_index import WORDS
from agent.store.search.search_terms import hash_site, hash_value
from agent.store.sites.site_scope import SCHEMA, bind

ROWS, QUICK = 1_000_000, 50_000
LIMIT_MS = 150
CODES = ("G7", "G8", "G9-10", "M8", "M9-10", "B7", "B8", "B9-10")
OUTCOMES = ("automatic", "automatic", "automatic", "confirmed", "corrected", "waiting", "strange")
PEOPLE = ("Ann", "Bob", "Cem", "Dora")
SOURCES = ("LOM-07", "LOM-08", "LOM-09")


def questions(rows: int) -> Mapping[str, SearchQuery]:
    """Return the questions: rare and common words, beginnings, facets, days, pages far behind."""
    middle = f"o{rows // 60}"
    old = "2017-06" if rows >= ROWS else "2017-03"
    return {
        "everything": SearchQuery(),
        "one order": SearchQuery(middle),
        "order:…": SearchQuery(f"order:{middle}"),
        "one file": SearchQuery(f"{rows // 2}.tif"),
        "beginning of two letters": SearchQuery("o1"),
        "beginning of three letters": SearchQuery("o12"),
        "a code": SearchQuery("G8"),
        "a material, in every row": SearchQuery("100cr6"),
        "two common words": SearchQuery("100cr6 nital"),
        "a common and a rare word": SearchQuery(f"100cr6 {middle}"),
        "code and reviewer chosen": SearchQuery("", {"code": ["G8", "M8"], "reviewer": ["Ann"]}),
        "corrected by one, M9-10": SearchQuery(
            "", {"code": ["M9-10"], "outcome": ["corrected"], "reviewer": ["Cem"]}
        ),
        "an old month": SearchQuery(old),
        "an old day and a code": SearchQuery(f"{old}-15", {"code": ["B7"]}),
        "no hit": SearchQuery("nosuchword"),
        "no hit of two common ones": SearchQuery("lom07x 100cr6"),
    }


def _pick(values: tuple[str, ...], by: str) -> str:
    return (
        f"CASE ({by}) % {len(values)} "
        + " ".join(f"WHEN {n} THEN '{value}'" for n, value in enumerate(values))
        + " END"
    )


def _terms(name: str, values: tuple[str, ...], by: str) -> str:
    return _pick(tuple(hash_value(name, value) for value in values), by)


def fill(address: str, rows: int) -> None:
    """Write the micrographs of the store's bench, and an entry for each."""
    with Store.open(address, site="Plant 1", agent="PC") as store:
        store_bench.fill(store, rows)
    opened = bind(engine.make_engine(address), SCHEMA)
    began_s = time.perf_counter()
    with (
        opened.connect().execution_options(writes=True, site=SCHEMA) as connection,
        connection.begin(),
    ):
        is_sqlite = connection.dialect.name == "sqlite"
        connection.execute(text("DELETE FROM search_entry"))
        if not is_sqlite:
            connection.execute(text(f"DROP INDEX ix_{WORDS}_vector"))
        code, outcome, person, source = "id * 7 / 3", "id * 13 / 5", "id * 11 / 7", "id / 9"
        order = 'lower("order")'
        whole = " || ' ' || ".join([
            f"'{hash_site(1)}'", _terms("code", CODES, code), _terms("outcome", OUTCOMES, outcome),
            _terms("reviewer", PEOPLE, person), _terms("source", SOURCES, source),
        ])  # fmt: skip
        words = f"{whole} || ' ' || public_id || ' {{order}} ' || id || ' tif 50050 ' || (id % 17) || ' lom 07 100cr6 nital 500 50x ' || lower({_pick(CODES, code)}) || ' ' || lower({_pick(PEOPLE, person)})"
        words = words.replace("' {order} '", f"' ' || {order} || ' '")
        known = f"o{rows // 60}"  # the term of a whole order, of one
        words += (
            f" || CASE \"order\" WHEN '{known}' THEN ' {hash_value('order', known)}' ELSE '' END"
        )
        connection.execute(text(
            "INSERT INTO search_entry (micrograph_id, site_id, taken_at, source, code, outcome, microscope, reviewer, digest) "
            f"SELECT id, site_id, taken_at, {_pick(SOURCES, source)}, {_pick(CODES, code)}, {_pick(OUTCOMES, outcome)}, "
            f"'LOM-07', {_pick(PEOPLE, person)}, '0123456789abcdef' FROM micrograph"
        ))  # fmt: skip
        if is_sqlite:
            connection.execute(
                text(
                    f"INSERT INTO {WORDS} (rowid, words) SELECT id, {words} FROM micrograph ORDER BY id"
                )
            )
            connection.execute(text(f"INSERT INTO {WORDS} ({WORDS}) VALUES ('optimize')"))
        else:
            connection.execute(
                text(
                    f"INSERT INTO {WORDS} SELECT id, array_to_tsvector(string_to_array({words}, ' ')) FROM micrograph"
                )
            )
            connection.execute(
                text(f"CREATE INDEX ix_{WORDS}_vector ON {WORDS} USING gin (vector)")
            )
    print(f"  entries and their table: {time.perf_counter() - began_s:.0f} s", flush=True)
    with opened.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql("ANALYZE" if is_sqlite else "VACUUM ANALYZE")
    opened.dispose()


def read_cpu_ms(server: Postgres | None) -> float:
    """Return the processor time so far of this process and of the server's processes."""
    own = time.process_time() * 1000
    if server is None:
        return own
    main = (server.folder / "data" / "postmaster.pid").read_text().split()[0]
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parts = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if main in (parts[1], stat.parent.name):
            ticks += sum(int(part) for part in parts[11:15])  # ended children included
    return own + ticks * 1000 / os.sysconf("SC_CLK_TCK")


def ask(address: str, rows: int, runs: int, server: Postgres | None = None) -> bool:
    """Measure each question several times and print it; return whether all are in time."""
    fast = True
    print(f"{'question':<30}{'hits':>9}{'median':>9}{'worst':>9}{'cpu':>8}  (ms)")
    with Store.open(address, site="Plant 1", agent="PC") as store:
        for title, query in questions(rows).items():
            walls, cpus = [], []
            for _ in range(runs):
                wall, cpu = time.perf_counter(), read_cpu_ms(server)
                page = store.search.find_page(query)
                walls.append((time.perf_counter() - wall) * 1000)
                cpus.append(read_cpu_ms(server) - cpu)
            hits = f"{page.count}{'+' if page.is_cut else ''}"
            median = statistics.median(walls)
            fast &= median <= LIMIT_MS
            print(
                f"{title:<30}{hits:>9}{median:>9.1f}{max(walls):>9.1f}{statistics.fmean(cpus):>8.1f}",
                flush=True,
            )
        query, before = SearchQuery(), rows // 10
        wall = time.perf_counter()
        store.search.find_page(query, before=before)
        print(f"{'a page far behind':<30}{'':>9}{(time.perf_counter() - wall) * 1000:>9.1f}")
    return fast


def main() -> int:
    """Measure on each database."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    given = parser.parse_args()
    rows, fast = QUICK if given.quick else given.rows, True
    for kind in (given.only,) if given.only else ("sqlite", "postgresql"):
        print(f"{kind}, {rows} micrographs")
        folder = Path(tempfile.mkdtemp(prefix="martensight-search-"))
        server = Postgres(folder) if kind == "postgresql" else None
        try:
            if server:
                server.start()
            address = server.empty() if server else f"sqlite:///{folder / 'martensight.db'}"
            fill(address, rows)
            fast &= ask(address, rows, given.runs, server)
        finally:
            if server:
                server.stop()
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if fast else 1


if __name__ == "__main__":
    sys.exit(main())
