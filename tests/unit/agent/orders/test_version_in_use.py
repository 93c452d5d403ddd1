"""All PCs judge orders by the settings version in use; one that tries another changes no order."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from lab import DAY

from agent import settings
from agent.orders.order_policy import load_policy
from agent.orders.specification_history import STATE
from agent.service.statements import StatementKeeper
from agent.settings import collect_shared, save_applied
from agent.store import RingRules, Signature, Store
from model import default_taxonomy

ENTRY = """[[specification]]
name = "ring-a"
valid_from = 2026-01-01
approved_by = "R. Stahl"
material = "100Cr6"
subtype = ["G"]
limit = "{limit}"
fields = 1
"""
BUNDLE = "20261101-0badcafe"
OLD, NEW = "8 or finer", "9-10 or finer"
SIGNED = Signature("Lea", "stricter", DAY)


class Pc:
    """A PC with its own files, one database."""

    def __init__(self, lab, folder, name) -> None:
        folder.mkdir()
        (folder / "specifications.toml").write_text(ENTRY.format(limit=OLD), encoding="utf-8")
        self.name, self.file, self.now = name, folder / "agent.toml", DAY
        bundle = folder / "data" / "bundles" / BUNDLE
        bundle.mkdir(parents=True)
        manifest = {"taxonomy": default_taxonomy().as_json()}
        (bundle / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
        self.file.write_text('[site]\nname = "Plant 1"\n', encoding="utf-8")
        url = f"sqlite:///{lab.folder / 'martensight.db'}"
        self.store = Store.open(url, site="Plant 1", agent=name)
        self.store.agents.record_start(at=DAY)
        self.start()

    def start(self):
        self.settings = settings.read(self.file, {}, pc=self.name)
        self.keeper = StatementKeeper(self.settings, self.store, now=lambda: self.now)

    def policy(self):
        return load_policy(self.settings, self.store, default_taxonomy(), now=self.now)

    @property
    def rules(self):
        policy = self.policy()
        (entry,) = policy.specifications.entries
        return entry.limit, policy.max_false_conform


@pytest.fixture
def pcs(lab, tmp_path):
    lab.store.promotions.promote(BUNDLE, by="Lea", reason="x", at=DAY, metrics={})
    both = [Pc(lab, tmp_path / name, name) for name in ("PC-1", "PC-2")]
    yield both
    for pc in both:
        pc.store.close()


def publish(pc, folder):
    """Publish a stricter limit and start its rollout; PC-1 of ring 1 agrees and applies it."""
    (folder / "specifications.toml").write_text(ENTRY.format(limit=NEW), encoding="utf-8")
    (folder / "agent.toml").write_text("[orders]\nmax_false_conform = 0.4\n", encoding="utf-8")
    content = collect_shared(settings.read_own(folder / "agent.toml", {}))
    versions = pc.store.settings_versions
    name = versions.publish(content, SIGNED).version
    rules = RingRules(("PC-1",), wait_minutes=0)
    versions.start(name, SIGNED, promoters=1, rings=rules)
    agree(pc)
    save_applied(pc.settings.store.folder, pc.name, content)
    pc.start()
    assert pc.settings.version == name


def agree(pc):
    answers = {"g8": {"image": "g8.tif", "code": "G8", "probability": 0.9}}
    ticket = pc.store.settings_versions.find_wanted().ticket
    pc.store.rollouts.record_answers(ticket, answers, at=DAY)


def test_a_pc_that_tries_a_version_judges_orders_as_all_others_do_until_it_is_in_use(
    lab, pcs, tmp_path
):
    first, second = pcs
    before = [pc.rules for pc in pcs]
    (tmp_path / "new").mkdir()
    publish(first, tmp_path / "new")

    during = [pc.rules for pc in pcs]
    agree_all(first, second)
    after = [pc.rules for pc in pcs]  # PC-2 has not started again yet

    assert before == during == [(OLD, 0.02)] * 2
    assert after == [(NEW, 0.4)] * 2


def agree_all(first, second):
    first.store.rollouts.advance({"PC-1": DAY, "PC-2": DAY}, at=DAY + timedelta(minutes=1))
    agree(second)
    first.store.rollouts.advance({"PC-1": DAY, "PC-2": DAY}, at=DAY + timedelta(minutes=2))


def test_two_pcs_with_different_versions_record_no_specifications_in_turn(lab, pcs, tmp_path):
    first, _second = pcs
    lab.take("G8", order="4711", specimen="1", material="100Cr6")
    (tmp_path / "new").mkdir()
    publish(first, tmp_path / "new")
    lab.take("G8", order="4711", specimen="1", field="2", material="100Cr6")
    states = []

    for _ in range(3):
        for pc in pcs:
            pc.now += timedelta(seconds=2)
            pc.keeper.freeze_touched()
        states.append([len(lab.store.records.all(STATE, pc.name)) for pc in pcs])

    assert states == [[1, 1]] * 3  # one by each PC
    first.store.rollouts.stop(by="Rita", at=DAY)
    assert [pc.rules for pc in pcs] == [(OLD, 0.02)] * 2
