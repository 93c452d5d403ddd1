"""The agent loses nothing over stops, restarts and faults, and says plainly how it does."""

import json
import os
import threading
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from labs.service import DEADLINE_S, Lab, picture, until

from agent import settings as settings_of
from agent.archive import Archive
from agent.errors import BadSettingsError, StoreError, UsageError
from agent.service import Agent, build_status
from agent.service.active_bundle import CurrentBundle
from agent.service.data_folder import RunLock, agent_name
from agent.service.health.problems import Problems, load_clocks
from agent.service.health.status import next_report_at, save_status
from agent.service.jobs.exchange import send_notices
from agent.service.schedule import ReportScheduler
from agent.service.source_thread import SourceWatch
from agent.service.worker import Pace


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


# --- once ---------------------------------------------------------------------------------------


def test_a_single_run_gives_every_file_its_fate(lab):
    lab.export("good.png")
    lab.export("copy.png", held=picture(len("good.png")))
    lab.export("cut.png", held=picture(1)[:900])
    lab.export("notes.txt", held=b"not a picture")
    lab.export("empty.tif", held=b"")
    lab.export("image.tif.tmp", held=b"junk")
    steps = []

    outcome = lab.once(on_progress=lambda done, total: steps.append((done, total)))

    fates = lab.fates()
    assert sorted((fates.pop("good.png"), fates.pop("copy.png"))) == ["done", "duplicate"]
    assert fates == {"cut.png": "set_aside", "empty.tif": "set_aside", "notes.txt": "ignored"}
    assert not outcome.is_clean
    assert steps[-1][0] == steps[-1][1] == 4


def test_a_second_single_run_finds_nothing_new(lab):
    lab.export("good.png")
    lab.once()

    outcome = lab.once()

    assert outcome.is_clean
    assert outcome.taken.files == 0


def test_a_single_run_counts_no_stored_file_as_waiting_when_its_time_is_over(lab, monkeypatch):
    monkeypatch.setattr("agent.service.single_run.AT_LEAST_S", 0.0)  # over before the first look
    text = lab.file.read_text(encoding="utf-8")
    lab.file.write_text(text.replace("quiet_s = 0.3", "quiet_s = 0"), encoding="utf-8")
    lab.export("good.png")

    outcome = lab.once()

    assert (outcome.taken.stored, outcome.waiting) == (1, 0)
    assert outcome.is_clean


def test_a_single_run_never_skips_the_quiet_time(lab):
    stop = threading.Event()
    path = lab.export("growing.png", held=b"")

    def write():
        with path.open("ab") as file:
            for byte in picture(3):
                file.write(bytes([byte]))
                file.flush()
                if stop.wait(0.05):
                    return

    writer = threading.Thread(target=write)
    writer.start()
    outcome = lab.once()
    stop.set()
    writer.join()

    assert outcome.taken.files == 0
    assert outcome.waiting == 1
    assert lab.fates() == {"growing.png": "settling"}


def test_a_missing_folder_is_named_and_the_others_are_taken(lab):
    lab.write(sources=("export", "missing"))
    lab.export("good.png")

    outcome = lab.once()

    assert lab.fates() == {"good.png": "done"}
    assert any("missing" in problem for problem in outcome.problems)


def test_a_second_agent_on_the_same_data_folder_is_refused_in_one_sentence(lab):
    with (
        RunLock(lab.settings.store.folder, agent_name()),
        pytest.raises(UsageError, match=f"already running here .process {os.getpid()}"),
    ):
        lab.once()


# --- the daemon ---------------------------------------------------------------------------------


class Running:
    """An agent in a thread of this process."""

    def __init__(self, settings, **given):
        self.ready = threading.Event()
        self.agent = Agent(settings, serve=False, on_ready=self.ready.set, **given)
        self.thread = threading.Thread(target=self.agent.run)

    def __enter__(self):
        self.thread.start()
        assert self.ready.wait(DEADLINE_S)
        return self.agent

    def __exit__(self, *_):
        self.agent.stop()
        self.thread.join(DEADLINE_S)
        assert not self.thread.is_alive(), "it did not stop"


def test_a_file_that_arrives_while_the_agent_runs_is_taken(lab):
    with Running(lab.settings):
        lab.export("a.png")
        until(lambda: lab.fates() == {"a.png": "done"})

    status = lab.status()
    assert status["states"]["done"] == 1
    assert status["running"] is False
    assert status["sources"][0]["online"]


def test_a_folder_that_is_missing_at_the_start_is_a_problem_until_it_comes(lab):
    lab.source.rmdir()
    with Running(lab.settings):
        until(lambda: any("export" in p for p in lab.status()["problems"]))
        lab.source.mkdir()
        lab.export("a.png")
        until(lambda: lab.fates() == {"a.png": "done"})


def test_a_clock_that_jumps_an_hour_forth_and_back_holds_no_file_up(lab):
    jump = timedelta(0)
    agent = Running(lab.settings, now=lambda: datetime.now(UTC) + jump)
    with agent:
        for number, hours in enumerate((0, 1, -1, -25)):
            jump = timedelta(hours=hours)
            lab.export(f"{number}.png", held=picture(number))
            until(lambda name=f"{number}.png": lab.fates().get(name) == "done")


def test_an_agent_that_stops_stores_its_clocks_for_the_next_one(lab):
    with Running(lab.settings):
        lab.export("a.png")
        until(lambda: lab.fates() == {"a.png": "done"})
        with lab.store() as store:
            until(lambda: load_clocks(store.agents.get_facts()))

    with lab.store() as store:
        facts = store.agents.get_facts()
    assert facts["stopped"] is True
    assert load_clocks(facts)


def test_an_agent_that_is_stopped_while_it_ends_for_a_restart_does_not_run_again(lab):
    outcomes = []
    for is_stopped in (False, True):
        agent = Agent(lab.settings, serve=False, on_ready=lambda: agent.restart())  # noqa: B023, PLW0108

        def end_it(_logger, _method, event, agent=agent, is_stopped=is_stopped):
            if is_stopped and event["event"] == "service.stopping":
                agent.stop()
            raise structlog.DropEvent

        with structlog.testing.capture_logs():
            structlog.configure(processors=[end_it])
            outcomes.append(agent.run())

    assert outcomes == [True, False]
    assert not lab.status()["running"]


def test_what_was_in_hand_when_an_agent_died_is_taken_by_the_next(lab):
    lab.export("a.png")
    with lab.store() as store:
        watch = SourceWatch(
            lab.settings.sources[0],
            store=store,
            now=lambda: datetime.now(UTC),
            on_work=lambda: None,
            problems=Problems(),
        )
        watch.start()
        until(lambda: store.files.count_by_state()["queued"])
        watch.stop()
        watch.join()
        (claim,) = store.work_queue.claim(1, at=datetime.now(UTC), lease_s=3600)

    assert claim.relative == "a.png"
    assert lab.once().taken.stored == 1


def test_a_host_that_other_pcs_reach_is_refused(lab):
    lab.write(extra="")
    given = lab.settings.model_copy(
        update={"web": lab.settings.web.model_copy(update={"host": "0.0.0.0"})}  # noqa: S104
    )

    with pytest.raises(BadSettingsError, match="no accounts"):
        Agent(given).run()


# --- status -------------------------------------------------------------------------------------


def test_status_has_every_key_of_the_contract(lab):
    assert list(lab.status()) == [
        "version",
        "running",
        "sources",
        "states",
        "to_review",
        "bundle",
        "rollout",
        "site",
        "other_sites",
        "shares",
        "database",
        "next_report_at",
        "disk",
        "backup",
        "features",
        "objects",
        "kept_copies",
        "jobs",
        "affected_orders",
        "notes",
        "problems",
        "problem_messages",
    ]
    assert list(lab.status()["sources"][0]) == [
        "name",
        "folder",
        "mode",
        "online",
        "last_scan_at",
        "found_by_scan",
        "found_by_event",
    ]


def test_a_database_that_is_gone_is_one_problem_and_no_traceback(lab):
    lab.settings.store.folder.mkdir()

    def gone():
        raise StoreError("the database cannot be opened")

    status = build_status(lab.settings, now=datetime.now(UTC), open_store=gone)

    assert status["problems"] == ["the database cannot be opened"]
    json.dumps(status)


def test_each_pc_of_a_shared_data_folder_remembers_its_own_status(tmp_path, monkeypatch):
    file = tmp_path / "agent.toml"
    file.write_text('[store]\nurl = "postgresql+psycopg://127.0.0.1:1/lab"\n', encoding="utf-8")
    settings = settings_of.read(file)
    seen = {}

    def gone():
        raise StoreError("the database cannot be opened")

    for pc in ("PC-1", "PC-2"):
        monkeypatch.setattr("platform.node", lambda pc=pc: pc)
        with RunLock.of(settings):
            save_status(settings, {"bundle": f"of {pc}"})
    for pc in ("PC-1", "PC-2"):
        monkeypatch.setattr("platform.node", lambda pc=pc: pc)
        with RunLock.of(settings):
            seen[pc] = build_status(settings, now=datetime.now(UTC), open_store=gone)["bundle"]

    assert seen == {"PC-1": "of PC-1", "PC-2": "of PC-2"}


def test_an_agent_that_cannot_write_to_its_database_is_a_problem(lab):
    at = datetime.now(UTC)
    with lab.store() as store, RunLock(lab.settings.store.folder, agent_name()):
        store.agents.record_heartbeat({}, at=at)
        alive = build_status(lab.settings, now=at + timedelta(seconds=10), open_store=lab.store)
        silent = build_status(lab.settings, now=at + timedelta(seconds=20), open_store=lab.store)

    assert not any("could not write" in problem for problem in alive["problems"])
    assert any("could not write" in problem for problem in silent["problems"])


def test_limits_that_cannot_be_read_are_a_problem_until_they_can(lab):
    limits = lab.settings.orders.specifications
    limits.write_text("[[specification]]\nname = 1\n", encoding="utf-8")
    faulty = lab.status()["problems"]
    limits.unlink()

    assert any(f"limits: {limits}: " in problem for problem in faulty)
    assert not any("limits" in problem for problem in lab.status()["problems"])


def test_a_promoted_bundle_that_is_missing_is_a_problem(lab):
    with lab.store() as store:
        store.promotions.promote(
            "20260101-0badcafe", by="M", reason="test", at=datetime.now(UTC), metrics={}
        )
        bundle = CurrentBundle(lab.settings, store)

        assert bundle.refresh() is False
        assert "20260101-0badcafe" in str(bundle.problem)
    assert any("20260101-0badcafe" in problem for problem in lab.status()["problems"])


def test_the_next_report_is_due_when_the_running_night_is_over(lab):
    noon = datetime(2026, 11, 24, 12, tzinfo=UTC)

    assert next_report_at(lab.settings, noon) == datetime(2026, 11, 24, 22, 30, tzinfo=UTC)
    assert next_report_at(lab.settings, noon + timedelta(hours=11)) == datetime(
        2026, 11, 25, 22, 30, tzinfo=UTC
    )


def test_a_problem_is_news_once():
    problems = Problems()

    assert problems.say("work", "the disk is full")
    assert not problems.say("work", "the disk is full")
    assert problems.all() == ["the disk is full"]
    assert problems.say("work", "")
    assert problems.all() == []


# --- nights -------------------------------------------------------------------------------------


def test_nights_that_a_sleeping_pc_missed_are_written_when_it_wakes(lab):
    woke = datetime(2026, 11, 24, 12, tzinfo=UTC)
    with lab.store() as store:
        store.agents.record_start(at=woke - timedelta(days=2))
        nights = ReportScheduler(
            lab.settings,
            store,
            Archive(lab.settings.store.folder),
            now=lambda: woke,
            problems=Problems(),
        )

        nights.catch_up()
        nights.catch_up()

    written = sorted(p.name for p in (lab.settings.store.folder / "reports").glob("2026-*.html"))
    assert written == ["2026-11-22.html", "2026-11-23.html", "2026-W47.html"]  # its Sunday is over


def test_a_report_that_cannot_be_written_is_said_and_stops_nothing(lab):
    woke = datetime(2026, 11, 24, 12, tzinfo=UTC)
    folder, problems = lab.settings.store.folder, Problems()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "reports").write_text("a file where the folder should be", encoding="utf-8")
    with lab.store() as store:
        store.agents.record_start(at=woke - timedelta(days=1))
        nights = ReportScheduler(
            lab.settings, store, Archive(folder), now=lambda: woke, problems=problems
        )

        nights.catch_up()
        said = problems.all()
        (folder / "reports").unlink()
        nights.catch_up()

    assert len(said) == 1
    assert "the night's report could not be written" in said[0]
    assert problems.all() == []
    assert (folder / "reports" / "2026-11-23.html").is_file()


def test_somebody_is_told_that_a_report_is_there(lab, listener):
    pytest.importorskip("apprise", reason="the notify extra is not installed")
    port, heard = listener
    woke = datetime(2026, 11, 24, 12, tzinfo=UTC)
    notify = lab.settings.notify.model_copy(update={"urls": (f"json://127.0.0.1:{port}/x",)})
    settings = lab.settings.model_copy(update={"notify": notify})
    with lab.store() as store:
        store.agents.record_start(at=woke - timedelta(days=1))
        archive = Archive(settings.store.folder)

        ReportScheduler(settings, store, archive, now=lambda: woke, problems=Problems()).catch_up()
        send_notices(settings, store, now=woke)

    assert [one["title"].endswith("night of 2026-11-23") for one in heard] == [True]
    assert "2026-11-23.html" in heard[0]["message"]


def test_an_evening_with_a_wrong_clock_delays_no_report_of_the_nights_after_it(lab):
    noon = datetime(2026, 11, 24, 12, tzinfo=UTC)
    clock = [noon]
    folder = lab.settings.store.folder
    with lab.store() as store:
        store.agents.record_start(at=noon - timedelta(days=1))
        nights = ReportScheduler(
            lab.settings, store, Archive(folder), now=lambda: clock[0], problems=Problems()
        )
        written = []
        for at in (noon, noon + timedelta(days=400), noon + timedelta(days=1)):
            clock[0] = at
            nights.tend()
            nights.tend()
            names = {file.stem for file in (folder / "reports").glob("2026-*-*.html")}
            written.append("2026-11-24" in names)

    assert written == [False, False, True]  # the last by a clock that was put right


# --- pace ------------------------------------------------------------------------------


def test_a_round_is_as_long_as_a_fresh_file_may_wait():
    pace = Pace()

    before = pace.files()
    pace.took(4, seconds=0.4)
    fast = pace.files()
    for _ in range(20):
        pace.took(4, seconds=5.0)
    slow = pace.files()
    for _ in range(20):
        pace.took(4, seconds=40.0)

    assert (before, fast, slow, pace.files()) == (2, 40, 3, 2)
