"""What a look shows gets into the journal, and neither a fault nor a crowd keeps a file out."""

import random
import string
import threading
from datetime import UTC, datetime

import pytest
from test_service import picture, until

from agent.errors import WrongUse
from agent.service.lock import RunLock
from agent.service.problems import Problems
from agent.service.watching import FRESH_AT_MOST, SourceWatch, watched_of, write_down
from agent.settings import Source
from agent.store import Store

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Journal:
    """A source folder, its watch without a thread, and a store."""

    def __init__(self, folder, address):
        self.folder = folder / "export"
        self.folder.mkdir()
        self.store = Store.open(address, site="Plant 1", agent="PC")
        self.source = Source(name="LOM", folder=self.folder, mode="poll", quiet_s=1)
        self.watched = watched_of(self.source, store=self.store, ring=lambda: None)
        self._now_s = 0.0

    def export(self, name):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(len(name), 24, 32))
        return path

    def come_to_rest(self):
        for _ in range(2):
            self._now_s += 100
            write_down(self.watched.look(self._now_s), self.watched, self.store, at=NOON)

    def claimed(self, n=99):
        return [claim.relative for claim in self.store.claim(n, at=NOON, lease_s=60)]


@pytest.fixture
def journal(tmp_path, address):
    made = Journal(tmp_path, address)
    yield made
    made.watched.close()
    made.store.close()


@pytest.fixture
def journal_in_postgresql(tmp_path, postgres):
    made = Journal(tmp_path, postgres.empty("ours"))
    yield made
    made.watched.close()
    made.store.close()


def test_a_few_files_are_fresh_and_a_crowd_is_a_backlog_behind_them(journal):
    for number in range(FRESH_AT_MOST + 1):
        journal.export(f"crowd/{number:03}.png")
    journal.come_to_rest()
    journal.export("fresh.png")
    journal.come_to_rest()

    assert journal.claimed(1) == ["fresh.png"]


def test_a_trickle_that_nobody_keeps_up_with_becomes_a_backlog_too(journal):
    for some in range(4):
        for number in range(FRESH_AT_MOST // 3):
            journal.export(f"trickle/{some}-{number:03}.png")
        journal.come_to_rest()

    assert journal.store.waiting("LOM", "fresh", at_most=999) <= FRESH_AT_MOST
    assert journal.store.waiting("LOM", "backlog", at_most=999) >= FRESH_AT_MOST // 3


def test_a_name_longer_than_an_index_takes_costs_itself_alone(journal_in_postgresql):
    journal = journal_in_postgresql
    rng = random.Random(0)
    levels = ["".join(rng.choices(string.ascii_letters + string.digits, k=200)) for _ in range(16)]
    journal.export("good.png")
    journal.export("/".join([*levels, "deep.png"]))
    journal.export("better.png")
    journal.come_to_rest()

    assert sorted(journal.claimed()) == ["better.png", "good.png"]
    assert "cannot be written down" in journal.watched.state.problem


def test_what_waited_for_a_share_goes_at_once_when_it_is_back(tmp_path):
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "a.png").write_bytes(picture(1))
    source = Source(name="LOM", folder=folder, mode="poll", quiet_s=0.1)
    with Store.open(f"sqlite:///{tmp_path}/a.db", site="Plant 1", agent="PC") as store:
        watch = SourceWatch(
            source,
            store=store,
            now=lambda: datetime.now(UTC),
            on_work=lambda: None,
            problems=Problems(),
        )
        watch.start()
        until(lambda: store.counts()["queued"])
        aside = folder.rename(tmp_path / "aside")
        until(lambda: not watch.is_reachable(), 30)
        (claim,) = store.claim(1, at=datetime.now(UTC), lease_s=60)
        later = datetime.now(UTC).replace(year=2099)
        store.release(claim, at=datetime.now(UTC), retry_at=later, sentence="it is away")

        aside.rename(folder)
        until(watch.is_reachable, 30)
        until(lambda: store.claim(1, at=datetime.now(UTC), lease_s=60))
        watch.stop()
        watch.join()


def test_who_only_asks_whether_an_agent_runs_does_not_keep_one_from_starting(tmp_path):
    lock, ends = RunLock(tmp_path, "PC"), threading.Event()

    def ask():
        while not ends.is_set():
            lock.is_held()

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(50):
            with RunLock(tmp_path, "PC"):
                pass
    finally:
        ends.set()
        asking.join()


def test_a_second_agent_is_refused_after_a_moment(tmp_path):
    with RunLock(tmp_path, "PC"), pytest.raises(WrongUse, match="already running"):
        RunLock(tmp_path, "PC").acquire()
