"""Whatever is done and whenever the agent is killed, each state a reader saw is frozen."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from labs.lab import DAY, RING_A, TAXONOMY, Lab
from sqlalchemy import event
from sqlalchemy.orm import Session

from agent.errors import AgentError
from agent.orders import Specifications
from agent.orders.instruments.instrument_checks import CONTROL
from agent.orders.instruments.instrument_holds import RELEASE, Holds, load_releases
from agent.orders.judge.assessed import OrderPolicy
from agent.orders.judge.assessment import Position, assess, list_touched
from agent.orders.judge.method_validation import AUTOMATIC, VALIDATION, load_allowances
from agent.orders.specifications.specification_history import load_history, reopen
from agent.orders.statements.freezing import freeze_orders
from agent.orders.statements.statement_document import Issuer
from agent.store import Decision, Store

if not hasattr(os, "fork"):
    pytest.skip("a killed agent needs fork", allow_module_level=True)

ISSUER = Issuer("Plant 1", "UTC")
ORDERS = st.sampled_from(["4711", "a/b"])
BUNDLE = "20261101-0badcafe"
LIMIT = {"n": 149, "wrong": 0, "upper95": 0.0199, "bound95": 0.0199, "um_per_px": [0.1, 0.2]}
KILLED = 9


class Orders(RuleBasedStateMachine):
    """Two orders, an instrument, permissions and an agent that is killed at any commit."""

    @initialize(first=ORDERS)
    def open(self, first: str) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.lab = Lab(self.folder / "data")
        self.store = self.lab.store
        self.now, self.position = DAY, Position(0, 0)
        self.fields: dict[str, list[str]] = {}
        self.seen: dict[str, list[str]] = {"4711": [], "a/b": []}
        self.texts: dict[str, str] = {}
        one = (RING_A.name, RING_A.valid_from, RING_A.approved_by, RING_A.sha256, RING_A.entry)
        self.store.specifications.note([one], zone="UTC", at=DAY)
        facts = {"bundle": BUNDLE, "limits": {"G 8 or finer": LIMIT}}
        self.record = self.store.records.add(
            VALIDATION, "100Cr6", by="R. Stahl", at=DAY, facts=facts
        )
        self.take(first)

    def teardown(self) -> None:
        if hasattr(self, "lab"):
            self.store.close()
            shutil.rmtree(self.folder)

    def laws(self) -> OrderPolicy:
        return OrderPolicy(
            Specifications((RING_A,)),
            TAXONOMY,
            held=Holds(self.store.records.all(CONTROL), {}, load_releases(self.store)),
            allowances=load_allowances(self.store),
            history=load_history(self.store),
            is_lead=lambda name: name == "R. Stahl",
        )

    # --- what happens ---

    @rule(order=ORDERS, code=st.sampled_from(["G8", "G8", "G7"]))
    def take(self, order: str, code: str = "G8") -> None:
        n = len(self.fields.setdefault(order, [])) + 1
        keys = {"order": order, "specimen": "1", "field": str(n), "material": "100Cr6"}
        self.fields[order].append(self.lab.take(code, at=self.tick(), **keys))
        self.come_back()

    @rule(
        order=ORDERS,
        code=st.sampled_from(["G8", "G7"]),
        by=st.sampled_from(["Ada", "R. Stahl"]),
        step=st.integers(0, 6),
    )
    def decide(self, order: str, code: str, by: str, step: int) -> None:
        for public_id in self.fields.get(order, [])[-1:]:
            said = Decision("code", by, code=code, comment="again")
            self.store.labels.decide(public_id, said, at=self.tick())
            self.be_killed(step)

    @rule(order=ORDERS, step=st.integers(0, 6))
    def undo(self, order: str, step: int) -> None:
        for public_id in self.fields.get(order, [])[-1:]:
            view = self.store.results.find(public_id)
            if view and view.label:
                self.store.labels.undo(public_id, by=view.label.by, at=self.tick())
                self.be_killed(step)

    @rule(order=ORDERS, lead=st.booleans())
    def supersede(self, order: str, lead: bool) -> None:
        for public_id in self.fields.get(order, [])[-1:]:
            by = "R. Stahl" if lead else "Ada"
            try:
                self.store.order_corrections.supersede(
                    public_id, by=by, reason="blurred", defect="", lead=lead, at=self.tick()
                )
            except AgentError:
                continue  # it is superseded already
            self.come_back()

    @rule(passed=st.booleans(), step=st.integers(0, 6))
    def check(self, passed: bool, step: int) -> None:
        facts = {"passed": passed, "sources": ["LOM-07"], "software": "1", "findings": []}
        self.store.records.add(CONTROL, "PC", by="agent", at=self.tick(), facts=facts)
        self.be_killed(step)

    @rule()
    def release(self) -> None:
        at = self.tick()
        facts = {"from": DAY.isoformat(), "to": at.isoformat(), "reason": "only the lamp"}
        self.store.records.add(RELEASE, "LOM-07", by="R. Stahl", at=at, facts=facts)
        self.come_back()

    @rule(on=st.booleans(), step=st.integers(0, 6))
    def permit(self, on: bool, step: int) -> None:
        facts = {"on": on, "reason": "as validated", "validation": self.record if on else None}
        self.store.records.add(AUTOMATIC, "100Cr6", by="R. Stahl", at=self.tick(), facts=facts)
        self.be_killed(step)

    @rule(order=ORDERS)
    def reopen(self, order: str) -> None:
        if order in self.fields:
            reopen(self.store, order, by="R. Stahl", reason="asked for", at=self.tick())
            self.come_back()

    @rule(order=ORDERS)
    def lose(self, order: str) -> None:
        if order in self.fields:
            facts = {"content": 1, "file": "x.tif"}
            self.store.records.add(
                "lost_file_named", order, by="agent", at=self.tick(), facts=facts
            )
            self.come_back()

    def tick(self):
        self.now += timedelta(hours=1)
        return self.now

    # --- the agent ---

    def be_killed(self, step: int) -> None:
        """Freeze in a forked process that ends at the step-th commit; then start again."""
        child = os.fork()
        if child == 0:
            self._freeze_and_die(step)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) in (0, KILLED)
        self.come_back()

    def _freeze_and_die(self, step: int) -> None:
        left = [step]

        def count(*_: object) -> None:
            left[0] -= 1
            if left[0] < 0:
                os._exit(KILLED)

        try:
            url = f"sqlite:///{self.lab.folder / 'martensight.db'}"
            self.store = Store.open(url, site="Plant 1", agent="test")
            event.listen(Session, "before_commit", count)
            event.listen(Session, "after_commit", count)
            self.freeze()
            os._exit(0)
        finally:
            os._exit(1)

    def come_back(self) -> None:
        """Look as a reader does, and freeze what was touched."""
        for order in self.fields:
            assessed = assess(self.store, order, self.laws())
            if assessed and self.seen[order][-1:] != [str(assessed.statement.conformity)]:
                self.seen[order].append(str(assessed.statement.conformity))
        self.position = self.freeze()

    def freeze(self) -> Position:
        due, after = list_touched(self.store, self.laws, position=self.position, now=self.now)
        freeze_orders(self.store, self.laws(), ISSUER, due, now=self.now)
        return replace(after)

    # --- what holds at any time ---

    @invariant()
    def every_state_that_was_seen_is_frozen_once_and_in_order(self) -> None:
        for order in getattr(self, "fields", ()):
            frozen = self.store.statements.all(order)
            words = ["", *(one.conformity for one in frozen)]
            assert [b for a, b in pairwise(words) if a != b] == self.seen[order]
            assert [a for a, b in pairwise(frozen) if a.state == b.state] == []

    @invariant()
    def no_statement_changes(self) -> None:
        if not hasattr(self, "store"):
            return
        for order in self.fields:
            for statement in self.store.statements.all(order):
                text = self.store.statements.text(statement.sha256)
                assert self.texts.setdefault(statement.sha256, text) == text
        assert self.store.statements.problems() == []


STEPS = settings(
    max_examples=5,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
Orders.TestCase.settings = STEPS
TestOrders = Orders.TestCase


@pytest.mark.slow
class TestManyOrders(Orders.TestCase):
    """The same machine with eight times the histories."""

    settings = settings(STEPS, max_examples=40)
