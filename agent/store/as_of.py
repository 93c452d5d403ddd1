"""Read a database as it was at an instant, so that a past night shows that night.

Appended rows have times, so what came later is left out. Of the few columns that are written over,
those whose change has a time are set back: which result is current, what waits for a reviewer, a
superseded field, a settled claim, an urgent order. The rest reads as it is now: the state of a
file, the specimen a field belongs to, and what an order list changed besides urgency and names.
Temporary views with the names of the tables do it, on connections that only read.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, event

from agent.store import engine as engines
from agent.store.tables import load_metadata

TIMES = {
    "label": "decided_at",
    "record": "at",
    "statement": "at",
    "statement_file": "at",
    "promotion": "promoted_at",
    "trail": "at",
    "specification": "seen_at",
    "content": "first_seen_at",
    "micrograph": "taken_at",
    "result": "done_at",
    "order": "first_seen_at",
    "specimen": "first_seen_at",
    "preparation": "first_seen_at",
    "order_claim": "at",
    "same_place": "found_at",
    "needle_measurement": "at",
    "job": "started_at",
}
"""Table → when a row of it came; a row without a time was always there."""

LATER = {
    "order_claim": ("settled_at", {"settled_by": "''", "settled_reason": "''"}),
    "same_place": (
        "decided_at",
        {"verdict": "''", "by": "''", "reason": "''", "belongs_id": "NULL"},
    ),
    "place": ("compared_at", {}),
    "needle_measurement": ("withdrawn_at", {"withdrawn_by": "''"}),
    "job": ("ended_at", {}),
}
"""Table → the time at which some of its columns were written, and what they were before."""

JUDGED, LABELLED, REQUESTED = "judged", "labelled", "requested"
"""What may have happened to results since the instant."""

LISTED = ("customer", "product", "material")
"""Columns of an order that an order list may change; the audit log has the earlier value."""


def open_engine(engine: Engine, at: datetime) -> Engine:
    """Return an engine on the same database that reads it as of an instant and writes nothing.

    Args:
        engine: On a file, or on PostgreSQL.
        at: Aware.
    """
    past = engines.make_engine(engine.url.render_as_string(hide_password=False))
    event.listen(past, "connect", _Past(at, is_sqlite=engines.is_sqlite(engine)).prepare)
    return past


class _Past:
    """The temporary views of a connection."""

    def __init__(self, at: datetime, *, is_sqlite: bool) -> None:
        at = at.astimezone(UTC)
        self._is_sqlite = is_sqlite
        self._at = f"'{at:%Y-%m-%d %H:%M:%S.%f}{'' if is_sqlite else '+00'}'"
        self._iso = f"'{at.isoformat()}'"
        self._schema = "main" if is_sqlite else "public"

    def prepare(self, connection: Any, _record: object) -> None:
        """Hide the tables of a new connection behind the views."""
        cursor = connection.cursor()
        later = frozenset(
            what for what, query in self._changes().items() if self._holds(cursor, query)
        )
        for table in (*TIMES, *(name for name in LATER if name not in TIMES)):
            columns = self._columns(table, later)
            listed = ", ".join(f'{value} AS "{name}"' for name, value in columns.items())
            time = TIMES.get(table)
            kept = f' WHERE (t."{time}" IS NULL OR t."{time}" <= {self._at})' if time else ""
            cursor.execute(
                f'CREATE TEMPORARY VIEW "{table}" AS SELECT {listed} '  # noqa: S608 - names of ours
                f"FROM {self._table(table)} AS t{kept}"
            )
        if self._is_sqlite:
            cursor.execute("PRAGMA query_only = ON")
        else:
            cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
            connection.commit()
        cursor.close()

    def _table(self, name: str) -> str:
        return f'{self._schema}."{name}"'

    @staticmethod
    def _holds(cursor: Any, query: str) -> bool:
        cursor.execute(query)
        return cursor.fetchone() is not None

    def _changes(self) -> dict[str, str]:
        """Return what may have changed results since → a query that finds one such change."""
        table = self._table("result")
        return {
            JUDGED: f"SELECT 1 FROM {table} AS n WHERE n.role = 'live' AND n.done_at > {self._at} "  # noqa: S608
            f"AND EXISTS (SELECT 1 FROM {table} AS o WHERE o.micrograph_id = n.micrograph_id "
            f"AND o.role = 'live' AND o.done_at <= {self._at}) LIMIT 1",
            LABELLED: f"SELECT 1 FROM {self._table('label')} WHERE decided_at > {self._at} LIMIT 1",  # noqa: S608
            REQUESTED: f"SELECT 1 FROM {self._table('trail')} AS a WHERE {self._is_request()} "  # noqa: S608
            "LIMIT 1",
        }

    def _is_request(self) -> str:
        return f"a.act = 'micrograph.asked_again' AND a.at > {self._at}"

    def _columns(self, table: str, later: frozenset[str]) -> dict[str, str]:
        names = [column.name for column in load_metadata().tables[table].columns]
        columns = {name: f't."{name}"' for name in names}
        if table in LATER:
            time, before = LATER[table]
            for name, value in {**before, time: "NULL"}.items():
                columns[name] = (
                    f'CASE WHEN t."{time}" > {self._at} THEN {value} ELSE t."{name}" END'
                )
        if table == "result":
            columns |= self._result_columns(later)
        if table == "micrograph":
            columns["superseded"] = self._superseded()
        if table == "preparation":
            columns["facts"] = self._preparation_facts()
        if table == "order":
            columns["urgent"] = self._urgent()
            columns |= {name: self._before_list(name) for name in LISTED}
        return columns

    def _result_columns(self, later: frozenset[str]) -> dict[str, str]:
        """Return the columns of a result that changed; without a change its indexes serve."""
        columns = {"current": self._current()} if JUDGED in later else {}
        if later:
            columns["review_rank"] = self._review_rank()
        if REQUESTED in later:
            reasons = self._reasons()
            is_empty = f"{reasons} = '[]'" if self._is_sqlite else f"{reasons}::text = '[]'"
            columns["reasons"] = reasons
            was_automatic = f"{self._has_request()} AND {is_empty}"
            columns["handling"] = f"CASE WHEN {was_automatic} THEN 'automatic' ELSE t.handling END"
            columns["review_rank"] = (
                f"CASE WHEN {was_automatic} THEN NULL ELSE {columns['review_rank']} END"
            )
        return columns

    def _requests(self, what: str) -> str:
        """Return a query for the later requests of a review of a result's micrograph."""
        return (
            f"SELECT {what} FROM {self._table('trail')} AS a JOIN {self._table('micrograph')} AS m "  # noqa: S608
            "ON m.public_id = a.subject AND m.site_id = a.site_id "
            f"WHERE {self._is_request()} AND m.id = t.micrograph_id"
        )

    def _has_request(self) -> str:
        return f"EXISTS ({self._requests('1')})"

    def _reasons(self) -> str:
        """Return a result's reasons without those that were added later."""
        if self._is_sqlite:
            added = self._requests("json_extract(a.facts, '$.reason')")
            listed = "json_group_array(value)"
            each = "json_each(t.reasons)"
        else:
            added = self._requests("a.facts::jsonb ->> 'reason'")
            listed = "COALESCE(json_agg(value), '[]'::json)"
            each = "json_array_elements_text(t.reasons) AS e(value)"
        kept = f"(SELECT {listed} FROM {each} WHERE value NOT IN ({added}))"  # noqa: S608
        return f"CASE WHEN {self._has_request()} THEN {kept} ELSE t.reasons END"

    def _current(self) -> str:
        """Return whether a result was the newest live one of its micrograph."""
        later = (
            f"SELECT 1 FROM {self._table('result')} AS n WHERE n.micrograph_id = t.micrograph_id "  # noqa: S608
            f"AND n.role = 'live' AND n.done_at <= {self._at} AND n.id > t.id"
        )
        return f"(t.role = 'live' AND NOT EXISTS ({later}))"

    def _review_rank(self) -> str:
        """Return a result's place in the queue: as it is where no label came later."""
        label = self._table("label")
        later = (
            f"SELECT 1 FROM {label} AS l WHERE l.micrograph_id = t.micrograph_id "  # noqa: S608
            f"AND l.decided_at > {self._at}"
        )
        taken_back = (
            f"SELECT 1 FROM {label} AS u WHERE u.kind = 'undo' AND u.supersedes = l.id "  # noqa: S608
            f"AND u.decided_at <= {self._at}"
        )
        holding = (
            f"SELECT 1 FROM {label} AS l WHERE l.micrograph_id = t.micrograph_id "  # noqa: S608
            f"AND l.decided_at <= {self._at} AND l.kind NOT IN ('undo', 'doubt') "
            f"AND NOT EXISTS ({taken_back})"
        )
        waits = f"t.handling = 'review' AND t.origin <> 'import' AND NOT EXISTS ({holding})"
        is_unchanged = f"NOT EXISTS ({later}) AND (t.current OR t.review_rank IS NOT NULL)"
        return (
            f"CASE WHEN {is_unchanged} THEN t.review_rank WHEN {waits} "
            "THEN COALESCE(t.review_rank, 0) END"
        )

    def _text(self, column: str) -> str:
        return f"json_extract({column}, '$.at')" if self._is_sqlite else f"({column} ->> 'at')"

    def _superseded(self) -> str:
        empty, time = "'{}'" if self._is_sqlite else "'{}'::json", self._text("t.superseded")
        return f"CASE WHEN {time} > {self._iso} THEN {empty} ELSE t.superseded END"

    def _preparation_facts(self) -> str:
        if self._is_sqlite:
            time = "json_extract(t.facts, '$.superseded.at')"
            without = "json_remove(t.facts, '$.superseded')"
        else:
            time = "(t.facts #>> '{superseded,at}')"
            without = "(t.facts::jsonb - 'superseded')::json"
        return f"CASE WHEN {time} > {self._iso} THEN {without} ELSE t.facts END"

    def _urgent(self) -> str:
        if self._is_sqlite:
            own = "NOT json_extract(a.facts, '$.urgent')"
            listed, has = "json_extract(a.facts, '$.urgent[0]')", "json_type(a.facts, '$.urgent')"
        else:
            own = "NOT (a.facts::jsonb ->> 'urgent')::boolean"
            listed = "(a.facts::jsonb #>> '{urgent,0}')::boolean"
            has = "(a.facts::jsonb -> 'urgent')"
        return self._first_act(
            f"CASE WHEN a.act = 'order.urgent' THEN {own} ELSE {listed} END",
            f"(a.act = 'order.urgent' OR a.act = 'order.listed' AND {has} IS NOT NULL)",
            "t.urgent",
        )

    def _before_list(self, name: str) -> str:
        if self._is_sqlite:
            value = f"json_extract(a.facts, '$.{name}[0]')"
        else:
            value = f"(a.facts::jsonb #>> '{{{name},0}}')"
        return self._first_act(
            value, f"a.act = 'order.listed' AND {value} IS NOT NULL", f't."{name}"'
        )

    def _first_act(self, value: str, condition: str, now: str) -> str:
        """Return what the first later act on an order changed it from, else what it is now."""
        act = (
            f"SELECT {value} FROM {self._table('trail')} AS a WHERE a.at > {self._at} "  # noqa: S608
            f"AND a.site_id = t.site_id AND a.subject = t.number AND {condition} "
            "ORDER BY a.id LIMIT 1"
        )
        return f"COALESCE(({act}), {now})"
