"""Learning goes on beside the work, anybody can end it, and whatever ends it leaves nothing."""

import json
import multiprocessing
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from functools import partial

import psutil
import pytest
import structlog
from labs.service import until
from labs.small import import_more, past, write_labelled
from labs.works import crashes, dies, never_ends, quickly, says_no, says_who_it_is

from agent import settings as settings_of
from agent.errors import BadSettingsError
from agent.retrain.bundle_registry import delete_leftovers, list_bundles
from agent.service.composition import open_store
from agent.service.data_folder import TrainingLock, clock
from agent.service.health.problems import Problems
from agent.service.jobs.retrain import NoRoomError, refuse_without_room, train_in_child
from agent.service.jobs.supervisor import ChildEndedError, JobCancelledError, run_in_child
from agent.service.schedule import RetrainScheduler, has_enough_new, is_due, is_too_soon, last_due
from agent.store import Job
from model import Progress


@pytest.fixture
def lab(own_lab):
    return own_lab


@pytest.fixture
def settings(lab):
    return settings_of.read(lab.folder / "agent.toml", {})


@pytest.fixture
def store(settings):
    with open_store(settings) as store:
        yield store


# --- the first bundle ---------------------------------------------------------------------------


@pytest.fixture
def new_lab(tmp_path):
    (tmp_path / "agent.toml").write_text(
        '[store]\nfolder = "data"\n[imaging]\nworkers = 1\n[strangeness]\nalpha = 0.1\n', "utf-8"
    )
    settings = settings_of.read(tmp_path / "agent.toml", {})
    with open_store(settings) as store:
        yield settings, store


def scheduler_of(settings, store):
    return RetrainScheduler(settings, store, now=clock, problems=Problems())


@pytest.mark.slow
def test_a_page_that_requests_a_training_gets_the_first_bundle_from_a_labelled_folder(
    new_lab, tmp_path
):
    settings, store = new_lab
    pictures = past(5, first_order=1000, seed=1)
    write_labelled(pictures, tmp_path / "labelled")
    facts = {"folder": str(tmp_path / "labelled")}
    store.jobs.request("retrain", by="Ada", at=clock(), facts=facts)

    scheduler_of(settings, store).answer_requests()

    (ended,) = store.jobs.list_ended("retrain")
    (promotion,) = store.promotions.list_all()
    labels = store.labelled_micrographs.list_all()
    assert (ended.outcome, ended.facts["candidate"]) == ("done", promotion.bundle)
    assert (promotion.by, promotion.reason) == ("Ada", "first bundle")
    assert len(labels) == len(pictures)
    assert {one.label.by for one in labels} == {"Ada"}


def test_a_first_training_without_a_label_says_what_is_missing(new_lab):
    settings, store = new_lab
    store.jobs.request("retrain", by="Ada", at=clock())

    scheduler_of(settings, store).answer_requests()

    (ended,) = store.jobs.list_ended("retrain")
    assert "no labelled micrographs" in ended.facts["sentence"]
    assert store.promotions.find_current() is None


# --- a child ------------------------------------------------------------------------------------


def test_a_child_is_another_process_behind_everybody(settings):
    said = [news for news in run_in_child(says_who_it_is, settings, look_every_s=60) if news]

    ((pid, niceness),) = said
    assert pid != os.getpid()
    assert niceness >= max(psutil.Process().nice(), 5) or os.name == "nt"


def test_a_sentence_of_the_work_is_what_its_end_says(settings):
    with pytest.raises(ChildEndedError, match="nothing to learn from"):
        list(run_in_child(says_no, settings, look_every_s=60))


def test_a_bug_in_the_work_is_a_sentence_and_its_traceback_stands_in_the_log(settings):
    with (
        structlog.testing.capture_logs() as events,
        pytest.raises(ChildEndedError, match="ZeroDivisionError: a bug"),
    ):
        list(run_in_child(crashes, settings, look_every_s=60))

    (event,) = events
    assert event["event"] == "job.crashed"
    assert "works.py" in event["traceback"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_child_that_was_killed_is_said_to_be(settings):
    with pytest.raises(ChildEndedError, match="was killed"):
        list(run_in_child(dies, settings, look_every_s=60))


def test_who_stops_listening_ends_the_child(settings):
    others = multiprocessing.active_children()
    news = run_in_child(never_ends, settings, look_every_s=60)
    next(news)
    (child,) = set(multiprocessing.active_children()).difference(others)

    news.close()

    assert not child.is_alive()


# --- a job --------------------------------------------------------------------------------------


def test_how_far_it_is_stands_in_the_status_and_anybody_may_end_it(lab, settings, store, capsys):
    steps = train_in_child(settings, store, by="E. Meier", work=never_ends)
    assert next(steps) == Progress("subtype", 3, 12, "epoch 3")

    capsys.readouterr()
    assert lab.agent("status", "--json") == 0
    status = json.loads(capsys.readouterr().out)
    (job,) = status["jobs"]
    assert status["notes"][0].startswith("False alarms up to")
    assert not [problem for problem in status["problems"] if "False alarms" in problem]
    assert (job["name"], job["by"]) == ("retrain", "E. Meier")
    assert lab.agent("retrain", "--cancel") == 0

    with pytest.raises(JobCancelledError, match="cancelled by"):
        next(steps)
    assert store.jobs.list_running(at=clock()) == []
    assert [job.outcome for job in store.jobs.list_ended("retrain")] == ["cancelled"]


def test_a_training_that_someone_cancelled_is_no_problem(lab, settings, store, monkeypatch):
    monkeypatch.setattr("agent.service.jobs.supervisor.NOTE_EVERY_S", 0.05)  # it takes seconds here
    problems = Problems()
    scheduler = RetrainScheduler(settings, store, now=clock, problems=problems)
    import_more(lab)
    store.jobs.request("retrain", by="Lea", at=clock())
    work = threading.Thread(target=scheduler.answer_requests)
    work.start()
    until(lambda: [job for job in store.jobs.list_running(at=clock()) if job.name == "retrain"])

    assert store.jobs.cancel("retrain", by="Lea", at=clock()) == 1
    work.join(120)

    (ended,) = store.jobs.list_ended("retrain")
    assert (ended.outcome, ended.facts["sentence"]) == ("cancelled", "cancelled by Lea.")
    assert problems.all() == []


def test_an_agent_that_stops_ends_its_child_and_says_that_it_was_interrupted(settings, store):
    stop, others = threading.Event(), multiprocessing.active_children()
    steps = train_in_child(settings, store, by="agent", work=never_ends, should_stop=stop.is_set)
    next(steps)
    (child,) = set(multiprocessing.active_children()).difference(others)

    stop.set()

    assert list(steps) == []
    assert not child.is_alive()
    assert [job.outcome for job in store.jobs.list_ended("retrain")] == ["interrupted"]


@pytest.mark.slow
def test_a_training_that_a_page_requested_is_requested_again_when_the_agent_ends(
    lab, settings, store
):
    stop = threading.Event()
    scheduler = RetrainScheduler(
        settings, store, now=clock, problems=Problems(), should_stop=stop.is_set
    )
    import_more(lab)
    facts = {"folder": "labelled"}
    store.jobs.request("retrain", by="Lea", at=clock(), facts=facts)
    work = threading.Thread(target=scheduler.answer_requests)
    work.start()
    until(lambda: [job for job in store.jobs.list_running(at=clock()) if job.name == "retrain"])

    stop.set()
    work.join(120)

    again = store.jobs.take_request("retrain", at=clock())
    assert [job.outcome for job in store.jobs.list_ended("retrain")] == ["interrupted"]
    assert (again.facts["by"], again.facts["folder"]) == ("Lea", "labelled")


def test_only_one_bundle_is_taught_at_a_time(lab, settings, store, capsys):
    with TrainingLock(settings.store.folder):
        assert lab.agent("retrain") == 2

    assert "training is already running" in capsys.readouterr().err
    assert store.jobs.list_ended("retrain") == []


def test_nothing_to_cancel_is_said(lab, capsys):
    assert lab.agent("retrain", "--cancel") == 2
    assert "No retraining is running" in capsys.readouterr().err


def test_how_it_ended_stands_in_the_row_and_in_the_trail(settings, store):
    list(train_in_child(settings, store, by="E. Meier", work=quickly))

    (job,) = store.jobs.list_ended("retrain")
    assert (job.outcome, job.facts["sentence"]) == ("not_recommended", "Worse.")
    assert [act.actor for act in store.audit_log.iter_acts("model.candidate")] == ["E. Meier"]


def test_a_work_that_went_wrong_leaves_a_row_that_says_why_and_no_bundle(settings, store):
    before = list_bundles(settings.store.folder)

    with pytest.raises(ChildEndedError):
        list(train_in_child(settings, store, by="E. Meier", work=says_no))

    (job,) = store.jobs.list_ended("retrain")
    assert (job.outcome, job.facts["sentence"]) == ("failed", "there is nothing to learn from.")
    assert list_bundles(settings.store.folder) == before


@pytest.mark.parametrize(
    ("disk", "memory", "what"), [(10**9, 10**12, "of disk"), (10**12, 10**9, "of memory")]
)
def test_without_room_nothing_is_begun(settings, disk, memory, what):
    (bundle,) = list_bundles(settings.store.folder)

    with pytest.raises(NoRoomError, match=what):
        refuse_without_room(bundle, disk_free=lambda _: disk, memory_free=lambda: memory)


@pytest.mark.slow
def test_a_shell_that_is_killed_takes_its_child_with_it(lab, settings, store):
    import_more(lab)
    command = [sys.executable, "-m", "agent", "--config", str(lab.folder / "agent.toml"), "retrain"]
    shell = subprocess.Popen(
        command,
        env={**os.environ, "AGENT_RETRAIN__MIN_NEW_LABELS": "5"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(lambda: store.jobs.list_running(at=clock()))
    children = []
    until(lambda: children.extend(psutil.Process(shell.pid).children()) or children)

    shell.kill()
    shell.wait(60)

    until(lambda: not any(child.is_running() for child in children))
    assert not TrainingLock(settings.store.folder).is_held()
    list(train_in_child(settings, store, by="E. Meier", work=quickly))
    assert [job.outcome for job in store.jobs.list_ended("retrain")] == [
        "interrupted",
        "not_recommended",
    ]


def test_what_a_killed_teaching_left_is_cleaned_up_and_no_bundle_is_touched(settings):
    folder = settings.store.folder
    before = list_bundles(folder)
    left = folder / "bundles" / ".20261124-0badcafe-1f2e3d4c"
    fresh = folder / "bundles" / ".training-0123456789ab"
    old = folder / "bundles" / ".training-ba9876543210"
    for path in (left, fresh, old):
        path.mkdir()
    os.utime(old, (0, 0))

    assert delete_leftovers(folder) == [left.name, old.name]

    assert fresh.is_dir()
    assert list_bundles(folder) == before


# --- by itself ----------------------------------------------------------------------------------

SUNDAY = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)


def job(outcome="not_recommended", *, at=SUNDAY, **facts):
    ended = at + timedelta(hours=1)
    return Job(id=1, kind="retrain", started_at=at, ended_at=ended, outcome=outcome, facts=facts)


@pytest.mark.parametrize(
    ("schedule", "now", "last"),
    [
        ("sunday 02:00", SUNDAY, SUNDAY),
        ("sunday 02:00", SUNDAY - timedelta(minutes=1), SUNDAY - timedelta(days=7)),
        ("sunday 02:00", SUNDAY + timedelta(days=3), SUNDAY),
        ("daily 02:00", SUNDAY + timedelta(hours=30), SUNDAY + timedelta(hours=24)),
        ("daily 02:00", SUNDAY - timedelta(hours=1), SUNDAY - timedelta(hours=24)),
    ],
)
def test_a_schedule_knows_when_it_was_last_due(schedule, now, last):
    assert last_due(schedule, now) == last


def test_a_night_that_the_pc_slept_through_is_made_up_for_once():
    earlier = job(at=SUNDAY - timedelta(days=7))
    due = partial(is_due, "sunday 02:00", set_at=SUNDAY, now=SUNDAY + timedelta(days=1))

    assert due([earlier])
    assert not due([earlier, job(at=SUNDAY + timedelta(hours=20))])
    assert due([earlier, job("interrupted", at=SUNDAY + timedelta(hours=20))])
    assert not due([]), "a lab that has just set its schedule has missed nothing"


def test_a_pc_that_is_off_at_the_hour_teaches_when_it_is_on_again(settings, store):
    retrain = settings.retrain.model_copy(update={"schedule": "sunday 02:00"})
    settings = settings.model_copy(update={"retrain": retrain})

    def is_due_at(at):
        return RetrainScheduler(settings, store, now=lambda: at, problems=Problems())._is_due()

    assert not is_due_at(SUNDAY - timedelta(days=3)), "it has just been set"
    assert not is_due_at(SUNDAY - timedelta(days=1))
    assert is_due_at(SUNDAY + timedelta(days=1, hours=6)), "an agent that was started on Monday"


def test_enough_new_labels_are_those_since_the_last_try():
    assert has_enough_new(50, 50, "b", [])
    assert not has_enough_new(50, 60, "b", [job(current="b", new_labels=50)])
    assert has_enough_new(50, 100, "b", [job(current="b", new_labels=50)])
    assert has_enough_new(50, 60, "b", [job(current="another", new_labels=50)])


def test_one_that_failed_is_not_tried_again_within_the_day():
    assert is_too_soon(job("failed"), SUNDAY + timedelta(hours=3))
    assert not is_too_soon(job("failed"), SUNDAY + timedelta(hours=26))
    assert not is_too_soon(job(), SUNDAY + timedelta(hours=3))


@pytest.mark.slow
def test_the_running_agent_teaches_a_candidate_by_itself_and_promotes_nothing(lab, settings, store):
    import_more(lab)
    retrain = settings.retrain.model_copy(
        update={"start_at_new_labels": 10, "min_new_labels": 5, "epochs": 1}
    )
    settings = settings.model_copy(update={"retrain": retrain})
    before = store.promotions.find_current()
    candidates = RetrainScheduler(settings, store, now=clock, problems=(problems := Problems()))

    candidates.look()
    candidates.look()

    (ended,) = store.jobs.list_ended("retrain")
    assert problems.all() == []
    assert ended.facts["new_labels"] == 18
    assert (settings.store.folder / "bundles" / ended.facts["candidate"] / "record").is_dir()
    assert store.promotions.find_current() == before


@pytest.mark.parametrize("schedule", ["sundays at 2", "sunday 2:00", "sunday"])
def test_a_schedule_that_cannot_be_read_names_what_is_expected(lab, schedule):
    with (lab.folder / "agent.toml").open("a") as file:
        file.write(f'[retrain]\nschedule = "{schedule}"\n')

    with pytest.raises(BadSettingsError, match="sunday 02:00"):
        settings_of.read(lab.folder / "agent.toml", {})
