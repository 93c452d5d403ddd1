"""A calibration is one ratio, recorded with a version; where one ratio is wrong it is refused."""

import re

import numpy as np
import pytest
from drawn.needle_samples import draw_needles
from labs.lab import DAY
from labs.needle_lengths import simulate

from agent.needle_truth import (
    CalibrationRefusedError,
    Place,
    TruthGroup,
    calibrate,
    compare_needles,
    find_refusal,
    fit_calibration,
    list_calibrations,
    load_groups,
    needle_calibration,
    withdraw_calibration,
)
from agent.needle_truth.comparison import compute_agreement, fit_trend
from agent.store import NewNeedle
from model.needles.field import measure_field
from model.needles.needle_map import NeedleMapper
from model.needles.version import read_version

PIXEL_UM = 0.2


def group_of(pairs, *, full_fields=30, unmatched=0, new=0, network=None, subtype="G"):
    """Build a group as it would be read from the store."""
    counts = dict.fromkeys(Place, 0) | {Place.MATCHED: len(pairs), Place.UNMATCHED: unmatched}
    return TruthGroup(
        subtype=subtype,
        microscope="LOM-07",
        needles=len(pairs) + unmatched,
        fields=len({pair.field for pair in pairs}),
        full_fields=full_fields,
        people=("Ann",),
        new=new,
        counts=counts,
        pairs=tuple(pairs),
        agreement=compute_agreement(pairs),
        trend=fit_trend(pairs),
        comparison=7,
        network=read_version() if network is None else network,
    )


@pytest.fixture(scope="module")
def pairs():
    return simulate(np.random.default_rng(4), fields=30, needles=10, bias=1.2, between=0.05)


def test_lengths_of_a_program_that_is_a_fifth_too_long_are_corrected(pairs):
    calibration = fit_calibration(group_of(pairs))

    assert calibration.ratio.low < 1.2 < calibration.ratio.high
    assert calibration.correct(24.0) == pytest.approx(20.0, rel=0.05)
    assert (calibration.fields, calibration.people) == (30, 1)


TOO_LITTLE = [
    ({"full_fields": 6}, "4 fields with 10 measured needles are missing"),
    ({"full_fields": 9}, "1 field with 10 measured needles is missing"),
    ({"new": 3}, "3 needles are not compared"),
    ({"network": "of last year"}, "not compared with this version"),
    ({"unmatched": 500}, "at least 50 % are needed"),
    ({"subtype": ""}, "no subtype"),
]


def test_too_little_is_refused_with_what_is_missing(pairs):
    for change, reason in TOO_LITTLE:
        group = group_of(pairs, **change)

        assert reason in find_refusal(group), change
        with pytest.raises(CalibrationRefusedError, match=re.escape(reason)):
            fit_calibration(group)


def test_a_ratio_that_depends_on_the_length_is_refused_and_a_small_certain_trend_is_not():
    rng = np.random.default_rng(2)
    merging = simulate(rng, fields=30, needles=10, slope=-0.3)
    slight = simulate(rng, fields=30, needles=200, within=0.05, between=0.01, slope=-0.02)

    assert "depends on the length" in find_refusal(group_of(merging))
    assert fit_trend(slight).high < 0
    assert find_refusal(group_of(slight)) == ""


def test_one_ratio_is_refused_in_at_most_one_of_fifteen_labs():
    rng = np.random.default_rng(3)
    refused = sum(
        bool(find_refusal(group_of(simulate(rng, fields=30, needles=10, bias=1.1))))
        for _ in range(100)
    )

    assert refused <= 7


def test_it_has_a_version_is_replaced_withdrawn_and_is_for_one_subtype_and_microscope(lab, pairs):
    store, group = lab.store, group_of(pairs)

    first = calibrate(store, group, by="Lea", reason="yearly", at=DAY)
    second = calibrate(store, group, by="Lea", reason="again", at=DAY)

    assert (first.version, second.version) == ("G/LOM-07 1", "G/LOM-07 2")
    assert needle_calibration(store, "G", "LOM-07") == second
    assert needle_calibration(store, "G", "LOM-08") is None
    assert needle_calibration(store, "B", "LOM-07") is None
    assert needle_calibration(store, "G", "LOM-07", network="other weights") is None
    assert [each.version for each in list_calibrations(store)] == [first.version, second.version]

    assert withdraw_calibration(store, "G", "LOM-07", by="Lea", reason="new camera", at=DAY)

    assert needle_calibration(store, "G", "LOM-07") is None
    assert not withdraw_calibration(store, "G", "LOM-07", by="Lea", reason="", at=DAY)
    acts = [act for act in store.audit_log.iter_acts() if "needle_calibration" in act.act]
    assert [act.actor for act in acts] == ["Lea"] * 3


@pytest.fixture(scope="module")
def steel():
    return draw_needles()


def test_a_comparison_keeps_what_the_program_has_at_each_measured_place(lab, steel):
    mapper = NeedleMapper()
    needles = measure_field(steel, PIXEL_UM, mapper).needles
    picture = np.repeat(steel[..., None], 3, axis=2)
    field = lab.take("G8", pixels=picture, um_per_px=PIXEL_UM)
    empty = lab.take("G8", um_per_px=PIXEL_UM, microscope="LOM-08")
    longest = np.argsort(-needles.length_um)[:6]
    for index in longest:
        start, end = (tuple(tip) for tip in needles.ends_um[index] / PIXEL_UM)
        add(lab, field, start, end)
    add(lab, field, (0.0, 0.0), (511.0, 511.0))  # no needle of the program is there
    add(lab, empty, (10.0, 10.0), (60.0, 60.0))
    gone = add(lab, field, (1.0, 1.0), (90.0, 90.0))
    lab.store.needle_measurements.withdraw(field, gone, by="Ann", at=DAY)

    *_, number = compare_needles(lab.store, lab.archive, mapper, by="Lea", at=DAY)

    at_source, at_other = load_groups(lab.store)
    assert (at_source.subtype, at_source.microscope, at_source.comparison) == (
        "G",
        "LOM-07",
        number,
    )
    assert at_source.counts[Place.MATCHED] == 6
    assert at_source.counts[Place.UNMATCHED] == 1
    assert [pair.program_um for pair in at_source.pairs] == pytest.approx(
        needles.expected_um[longest], abs=0.001
    )
    assert at_source.agreement is None  # one field
    assert (at_source.missing_fields, at_source.missing_needles) == (10, 100)
    assert at_other.microscope == "LOM-08"
    assert at_other.counts[Place.NOT_MEASURED] == 1
    add(lab, field, (5.0, 5.0), (50.0, 50.0))
    assert load_groups(lab.store)[0].new == 1


def add(lab, field, start, end):
    needle = NewNeedle(start, end, PIXEL_UM)
    return lab.store.needle_measurements.add(field, needle, by="Ann", at=DAY)


def test_without_measured_needles_nothing_is_compared(lab):
    assert list(compare_needles(lab.store, lab.archive, NeedleMapper(), by="Lea", at=DAY)) == [0]
    assert load_groups(lab.store) == []
