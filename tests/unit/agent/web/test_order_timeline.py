"""An order's page tells in words what happened to it, and nothing that a reviewer may not see."""

from __future__ import annotations

import html
import re
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from labs.lab import DAY, HOME
from labs.plant import Plant

from agent.store import Decision
from agent.web import app_of


@pytest.fixture
def plant(tmp_path, capsys):
    plant = Plant(tmp_path, capsys)
    yield plant
    plant.lab.store.close()


def read(plant, path: str, language: str = "en") -> str:
    app = app_of(
        plant.settings,
        store=plant.lab.store,
        archive=plant.lab.archive,
        now=lambda: DAY + timedelta(days=1),
        status=dict,
    )
    return TestClient(app, base_url=HOME, cookies={"language": language}).get(path).text


def strip(markup: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", markup)).split())


def tell(plant, language: str = "en") -> list[str]:
    """Return the lines of the timeline as a reader sees them."""
    page = read(plant, "/order/4711?timeline=1", language)
    part = page.partition('<ol class="timeline">')[2].partition("</ol>")[0]
    return [strip(text) for text in re.findall(r"<li>(.*?)</li>", part, re.DOTALL)]


def test_files_decisions_statements_and_what_was_sent_are_told_in_local_time(plant) -> None:
    public_id = plant.take()
    plant.send(at=DAY)
    later = [DAY + timedelta(minutes=minute) for minute in range(1, 7)]
    plant.say(public_id, "G8", at=later[0])
    plant.send(at=later[1])
    plant.say(public_id, "G7", at=later[2])
    plant.send(at=later[3])
    plant.lab.store.labels.undo(public_id, by="Leo", at=later[4])
    plant.lab.store.retention.set_legal_hold(
        "4711", hold=True, by="Leo", at=later[5], reason="ring 7"
    )

    lines = tell(plant)

    assert lines[0].startswith(
        "24 Nov 2026 10:00:00 Field 1 of specimen 1 came in as field_001.tif."
    )
    assert "The model's answer: G8." in lines[0]
    told = "\n".join(lines)
    for sentence in (
        "10:01:00 Ada confirmed G8 for field 1 of specimen 1. “looked again”",
        "10:02:00 Statement 2: conforms. after an act of Ada: decision entered",
        "Statement 2 was sent to the LIMS as revision 1.",
        "10:03:00 Ada relabelled field 1 of specimen 1 G7. “looked again”",
        "10:04:00 Statement 3: does not conform.",
        "10:05:00 Leo took a decision on field 1 of specimen 1 back.",
        "10:06:00 Leo protected the order from pruning. “ring 7”",
    ):
        assert sentence in told, told
    assert "/order/4711?timeline=1#timeline" in read(plant, "/order/4711")
    assert "Ada hat G8 für Gesichtsfeld 1" in "\n".join(tell(plant, language="de"))


def test_what_is_still_hidden_of_a_field_is_not_told(plant) -> None:
    public_id = plant.lab.take(
        "G7",
        order="4711",
        specimen="1",
        field="1",
        reasons=("uncertain",),
        thresholds={"double_share": 1.0},
    )
    decision = Decision("code", "Ada", code="M8", comment="rim", blind=True)
    plant.lab.store.labels.decide(public_id, decision, at=DAY)

    told = "\n".join(tell(plant))

    assert "Ada decided on field 1 of specimen 1." in told
    assert "The model's answer is hidden until it is decided." in told
    for secret in ("G7", "M8", "rim", "Uncertain"):
        assert secret not in told, told


def test_a_statement_does_not_tell_what_is_still_hidden_of_a_field(plant) -> None:
    public_id = plant.take()
    plant.say(public_id, "G8", at=DAY)
    plant.send(at=DAY + timedelta(minutes=1))
    plant.lab.take(
        "G7", order="4711", specimen="2", field="2", reasons=("control_sample",), material="100Cr6"
    )
    plant.send(at=DAY + timedelta(minutes=2))

    told = "\n".join(tell(plant))

    assert "Statement 2: undecided." in told
    assert "G7" not in told, told


def test_the_history_names_whose_act_a_statement_follows(plant) -> None:
    public_id = plant.take()
    plant.send(at=DAY)
    plant.say(public_id, "G8", at=DAY + timedelta(minutes=1))
    plant.send(at=DAY + timedelta(minutes=2))

    first, second = plant.lab.store.audit_log.iter_acts("statement.frozen")
    page = strip(read(plant, "/history?subject=4711"))

    assert (first.actor, first.facts.get("after")) == ("agent", None)
    assert second.facts["after"] == {"Ada": ["label.given"]}
    assert "after an act of Ada: decision entered" in page
