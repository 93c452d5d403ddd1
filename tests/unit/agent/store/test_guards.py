"""The database itself refuses to change or delete what is evidence."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from folders import ROOT
from labs.stored import SHA, file, finding
from servers.databases import KINDS, migrated
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from agent.store import Decision, NewNeedle, Store, engine

AT = datetime(2026, 11, 24, 21, 0, tzinfo=UTC)


def fill(store: Store) -> None:
    """Leave an order with a field, a label, a record, a promotion and a night."""
    store.files.add([file("a.tif")], at=AT)
    (claim,) = store.work_queue.claim(1, at=AT, lease_s=60)
    store.work_queue.finish(
        claim, [finding(SHA, process={"order": "4711", "specimen": "1"})], at=AT
    )
    store.labels.decide(SHA[:16], Decision("code", "Ada", code="G8"), at=AT)
    store.promotions.promote("20261101-0badcafe", by="Ada", reason="first", at=AT, metrics={})
    store.records.add("statement", "4711", by="Ada", at=AT, facts={"reason": ""})
    store.nightly_reports.freeze(AT.date(), '{"n": 1}', at=AT)
    store.accounts.add("Ada", kind="person", role="lead", hashed="x", by="Ada", at=AT)
    needle = NewNeedle((10.0, 20.0), (40.0, 60.0), 0.2)
    store.needle_measurements.add(SHA[:16], needle, by="Ada", at=AT)


@pytest.fixture(scope="module", params=KINDS)
def evidence(request, tmp_path_factory) -> Iterator[tuple[str, Store]]:
    """A filled database of each kind, for statements that it refuses: they leave it as it is."""
    address = migrated(request.param, request, tmp_path_factory.mktemp("evidence"))
    with Store.open(address, site="Plant 1", agent="PC") as store:
        fill(store)
        yield address, store


def run(address: str, statement: str) -> int:
    with engine.make_engine(address).begin() as connection:
        return connection.execute(text(statement)).rowcount


FORBIDDEN = [
    "UPDATE label SET code = 'G9-10' WHERE id = 1",
    "UPDATE label SET \"by\" = 'Eve' WHERE id = 1",
    "DELETE FROM label WHERE id = 1",
    "UPDATE trail SET actor = 'Eve' WHERE id = 1",
    "DELETE FROM trail WHERE id = (SELECT max(id) FROM trail)",
    "DELETE FROM trail",
    "UPDATE \"order\" SET first_seen_at = '2026-12-24 21:00:00+00:00'",
    "UPDATE record SET facts = '{}' WHERE id = 1",
    "DELETE FROM record",
    "UPDATE promotion SET bundle = 'other'",
    "DELETE FROM promotion",
    "UPDATE result SET structure_code = 'G7'",
    "UPDATE micrograph SET um_per_px = 0.5",
    "UPDATE specimen SET bundle = 'other'",
    "DELETE FROM micrograph",
    "UPDATE night SET facts = '{}'",
    "DELETE FROM account",
    "UPDATE needle_measurement SET end_x = 99",
    "DELETE FROM needle_measurement",
]


def test_evidence_can_be_neither_changed_nor_deleted(evidence) -> None:
    for statement in FORBIDDEN:
        address, store = evidence

        with pytest.raises(DBAPIError, match="is evidence"):
            run(address, statement)

        assert store.audit_log.find_problems() == [], statement


def test_what_has_to_change_can_be_changed(address) -> None:
    with Store.open(address, site="Plant 1", agent="PC") as store:
        fill(store)

    for statement in (
        "UPDATE result SET current = current, review_rank = 5",
        'UPDATE "order" SET urgent = true, legal_hold = true',
        "UPDATE micrograph SET unassigned = 'moved'",
        "UPDATE account SET failures = 2",
    ):
        assert run(address, statement) == 1, statement


def test_a_row_cannot_be_put_in_the_place_of_another_in_sqlite(tmp_path) -> None:
    address = f"sqlite:///{tmp_path}/martensight.db"
    with Store.open(address, site="Plant 1", agent="PC") as store:
        fill(store)

    with pytest.raises(DBAPIError, match="is evidence"):
        run(address, "INSERT OR REPLACE INTO label SELECT * FROM label")


def test_a_table_cannot_be_emptied_at_once_in_postgresql(postgres) -> None:
    address = postgres.empty("ours")

    with pytest.raises(DBAPIError, match="is evidence"):
        run(address, "TRUNCATE trail")


def test_a_guard_that_was_dropped_is_named_and_laid_again_when_the_agent_starts(address) -> None:
    on = " ON label" if address.startswith("postgresql") else ""
    with Store.open(address, site="Plant 1", agent="PC") as store:
        run(address, f"DROP TRIGGER guard_label_update{on}")
        assert store.checks.find_missing_guards() == ["guard_label_update"]

    with Store.open(address, site="Plant 1", agent="PC") as store:
        assert store.checks.find_missing_guards() == []
        assert [act.act for act in store.audit_log.iter_acts("guards")] == ["guards.laid_again"]


def test_a_weaker_guard_under_the_same_name_is_named(tmp_path) -> None:
    address = f"sqlite:///{tmp_path}/martensight.db"
    with Store.open(address, site="Plant 1", agent="PC") as store:
        run(address, "DROP TRIGGER guard_label_delete")
        run(
            address,
            "CREATE TRIGGER guard_label_delete BEFORE DELETE ON label BEGIN SELECT 1; END",
        )

        assert store.checks.find_missing_guards() == ["guard_label_delete"]


def test_a_user_of_its_own_in_postgresql_can_work_and_rewrite_nothing(postgres) -> None:
    owner = postgres.empty("ours")
    with Store.open(owner, site="Plant 1", agent="PC") as store:
        assert "label" in store.checks.find_rewritable_tables()
        fill(store)
    postgres.run("DROP ROLE IF EXISTS agent_role")
    postgres.run("CREATE ROLE agent_role LOGIN")
    script = (ROOT / "deploy" / "postgresql-role.sql").read_text("utf-8")
    with engine.make_engine(owner).begin() as connection:
        connection.exec_driver_sql(script.replace(":role", "agent_role"))
    address = owner.replace("//postgres@", "//agent_role@")

    with Store.open(address, site="Plant 1", agent="PC") as store:
        store.files.add([file("renamed.tif")], at=AT)
        (renamed,) = store.work_queue.claim(1, at=AT, lease_s=60)
        assert store.work_queue.identify(renamed, SHA, at=AT, is_there=lambda _: False) is not None
        store.retention.mark_pruned([SHA[:16]], "crops", at=AT)
        store.labels.undo(SHA[:16], by="Ada", at=AT)
        assert store.checks.find_rewritable_tables() == []
        assert store.checks.find_missing_guards() == []
        assert store.checks.find_schema_differences() == []
        assert store.accounts.begin_try("Ada", browser="", at=AT).account is not None
        store.accounts.succeeded("Ada")
        store.accounts.begin("Ada", cookie="c" * 64, at=AT)
        store.accounts.seen("c" * 64, at=AT)
        store.accounts.end("c" * 64, at=AT)
        store.accounts.disable("Ada", disabled=True, by="Bob", at=AT)
    run(address, "ALTER ROLE agent_role SET search_path = evil, public")
    with Store.open(address, site="Plant 1", agent="PC") as store:
        (sentence,) = store.checks.find_schema_differences()
        assert "reads other tables first (search_path=evil, public)" in sentence
    for statement in (
        "UPDATE label SET code = 'G7'",
        "DELETE FROM trail",
        "UPDATE account SET hashed = 'of Eve'",
        "UPDATE account SET role = 'admin'",
        "INSERT INTO account (site_id, name) VALUES (1, 'Eve')",
        "UPDATE login SET sha256 = 'of Eve'",
    ):
        with pytest.raises(DBAPIError, match="permission denied"):
            run(address, statement)
    cookie = "d" * 64
    columns = "site_id, sha256, account_id, began_at, seen_at"
    values = f"1, '{cookie}', 1, now(), now()"
    forged = f"SET martensight.site = 1; INSERT INTO login ({columns}) VALUES ({values})"  # noqa: S608
    named = hashlib.sha256(cookie.encode()).hexdigest()
    hidden = (
        "CREATE TEMP TABLE trail AS SELECT 1 AS id, 1 AS site_id, 'login.began' AS act, "
        f"'Ada' AS actor, '{{\"login\"\\: \"{named}\"}}' AS facts"
    )
    with pytest.raises(DBAPIError, match="begins with an act of the audit log"):
        run(address, forged)
    with pytest.raises(DBAPIError, match="begins with an act of the audit log"):
        run(address, f"{hidden}; {forged}")
    with pytest.raises(DBAPIError, match="is evidence"):
        run(address, "SET martensight.site = 1; UPDATE login SET ended_at = NULL")
    with pytest.raises(DBAPIError, match="must be owner"):
        run(address, "ALTER TABLE label DISABLE TRIGGER ALL")
    with engine.make_engine(owner).begin() as connection:
        connection.exec_driver_sql("DROP OWNED BY agent_role")
