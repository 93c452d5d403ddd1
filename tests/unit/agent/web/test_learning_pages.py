"""A lead trains, reads the verdict, signs and rolls back in pages; nobody else does."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from labs.accounts import let_in
from labs.bundles import CHECKS, FIRST, SECOND, judged
from labs.lab import HOME, NEXT_DAY, web_of
from labs.small import PIXELS, encode, past, twin_of

from agent import settings as settings_of
from agent.archive import Archive
from agent.retrain.bundle_registry import get_bundle
from agent.retrain.promotion import build_check
from agent.service.composition import open_store
from agent.service.data_folder import TrainingLock
from agent.service.data_folder import clock as clock_of
from agent.service.health.problems import Problems
from agent.service.schedule import RetrainScheduler
from agent.store import Decision
from agent.web import app_of, create_app


def browser_on(web):
    return TestClient(create_app(web), base_url=HOME, headers={"origin": HOME})


# --- labels and trainings -------------------------------------------------------------------------


def test_labels_are_counted_per_code_with_why_others_are_not_used(bundles):
    for n, blind in enumerate((True, True, False)):
        public_id = bundles.take("G8", reasons=("uncertain",))
        decision = Decision("code", "Ann", code="G7" if n == 0 else "G8", blind=blind)
        bundles.store.labels.decide(public_id, decision, at=NEXT_DAY)

    page = browser_on(web_of(bundles)).get("/models/training").text

    assert '<th scope="row">G7</th><td class="right">1</td>' in page
    assert "one reviewer alone gives it" in page
    assert f"2 of them are new since {FIRST}" in page


def test_a_training_is_requested_of_the_running_agent_once(bundles):
    web, jobs = web_of(bundles), bundles.store.jobs
    stopped = replace(web, status=lambda: {"running": False})

    refused = browser_on(stopped).post("/models/retrain").text
    started, again = (browser_on(web).post("/models/retrain").text for _ in range(2))
    taken = [jobs.take_request("retrain", at=NEXT_DAY) for _ in range(2)]

    assert "the agent does not run" in refused
    assert "The agent starts within some seconds" in started
    assert "it runs or is requested already" in again
    assert taken[0] is not None
    assert taken[1] is None


def test_the_last_days_are_classified_with_a_candidate_on_request_of_its_page(bundles):
    browser, jobs = browser_on(web_of(bundles)), bundles.store.jobs

    page = browser.get(f"/models/{SECOND}").text
    answer = browser.post(f"/models/{SECOND}/answers").text
    unknown = browser.post("/models/20000101-00000000/answers").status_code
    taken = jobs.take_request("shadow", at=NEXT_DAY)

    assert "Classify the last 90 days with it" in page
    assert "The agent starts within some seconds" in answer
    assert unknown == 404
    assert taken.facts["bundle"] == SECOND


def test_a_program_requests_a_training_and_queues_files_again(bundles):
    bundles.set_aside("cut.tif", "truncated", "it ends in the middle")
    browser = browser_on(web_of(bundles))
    body = {"name": "retrain", "by": "Lea"}

    answers = [browser.post("/api/v1/jobs", json=body) for _ in range(2)]
    queued = browser.post("/api/v1/files/retry", json={"by": "Lea"})

    assert [answer.status_code for answer in answers] == [202, 202]
    assert [answer.json()["state"] for answer in answers] == ["requested", "running"]
    assert queued.json() == {"queued": 1}


def test_a_training_that_runs_refuses_a_second_one_and_a_request_ends_by_cancel(bundles):
    browser, jobs = browser_on(web_of(bundles)), bundles.store.jobs
    browser.post("/models/retrain")
    browser.post("/models/cancel")
    assert jobs.take_request("retrain", at=NEXT_DAY) is None

    job = jobs.begin("retrain", at=NEXT_DAY, facts={"by": "agent"})
    jobs.report(job, {"stage": "subtype", "done": 3, "total": 12, "note": ""}, at=NEXT_DAY)
    page = browser.post("/models/retrain").text

    assert "it runs or is requested already" in page
    assert "A training runs: subtype 3/12." in page


def test_a_lab_without_a_bundle_is_led_from_models_to_its_first_training(lab):
    page = browser_on(web_of(lab)).get("/models").text

    assert '<a href="/models/training">Train the first bundle</a>' in page


def test_a_training_that_was_taken_is_shown_before_it_reports_its_progress(bundles):
    browser, jobs = browser_on(web_of(bundles)), bundles.store.jobs
    browser.post("/models/retrain")
    jobs.take_request("retrain", at=NEXT_DAY)

    taken, again = browser.get("/models/training").text, browser.post("/models/retrain").text
    job = jobs.begin("retrain", at=NEXT_DAY)
    begun = browser.get("/models/training").text
    jobs.end(job, "done", at=NEXT_DAY)
    ended = browser.get("/models/training").text

    assert "it runs or is requested already" in again
    for page in (taken, begun):
        assert "A training is requested; the agent starts it within some seconds." in page
    assert "Start the training" in ended


def test_a_request_that_no_agent_took_is_void_after_ten_minutes(bundles):
    bundles.store.jobs.request("retrain", by="Lea", at=NEXT_DAY)

    late = NEXT_DAY + timedelta(minutes=11)

    assert bundles.store.jobs.take_request("retrain", at=late) is None
    assert bundles.store.jobs.request("retrain", by="Lea", at=late)


def test_what_to_label_next_is_a_list_with_the_learning_curve(bundles):
    ids = [bundles.take("G8", reasons=("uncertain",)) for _ in range(2)]
    bundles.store.labels.decide(ids[1], Decision("code", "Ann", code="G8"), at=NEXT_DAY)
    job = bundles.store.jobs.begin("suggest", at=NEXT_DAY)
    facts = {
        "ids": ids,
        "gain": 0.02,
        "more_labels": {"value": 80, "low": 40, "high": None},
        "curve": {"n": 100, "points": [[[30, 0.3], [100, 0.1]], [[30, 0.4], [100, 0.2]]]},
    }
    bundles.store.jobs.end(job, "done", at=NEXT_DAY, facts=facts)

    page = browser_on(web_of(bundles)).get("/models/training").text

    assert page.index(f"/review/{ids[0]}") < page.index(f"/review/{ids[1]}")
    assert 'href="/review?suggested=1"' in page
    assert page.count(">decided<") == 1
    assert "2 points more accuracy: about 80 more labels (95 %: at least 40)" in page
    assert 'aria-label="Error rate over the number of labelled images, up to 100."' in page


def decide_in_queue(browser, lab, public_id):
    """Send the form of a page of the suggestions; return where the browser is led."""
    result_id = lab.store.results.find(public_id).result.id
    form = {"decision": "code:G8", "by": "Ann", "blind": "1", "suggested": "1"}
    sent = form | {"result_id": str(result_id), "label_id": ""}
    answer = browser.post(f"/review/{public_id}/decide", data=sent, follow_redirects=False)
    return answer.headers["location"]


def test_suggestions_are_labelled_one_after_another_without_the_models_answer(bundles):
    first, other, last = (bundles.take("G7", reasons=("uncertain",)) for _ in range(3))
    job = bundles.store.jobs.begin("suggest", at=NEXT_DAY)
    bundles.store.jobs.end(job, "done", at=NEXT_DAY, facts={"ids": [last, first]})
    browser = browser_on(web_of(bundles))

    page = browser.get(f"/review/{last}?suggested=1").text
    after = decide_in_queue(browser, bundles, last)
    end = decide_in_queue(browser, bundles, first)
    left = browser.get(end, follow_redirects=False).headers["location"]

    assert "The model's answer is hidden" in page
    assert "Confirm G7" not in page
    assert "data-blind" not in page  # its switch has no effect here
    assert after == f"/review/{first}?suggested=1"
    assert left == "/models/training"
    assert bundles.store.results.find(last).label.blind
    assert bundles.store.results.find(other).label is None
    assert "suggested for labelling" not in browser.get("/review").text


# --- the verdict and the signature ----------------------------------------------------------------


def test_a_check_is_a_row_with_what_is_required_found_and_its_limit():
    rows = [build_check(check) for check in CHECKS]

    assert (rows[0].title, rows[0].found) == ("Evidence", "25 new specimens, 5 graded differently")
    assert (rows[0].limit, rows[0].passed) == ("20 or 6", True)
    assert (rows[1].found, rows[1].limit, rows[1].passed) == ("3 of 9", "1", False)
    assert (rows[2].title, rows[2].found) == ("Of tomorrow", "no part has fewer right")
    assert rows[3].found == "of an older version"


def test_the_verdict_is_a_table_and_images_with_another_code_are_shown(bundles):
    public_id = bundles.take("G8")
    sha256 = bundles.store.results.find(public_id).sha256
    flip = {"key": sha256, "true": "G8", "current": "G8", "candidate": "G7"}
    judged(bundles, flips=[flip])

    page = browser_on(web_of(bundles)).get(f"/models/{SECOND}").text

    assert "not recommended" in page
    assert page.count('<th scope="row">') == len(CHECKS)
    assert f"/pictures/known/{sha256}.jpg" in page
    assert "G8 → G7" in page
    assert "wrong now" in page


def test_a_broken_verdict_and_none_at_all_are_said(bundles):
    browser = browser_on(web_of(bundles))
    none = browser.get(f"/models/{SECOND}").text
    (bundles.folder / "bundles" / SECOND / "record" / "gate.json").write_text("{", "utf-8")

    assert "No gate has compared it with another bundle" in none
    assert "the result of the gate cannot be read" in browser.get(f"/models/{SECOND}").text
    assert browser.get("/models/20200101-00000000").status_code == 404


def test_only_a_lead_with_password_and_reason_signs(bundles, browser_of):
    let_in(bundles, "Rob", "reviewer")
    let_in(bundles, "Lea", "lead")
    reviewer, lead = browser_of("Rob"), browser_of("Lea")
    path = f"/models/{SECOND}/sign"

    answers = [
        reviewer.post(path, data={"reason": "better", "password": "x"}),
        lead.post(path, data={"reason": "", "password": "x"}),
        lead.post(path, data={"reason": "better", "password": "wrong"}),
    ]

    assert [answer.status_code for answer in answers] == [403, 422, 422]
    assert "A signature needs a reason" in answers[1].text
    assert "Wrong password. Nothing was changed." in answers[2].text
    assert "Promote" not in reviewer.get(f"/models/{SECOND}").text
    assert reviewer.get("/models/training").status_code == 403
    assert reviewer.post("/models/retrain").status_code == 403
    assert bundles.store.promotions.find_current() == FIRST


def test_a_bundle_whose_files_are_not_whole_is_not_signed(bundles):
    data = {"by": "Lea", "reason": "better"}

    answer = browser_on(web_of(bundles)).post(f"/models/{SECOND}/sign", data=data)

    assert answer.status_code == 422
    assert bundles.store.promotions.find_current() == FIRST


# --- with a bundle that was trained ---------------------------------------------------------------


def test_a_bundle_is_promoted_and_rolled_back_in_the_page(own_lab):
    settings = settings_of.read(own_lab.folder / "agent.toml", {})
    with open_store(settings) as store:
        first = get_bundle(settings.store.folder, store.promotions.find_current())
        second = twin_of(first)
        shutil.rmtree(first / "record", ignore_errors=True)
        archive = Archive(settings.store.folder)
        app = app_of(settings, store=store, archive=archive, now=clock_of, status=dict)
        data = {"by": "E. Meier", "reason": "better on G9-10"}
        with TestClient(app, base_url=HOME, headers={"origin": HOME}) as browser:
            card = browser.get(f"/models/{first.name}/card")
            refused = browser.post(f"/models/{second.name}/sign", data=data)
            data["sure"] = "1"
            signed = browser.post(f"/models/{second.name}/sign", data=data).text
            promoted = store.promotions.list_all()[0]
            back = browser.post("/models/rollback", data=data | {"reason": "errors"}).text
        acts = [act for act in store.audit_log.iter_acts() if act.act == "model.promoted"]

    assert refused.status_code == 422
    assert f"No gate recommends {second.name}. To sign all the same, tick the box." in refused.text
    assert 'name="sure" value="1" required' in refused.text
    assert card.status_code == 200  # written again, the first bundle's too
    assert "is in use from the next specimen on" in signed
    assert (promoted.bundle, promoted.by) == (second.name, "E. Meier")
    assert promoted.signatures[0]["shown"]["gate"].startswith("No gate has compared")
    assert f"{first.name} is in use again and replaces {second.name}." in back
    assert acts[-1].facts["signed"]["meaning"] == "promoted"


def test_labels_that_the_bundle_in_use_knows_are_not_new(own_lab):
    settings = settings_of.read(own_lab.folder / "agent.toml", {})
    with open_store(settings) as store:
        current = store.promotions.find_current()
        archive = Archive(settings.store.folder)
        app = app_of(settings, store=store, archive=archive, now=clock_of, status=dict)
        with TestClient(app, base_url=HOME, headers={"origin": HOME}) as browser:
            page = browser.get("/models/training").text

    assert f"60 labels are used, 0 of them are new since {current}" in page


def test_a_requested_training_is_run_by_the_agent_and_a_refusal_is_recorded(own_lab):
    settings = settings_of.read(own_lab.folder / "agent.toml", {})
    with open_store(settings) as store:
        scheduler = RetrainScheduler(settings, store, now=clock_of, problems=Problems())
        store.jobs.request("retrain", by="Lea", at=clock_of())
        scheduler.answer_requests()
        ended = store.jobs.list_ended("retrain")[-1]

        with TrainingLock(settings.store.folder):
            store.jobs.request("retrain", by="Lea", at=clock_of())
            scheduler.answer_requests()
        refused = store.jobs.list_ended("retrain")[-1]

    assert (ended.outcome, ended.facts["by"]) == ("not_enough_evidence", "Lea")
    assert refused.outcome == "refused"
    assert "A training is already running" in refused.facts["sentence"]


def test_answers_that_a_page_requested_are_computed_by_the_agent(own_lab):
    settings = settings_of.read(own_lab.folder / "agent.toml", {})
    with open_store(settings) as store:
        second = twin_of(get_bundle(settings.store.folder, store.promotions.find_current()))
        scheduler = RetrainScheduler(settings, store, now=clock_of, problems=Problems())
        ended = []
        for name in (second.name, "20000101-00000000"):
            store.jobs.request("shadow", by="Lea", at=clock_of(), facts={"bundle": name})
            scheduler.answer_requests()
            ended.append(store.jobs.list_ended("shadow")[-1])

    assert [(job.outcome, job.facts["by"]) for job in ended] == [
        ("done", "Lea"),
        ("refused", "Lea"),
    ]
    assert ended[0].facts["bundle"] == second.name


@pytest.mark.slow
def test_what_the_agent_chose_on_request_is_labelled_in_a_queue(own_lab):
    for one in past(2, first_order=4000, seed=9):
        name = one.name.rpartition(".")[0]
        drawn = encode(one.drawn(PIXELS, border=False), "png")
        (own_lab.folder / "export" / f"{name}.png").write_bytes(drawn)
    with (own_lab.folder / "agent.toml").open("a", encoding="utf-8") as text:
        text.write("\n[triage]\nmin_probability = 1.0\n")
    assert own_lab.agent("run", "--once") == 0
    settings = settings_of.read(own_lab.folder / "agent.toml", {})
    with open_store(settings) as store:
        archive = Archive(settings.store.folder)
        running = {"running": True}
        app = app_of(settings, store=store, archive=archive, now=clock_of, status=lambda: running)
        browser = TestClient(app, base_url=HOME, headers={"origin": HOME})
        browser.post("/models/suggest")
        RetrainScheduler(settings, store, now=clock_of, problems=Problems()).answer_requests()
        chosen = store.jobs.list_ended("suggest")[-1].facts["ids"]
        at, seen = browser.get("/review?suggested=1").text, []
        assert f"/review/{chosen[0]}?suggested=1" in at

        href = f"/review/{chosen[0]}?suggested=1"
        while href != "/review?suggested=1":
            public_id = href.removeprefix("/review/").partition("?")[0]
            result_id = store.results.find(public_id).result.id
            form = {"decision": "code:G8", "by": "Ann", "blind": "1", "suggested": "1"}
            sent = form | {"result_id": str(result_id), "label_id": ""}
            answer = browser.post(f"/review/{public_id}/decide", data=sent, follow_redirects=False)
            seen.append(public_id)
            href = answer.headers["location"]

        assert seen == chosen
        assert all(store.results.find(one).label.blind for one in chosen)
        assert browser.get("/models/training").text.count(">decided<") == len(chosen)
