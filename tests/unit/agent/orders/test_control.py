"""A microscope whose check failed proves nothing: its results are held until it is good again."""

import errno
import json
from datetime import timedelta
from importlib.metadata import version

import pytest
from labs.lab import crop_here
from labs.ordering import AT, DEMAND, SETTINGS
from labs.pipeline import Parrot

from agent.errors import OutOfResourcesError
from agent.orders.instruments.instrument_checks import (
    CONTROL,
    CheckOrigin,
    check_references,
    describe_failure,
    list_control_points,
    measure_image,
)
from agent.orders.instruments.instrument_holds import load_holds
from agent.service.data_folder import agent_name
from agent.service.jobs.instrument_check import is_due
from agent.settings import read


def checked(ordering, *, at=AT, spoil=None):
    def crops(path):
        if spoil and spoil in path.name:
            return OSError("the disk is gone")
        return crop_here(path)

    return check_references(
        ordering.store,
        ordering.folder / "data",
        crops=crops,
        classifier=None,
        origin=CheckOrigin("1", "PC", ["LOM-07"], "Ada", at),
    )


def test_the_shipped_images_are_read_with_the_scale_they_have(ordering):
    found = checked(ordering)

    assert [one.sentence for one in found if not one.is_good] == []
    assert len(found) == 3
    assert describe_failure(found) == ""
    assert ordering.store.records.latest(CONTROL, "PC").facts["passed"] is True


def test_after_a_failed_check_results_are_held_until_the_next_good_one(ordering):
    checked(ordering, at=AT - timedelta(hours=1), spoil="g8")
    for field in (1, 2, 3):
        ordering.confirm(ordering.take(field))
    held = ordering.order()["specimens"][0]
    checked(ordering, at=AT - timedelta(minutes=1))
    for field in (1, 2, 3):
        ordering.confirm(ordering.take(field, order="4712"))
    good = ordering.order("4712")

    assert held["conformity"] == "undecided"
    assert held["missing"][0] == (
        "field 1, field 2, field 3: the control check of 2026-11-24 08:00 UTC on PC failed"
    )
    assert good["conformity"] == "conforms"


@pytest.mark.parametrize(("hours", "word"), [(25, "undecided"), (27, "conforms")])
def test_a_pc_that_failed_and_was_replaced_holds_results_for_a_day(ordering, hours, word):
    failed = {"passed": False, "sources": ["LOM-07"], "software": "1", "findings": []}
    at = AT - timedelta(hours=hours)
    ordering.store.records.add(CONTROL, "the old PC", by="Ada", at=at, facts=failed)
    ordering.check(at=AT - timedelta(minutes=1))

    for field in (1, 2, 3):
        ordering.confirm(ordering.take(field))

    assert ordering.order()["conformity"] == word


def test_without_a_check_the_models_answer_is_held_until_a_good_one_after_it(
    ordering,
):
    ordering.take(1, order="4712")
    none = ordering.order("4712")["specimens"][0]["missing"]
    checked(ordering, at=AT - timedelta(hours=27))
    field = ordering.take(1)
    too_old = ordering.order()["specimens"][0]["missing"]
    ordering.confirm(field)
    decided = ordering.order()["specimens"][0]["missing"]
    ordering.store.labels.undo(field, by="Ada", at=AT)
    checked(ordering, at=AT + timedelta(hours=3))
    after = ordering.order()["specimens"][0]["missing"]

    sentence = (
        "field 1: no control check of LOM-07 in the 26 h before it (agent verify --installation)"
    )
    assert [sentence in said for said in (none, too_old, decided, after)] == [
        True,
        True,
        False,
        False,
    ]


def test_a_failed_check_after_it_frees_nothing(ordering):
    ordering.take(1)
    checked(ordering, at=AT + timedelta(hours=3), spoil="g8")

    sentence = (
        "field 1: the control check of 2026-11-24 12:00 UTC on PC failed, and none before it "
        "was good"
    )
    assert sentence in ordering.order()["specimens"][0]["missing"]


@pytest.mark.parametrize(
    ("passed", "after", "due"),
    [
        (True, timedelta(hours=23), False),
        (True, timedelta(hours=24), True),
        (False, timedelta(minutes=14), False),
        (False, timedelta(minutes=15), True),
    ],
)
def test_a_check_is_due_daily_and_sooner_after_a_failed_one(ordering, passed, after, due):
    nothing = is_due(ordering.store, None, at=AT)
    facts = {"passed": passed, "bundle": "", "software": version("martensight")}
    ordering.store.records.add(CONTROL, agent_name(), by="agent", at=AT, facts=facts)

    assert nothing
    assert is_due(ordering.store, None, at=AT + after) is due
    assert is_due(ordering.store, Parrot("another bundle"), at=AT)


def test_a_lab_image_is_held_against_its_first_answer(ordering):
    folder = ordering.folder / "data" / "reference"
    folder.mkdir(parents=True)
    found = checked(ordering)
    records = ordering.store.records
    kept = records.latest("reference", "").facts["answers"]
    first = next(iter(kept))
    spoilt = {**kept, first: {**kept[first], "code": "G8"}}
    records.add("reference", "", by="Ada", at=AT, facts={"answers": spoilt})

    again = checked(ordering)

    assert describe_failure(found) == ""
    assert "structure code None, G8 was stored" in describe_failure(again)


def test_control_specimens_go_to_a_chart_of_their_own_and_hold_their_source(ordering):
    settings = SETTINGS + 'control = ["900"]\ncontrol_every_h = 24\n'
    (ordering.folder / "agent.toml").write_text(settings, encoding="utf-8")
    (ordering.folder / "specifications.toml").write_text(DEMAND, encoding="utf-8")
    for field in (1, 2, 3):
        ordering.confirm(ordering.take(field))
    none = ordering.order()["specimens"][0]["missing"][0]
    ordering.confirm(ordering.take(1, "G8", order="900"))
    good = ordering.order()["conformity"]
    ordering.take(2, "G7", order="900")
    before = ordering.order()["conformity"]
    for field in (1, 2, 3):
        ordering.confirm(ordering.take(field, order="4712"))
    bad = ordering.order("4712")["specimens"][0]["missing"][0]

    points = list_control_points(ordering.store, ["900"])["LOM-07"]
    assert none == "field 1, field 2, field 3: no control specimen of LOM-07 within 24 h"
    assert (good, before) == ("conforms", "conforms")  # the good one came after its fields
    assert [point.faults for point in points] == [(), ("structure code G7, expected G8",)]
    assert "the control specimen of LOM-07 failed: structure code G7" in bad
    assert ordering.agent("orders", "list", "--control", "--json") == 0
    assert [point["code"] for point in json.loads(ordering.out)["LOM-07"]] == ["G8", "G7"]
    held = load_holds(read(ordering.folder / "agent.toml"), ordering.store)
    assert held(ordering.store.results.find(points[0].id)) == ""


DAYS = timedelta(days=1)
GOOD, FAILED, FIELDS = "good", "failed", "fields"


@pytest.mark.parametrize(
    ("order", "word"),
    [
        (((GOOD, 0), (FIELDS, 1), (FAILED, -3)), "undecided"),  # the clock went back by four days
        (((GOOD, 0), (FAILED, 1), (FIELDS, -3)), "undecided"),
        (((FAILED, 0), (FIELDS, -3), (GOOD, 1)), "undecided"),
        (((GOOD, 0), (FIELDS, -3), (GOOD, -2)), "conforms"),
        (((FAILED, 1), (GOOD, -3), (FIELDS, 2)), "conforms"),
    ],
)
def test_no_clock_that_is_set_hides_a_failed_control_specimen(ordering, order, word):
    settings = SETTINGS + 'control = ["900"]\n'
    (ordering.folder / "agent.toml").write_text(settings, encoding="utf-8")
    for n, (what, day) in enumerate((("first", -9), *order), 1):
        at = AT + day * DAYS
        if what == FIELDS:
            for field in (1, 2, 3):
                ordering.confirm(ordering.take(field, at=at))
        else:
            ordering.take(n, "G7" if what == FAILED else "G8", order="900", at=at)

    assert ordering.order()["conformity"] == word, ordering.order()["missing"]


def test_focus_and_brightness_tell_a_blurred_and_a_dark_field():
    import numpy as np  # noqa: PLC0415 - only here

    rng = np.random.default_rng(1)
    sharp = rng.integers(0, 255, (60, 80, 3), np.uint8)
    blurred = sharp.copy()
    blurred[:, 1:-1] = (sharp[:, :-2] // 3 + sharp[:, 1:-1] // 3 + sharp[:, 2:] // 3).astype(
        np.uint8
    )
    valid = np.ones((60, 80), bool)

    assert measure_image(blurred, valid)["focus"] < 0.5 * measure_image(sharp, valid)["focus"]
    assert measure_image(sharp // 2, valid)["brightness"] == pytest.approx(
        measure_image(sharp, valid)["brightness"] / 2, abs=1
    )


def test_a_reference_image_that_cannot_be_read_for_want_of_files_is_no_failed_check(ordering):
    def crops(_path):
        return OSError(errno.EMFILE, "Too many open files")

    with pytest.raises(OutOfResourcesError):
        check_references(
            ordering.store,
            ordering.folder / "data",
            crops=crops,
            classifier=None,
            origin=CheckOrigin("1", "PC", ["LOM-07"], "Ada", AT),
        )

    assert ordering.store.records.latest(CONTROL, "PC") is None
