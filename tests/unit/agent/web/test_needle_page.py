"""The page shows how the program agrees with people, and how many needles are missing."""

from __future__ import annotations

import re

import pytest
from fastapi.testclient import TestClient
from labs.lab import DAY, HOME, desk_of
from labs.needle_lengths import fill

from agent.needle_truth import calibrate, load_groups
from agent.web import create_app


@pytest.fixture
def client(lab):
    lab.compares_places = False
    with TestClient(create_app(desk_of(lab)), base_url=HOME) as browser:
        yield browser


def read(client):
    page = client.get("/needles")
    assert page.status_code == 200
    return page.text


def test_before_anything_is_measured_the_page_tells_how(client):
    text = read(client)

    assert "No needle was measured yet" in text
    assert "30 fields with 10 needles" in text
    assert '<a href="/needles">' in client.get("/models").text


def test_below_the_wanted_number_it_shows_the_plot_and_how_many_are_missing(lab, client):
    fill(lab, fields=6)

    text = read(client)

    assert "not calibrated here" in text
    assert "Measured needles: 60; fields: 6; people: Ann, Bea." in text
    assert "6 of 30 fields have 10 needles by one person; 240 needles are missing." in text
    assert "24 fields with 10 measured needles are missing." in text
    assert "54 of 60 needles" in text
    points = re.findall(r'<circle class="pair[^"]*" cx="([\d.]+)" cy="([\d.]+)"', text)
    assert len(points) == 54
    assert len(re.findall(r'<rect class="band', text)) == 3


def test_a_calibration_is_shown_with_its_version_and_author(lab, client):
    fill(lab, fields=30)
    assert "Ready to calibrate" in read(client)
    (group,) = load_groups(lab.store)

    calibrate(lab.store, group, by="Lea", reason="October", at=DAY)

    text = read(client)
    assert "calibrated: version G/LOM-07 1" in text
    assert "270 needles in 30 fields" in text
    assert "Lea" in text
