"""The needles of a field are stored with its result, and never change."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from drawn.needle_samples import measured, not_measured
from labs.stored import OTHER, SHA, finding, taken
from servers.databases import tamper
from sqlalchemy.exc import DBAPIError

from agent.store import Store, engine
from agent.store.engine import writing

AT = datetime(2026, 11, 24, 21, 0, tzinfo=UTC)


def add(store: Store, needles, sha256: str = SHA) -> int:
    taken(store, f"{sha256[:2]}.tif", replace(finding(sha256), needles=needles))
    view = store.results.find(sha256[:16])
    assert view is not None
    return view.result.id


def name_differences(store: Store) -> str:
    return "\n".join(store.checks.compare_rows().faults)


def test_needles_are_read_as_they_were_measured(store) -> None:
    field, without = measured(1), not_measured("evidence_disagrees")

    first, second = add(store, field), add(store, without, OTHER)

    assert store.needle_fields.list_of([first, second]) == {first: field, second: without}


def test_a_result_without_measurement_has_none(store) -> None:
    number = add(store, None)

    assert store.needle_fields.list_of([number]) == {}


def test_another_site_sees_none_of_them(address, store) -> None:
    number = add(store, measured())

    with Store.open(address, site="Plant 2", agent="PC") as other:
        assert other.needle_fields.list_of([number]) == {}


def test_a_stored_length_cannot_be_changed(address, store) -> None:
    number = add(store, measured())

    with (
        pytest.raises(DBAPIError, match="is evidence"),
        writing(engine.make_engine(address)) as session,
    ):
        session.connection().exec_driver_sql("UPDATE needle_field SET facts = '{}'")

    assert store.needle_fields.list_of([number])[number].l90_um == measured().l90_um


@pytest.mark.parametrize(
    "act", ["UPDATE needle_field SET facts = '{}'", "DELETE FROM needle_field"]
)
def test_a_length_changed_behind_the_agent_is_named(address, store, act) -> None:
    number = add(store, measured())
    before = name_differences(store)

    tamper(address, act)

    assert before == ""
    sentence = f"result {number} of field {SHA[:16]}: sha256 of needle_field was"
    assert sentence in name_differences(store)
