# ruff: noqa: E501, S608 - SQL that the bench itself writes, a statement to a line
"""Print how long the store's questions take when a lab has a million micrographs in it.

    python tests/bench/store.py                     a SQLite file in a temporary folder
    python tests/bench/store.py --postgresql        a PostgreSQL of our own, on loopback
    python tests/bench/store.py --rows 100000 --runs 21

The rows are written by the database itself, as large as real ones; 2 % wait for a person, 20 000
more files are queued, and a night has 300 micrographs. Times are wall clock, median and worst,
and this process's own CPU time, which a busy machine does not stretch.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import text

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from labs.stored import finding
from servers.databases import Postgres
from sqlmodel import Session

from agent.settings.root import RECIPE
from agent.store import Decision, Store
from agent.store.engine import is_sqlite, writing

BEGIN = datetime(2017, 1, 1, tzinfo=UTC)
NIGHTLY = 300
QUEUED = 20_000
KNOWN = 100_000
LIMIT_MS = 50


def fill(store: Store, rows: int, *, waits: str = "i % 50 = 0") -> None:
    """Write `rows` finished micrographs, some of which wait for a person, and `QUEUED` files."""
    facts = dict(finding().crop_facts)
    facts["specimen_area"] = {"polygon": [[n, n] for n in range(40)]}
    answer = dict.fromkeys(("B7", "B8", "B9-10", "G7", "G8", "G9-10", "M8", "M9-10"), 0.0123456)
    strange = {"p_value": 0.4, "flagged": False, "whole": 1.0, "local": 0.4, "where": None,
               "sentence": "Ordinary.", "nearest": {code: ["ab" * 32] * 3 for code in answer}}  # fmt: skip
    told = {
        "facts": json.dumps(facts),
        "answer": json.dumps(answer),
        "strange": json.dumps(strange),
    }
    with writing(store._engine) as session:
        sqlite = is_sqlite(store._engine)
        session.execute(text(
            "INSERT INTO source (id, site_id, name, folder, mode, online, found_by_scan, "
            f"found_by_event, facts) VALUES (1, 1, 'LOM-07', '/mnt/lom07', '', {_true(sqlite)}, 0, 0, '{{}}')"
        ))  # fmt: skip
        for statement in _statements(rows, waits, sqlite=sqlite):
            _run(session, statement, told)
    with store._engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        # As the database does by itself while rows come in over the years.
        connection.execute(text("ANALYZE" if sqlite else "VACUUM ANALYZE"))


def _run(session: Session, statement: str, told: dict[str, str]) -> None:
    began_s = time.perf_counter()
    used = {name: value for name, value in told.items() if f":{name}" in statement}
    session.execute(text(statement), used)
    print(f"  {statement[:40].strip()}… {time.perf_counter() - began_s:.0f} s", flush=True)


def _true(sqlite: bool) -> str:
    return "1" if sqlite else "true"


def _statements(rows: int, waits: str, *, sqlite: bool) -> Iterator[str]:
    true = _true(sqlite)
    numbers = (
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})"
        if sqlite
        else f"WITH n AS (SELECT generate_series(1::bigint, {rows}) AS i)"
    )
    seconds = f"(i * 86400 / {NIGHTLY})"
    at = (
        f"strftime('%Y-%m-%d %H:%M:%S.000000', '2017-01-01', '+' || {seconds} || ' seconds')"
        if sqlite
        else f"timestamptz '2017-01-01Z' + {seconds} * interval '1 second'"
    )
    sha = (
        "printf('%08x', (i * 2654435761) % 4294967296) || printf('%056x', i)"
        if sqlite
        else "lpad(to_hex((i * 2654435761) % 4294967296), 8, '0') || lpad(to_hex(i), 56, '0')"
    )
    short = (
        "printf('%08x', (i * 2654435761) % 4294967296) || printf('%08x', i)"
        if sqlite
        else "lpad(to_hex((i * 2654435761) % 4294967296), 8, '0') || lpad(to_hex(i), 8, '0')"
    )
    name = "'o' || (i / 30) || '/' || i || '.tif'"
    yield (
        "INSERT INTO content (site_id, source_id, sha256, size_bytes, state, lane, origin, attempts, "
        f"claims, interrupted, first_seen_at, done_at, process_data) {_head(numbers)}"
        f"SELECT 1, 1, {sha}, 6000000, 'done', 1, 'watch', 1, 1, 0, {at}, {at}, '{{}}' FROM n"
    )
    yield (
        "INSERT INTO content (site_id, source_id, size_bytes, state, lane, origin, attempts, claims, "
        f"interrupted, due_at, first_seen_at, process_data) {_head(_first(numbers, rows, QUEUED))}"
        f"SELECT 1, 1, 6000000, 'queued', 1, 'watch', 0, 0, 0, {at}, {at}, '{{}}' FROM n"
    )
    yield (
        "INSERT INTO path (site_id, content_id, source_id, relative, size_bytes, mtime_ns, ctime_ns, seen_at) "
        f"{_head(_first(numbers, rows, rows + QUEUED))}"
        f"SELECT 1, i, 1, {name}, 6000000, i, i, {at} FROM n"
    )
    yield (
        "INSERT INTO micrograph (public_id, content_id, site_id, source_id, sha256, page, relative, "
        "origin, taken_at, width, height, format, um_per_px, recipe, crop_facts, warnings, artefacts, "
        'plant, microscope, objective, "order", heat, batch, specimen, preparation, field, material, '
        f"etchant, magnification, operator, process_extra) {_head(numbers)}"
        f"SELECT {short}, i, 1, 1, {sha}, 0, {name}, 'watch', {at}, 2000, 1500, 'TIFF', 0.1, '{RECIPE}', "
        ":facts, '[]', '{}', '', 'LOM-07', '50x', 'o' || (i / 30), '', '', '' || (i / 5), '', "
        "'' || (i % 5), '100Cr6', 'Nital', '500', '', '{}' FROM n"
    )
    yield (
        "INSERT INTO result (micrograph_id, site_id, agent_id, bundle, recipe, role, current, origin, "
        "done_at, handling, reasons, review_rank, subtype, subtype_probabilities, size, size_min, "
        "size_max, size_probabilities, structure_code, probability, probabilities, prediction_set, "
        f"coarser_share, p_value, strangeness, thresholds, engine, precision) {_head(numbers)}"
        f"SELECT i, 1, 1, 'b', '{RECIPE}', 'live', {true}, 'watch', {at}, "
        f"CASE WHEN {waits} THEN 'review' ELSE 'automatic' END, "
        f"CASE WHEN {waits} THEN '[\"uncertain\"]' ELSE '[]' END, "
        f"CASE WHEN {waits} THEN CAST(1000000 + i % 999983 AS INTEGER) END, 'G', :answer, '8', 8, 8, :answer, 'G8', "
        "0.9, :answer, '[\"G8\"]', :answer, 0.4, :strange, '{}', 'pytorch', 'fp32' FROM n"
    ).replace("'[\"uncertain\"]' ELSE '[]'", _json("'[\"uncertain\"]' ELSE '[]'", sqlite=sqlite))


def _json(pair: str, *, sqlite: bool) -> str:
    return pair if sqlite else pair.replace("' ELSE '[]'", "'::json ELSE '[]'::json")


def _head(numbers: str) -> str:
    return f"{numbers} "


def _first(numbers: str, rows: int, wanted: int) -> str:
    return numbers.replace(f"< {rows}", f"< {wanted}").replace(
        f"bigint, {rows})", f"bigint, {wanted})"
    )


def ask(store: Store, rows: int, runs: int) -> list[tuple[str, float, float, float, int]]:
    """Run every query `runs` times: (query, median, worst and CPU ms, rows in the answer)."""
    last = BEGIN + timedelta(seconds=rows * 86400 // NIGHTLY)
    now = last + timedelta(days=1)
    spread = [rows * (n + 1) // (runs + 2) for n in range(runs)]
    ids = [f"{(i * 2654435761) % 4294967296:08x}{i:08x}" for i in spread]

    def night(run: int) -> int:
        until = BEGIN + timedelta(seconds=spread[run] * 86400 // NIGHTLY)
        return len(store.results.list_between(until - timedelta(days=1), until))

    def decide(run: int) -> int:
        return store.labels.decide(ids[run], Decision("code", "Ada", code="G8"), at=now) and 1

    questions: dict[str, Callable[[int], int]] = {
        "claim(8)": lambda _: len(store.work_queue.claim(8, at=now, lease_s=900)),
        "night": night,
        "queue(limit=50)": lambda _: len(store.review_queue.list_micrographs(limit=50)),
        "queue(one order)": lambda run: len(
            store.review_queue.list_micrographs(order=f"o{spread[run] // 30}")
        ),
        "queue_length": lambda _: store.review_queue.count() and 1,
        "micrograph(id)": lambda run: 1 if store.results.find(ids[run]) else 0,
        "decide": decide,
        "counts": lambda _: len(store.files.count_by_state()),
        "failed files": lambda _: len(list(store.files.iter_status(("failed", "set_aside")))),
    }
    return [(name, *_timed(question, runs)) for name, question in questions.items()]


def _timed(question: Callable[[int], int], runs: int) -> tuple[float, float, float, int]:
    took_ms, cpu_ms, found = [], [], 0
    for run in range(runs):
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        found = question(run)
        cpu_ms.append((time.process_time() - began_cpu_s) * 1000)
        took_ms.append((time.perf_counter() - began_s) * 1000)
    return statistics.median(took_ms), max(took_ms), statistics.median(cpu_ms), found


def main() -> None:
    """Fill, ask, print."""
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--rows", type=int, default=1_000_000)
    wanted.add_argument("--runs", type=int, default=21)
    wanted.add_argument("--postgresql", action="store_true")
    told = wanted.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="martensight-bench-"))
    server = Postgres(folder) if told.postgresql else None
    try:
        if server:
            server.start()
        url = server.empty() if server else f"sqlite:///{folder}/martensight.db"
        measure(lambda: Store.open(url, site="Plant 1", agent="PC"), told.rows, told.runs)
    finally:
        if server:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def measure(opened: Callable[[], AbstractContextManager[Store]], rows: int, runs: int) -> None:
    """Print a table."""
    with opened() as store:
        began_s = time.perf_counter()
        fill(store, rows)
        print(f"{store.kind}: {rows} micrographs written in {time.perf_counter() - began_s:.0f} s")
    began_s = time.perf_counter()
    with opened() as store:
        print(f"open: {(time.perf_counter() - began_s) * 1000:.0f} ms")
        print(f"{'question':18} {'median ms':>10} {'worst ms':>9} {'CPU ms':>7} {'rows':>6}")
        for name, middle, worst, cpu, found in ask(store, rows, runs):
            mark = "" if middle <= LIMIT_MS else f"  above {LIMIT_MS} ms"
            print(f"{name:18} {middle:10.1f} {worst:9.1f} {cpu:7.1f} {found:6}{mark}", flush=True)


if __name__ == "__main__":
    main()
