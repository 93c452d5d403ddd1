"""Whatever changes, is unavailable or is killed, a LIMS gets revisions 1 to n, the last is true."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from labs.lab import DAY, RING_A, TAXONOMY, Lab
from sqlalchemy import event
from sqlalchemy.orm import Session

from agent.orders import Specifications
from agent.orders.facts.specimen_facts import Conformity
from agent.orders.judge.assessed import OrderPolicy
from agent.orders.judge.assessment import Position, assess, begin
from agent.orders.lims.outbox import OutboxFormat, record_revisions, write_pending
from agent.orders.statements.order_json import order_to_json
from agent.orders.statements.statement import lasting
from agent.store import Decision, Store

if not hasattr(os, "fork"):
    pytest.skip("a killed round needs fork", allow_module_level=True)

RULES = OrderPolicy(Specifications((RING_A,)), TAXONOMY)
SITE = OutboxFormat("Plant 1")
ORDERS = st.sampled_from(["4711", "4712", "a/b"])
ENDINGS = len(SITE.formats)
KILLED = 9


class Lims(RuleBasedStateMachine):
    """Three orders, a share that goes and comes back, an agent that is killed at any step."""

    @initialize(first=ORDERS)
    def open(self, first: str) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.lab = Lab(self.folder / "data")
        self.box = self.folder / "outbox"
        self.box.mkdir()
        self.now = DAY
        self.fields: dict[str, list[str]] = {}
        self.seen: dict[str, bytes] = {}
        self.position: Position = begin(self.lab.store)
        self.take(first)

    def teardown(self) -> None:
        if not hasattr(self, "lab"):
            return
        try:
            self.come_back()
            for _ in range(2):
                self.fill()
            self.all_is_told()
        finally:
            self.lab.store.close()
            shutil.rmtree(self.folder)

    @rule(order=ORDERS)
    def take(self, order: str) -> None:
        n = len(self.fields.setdefault(order, [])) + 1
        keys = {"order": order, "specimen": "1", "field": str(n), "material": "100Cr6"}
        self.fields[order].append(self.lab.take("G8", at=self.now, **keys))

    @rule(order=ORDERS, code=st.sampled_from(["G8", "G7"]))
    def confirm(self, order: str, code: str) -> None:
        for public_id in self.fields.get(order, []):
            self.lab.store.labels.decide(
                public_id, Decision("code", "Ada", code=code, comment="again"), at=self.now
            )

    @rule(order=ORDERS)
    def undo(self, order: str) -> None:
        for public_id in self.fields.get(order, [])[-1:]:
            view = self.lab.store.results.find(public_id)
            if view and view.label:
                self.lab.store.labels.undo(public_id, by=view.label.by, at=self.now)

    @rule(days=st.sampled_from([0, 1, 30, 100]))
    def wait(self, days: int) -> None:
        self.now += timedelta(days=days, minutes=2)

    @precondition(lambda self: self.box.exists())
    @rule()
    def go_away(self) -> None:
        self.box.rename(self.folder / "away")

    @precondition(lambda self: not self.box.exists())
    @rule()
    def come_back(self) -> None:
        if not self.box.exists():
            (self.folder / "away").rename(self.box)

    @rule()
    def fill(self) -> None:
        self.position = record_revisions(
            self.lab.store, RULES, SITE, now=self.now, position=self.position
        )
        if self.box.exists():
            write_pending(self.lab.store, RULES, SITE, self.box, now=self.now)

    @rule(step=st.integers(0, 25))
    def fill_and_be_killed(self, step: int) -> None:
        child = os.fork()
        if child == 0:
            self._be_killed(step)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) in (0, KILLED)

    def _be_killed(self, step: int) -> None:
        """Fill in a forked process that ends at the step-th commit, opened file or rename."""
        left = [step]

        def count(*_: object) -> None:
            left[0] -= 1
            if left[0] < 0:
                os._exit(KILLED)

        try:
            url = f"sqlite:///{self.lab.folder / 'martensight.db'}"
            store = Store.open(url, site="Plant 1", agent="test")
            event.listen(Session, "before_commit", count)
            event.listen(Session, "after_commit", count)
            box = str(self.box)
            sys.addaudithook(
                lambda name, args: (
                    count() if name in ("open", "os.rename") and box in str(args[0]) else None
                )
            )
            record_revisions(store, RULES, SITE, now=self.now, position=self.position)
            if self.box.exists():
                write_pending(store, RULES, SITE, self.box, now=self.now)
            os._exit(0)
        finally:
            os._exit(1)

    # --- what holds at any time ---

    @invariant()
    def no_revision_is_missing_or_changed(self) -> None:
        if not self.box.exists():
            return
        files = {path.name: path.read_bytes() for path in self.box.iterdir() if path.name[0] != "."}
        assert self.seen.items() <= files.items()
        self.seen = files
        for number in self.fields:
            revisions = sorted(one["revision"] for one in self._told(number))
            assert revisions == list(range(1, len(revisions) + 1))

    def all_is_told(self) -> None:
        assert self.lab.store.statements.problems() == []
        for number in self.fields:
            frozen = self.lab.store.statements.all(number)
            assert (
                frozen[-1].conformity == assess(self.lab.store, number, RULES).statement.conformity
            )
            assert [a for a, b in pairwise(frozen) if a.state == b.state] == []
            assessed = assess(self.lab.store, number, RULES)
            now = lasting(order_to_json(assessed))
            told = sorted(self._told(number), key=lambda one: one["revision"])
            states = [json.dumps(_state(one), sort_keys=True) for one in told]
            assert [a for a, b in pairwise(states) if a == b] == []
            if told:
                assert states[-1] == json.dumps(now, sort_keys=True)
            else:
                assert assessed.statement.conformity is Conformity.UNDECIDED
        whole = Counter(path.stem for path in self.box.iterdir() if path.name[0] != ".")
        assert set(whole.values()) <= {ENDINGS}

    def _told(self, number: str) -> list[dict]:
        files = [json.loads(path.read_bytes()) for path in self.box.glob("*.json")]
        return [file for file in files if file["order"] == number]


def _state(file: dict) -> dict:
    head = ("id", "revision", "found_at", "site", "statement")
    return lasting({key: value for key, value in file.items() if key not in head})


STEPS = settings(
    max_examples=6,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
Lims.TestCase.settings = STEPS
TestLims = Lims.TestCase


@pytest.mark.slow
class TestManyLims(Lims.TestCase):
    """The same machine with ten times the histories."""

    settings = settings(STEPS, max_examples=60)
