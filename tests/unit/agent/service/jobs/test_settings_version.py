"""A PC applies the version that it agreed to from its next start on, and never another one."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from databases import tamper
from structlog.testing import capture_logs

from agent import settings
from agent.service.composition import collect_thresholds
from agent.service.jobs.settings_version import SettingsFollower
from agent.service.problems import Problems
from agent.service.worker import Worker
from agent.store import RingRules, RolloutState, Signature, Store

AT = datetime(2026, 11, 24, 21, 0, tzinfo=UTC)
RULES = RingRules(("PC-1",), wait_minutes=0)
RIGHT = {"g8": {"image": "g8.tif", "code": "G8", "probability": 0.91}}


class Pc:
    """A PC with its own file; `start` is a start of its agent, which reads the settings again."""

    def __init__(self, folder, store) -> None:
        folder.mkdir()
        self.file, self.store = folder / "agent.toml", store
        self.file.write_text("[triage]\ncontrol_share = 0.3\n", encoding="utf-8")
        self.start()

    def start(self) -> bool:
        """Return whether the agent has to start again."""
        self.settings = settings.read(self.file, {}, pc="PC-1")
        self.follower = SettingsFollower(self.settings, self.store, pc="PC-1")
        return self.follower.align()

    @property
    def share(self) -> float:
        return self.settings.triage.control_share


@pytest.fixture
def pc(address, tmp_path):
    with Store.open(address, site="Plant 1", agent="PC-1") as store:
        store.agents.record_start(at=AT)
        store.promotions.promote("20261101-0badcafe", by="Lea", reason="x", at=AT, metrics={})
        yield Pc(tmp_path / "pc", store)


def roll_out(pc: Pc, values: dict, *, ends: bool) -> str:
    """Roll a version out to the only PC, which agrees."""
    content = {"settings": {"triage": values}, "files": {}}
    signature = Signature("Lea", "more", AT)
    version = pc.store.settings_versions.publish(content, signature).version
    pc.store.settings_versions.start(version, signature, promoters=1, rings=RULES)
    ticket = pc.store.settings_versions.find_wanted().ticket
    pc.store.rollouts.record_answers(ticket, RIGHT, at=AT)
    if ends:
        pc.store.rollouts.advance({"PC-1": AT}, at=AT + timedelta(minutes=1))
    return version


def test_a_pc_that_was_off_while_the_rollout_was_stopped_goes_back_before_it_judges(pc):
    before = (pc.start(), pc.share)
    version = roll_out(pc, {"control_share": 0.2}, ends=False)
    written = pc.follower.align()  # it is switched off before it starts again

    pc.store.rollouts.stop(by="Rita", at=AT)
    starts_again = pc.start()
    old = (pc.settings.version, pc.share)
    rests = pc.start()

    assert before == (False, 0.3)
    assert (written, starts_again, rests) == (True, True, False)
    assert old == (version, 0.2)
    assert (pc.settings.version, pc.share) == ("", 0.3)


def test_a_version_is_noted_once_and_taken_back_where_its_rollout_stops_before_the_new_start(pc):
    roll_out(pc, {"control_share": 0.2}, ends=False)
    with capture_logs() as logs:
        wants_a_new_start = [pc.follower.align(), pc.follower.align()]
    pc.store.rollouts.stop(by="Rita", at=AT)
    after_the_stop = pc.follower.align()

    assert wants_a_new_start == [True, True]
    assert [log["event"] for log in logs] == ["settings.applied"]
    assert after_the_stop is False
    assert pc.start() is False
    assert (pc.settings.version, pc.share) == ("", 0.3)


def test_a_version_in_use_holds_without_the_database_and_an_older_database_takes_it_back(
    pc, tmp_path
):
    version = roll_out(pc, {"control_share": 0.2}, ends=True)
    pc.start()
    pc.start()
    older = Store.open(f"sqlite:///{tmp_path / 'older.db'}", site="Plant 1", agent="PC-1")
    held = (pc.settings.version, pc.share)
    with_results = collect_thresholds(pc.settings)

    pc.store, kept = older, pc.store
    again = pc.start()
    pc.start()
    taken_back = pc.settings.version
    older.close()
    pc.store = kept

    assert held == (version, 0.2)
    assert (with_results["settings_version"], with_results["control_share"]) == (version, 0.2)
    assert "settings_version" not in collect_thresholds(pc.settings.own)
    assert (again, taken_back) == (True, "")
    assert pc.start() is True  # the newer database is back
    assert pc.start() is False
    assert pc.share == 0.2


def test_a_version_that_is_not_valid_here_is_a_problem_and_the_earlier_settings_go_on(pc):
    version = roll_out(pc, {"of_a_later_program": 1}, ends=True)

    starts_again = pc.start()
    problem = str(pc.follower.problem)

    assert starts_again is False
    assert version in problem
    assert "triage.of_a_later_program is no shared setting" in problem
    assert (pc.settings.version, pc.share) == ("", 0.3)


NOTHING: dict = {"settings": {}, "files": {}}
LATER = {"settings": {}, "files": {"orders.later": "x"}}


@pytest.mark.parametrize(
    ("content", "rewritten", "sentence"),
    [
        (
            {"settings": {}, "files": {}},
            {"settings": {}, "files": {}, "x": 1},
            "what its name says",
        ),
        (LATER, LATER, "orders.later is no shared file of this program"),
    ],
)
def test_content_that_was_changed_or_is_of_a_later_program_is_not_tried_and_stops_the_rings(
    pc, address, content, rewritten, sentence
):
    signature = Signature("Lea", "more", AT)
    version = pc.store.settings_versions.publish(content, signature).version
    tamper(address, f"UPDATE settings_version SET content = '{json.dumps(rewritten)}'")  # noqa: S608
    pc.store.settings_versions.start(version, signature, promoters=1, rings=RULES)

    starts_again = pc.follower.refresh()

    rollout = pc.store.rollouts.find_latest()
    assert (starts_again, rollout.state) == (False, RolloutState.STOPPED)
    assert sentence in rollout.why.in_english()


def test_nothing_is_judged_between_another_version_and_the_new_start():
    made = []

    def make():
        made.append(1)
        raise AssertionError

    worker = Worker(
        make,
        bundle=SimpleNamespace(classifier=None),
        reachable=list,
        problems=Problems(),
        before_round=lambda: False,
    )

    assert worker.run_round() > 0
    assert made == []
