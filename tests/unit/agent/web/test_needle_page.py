"""The page shows how the program agrees with people, and how many needles are missing."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from drawn.needle_samples import measured
from fastapi.testclient import TestClient
from labs.lab import DAY, HOME, TAXONOMY, web_of
from labs.needle_lengths import UM, fill

from agent.needle_truth import (
    choose_field,
    compare_needles,
    fit_calibration,
    list_calibrations,
    load_groups,
)
from agent.needle_truth.comparison import COMPARISON
from agent.orders import Specifications
from agent.orders.judge.assessed import OrderPolicy
from agent.store import NewNeedle
from agent.web import create_app
from model.needles.version import read_version


@pytest.fixture
def client(lab):
    lab.compares_places = False
    policy = OrderPolicy(Specifications(), TAXONOMY, is_lead=lambda name: name == "Lea")
    web = replace(web_of(lab), lab=lambda: policy)
    with TestClient(create_app(web), base_url=HOME) as browser:
        yield browser


def read(client):
    page = client.get("/needles")
    assert page.status_code == 200
    return page.text


def test_before_anything_is_measured_the_page_tells_how(client):
    text = read(client)

    assert "No needle was measured yet" in text
    assert "10 fields with 10 needles" in text
    assert '<a href="/needles">' in client.get("/models").text


def test_below_the_wanted_number_it_shows_the_plot_and_how_many_are_missing(lab, client):
    fill(lab, fields=6)

    text = read(client)

    assert "not calibrated here" in text
    assert "Measured needles: 60; fields: 6; people: Ann, Bea." in text
    assert "6 of 10 fields have 10 needles by one person; 40 needles are missing." in text
    assert "4 fields with 10 measured needles are missing." in text
    assert "54 of 60 needles" in text
    points = re.findall(r'<circle class="pair[^"]*" cx="([\d.]+)" cy="([\d.]+)"', text)
    assert len(points) == 54
    assert len(re.findall(r'<rect class="band', text)) == 3


def test_a_calibration_is_shown_with_its_version_and_author(lab, client):
    fill(lab, fields=10)
    key = {"subtype": "G", "microscope": "LOM-07", "reason": "October"}
    assert ">Calibrate</button>" in read(client)

    refused = client.post("/needles/calibrate", data={**key, "by": "Ann"})
    unreasoned = client.post("/needles/calibrate", data={**key, "by": "Lea", "reason": " "})
    done = client.post("/needles/calibrate", data={**key, "by": "Lea"})

    assert (refused.status_code, "Ann is not a lead" in refused.text) == (422, True)
    assert (unreasoned.status_code, "Add a reason" in unreasoned.text) == (422, True)
    assert "Calibration G/LOM-07 1 is set." in done.text
    (made,) = list_calibrations(lab.store)
    (group,) = load_groups(lab.store)
    assert made.ratio == fit_calibration(group).ratio
    text = read(client)
    assert "calibrated: version G/LOM-07 1" in text
    assert "90 needles in 10 fields" in text
    assert "Lea" in text


def take(lab, number, median_um, **told):
    needles = measured(number, median_um=median_um)
    return lab.take("G8", name=f"t{number}.tif", um_per_px=UM, needles=needles, **told)


def click(lab, field, by, count):
    for place in range(count):
        needle = NewNeedle((5.0, 5.0 + place), (45.0, 5.0 + place), UM)
        lab.store.needle_measurements.add(field, needle, by=by, at=DAY)


def test_the_fields_are_spread_over_the_lengths_and_a_begun_one_comes_first(lab):
    ids = [take(lab, n, 5.0 + n) for n in range(9)]
    views = lab.store.search.list_micrographs(ids)
    chosen = []
    for _step in range(4):
        field = choose_field(lab.store, views, "Ann")
        chosen.append(ids.index(field.id))
        click(lab, field.id, "Ann", 10)
    click(lab, ids[3], "Ann", 4)

    begun = choose_field(lab.store, views, "Ann").id
    of_other = choose_field(lab.store, views, "Bea", skipped=[ids[3]]).id

    assert chosen[0] == 4
    assert set(chosen[1:3]) == {0, 8}
    assert chosen[3] in {2, 6}
    assert begun == ids[3]
    assert of_other not in {ids[3], *(ids[place] for place in chosen)}


def test_what_was_compared_is_not_measured_again(lab):
    field = take(lab, 1, 9.0)
    click(lab, field, "Ann", 3)
    rows = [
        [needle.id, field, "G", "LOM-07", "Ann", needle.length_um, "matched", 9.5, True]
        for needle in lab.store.needle_measurements.list_valid()
    ]
    facts = {"network": read_version(), "counts": {}, "rows": rows}
    lab.store.records.add(COMPARISON, "", by="Lea", at=DAY, facts=facts)
    before = lab.store.records.latest(COMPARISON, "")

    class Unused:
        version = read_version()

    *_steps, number = compare_needles(lab.store, lab.archive, Unused(), by="Ann", at=DAY)

    assert number == before.id


def test_several_fields_of_one_specimen_are_no_spread(lab):
    same = {"order": "1", "specimen": "1"}
    ids = [take(lab, n, 5.0 + n, **same) for n in range(4)]
    ids += [take(lab, n, 5.0 + n, order="2", specimen="1") for n in (4, 5)]
    views = lab.store.search.list_micrographs(ids)
    first = choose_field(lab.store, views, "Ann")
    click(lab, first.id, "Ann", 10)

    second = choose_field(lab.store, views, "Ann")

    assert first.process_data["order"] != second.process_data["order"]


def test_the_series_names_the_progress_and_ends_at_the_plot(lab, client):
    ids = [take(lab, number, 6.0 + number) for number in range(3)]
    key = {"subtype": "G", "microscope": "LOM-07", "by": "Ann"}

    nameless = client.post("/needles/next", data=key | {"by": ""})
    first = client.post("/needles/next", data=key)
    skipped = client.post("/needles/next", data=key | {"skip": " ".join(ids[:2])})
    nothing = client.post("/needles/next", data=key | {"skip": " ".join(ids)})

    assert (nameless.status_code, "Your name" in nameless.text) == (422, True)
    assert first.url.path == f"/review/{ids[1]}/viewer"
    assert "0 of 10 fields" in first.text
    assert "of 10 needles in this field" in first.text
    assert skipped.url.path == f"/review/{ids[2]}/viewer"
    assert "No further field of G on LOM-07 can be measured." in nothing.text
    assert "Measure ten fields" in read(client)


def test_a_field_of_the_series_shows_nothing_that_the_program_found(lab, client):
    field = take(lab, 1, 9.0)
    plain, asked = f"/review/{field}/viewer", {"subtype": "G", "microscope": "LOM-07"}
    client.cookies.set("reviewer", "Ann")

    texts = [client.get(plain).text, client.get(plain, params=asked).text]

    assert ["data-map" in text for text in texts] == [True, False]


def test_a_field_whose_answer_is_hidden_is_not_offered(lab, client):
    lab.take("G8", um_per_px=UM, needles=measured(1), reasons=("control_sample",))

    assert "Measure ten fields" not in read(client)
