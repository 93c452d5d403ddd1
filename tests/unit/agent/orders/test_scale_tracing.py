"""The scale of a field names the stage-micrometer measurement that proves it, or that none does."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from labs.ordering import AT, SETTINGS

from agent.orders.facts.scale_tracing import SCALE_CHECK, add_months

DAY = timedelta(days=1)
NOTE = "scale not traced to a stage micrometer"
INSTANTS = st.datetimes(timezones=st.just(UTC)).filter(lambda at: at.year < 9000)
KEYS = {"microscope": "Axio 1", "objective": "50x"}


def measure(ordering, *, at=AT - DAY, um_per_px=0.12, size=(100, 90), **names):
    facts = {"microscope": "", "source": "", "objective": "50x", "certificate": "DKD 4711"}
    width, height = size
    facts |= {"um_per_px": um_per_px, "uncertainty": 0.001, "width": width, "height": height}
    facts |= names
    return ordering.store.records.add(SCALE_CHECK, "LOM-07", by="Ada", at=at, facts=facts)


def order_of(ordering, *, keys=KEYS):
    for field in (1, 2, 3):
        ordering.confirm(ordering.take(field, keys=keys))
    return ordering.order()


def fields(document):
    return [one["scale_traced_to"] for one in document["specimens"][0]["fields"]]


@pytest.mark.parametrize("names", [{"microscope": "axio 1"}, {"source": "LOM-07"}])
def test_a_field_names_the_measurement_of_its_objective(ordering, names):
    record = measure(ordering, objective="50 X", **names)

    document = order_of(ordering)

    said = {"record": record, "at": (AT - DAY).isoformat(), "certificate": "DKD 4711"}
    assert fields(document) == [said] * 3
    assert (document["conformity"], document["notes"]) == ("conforms", [])


def test_the_printed_trace_names_it_too(ordering):
    record = measure(ordering, source="LOM-07")
    order_of(ordering)
    words = ("orders", "trace", "4711", ordering.folder / "trace", "--by", "Ada")
    assert ordering.agent(*words) in (0, 3), ordering.err

    page = (ordering.folder / "trace" / "trace.html").read_text("utf-8")

    said = f"traced to the stage micrometer of 2026-11-23, record {record}, certificate DKD 4711"
    assert page.count(said) == 3


@pytest.mark.parametrize(
    "other",
    [
        {"source": "LOM-08"},
        {"microscope": "Axio 2"},
        {"source": "LOM-07", "objective": "100x"},
        {"source": "LOM-07", "at": AT + DAY},
        {},
    ],
)
def test_another_measurement_or_a_later_one_proves_nothing(ordering, other):
    measure(ordering, **other)

    document = order_of(ordering)

    assert fields(document) == [None] * 3
    assert (document["conformity"], document["notes"]) == ("conforms", [NOTE])


@pytest.mark.parametrize(
    ("um_per_px", "agrees"), [(0.1225, False), (0.1224, True), (0.1177, True), (0.1176, False)]
)
def test_a_scale_agrees_within_two_percent(ordering, um_per_px, agrees):
    measure(ordering, source="LOM-07", um_per_px=um_per_px)

    found = fields(order_of(ordering))

    assert [one is not None for one in found] == [agrees] * 3


def test_the_newest_measurement_before_a_field_counts_also_where_an_older_one_fits(ordering):
    measure(ordering, source="LOM-07", at=AT - 2 * DAY)
    measure(ordering, source="LOM-07", um_per_px=0.1)

    document = order_of(ordering)

    assert document["notes"] == [f"{NOTE}: the measurement of 2026-11-23 gave 0.1 µm per pixel"]


def test_a_measurement_of_another_picture_size_does_not_stand_in_for_one_of_the_same(ordering):
    measure(ordering, source="LOM-07", at=AT - 2 * DAY)
    measure(ordering, source="LOM-07", um_per_px=0.24, size=(50, 45))

    assert order_of(ordering)["notes"] == []


def test_a_note_that_does_not_hold_for_all_names_its_fields(ordering):
    measure(ordering, source="LOM-07")
    ordering.confirm(ordering.take(1, keys=KEYS))
    ordering.confirm(ordering.take(2, keys={"objective": "100x"}))

    assert ordering.order()["notes"] == [f"specimen 01, field 2: {NOTE}"]


@pytest.mark.parametrize(("months", "word"), [(1, "conforms"), (0, "undecided")])
def test_where_a_validity_is_set_a_scale_without_a_valid_measurement_is_held(
    ordering, months, word
):
    settings = SETTINGS + "scale_valid_months = 6\n"
    (ordering.folder / "agent.toml").write_text(settings, encoding="utf-8")
    too_old = datetime(2026, 5, 24, 8, 59, tzinfo=UTC)
    measure(ordering, source="LOM-07", at=too_old if months == 0 else too_old + timedelta(hours=1))

    document = order_of(ordering)

    assert document["conformity"] == word
    if word == "undecided":
        (missing,) = document["specimens"][0]["missing"]
        assert missing.startswith(
            f"field 1, field 2, field 3: {NOTE}: the measurement of 2026-05-24"
        )
        assert missing.endswith(
            "is no longer valid; one that agrees now proves the scale in between "
            "(agent scale check)"
        )
        assert document["notes"] == []


@pytest.mark.parametrize(
    ("later", "word"),
    [
        ({}, "conforms"),
        ({"um_per_px": 0.13}, "undecided"),
        ({"source": "LOM-08"}, "undecided"),
    ],
)
def test_a_measurement_after_a_field_proves_its_scale_where_the_one_before_ran_out(
    ordering, later, word
):
    settings = SETTINGS + "scale_valid_months = 6\n"
    (ordering.folder / "agent.toml").write_text(settings, encoding="utf-8")
    measure(ordering, source="LOM-07", at=AT - 200 * DAY)
    before = order_of(ordering)["conformity"]
    record = measure(ordering, at=AT + DAY, **({"source": "LOM-07"} | later))
    after = ordering.order()

    assert (before, after["conformity"]) == ("undecided", word)
    named = [traced and traced["record"] for traced in fields(after)]
    assert named == [record if word == "conforms" else None] * 3


def test_without_a_validity_no_age_matters(ordering):
    measure(ordering, source="LOM-07", at=AT - 4000 * DAY)

    assert order_of(ordering)["notes"] == []


@given(INSTANTS, st.integers(0, 120))
def test_months_are_counted_by_the_calendar(at, months):
    later = add_months(at, months)

    assert (later.year * 12 + later.month) - (at.year * 12 + at.month) == months
    assert later.day <= at.day
    assert later.day == at.day or (later + DAY).day == 1
