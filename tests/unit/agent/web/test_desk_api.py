"""A program reads and does what the order desk and the page of the bundles show, and reads how."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient
from labs.bundles import FIRST, SECOND, two_bundles
from labs.lab import HOME, NEXT_DAY, web_of
from labs.order_pages import field_of, order_of, web_with

from agent.web import create_app


@pytest.fixture
def program(lab):
    with TestClient(create_app(web_with(lab, is_lead="Ann".__eq__)), base_url=HOME) as client:
        yield client


def test_orders_are_listed_with_their_next_step(lab, program):
    ids = order_of(lab, "4711", "G7")
    order_of(lab, "4712")

    found = program.get("/api/v1/orders").json()

    assert found["unread"] == 0
    assert [(order["order"], order["state"]) for order in found["orders"]] == [
        ("4711", "probably_out"),
        ("4712", "to_confirm"),
    ]
    assert sorted(found["orders"][0]["to_confirm"]) == sorted(ids)


def test_a_field_without_a_specimen_is_assigned_once(lab, program):
    loose = lab.take("G8")
    asked = {"order": "4711", "specimen": "01", "reason": "label on the mount", "by": "Ann"}

    first, again = (
        program.post(f"/api/v1/micrographs/{loose}/assign", json=asked) for _ in range(2)
    )
    other = program.post(f"/api/v1/micrographs/{loose}/assign", json=asked | {"order": "4712"})
    lost = program.post(f"/api/v1/micrographs/{'0' * 16}/assign", json=asked)

    assert (first.status_code, again.status_code) == (201, 201)
    assert lab.store.results.find(loose).process_data["order"] == "4711"
    assert (other.status_code, lost.status_code) == (422, 404)


def test_a_release_of_nothing_is_refused(program):
    asked = {"source": "LOM-07", "reason": "repaired", "by": "Ann"}

    nothing = program.post("/api/v1/holds/release", json=asked)
    no_lead = program.post("/api/v1/holds/release", json=asked | {"by": "Bob"})

    assert nothing.json()["detail"] == "No results of LOM-07 are held."
    assert "Bob is not a lead" in no_lead.json()["detail"]


def test_a_pair_of_one_place_is_decided_by_a_lead_with_a_reason(lab, program):
    pixels = np.random.default_rng(3).integers(60, 200, (600, 800, 3), dtype=np.uint8)
    pixels = cv2.GaussianBlur(pixels, (0, 0), 3)
    one, other = (field_of(lab, f"471{n}", 1, pixels=pixels) for n in (1, 2))
    asked = {"verdict": "different", "reason": "two rings of one batch", "by": "Ann"}

    done = program.post(f"/api/v1/places/{one}/{other}", json=asked)
    wrong = program.post(f"/api/v1/places/{one}/{other}", json=asked | {"verdict": "perhaps"})
    lost = program.post(f"/api/v1/places/{one}/{'0' * 16}", json=asked)

    assert done.status_code == 201, done.text
    assert (wrong.status_code, lost.status_code) == (422, 404)
    assert lab.store.places.find_pair(one, other).verdict == "different"


def test_a_requested_training_is_cancelled(lab, program):
    lab.store.jobs.request("retrain", by="Lea", at=NEXT_DAY)
    asked = {"name": "retrain", "by": "Ann"}

    first, again = (program.post("/api/v1/jobs/cancel", json=asked).json() for _ in range(2))

    assert (first["count"], again["count"]) == (1, 0)


def test_bundles_are_listed_with_their_state(lab):
    two_bundles(lab)
    with TestClient(create_app(web_of(lab)), base_url=HOME) as client:
        found = client.get("/api/v1/bundles").json()["bundles"]

    assert [(bundle["name"], bundle["state"]) for bundle in found] == [
        (SECOND, "candidate"),
        (FIRST, "active"),
    ]


def test_every_route_is_described_on_a_page_that_needs_no_connection(program):
    page = program.get("/docs").text
    document = program.get("/api/v1/openapi.json").json()

    for path, methods in document["paths"].items():
        for method in methods:
            assert f"<code>{method.upper()} {path}</code>" in page
    anchors = set(re.findall(r'id="([^"]+)"', page))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= anchors
    assert "list of string" in page
    assert not re.findall(r'(?:src|href)="https?://', page)
