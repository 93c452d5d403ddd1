"""Claim twice, get it once: whatever happens in whatever order, every content has one result."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)
from labs import lab

from agent.store import Claim, MicrographResult, Store, engine
from agent.store.sites import sites
from agent.store.work.file_states import MAX_ATTEMPTS, MAX_DEATHS
from agent.triage import Handling, TriageVerdict
from agent.watch import ListedFile

NAMES = st.sampled_from(["a.tif", "b.tif", "sub/a.tif"])
BYTES = st.sampled_from("ab")
AGENTS = st.sampled_from([0, 1])
LEASE_S = 60


def finding(sha256: str) -> MicrographResult:
    facts = {"id": sha256[:16], "sha256": sha256, "page": 0, "width": 9, "height": 9,
             "recipe": "1", "crop": [0, 0, 9, 9]}  # fmt: skip
    prediction = lab.prediction_of("G8")
    return MicrographResult(facts, {}, {}, prediction, TriageVerdict(Handling.AUTOMATIC, ()))


class Books(RuleBasedStateMachine):
    """Two agents on one folder; files are written, renamed and deleted; agents die."""

    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.store = Store.open("sqlite://", site="Plant 1", agent="PC 0")
        self.other = self._second_agent()
        self.at = datetime(2026, 11, 24, 21, 0, tzinfo=UTC)
        self.clock = 1
        self.disk: dict[str, tuple[str, int]] = {}  # name → bytes, mtime
        self.written: set[str] = set()
        self.held: dict[int, Claim] = {}  # content → the claim that holds, as we understand it
        self.finished: dict[str, int] = {}

    def _second_agent(self) -> Store:
        with engine.writing(self.store._engine) as session:
            return Store(self.store._engine, sites.register(session, "Plant 1", "PC 1"))

    def teardown(self) -> None:
        self.store.close()

    def agent(self, number: int) -> Store:
        return (self.store, self.other)[number]

    def listing(self) -> list[ListedFile]:
        return [
            ListedFile("LOM-07", Path("/x"), name, 10, mtime)
            for name, (_, mtime) in sorted(self.disk.items())
        ]

    @rule(name=NAMES, held=BYTES)
    def write(self, name: str, held: str) -> None:
        self.clock += 1
        self.disk[name] = (held, self.clock)

    @rule(name=NAMES)
    def touch(self, name: str) -> None:
        if name in self.disk:
            self.clock += 1
            self.disk[name] = (self.disk[name][0], self.clock)

    @rule(old=NAMES, new=NAMES)
    def rename(self, old: str, new: str) -> None:
        if old in self.disk and new not in self.disk:
            self.disk[new] = self.disk.pop(old)

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        self.disk.pop(name, None)

    @rule(number=AGENTS)
    def list_(self, number: int) -> None:
        store = self.agent(number)
        missing = set(store.files.list_known("LOM-07")) - set(self.disk)
        store.files.mark_gone("LOM-07", missing, at=self.at)
        store.files.add(self.listing(), at=self.at)

    @rule(number=AGENTS)
    def see_growing(self, number: int) -> None:
        self.agent(number).files.add_settling(self.listing(), at=self.at)

    @initialize(held=st.tuples(BYTES, BYTES, BYTES))
    def begin_with_three_files(self, held: tuple[str, str, str]) -> None:
        for name, one in zip(("a.tif", "b.tif", "sub/a.tif"), held, strict=True):
            self.write(name, one)
        self.list_(0)

    @rule(target=claims, number=AGENTS)
    def claim(self, number: int) -> Any:
        claims = self.agent(number).work_queue.claim(1, at=self.at, lease_s=LEASE_S)
        return multiple(*((number, self._note(claim)) for claim in claims))

    def _note(self, claim: Claim) -> Claim:
        before = self.held.get(claim.content_id)
        assert before is None or before.token < claim.token
        assert claim.attempts <= MAX_ATTEMPTS + MAX_DEATHS
        self.held[claim.content_id] = claim
        return claim

    def lies_there(self, path: Path) -> bool:
        return path.relative_to("/x").as_posix() in self.disk

    def bytes_of(self, claim: Claim) -> str | None:
        found = self.disk.get(claim.relative)
        return found[0] * 64 if found and found[1] == claim.mtime_ns else None

    @rule(held=consumes(claims))
    def work(self, held: tuple[int, Claim]) -> None:
        """Read, identify and finish, as the pipeline does."""
        number, claim = held
        store, sha256 = self.agent(number), self.bytes_of(claim)
        if self.held.get(claim.content_id) is not claim:  # taken over: it may change nothing
            assert not store.work_queue.set_aside(claim, "truncated", "too late", at=self.at)
            return
        if claim.relative not in self.disk:
            store.work_queue.miss(claim, "no such file", at=self.at, retry_at=self.at)
        elif sha256 is None:
            store.work_queue.release(claim, at=self.at, retry_at=self.at + timedelta(seconds=30))
        elif store.work_queue.identify(claim, sha256, at=self.at, is_there=self.lies_there) is None:
            assert store.work_queue.finish(claim, [finding(sha256)], at=self.at)
            self.finished[sha256] = self.finished.get(sha256, 0) + 1

    @rule(held=consumes(claims))
    def crash_on_it(self, held: tuple[int, Claim]) -> None:
        """The bytes are read and known by their hash; then something unexpected happens."""
        number, claim = held
        store, sha256 = self.agent(number), self.bytes_of(claim)
        if (
            sha256 is None
            or store.work_queue.identify(claim, sha256, at=self.at, is_there=self.lies_there)
            is None
        ):
            store.work_queue.fail(claim, "ValueError", at=self.at)

    @rule(held=consumes(claims))
    def lose_the_share(self, held: tuple[int, Claim]) -> None:
        number, claim = held
        self.agent(number).work_queue.release(claim, at=self.at, retry_at=self.at)

    @rule(number=AGENTS)
    def die_and_start_again(self, number: int) -> None:
        self.agent(number).work_queue.requeue_own(at=self.at)

    @rule(seconds=st.sampled_from([1, LEASE_S + 1, 700, 90_000]))
    def wait(self, seconds: int) -> None:
        self.at += timedelta(seconds=seconds)

    @rule()
    def ask_to_retry(self) -> None:
        self.store.files.retry(None, at=self.at)

    @invariant()
    def no_content_has_two_results(self) -> None:
        assert all(count == 1 for count in self.finished.values())
        views = [view.sha256 for view in self.store.results.iter_all()]
        assert sorted(views) == sorted(self.finished)

    @invariant()
    def every_name_has_one_fate(self) -> None:
        fates = list(self.store.files.iter_status())
        hashes = [fate.sha256 for fate in fates if fate.sha256 and fate.state != "duplicate"]
        assert len(hashes) == len(set(hashes))
        assert all(fate.paths for fate in fates)

    @invariant()
    def a_duplicate_has_an_original(self) -> None:
        for fate in self.store.files.iter_status("duplicate"):
            assert fate.duplicate_of

    def everything_ends(self) -> None:
        """Let the world stand still: then every file on the disk is taken, and no other."""
        for _ in range(40):
            self.list_(0)
            self.at += timedelta(days=1)
            self.store.files.retry(None, at=self.at)
            claims = self.store.work_queue.claim(1, at=self.at, lease_s=LEASE_S)
            if not claims and not self._open():
                break
            for claim in claims:
                self.work((0, self._note(claim)))
        assert {held * 64 for held, _ in self.disk.values()} <= set(self.finished)

    def _open(self) -> int:
        counts = self.store.files.count_by_state()
        return counts["queued"] + counts["processing"] + counts["failed"]


class ToTheEnd(Books):
    """The same, and at the end everything on the disk has been taken."""

    def teardown(self) -> None:
        try:
            self.everything_ends()
        finally:
            super().teardown()


TestBooks = ToTheEnd.TestCase
TestBooks.settings = settings(max_examples=6, stateful_step_count=30, deadline=None)


@pytest.mark.slow
class TestManyBooks(ToTheEnd.TestCase):
    """The same machine with ten times the histories."""

    settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
