"""Needles of a field and what people measured are appended, and never change."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from drawn.needle_samples import measured, not_measured
from labs.stored import AT, OTHER, SHA, finding, taken
from servers.databases import tamper
from sqlalchemy.exc import DBAPIError

from agent.errors import UsageError
from agent.store import NewNeedle, Store, engine
from agent.store.engine import writing


def add(store: Store, needles, sha256: str = SHA) -> int:
    taken(store, f"{sha256[:2]}.tif", replace(finding(sha256), needles=needles))
    view = store.results.find(sha256[:16])
    assert view is not None
    return view.result.id


def name_differences(store: Store) -> str:
    return "\n".join(store.checks.compare_rows()[0])


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


FIELD = SHA[:16]
NEEDLE = NewNeedle((10.0, 20.0), (40.0, 60.0), 0.2)
LONGER = replace(NEEDLE, end=(70.0, 100.0))
"""50 px = 10 µm."""


@pytest.fixture
def filled(store):
    taken(store, "a.tif", finding())
    taken(store, "b.tif", finding(OTHER))
    return store


def test_it_is_stored_with_author_time_tips_and_length_and_each_act_is_in_the_audit_log(
    filled,
) -> None:
    number = filled.needle_measurements.add(FIELD, NEEDLE, by="Ada", at=AT)

    (kept,) = filled.needle_measurements.list_of(FIELD)
    assert (kept.id, kept.micrograph, kept.by, kept.at) == (number, FIELD, "Ada", AT)
    assert (kept.start, kept.end, kept.um_per_px) == ((10.0, 20.0), (40.0, 60.0), 0.2)
    assert kept.length_um == pytest.approx(10.0)
    assert filled.needle_measurements.list_of(OTHER[:16]) == []

    assert filled.needle_measurements.withdraw(FIELD, number, by="Bob", at=AT)

    acts = [act for act in filled.audit_log.iter_acts() if act.act.startswith("needle.")]
    assert [(act.actor, act.act, act.subject) for act in acts] == [
        ("Ada", "needle.measured", FIELD),
        ("Bob", "needle.withdrawn", FIELD),
    ]
    assert acts[0].facts["length_um"] == pytest.approx(10.0)


def test_a_withdrawn_needle_is_kept_and_not_valid(filled) -> None:
    first = filled.needle_measurements.add(FIELD, NEEDLE, by="Ada", at=AT)
    second = filled.needle_measurements.add(FIELD, LONGER, by="Ada", at=AT)
    later = AT + timedelta(hours=1)

    assert filled.needle_measurements.withdraw(FIELD, first, by="Ada", at=later)
    assert not filled.needle_measurements.withdraw(FIELD, first, by="Bob", at=later)

    assert [needle.id for needle in filled.needle_measurements.list_valid()] == [second]
    kept = {needle.id: needle for needle in filled.needle_measurements.iter_all()}
    assert (kept[first].withdrawn_by, kept[first].withdrawn_at) == ("Ada", later)
    with filled.as_of(AT + timedelta(minutes=1)) as past:
        assert [needle.id for needle in past.needle_measurements.list_valid()] == [first, second]


@pytest.mark.parametrize(
    ("field", "needle", "by", "reason"),
    [
        ("0" * 16, NEEDLE, "Ada", "no micrograph"),
        (FIELD, NEEDLE, " ", "needs the name"),
        (FIELD, replace(NEEDLE, end=(11.0, 20.0)), "Ada", "at least 3 px apart"),
        (FIELD, replace(NEEDLE, end=(float("nan"), 20.0)), "Ada", "finite"),
        (FIELD, replace(NEEDLE, um_per_px=0.0), "Ada", "scale is known"),
    ],
)
def test_what_is_no_needle_is_refused_and_nothing_is_written(
    filled, field, needle, by, reason
) -> None:
    with pytest.raises(UsageError, match=reason):
        filled.needle_measurements.add(field, needle, by=by, at=AT)

    assert filled.needle_measurements.list_valid() == []


def test_a_needle_is_withdrawn_only_from_its_own_micrograph(filled) -> None:
    number = filled.needle_measurements.add(FIELD, NEEDLE, by="Ada", at=AT)

    with pytest.raises(UsageError, match="no measured needle"):
        filled.needle_measurements.withdraw(OTHER[:16], number, by="Ada", at=AT)

    assert len(filled.needle_measurements.list_valid()) == 1


@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            "UPDATE needle_measurement SET length_um = 99 WHERE id = 1",
            "length_um was 10.0 (trail number 1), is 99.0",
        ),
        ("DELETE FROM needle_measurement WHERE id = 1", "was deleted"),
        (
            "UPDATE needle_measurement SET withdrawn_by = 'Eve' WHERE id = 1",
            "withdrawn_by was '' (no act), is 'Eve'",
        ),
        (
            "UPDATE needle_measurement SET withdrawn_by = '' WHERE id = 2",
            "withdrawn_by was 'Bob' (trail number 3), is ''",
        ),
    ],
)
def test_a_row_that_was_tampered_with_is_named_by_the_audit_log(
    address, filled, change, sentence
) -> None:
    for needle in (NEEDLE, LONGER):
        number = filled.needle_measurements.add(FIELD, needle, by="Ada", at=AT)
    filled.needle_measurements.withdraw(FIELD, number, by="Bob", at=AT)
    assert filled.checks.compare_rows()[0] == []

    tamper(address, change)

    with Store.open(address, site="Plant 1", agent="PC") as store:
        (fault,) = store.checks.compare_rows()[0]
    assert fault.startswith(f"needle {2 if '= 2' in change else 1} of field {FIELD}")
    assert sentence in fault
