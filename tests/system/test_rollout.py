"""PCs with a real bundle: what answers otherwise never judges, and every PC goes back."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from labs.small import twin_of

from agent import settings as settings_of
from agent.archive import Archive
from agent.retrain.bundle_registry import FOLDER, get_bundle
from agent.service.active_bundle import CurrentBundle, RolloutLeader
from agent.service.data_folder import clock
from agent.settings.sections import RolloutSection
from agent.store import HostState, RolloutState, Store
from agent.web.app import app_of

BY = ("--by", "E. Meier", "--reason", "better on G8", "--days", "0")


class Pc:
    """An agent of the lab on its own PC: own data folder, own settings, one database."""

    def __init__(self, lab, name, stack, **imaging):
        read = settings_of.read(lab.folder / "agent.toml", {})
        folder, url = lab.folder / name, f"sqlite:///{read.store.folder / 'martensight.db'}"
        shutil.copytree(read.store.folder / FOLDER, folder / FOLDER)
        self.settings = read.model_copy(
            update={
                "store": read.store.model_copy(update={"folder": folder}),
                "imaging": read.imaging.model_copy(update=imaging),
            }
        )
        self.store = stack.enter_context(Store.open(url, site="Small lab", agent=name))
        self.store.agents.record_start(at=clock())
        self.bundle = CurrentBundle(self.settings, self.store)
        self.bundle.refresh()

    def lead(self, ahead: timedelta = timedelta(0)):
        """Move the rings on, by a clock that is wrong."""
        self.beat(ahead)
        return RolloutLeader(self.store, now=lambda: clock() + ahead).tend()

    def beat(self, ahead: timedelta = timedelta(0)):
        sent = {"fleet": {"clock_ahead_s": ahead.total_seconds()}}
        self.store.agents.record_heartbeat(sent, at=clock() + ahead)


@pytest.fixture
def lab(own_lab):
    toml = own_lab.folder / "agent.toml"
    rollout = '\n[rollout]\nfirst = ["PC-1"]\nwait_minutes = 0\n'
    toml.write_text(toml.read_text("utf-8") + rollout, encoding="utf-8")
    return own_lab


@pytest.fixture
def stack():
    with ExitStack() as stack:
        yield stack


def browser_of(lab, store):
    settings = settings_of.read(lab.folder / "agent.toml", {})
    app = app_of(settings, store=store, archive=Archive.open(settings), now=clock, status=dict)
    return TestClient(app, base_url="http://127.0.0.1:8787")


def names(lab):
    folder = settings_of.read(lab.folder / "agent.toml", {}).store.folder
    with Store.open(f"sqlite:///{folder}/martensight.db", site="Small lab", agent="x") as store:
        old = store.promotions.find_current()
    return old, twin_of(get_bundle(folder, old)).name


@pytest.mark.slow
def test_a_bundle_reaches_all_pcs_and_each_answers_as_the_first_one(lab, stack, capsys):
    _, new = names(lab)
    pcs = [Pc(lab, f"PC-{n}", stack) for n in (1, 2, 3)]
    assert lab.agent("models", "promote", new, "--rings", *BY) == 0
    reached = []
    for _ in range(3):
        for pc in pcs:
            pc.bundle.refresh()
            pc.beat()
        reached.append(sum(pc.bundle.name == new for pc in pcs))
        pcs[0].lead()
    capsys.readouterr()

    lab.agent("models", "rollout", "--json")
    document = json.loads(capsys.readouterr().out)["rollout"]
    status = lab.agent("models", "rollout", "--continue", *BY[:4])

    assert reached == [1, 2, 3]
    assert document["state"] == "done"
    assert [(pc["state"], pc["n"], pc["max_difference"]) for pc in document["pcs"]] == [
        ("agreed", 3, 0.0)
    ] * 3
    assert pcs[0].store.promotions.find_current() == new
    assert status == 2


def test_a_pc_that_answers_otherwise_never_uses_the_bundle_and_all_go_back(lab, stack, monkeypatch):
    monkeypatch.setattr(RolloutSection, "tolerance", 0.0005)  # it answers nearly the same
    old, new = names(lab)
    first = Pc(lab, "PC-1", stack)
    odd = Pc(lab, "PC-2", stack, um_per_px_range=(1.0, 5.0))
    with browser_of(lab, first.store) as browser:
        sent = {"bundle": new, "by": "E. Meier", "reason": "better on G8"}
        page = browser.post("/fleet/rollout", data=sent).text
    assert f"The PCs of ring 1 take {new}." in page
    first.bundle.refresh()
    before = first.bundle.name
    first.lead()

    odd.bundle.refresh()
    problem = first.lead()
    first.bundle.refresh()

    rollout = first.store.rollouts.find_latest()
    assert before == new
    assert (rollout.state, rollout.step) == (RolloutState.STOPPED, 2)
    assert (first.bundle.name, odd.bundle.name) == (old, old)
    assert "PC-2: " in problem.in_english()
    assert "on PC-1" in problem.in_english()


def test_a_damaged_bundle_stops_the_ring_and_a_missing_one_waits(lab, stack):
    old, new = names(lab)
    first, other = Pc(lab, "PC-1", stack), Pc(lab, "PC-2", stack)
    folder = other.settings.store.folder / FOLDER / new
    aside = folder.rename(folder.with_name(f".{new}"))
    assert lab.agent("models", "promote", new, "--rings", *BY) == 0
    first.bundle.refresh()
    first.lead()

    other.bundle.refresh()
    missing = other.store.rollouts.list_hosts(1)["PC-2"].state
    problem = str(other.bundle.problem)
    aside.rename(folder)
    heads = folder / "heads.safetensors"
    heads.write_bytes(heads.read_bytes()[:-1] + b"?")
    again = CurrentBundle(other.settings, other.store)
    again.refresh()

    assert missing == HostState.MISSING
    assert "copy it there" in problem
    assert other.store.rollouts.list_hosts(1)["PC-2"].state == HostState.REFUSED
    assert other.store.rollouts.find_latest().state == RolloutState.STOPPED
    assert (other.bundle.name, again.name) == (old, old)
    first.bundle.refresh()
    assert first.bundle.name == old


def test_a_restored_backup_resumes_no_rollout_that_was_stopped_after_it(lab, stack, capsys):
    old, new = names(lab)
    first = Pc(lab, "PC-1", stack)
    assert lab.agent("models", "promote", new, "--rings", *BY) == 0
    first.bundle.refresh()
    taken = first.bundle.name
    backup = lab.folder / "backup.zip"
    assert lab.agent("backup", str(backup)) == 0
    assert lab.agent("models", "rollout", "--stop") == 0
    first.store.agents.record_heartbeat({"stopped": True}, at=clock())
    stack.close()
    capsys.readouterr()

    assert lab.agent("restore", str(backup)) == 0
    printed = capsys.readouterr().out
    again = Pc(lab, "PC-1b", stack)

    rollout = again.store.rollouts.find_latest()
    assert (taken, again.bundle.name) == (new, old)
    assert (rollout.state, rollout.stopped_by) == (RolloutState.STOPPED, "agent")
    assert "a backup was restored" in RolloutLeader(again.store, now=clock).tend().in_english()
    assert "Small lab: the rollout that ran during the backup is stopped." in printed


@pytest.mark.slow
def test_pcs_with_wrong_clocks_move_the_rings_by_the_clock_of_the_database(lab, stack):
    _, new = names(lab)
    first, other = Pc(lab, "PC-1", stack), Pc(lab, "PC-2", stack)
    assert lab.agent("models", "promote", new, "--rings", *BY) == 0
    first.bundle.refresh()
    other.beat(timedelta(hours=-5))

    first.lead()
    other.beat(timedelta(hours=-5))
    waits = first.lead()
    other.bundle.refresh()
    first.lead()

    assert waits == ""
    assert first.store.rollouts.find_latest().state == RolloutState.DONE
