"""PCs with a real bundle: a settings version is tried, applied by a new start, and taken back."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
from contextlib import ExitStack, suppress
from datetime import timedelta

import httpx2
import pytest
from lab import crop_here

from agent import settings as settings_of
from agent.bundle_registry import FOLDER
from agent.orders.reference_images import judge_references
from agent.service import Agent
from agent.service.composition import load_bundle
from agent.service.data_folder import clock
from agent.service.jobs.rollout import RolloutLeader
from agent.service.jobs.settings_version import SettingsFollower
from agent.store import RingRules, RolloutState, Signature, Store

BY = ("--by", "E. Meier", "--reason", "more control")
RULES = RingRules(("PC-1",), share=0.5, wait_minutes=0)


class Pc:
    """An agent of the lab on its own PC: own file and data folder, one database."""

    def __init__(self, lab, name, stack, text=""):
        read = settings_of.read_own(lab.folder / "agent.toml", {})
        folder = lab.folder / name
        folder.mkdir()
        shutil.copytree(read.store.folder / FOLDER, folder / "data" / FOLDER)
        self.name, self.file = name, folder / "agent.toml"
        self.file.write_text(text, encoding="utf-8")
        url = f"sqlite:///{read.store.folder / 'martensight.db'}"
        self.store = stack.enter_context(Store.open(url, site="Small lab", agent=name))
        self.store.agents.record_start(at=clock())
        self.read()

    def read(self):
        self.settings = settings_of.read(self.file, {}, pc=self.name)
        self.follower = SettingsFollower(self.settings, self.store, pc=self.name)

    def refresh(self):
        """Do what an agent does between two batches; return whether it starts again."""
        self.store.agents.record_heartbeat({"fleet": {"clock_ahead_s": 0.0}}, at=clock())
        starts_again = self.follower.refresh()
        if starts_again:
            self.read()
        return starts_again

    @property
    def share(self):
        return self.settings.triage.control_share


@pytest.fixture
def stack():
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def lab(own_lab):
    toml = own_lab.folder / "agent.toml"
    text = '\n[rollout]\nfirst = ["PC-1"]\nwait_minutes = 0\nshare = 0.5\n'
    toml.write_text(toml.read_text("utf-8") + text, encoding="utf-8")
    return own_lab


def publish(lab, capsys, text):
    """Publish the lab's file with another text; return the version's name."""
    toml = (lab.folder / "agent.toml").read_text("utf-8")
    file = lab.folder / "new.toml"
    old = text.partition("\n")[0] + "\n"  # a section that is there is continued
    whole = toml.replace(old, text) if old in toml else f"{toml}\n{text}"
    file.write_text(whole, encoding="utf-8")
    assert lab.agent("settings", "publish", str(file), *BY) == 0
    capsys.readouterr()
    assert lab.agent("settings", "versions", "--json") == 0
    return json.loads(capsys.readouterr().out)["versions"][0]["version"]


def test_a_version_reaches_all_pcs_and_the_next_one_is_taken_back_where_one_pc_differs(
    lab, stack, capsys
):
    first, second = Pc(lab, "PC-1", stack), Pc(lab, "PC-2", stack, "[web]\nport = 8123\n")
    new = publish(lab, capsys, "[triage]\ncontrol_share = 0.25\n")
    assert lab.agent("rollout", "start", "--settings", new, *BY) == 0
    reached = []
    for _ in range(2):
        first.refresh()
        second.refresh()
        reached.append((first.share, second.share))
        RolloutLeader(first.store, now=clock).tend()
    status = first.store.rollouts.find_latest().state
    keeps = second.settings.web.port

    worse = publish(lab, capsys, "[triage]\ncontrol_share = 0.5\n")
    own = first.settings.store.folder / "reference"
    own.mkdir()
    shutil.copy(min((lab.folder / "labelled").rglob("*.png")), own)
    assert lab.agent("rollout", "start", "--settings", worse, *BY) == 0
    first.refresh()
    tried = (first.share, second.share)
    RolloutLeader(first.store, now=clock).tend()
    second.refresh()
    problem = RolloutLeader(second.store, now=clock).tend()
    first.refresh()

    assert reached == [(0.25, 0.05), (0.25, 0.25)]
    assert (status, keeps) == (RolloutState.DONE, 8123)
    assert tried == (0.5, 0.25)
    assert "PC-2: 1 of " in problem.in_english()
    assert (first.settings.version, second.settings.version) == (new, new)
    assert second.store.settings_versions.find_current() == new


def test_a_value_that_is_not_valid_on_one_pc_stops_the_rings_and_an_older_file_goes_on(
    lab, stack, capsys
):
    first, second = Pc(lab, "PC-1", stack), Pc(lab, "PC-2", stack)
    content = {"settings": {"triage": {"of_a_later_program": 1}}, "files": {}}
    version = first.store.settings_versions.publish(content, Signature("E", "x", clock())).version
    first.store.settings_versions.start(
        version, Signature("E", "x", clock()), promoters=1, rings=RULES
    )

    assert first.refresh() is False
    rollout = first.store.rollouts.find_latest()
    assert rollout.state is RolloutState.STOPPED
    assert "triage.of_a_later_program is no shared setting" in rollout.why.in_english()
    assert (first.settings.version, second.refresh()) == ("", False)


def test_where_the_version_in_use_cannot_be_applied_the_pc_goes_on_and_says_so(lab, stack):
    first, second = Pc(lab, "PC-1", stack), Pc(lab, "PC-2", stack)
    content = {"settings": {"triage": {"of_a_later_program": 1}}, "files": {}}
    version = first.store.settings_versions.publish(content, Signature("E", "x", clock())).version
    first.store.settings_versions.start(
        version, Signature("E", "x", clock()), promoters=1, rings=RULES
    )
    answers = {"g8": {"image": "g8.tif", "code": "G8", "probability": 0.9}}
    for pc, minutes in ((first, 1), (second, 2)):  # as a later program on both would
        ticket = pc.store.settings_versions.find_wanted().ticket
        pc.store.rollouts.record_answers(ticket, answers, at=clock())
        at = clock() + timedelta(minutes=minutes)
        first.store.rollouts.advance({}, at=at)

    assert first.store.settings_versions.find_current() == version
    assert first.refresh() is False
    assert "the earlier settings go on: settings version: triage.of" in str(first.follower.problem)


def test_a_version_with_other_structure_codes_goes_in_no_rings(lab, stack, capsys):
    Pc(lab, "PC-1", stack)
    (lab.folder / "other.toml").write_text(OTHER_CODES, encoding="utf-8")
    version = publish(lab, capsys, '[model]\ntaxonomy = "other.toml"\n')

    code = lab.agent("rollout", "start", "--settings", version, *BY)

    assert code == 2
    assert "has other structure codes than the active taxonomy" in capsys.readouterr().err


def test_bf16_goes_to_no_pc_that_computes_otherwise(lab, stack, capsys):
    first, second = Pc(lab, "PC-1", stack), Pc(lab, "PC-2", stack)
    version = publish(lab, capsys, '[model]\nprecision = "bf16"\n')
    assert lab.agent("rollout", "start", "--settings", version, *BY) == 0
    first.refresh()
    first.store.rollouts.advance({}, at=clock() + timedelta(minutes=1))
    used = load_bundle(first.settings, first.store.promotions.find_current())
    judged = judge_references(second.settings.store.folder, crops=crop_here, classifier=used)
    odd = {crop: answer | {"precision": "int8"} for crop, answer in judged.answers.items()}

    ticket = second.store.settings_versions.find_wanted().ticket
    assert second.store.rollouts.record_answers(ticket, odd, at=clock()) is False
    why = second.store.rollouts.find_latest().why.in_english()
    assert f"computed in int8, in {used.engine.precision} on PC-1" in why


OTHER_CODES = """
name = "other"
[[size]]
name = "1"
[[size]]
name = "2"
[[subtype]]
name = "Q"
sizes = ["1", "2"]
"""


@pytest.mark.slow
def test_a_running_agent_starts_again_and_judges_the_next_micrograph_by_the_version(
    lab, capsys, monkeypatch
):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    toml = lab.folder / "agent.toml"
    text = toml.read_text("utf-8").replace("port = 0", f"port = {port}")
    toml.write_text(text, encoding="utf-8")
    read = settings_of.read_own(toml, {})
    name = settings_of.find_pc_name()
    url = f"sqlite:///{read.store.folder / 'martensight.db'}"
    with Store.open(url, site="Small lab", agent=name) as store:
        store.agents.record_start(at=clock())
        version = publish(lab, capsys, "[triage]\ncontrol_share = 0.25\n")
        ended: list[bool] = []

        def run() -> None:
            while True:
                agents.append(Agent(settings_of.read(lab.folder / "agent.toml", {})))
                ended.append(agents[-1].run())
                if not ended[-1]:
                    return

        agents: list[Agent] = []
        thread = threading.Thread(target=run)
        thread.start()
        wait_until(lambda: store.agents.list_all()[0].facts.get("fleet"))
        assert lab.agent("rollout", "start", "--settings", version, *BY, "--first", name) == 0
        wait_until(lambda: store.settings_versions.find_current() == version)
        wait_until(lambda: len(agents) == 2)
        wait_until(lambda: fleet_of(store, name).get("settings_version") == version)
        wait_until(lambda: is_served(agents[-1].url))  # at the address of the one before
        agents[-1].stop()
        thread.join(60)

    assert ended == [True, False]


def is_served(url):
    with suppress(httpx2.HTTPError):
        return httpx2.get(f"{url}/healthz").status_code == httpx2.codes.OK
    return False


def fleet_of(store, name):
    return next(a.facts.get("fleet") or {} for a in store.agents.list_all() if a.name == name)


def wait_until(is_so) -> None:
    until_s = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < until_s
        time.sleep(0.2)
