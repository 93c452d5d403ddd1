"""A candidate is tried beside the bundle at work, and people see what it would say otherwise."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from labs import lab as pages_lab
from labs.lab import DAY, SETTINGS
from labs.small import past, twin_of

from agent import settings as settings_of
from agent.demo.exporter import encode
from agent.nightly import write_report
from agent.retrain.bundle_registry import list_bundles
from agent.service import run_once
from agent.service.composition import open_store
from agent.service.data_folder import clock
from agent.service.health.problems import Problems
from agent.service.jobs.shadow import find_waiting_candidate, has_news
from agent.service.schedule import RetrainScheduler
from agent.store import MicrographResult
from agent.triage import Handling, TriageVerdict

CURRENT, NEW = "20261101-0badcafe", "20261125-beefbeef"
NIGHT = DAY.date()
LATER = DAY + timedelta(days=1)


@pytest.fixture
def lab(tmp_path):
    """A lab with a bundle at work, and three micrographs of the night."""
    lab = pages_lab.Lab(tmp_path)
    earlier = DAY - timedelta(days=30)
    lab.store.promotions.promote(CURRENT, by="Ada", reason="first", at=earlier, metrics={})
    yield lab
    lab.store.close()


def tried(lab, *codes):
    """Take micrographs that are G8, and have a candidate answer about them; their ids come back."""
    ids = [lab.take("G8", order="4711", specimen="1") for _ in codes]
    for one, code in zip(ids, codes, strict=True):
        prediction = replace(pages_lab.prediction_of(code), bundle=NEW)
        finding = MicrographResult({}, {}, {}, prediction, TriageVerdict(Handling.AUTOMATIC, ()))
        assert lab.store.results.add(one, finding, role="shadow", at=DAY)
    job = lab.store.jobs.begin("shadow", at=DAY)
    lab.store.jobs.end(job, "done", at=DAY, facts={"bundle": NEW, "days": 14})
    return ids


def report(lab, settings=SETTINGS, *, refresh=False):
    written = write_report(
        lab.store, lab.archive, lab.reports, NIGHT, settings, now=LATER, refresh=refresh
    )
    return written.path.read_text("utf-8")


def test_the_report_shows_what_a_candidate_answers_otherwise_with_its_picture(lab):
    ids = tried(lab, "G8", "G7", "G8")

    page = report(lab)

    section = page.partition('id="shadow"')[2].partition("</section>")[0]
    answers = "Of 3 micrographs of the last 14 days it answers 1 differently"
    assert f"{NEW} is not in use. {answers}" in (section)
    assert f'id="f-{ids[1]}"' in section
    assert ids[0] not in section
    assert section.count("data:image/jpeg") == 1
    assert "order 4711, specimen 1" in section


def test_the_report_says_so_in_german(lab):
    tried(lab, "G7")

    page = report(lab, replace(SETTINGS, language="de"))

    assert "Von 1 Aufnahmen der letzten 14 Tage beantwortet es 1 anders" in page


def test_once_it_is_at_work_it_is_no_candidate_and_a_frozen_night_stays_as_it_was(lab):
    tried(lab, "G7")
    before = report(lab)
    lab.store.promotions.promote(NEW, by="Ada", reason="better", at=LATER, metrics={})

    again = report(lab)
    anew = report(lab, refresh=True)

    assert again == before
    assert 'id="shadow"' in before
    assert 'id="shadow"' not in anew


def test_after_a_roll_back_its_old_answers_are_not_shown_again(lab):
    tried(lab, "G7")
    for name in (NEW, CURRENT):  # before the night ends: its report shows what was known then
        at = DAY + timedelta(hours=2)
        lab.store.promotions.promote(name, by="Ada", reason="r", at=at, metrics={})

    assert 'id="shadow"' not in report(lab)


def test_without_a_candidate_the_report_has_no_such_part(lab):
    lab.take("G8")

    assert 'id="shadow"' not in report(lab)


# --- which one, and when ------------------------------------------------------------------------


def taught(lab, gate, *, at=DAY, candidate=NEW):
    job = lab.store.jobs.begin("retrain", at=at)
    lab.store.jobs.end(job, gate, at=at, facts={"candidate": candidate, "current": CURRENT})


def test_a_recommended_candidate_waits_until_some_bundle_is_promoted(lab):
    assert find_waiting_candidate(lab.store) is None
    taught(lab, "recommended")
    assert find_waiting_candidate(lab.store) == NEW

    lab.store.promotions.promote("another", by="Ada", reason="r", at=LATER, metrics={})

    assert find_waiting_candidate(lab.store) is None


@pytest.mark.parametrize("gate", ["not_recommended", "not_enough_evidence", "failed"])
def test_one_that_the_gate_did_not_recommend_is_not_tried(lab, gate):
    taught(lab, "recommended", at=DAY - timedelta(days=1), candidate="older")
    taught(lab, gate)

    assert find_waiting_candidate(lab.store) is None


def test_what_came_since_and_has_no_answer_is_news(lab):
    since = DAY - timedelta(days=14)
    tried(lab, "G8")
    assert not has_news(lab.store, NEW, since=since, now=LATER)

    lab.take("G8")

    assert has_news(lab.store, NEW, since=since, now=LATER)


# --- the child ----------------------------------------------------------------------------------


@pytest.fixture
def small(own_lab):
    """A taught lab with two micrographs of its microscope, and a twin of its bundle."""
    for one in past(1, first_order=5000, seed=3, codes=("G7",)):
        drawn = one.drawn((280, 210), border=False)
        (own_lab.folder / "export" / one.name).write_bytes(
            encode(drawn, one.name.rpartition(".")[2])
        )
    settings = settings_of.read(own_lab.folder / "agent.toml", {})
    (first,) = list_bundles(settings.store.folder)
    with open_store(settings) as store:
        run_once(settings, store)
        yield own_lab, settings, store, twin_of(first).name


def test_a_shadow_stands_beside_what_counts_and_is_asked_once(small, capsys):
    lab, _, store, name = small
    before = {view.id: view.result.id for view in store.results.iter_all()}
    capsys.readouterr()
    words = ("models", "reprocess", "--bundle", name, "--shadow", "--days", "14", "--json")

    assert lab.agent(*words) == 0
    first = json.loads(capsys.readouterr().out)
    assert lab.agent(*words) == 0
    second = json.loads(capsys.readouterr().out)

    assert (first["judged"], first["known"], first["flips"]) == (2, 0, [])
    assert (second["judged"], second["known"]) == (0, 2)
    assert {view.id: view.result.id for view in store.results.iter_all()} == before
    (entry, _) = store.audit_log.iter_acts("model.shadowed")
    assert (entry.subject, entry.facts["days"]) == (name, 14)


def test_without_an_answer_to_its_orders_nobody_signs_for_a_bundle(small, capsys):
    lab, _, _, name = small
    signed = ("models", "promote", name, "--by", "E. Meier", "--reason", "better")

    assert lab.agent(*signed) == 2
    assert "agent models reprocess --bundle" in capsys.readouterr().err
    assert lab.agent("models", "reprocess", "--bundle", name, "--shadow", "--days", "90") == 0
    assert lab.agent(*signed) == 0

    assert "of 2 fields that count and have answers of both bundles, 0 differ" in (
        capsys.readouterr().out
    )


def test_the_agent_tries_a_recommended_candidate_by_itself(small):
    _, settings, store, name = small
    shadow_days = settings.retrain.model_copy(update={"shadow_days": 14})
    settings = settings.model_copy(update={"retrain": shadow_days})
    at = clock()
    job = store.jobs.begin("retrain", at=at)
    store.jobs.end(job, "recommended", at=at, facts={"candidate": name})
    candidates = RetrainScheduler(settings, store, now=clock, problems=(problems := Problems()))

    candidates.shadow()
    candidates.shadow()

    assert problems.all() == []
    assert [job.facts["judged"] for job in store.jobs.list_ended("shadow")] == [2]
    assert len(list(store.results.iter_by_bundle(name))) == 2
