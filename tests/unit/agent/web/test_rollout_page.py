"""The page of the PCs shows each ring and where it stopped; a lead starts, a reviewer stops."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from labs.lab import DAY, HOME, Lab, web_of

from agent.store import RingRules, RolloutState, Signature, Store
from agent.store.sites.fleet import KEY
from agent.web.access import NEEDED
from agent.web.app import create_app

OLD, NEW = "20261101-0badcafe", "20261125-beefbeef"
RIGHT = {"g8": {"image": "g8-500x.tif", "code": "G8", "probability": 0.91}}
OTHER = {"g8": {"image": "g8-500x.tif", "code": "G7", "probability": 0.88}}
RULES = RingRules(("PC-1",), share=0.5, wait_minutes=0)


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path)
    lab.store.promotions.promote(OLD, by="Lea", reason="first", at=DAY, metrics={})
    yield lab
    lab.store.close()


def pcs(lab: Lab, *names: str) -> dict[str, Store]:
    """Let PCs send a heartbeat."""
    opened = {}
    for name in names:
        opened[name] = Store.open(
            f"sqlite:///{lab.folder}/martensight.db", site="Plant 1", agent=name
        )
        opened[name].agents.record_start(at=DAY)
        opened[name].agents.record_heartbeat({KEY: {"bundle": OLD, "recipe": "1"}}, at=DAY)
    return opened


def start(store: Store) -> None:
    store.promotions.sign(
        NEW, Signature("Lea", "better on G8", DAY), metrics={}, promoters=1, instead_of=OLD,
        rings=RULES,
    )  # fmt: skip


def browser_of(lab: Lab, *, by: str = "Rita") -> TestClient:
    web = web_of(lab)
    rings = replace(web.learning, rings=RULES)
    browser = TestClient(create_app(replace(web, learning=rings)), base_url=HOME)
    browser.post("/review/name", data={"by": by})
    return browser


def test_the_page_says_which_pc_differs_from_which_and_a_reviewer_acknowledges_it(lab):
    opened = pcs(lab, "PC-1", "PC-2", "<b>")
    start(lab.store)
    browser = browser_of(lab)
    waiting = browser.get("/fleet").text
    first = opened["PC-1"].rollouts
    first.record_answers(first.find_wanted().ticket, RIGHT, at=DAY)
    lab.store.rollouts.advance(dict.fromkeys(opened, DAY), at=DAY)
    odd = next(s for n, s in opened.items() if n != "PC-1" and s.rollouts.find_wanted().ticket)
    odd.rollouts.record_answers(odd.rollouts.find_wanted().ticket, OTHER, at=DAY)

    stopped = browser.get("/fleet").text
    document = browser.get("/api/v1/rollout").json()["rollout"]
    browser.post("/fleet/rollout/stop")
    after = browser.get("/fleet").text

    assert "Stop the rollout" in waiting
    assert "not judged yet" in waiting
    assert "&lt;b&gt;" in waiting
    assert "g8-500x.tif: structure code G7, G8 on PC-1" in stopped
    assert "Continue at ring 1" in stopped
    assert (document["state"], document["stopped_by"]) == ("stopped", "agent")
    assert [pc["state"] for pc in document["pcs"]].count("differs") == 1
    assert "Acknowledge" in stopped
    assert "Acknowledge" not in after
    assert lab.store.rollouts.find_latest().stopped_by == "Rita"
    for store in opened.values():
        store.close()


def test_a_lead_continues_with_a_signature_and_a_program_stops_without_one(lab):
    opened = pcs(lab, "PC-1")
    start(lab.store)
    browser = browser_of(lab, by="Lea")

    sent = {"by": "LIMS"}
    counts = [browser.post("/api/v1/rollout/stop", json=sent).json()["count"] for _ in range(2)]
    refused = browser.post("/fleet/rollout/continue", data={"reason": ""})
    signed = browser.post("/fleet/rollout/continue", data={"reason": "a new driver"})

    rollout = lab.store.rollouts.find_latest()
    assert counts == [1, 0]
    assert refused.status_code == 422
    assert "A signature needs a reason" in refused.text
    assert "continues at ring 1" in signed.text
    assert (rollout.state, rollout.by, rollout.attempt) == (RolloutState.RUNNING, "Lea", 2)
    opened["PC-1"].close()


def test_a_start_names_a_bundle_that_is_there(lab):
    opened = pcs(lab, "PC-1")
    browser = browser_of(lab, by="Lea")

    for bundle in ("", NEW, "../../etc"):
        answer = browser.post("/fleet/rollout", data={"reason": "better", "bundle": bundle})
        assert answer.status_code == 422
        assert "no bundle is called" in answer.text
    assert browser.get("/api/v1/rollout").json() == {"rollout": None}
    opened["PC-1"].close()


def test_a_pc_that_is_off_is_shown_as_off(lab):
    opened = pcs(lab, "PC-1", "PC-2")
    opened["PC-2"].agents.record_heartbeat({}, at=DAY - timedelta(hours=1))
    start(lab.store)

    page = browser_of(lab).get("/fleet").text

    assert "the PC is off" in page
    for store in opened.values():
        store.close()


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("/fleet/rollout", "lead"),
        ("/fleet/rollout/continue", "lead"),
        ("/fleet/rollout/stop", "reviewer"),
        ("/api/v1/rollout/stop", "reviewer"),
    ],
)
def test_a_lead_starts_and_a_reviewer_stops(path, role):
    assert NEEDED[f"POST {path}"] == role
