"""The numbers of /metrics are what the agent did, and reach the page's process through a file."""

from __future__ import annotations

import dataclasses

import pytest
from fastapi.testclient import TestClient
from labs.lab import HOME, web_of
from prometheus_client.parser import text_string_to_metric_families

from agent.service.health.meter import Meter
from agent.service.health.problems import Problems
from agent.web import create_app
from agent.web.metrics import MEASURES


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def meter(clock):
    return Meter(clock)


def asked(lab, meter, problems=None):
    """Return what Prometheus is told of what the meter wrote, (name, labels) → value."""
    meter.write(lab.folder / MEASURES, problems or Problems())
    web = dataclasses.replace(web_of(lab), measures=lab.folder / MEASURES)
    with TestClient(create_app(web), base_url=HOME) as client:
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_every_fate_is_counted(lab, meter):
    for fate in ("stored", "stored", "duplicate", "set_aside", "failed"):
        meter.fated("LOM-07", "a.tif", fate)

    told = asked(lab, meter)

    assert told["martensight_fates_total", "stored"] == 2
    assert told["martensight_fates_total", "set_aside"] == 1


def test_the_lag_is_from_rest_to_the_stored_result(lab, meter, clock):
    meter.rested("LOM-07", ["a.tif", "b.tif"])
    clock.now_s += 2
    meter.fated("LOM-07", "a.tif", "stored")
    meter.fated("LOM-07", "b.tif", "set_aside")
    meter.fated("LOM-07", "from before this start.tif", "stored")

    told = asked(lab, meter)

    assert told["martensight_rest_to_stored_seconds_count",] == 1
    assert told["martensight_rest_to_stored_seconds_sum",] == 2
    assert told["martensight_rest_to_stored_seconds_bucket", "1.0"] == 0
    assert told["martensight_rest_to_stored_seconds_bucket", "3.0"] == 1


def test_times_are_told_by_stage(lab, meter):
    meter.staged("read", 0.2)
    meter.staged("judge", 2.0)

    told = asked(lab, meter)

    assert told["martensight_stage_seconds_bucket", "0.3", "read"] == 1
    assert told["martensight_stage_seconds_bucket", "0.3", "judge"] == 0
    assert told["martensight_stage_seconds_sum", "judge"] == 2


def test_a_trouble_is_counted_when_it_begins_and_told_while_it_holds(lab, meter):
    problems = Problems(meter.troubled)
    problems.say("database", "gone")
    problems.say("database", "still gone")
    problems.say("database", "")
    problems.say("database", "gone again")

    told = asked(lab, meter, problems)

    assert told["martensight_faults_total", "database"] == 2
    assert told["martensight_problems",] == 1


def test_a_source_of_any_name_is_told(lab, meter):
    problems = Problems(meter.troubled)
    problems.say('source "\\\n', "away")

    assert asked(lab, meter, problems)["martensight_faults_total", 'source "\\\n'] == 1


def test_without_an_agent_the_database_is_told(lab):
    web = dataclasses.replace(web_of(lab), measures=lab.folder / MEASURES)
    with TestClient(create_app(web), base_url=HOME) as client:
        assert "martensight_review_waiting 0.0" in client.get("/metrics").text
