"""One line of the declaration makes a table evidence: it is guarded, sealed and compared."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from servers.databases import tamper
from sqlalchemy import Column, Float, ForeignKey, Integer, String, Table, text
from sqlalchemy.exc import DBAPIError

from agent.store import Store, engine
from agent.store.evidence.declaration import ALL, EVIDENCE, SUBJECT, Act, EvidenceTable
from agent.store.tables import Row, load_metadata

AT = datetime(2026, 11, 24, 21, 0, tzinfo=UTC)
ADDED = "INSERT INTO furnace (id, site_id, name, power_kw) VALUES ({0}, 1, 'F{0}', 1.5)"
SEALED = EvidenceTable("furnace", sealed=ALL)
ADDED_BY_ACTS = EvidenceTable(
    "furnace",
    acts=(Act(("furnace.added",), {"id": "furnace"}, {"name": SUBJECT, "power_kw": "power_kw"}),),
)


@pytest.fixture
def furnaces(address) -> Iterator[str]:
    """Address of a database with a table that the program does not have."""
    made = Table(
        "furnace",
        load_metadata(),
        Column("id", Integer, primary_key=True),
        Column("site_id", Integer, ForeignKey("site.id"), nullable=False),
        Column("name", String, nullable=False),
        Column("power_kw", Float, nullable=False),
    )
    with engine.make_engine(address).begin() as connection:
        made.create(connection)
    yield address
    Row.metadata.remove(made)


def run(address: str, statement: str) -> None:
    with engine.make_engine(address).begin() as connection:
        connection.execute(text(statement))


@pytest.mark.parametrize(
    ("declared", "changed", "deleted"),
    [
        (
            SEALED,
            "furnace 1: a value was changed after it was sealed (trail number 4)",
            "furnace 2 (furnaces.sealed by agent, trail number 4) was deleted",
        ),
        (
            ADDED_BY_ACTS,
            "furnace 1: power_kw was 1.5 (trail number 2), is 9.0",
            "furnace 2 (furnace.added by Ada, trail number 3) was deleted",
        ),
    ],
    ids=["sealed", "added by acts"],
)
def test_a_new_table_is_evidence_by_one_line(furnaces, monkeypatch, declared, changed, deleted):
    monkeypatch.setitem(EVIDENCE, "furnace", declared)
    with Store.open(furnaces, site="Plant 1", agent="PC") as store:  # lays the guards
        for number in (1, 2):
            facts = {"furnace": number, "power_kw": 1.5}
            name = f"F{number}"
            run(furnaces, ADDED.format(number))
            store.audit_log.add(at=AT, actor="Ada", act="furnace.added", subject=name, facts=facts)
        assert store.results.seal(at=AT) == (2 if declared.sealed else 0)
        assert store.checks.compare_rows()[0] == []
        assert store.checks.find_missing_guards() == []

        for statement in ("UPDATE furnace SET power_kw = 9", "DELETE FROM furnace"):
            with pytest.raises(DBAPIError, match="furnace is evidence"):
                run(furnaces, statement)
        tamper(
            furnaces,
            "UPDATE furnace SET power_kw = 9 WHERE id = 1",
            "DELETE FROM furnace WHERE id = 2",
        )

        assert set(store.checks.compare_rows()[0]) == {changed, deleted}


def test_a_row_that_no_act_added_is_named(furnaces, monkeypatch):
    monkeypatch.setitem(EVIDENCE, "furnace", ADDED_BY_ACTS)
    with Store.open(furnaces, site="Plant 1", agent="PC") as store:
        run(furnaces, ADDED.format(1))

        assert store.checks.compare_rows()[0] == ["furnace 1: is not in the trail"]


def test_every_table_that_is_declared_exists_with_the_columns_that_it_names():
    tables = load_metadata().tables
    for name, declared in EVIDENCE.items():
        named = {*declared.fixed, *declared.once, *declared.filed, *declared.sealed} - {*ALL}

        assert named <= set(tables[name].columns.keys()), name
        for act in declared.acts:
            stated = set() if callable(act.columns) else {*act.columns}
            columns = {path.partition(".")[0] for path in (*stated, *(act.before or ()))}
            assert columns <= {*tables[name].columns.keys(), *declared.derived}, (name, act.names)
