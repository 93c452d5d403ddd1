# ruff: noqa: E501, S608 - SQL that the bench itself writes, a statement to a line
"""Fill a store with as many micrographs as a lab of nine years has; `million` and `search` ask it.

The rows are written by the database itself, as large as real ones; 2 % wait for a person, 20 000
more files are queued, and a night has 300 micrographs.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import text

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from collections.abc import Iterator

from labs.stored import finding
from sqlmodel import Session

from agent.settings.root import RECIPE
from agent.store import Store
from agent.store.engine import is_sqlite, writing

BEGIN = datetime(2017, 1, 1, tzinfo=UTC)
NIGHTLY = 300
QUEUED = 20_000


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
