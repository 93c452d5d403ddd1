"""What a look shows gets into the journal, and no fault, crowd, limit or loss keeps a file out."""

import random
import shutil
import signal
import string
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from labs.service import picture, until

from agent.errors import UsageError
from agent.orders.facts.order_policy import build_provenance
from agent.service.data_folder import RunLock
from agent.service.health.problems import Problems
from agent.service.source_thread import FRESH_AT_MOST, SourceWatch, build_watcher, write_down
from agent.settings import Source
from agent.store import Store
from agent.watch import EventListener
from agent.watch.source_watcher import TEND_EVERY_S

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Journal:
    """A source folder, its watch without a thread, and a store."""

    def __init__(self, folder, address):
        self.folder = folder / "export"
        self.folder.mkdir()
        self.store = Store.open(address, site="Plant 1", agent="PC")
        self.source = Source(
            name="LOM",
            folder=self.folder,
            mode="poll",
            quiet_s=1,
            pattern=r"(?P<order>\d+)_",
            microscope="LOM-07",
        )
        self.watched = build_watcher(self.source, store=self.store, ring=lambda: None)
        self._now_s = 0.0

    def export(self, name):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(len(name), 24, 32))
        return path

    def come_to_rest(self):
        for _ in range(2):
            self._now_s += 100
            look = self.watched.look(self._now_s)
            write_down(
                look, self.watched, self.store, at=NOON, source=build_provenance(self.source)
            )

    def claimed(self, n=99):
        return [claim.relative for claim in self.store.work_queue.claim(n, at=NOON, lease_s=60)]


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

    assert journal.store.work_queue.count_waiting("LOM", "fresh", at_most=999) <= FRESH_AT_MOST
    assert (
        journal.store.work_queue.count_waiting("LOM", "backlog", at_most=999) >= FRESH_AT_MOST // 3
    )


def test_how_names_are_read_is_recorded_with_the_first_listing_of_a_file(journal):
    journal.export("4711_01_1.png")

    journal.come_to_rest()

    (fate,) = journal.store.files.iter_status()
    assert fate.read_as == {"LOM": [(r"(?P<order>\d+)_", {"microscope": "LOM-07"})]}


@pytest.mark.skipif(sys.platform == "win32", reason="links of POSIX")
def test_a_link_with_the_name_of_a_picture_is_recorded_once_as_no_file(journal):
    (journal.folder / "4711_01_1.png").symlink_to("nowhere.png")

    journal.come_to_rest()
    journal.come_to_rest()

    (fate,) = journal.store.files.iter_status()
    assert (fate.state, fate.code) == ("ignored", "not_a_file")
    assert fate.reason in journal.watched.state.problem


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
    source = Source(name="LOM", folder=folder, mode="poll", quiet_s=0.1, scan_every_s=0.1)
    with Store.open(f"sqlite:///{tmp_path}/a.db", site="Plant 1", agent="PC") as store:
        watch = SourceWatch(
            source,
            store=store,
            now=lambda: datetime.now(UTC),
            on_work=lambda: None,
            problems=Problems(),
        )
        watch.start()
        until(lambda: store.files.count_by_state()["queued"])
        aside = folder.rename(tmp_path / "aside")
        until(lambda: not watch.is_reachable())
        (claim,) = store.work_queue.claim(1, at=datetime.now(UTC), lease_s=60)
        later = datetime.now(UTC) + timedelta(days=9999)
        store.work_queue.release(claim, at=datetime.now(UTC), retry_at=later, sentence="it is away")

        aside.rename(folder)
        until(watch.is_reachable)
        until(lambda: store.work_queue.claim(1, at=datetime.now(UTC), lease_s=60))
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
    with RunLock(tmp_path, "PC"), pytest.raises(UsageError, match="already running"):
        RunLock(tmp_path, "PC").acquire()


# --- the thread that watches --------------------------------------------------------------------


@pytest.fixture
def watching(tmp_path):
    """Watches a folder with a thread of its own, and what it says meanwhile."""

    @contextmanager
    def begin(
        *,
        now=lambda: datetime.now(UTC),
        steady=time.monotonic,
        listen=EventListener,
        **wanted,
    ):
        folder = tmp_path / "export"
        folder.mkdir(exist_ok=True)
        source = Source(name="LOM", folder=folder, **({"quiet_s": 0.1} | wanted))
        problems = Problems()
        with Store.open(f"sqlite:///{tmp_path}/a.db", site="Plant 1", agent="PC") as store:
            watch = SourceWatch(
                source,
                store=store,
                now=now,
                on_work=lambda: None,
                problems=problems,
                steady=steady,
                listen=listen,
            )
            watch.start()
            try:
                yield watch, store, problems
            finally:
                watch.stop()
                watch.join()

    return begin


def queued(store):
    return store.files.count_by_state()["queued"]


def test_a_bug_costs_the_watch_time_is_said_and_is_over_when_it_is_over(tmp_path, watching):
    broken = threading.Event()
    broken.set()

    def now():
        if broken.is_set():
            raise ZeroDivisionError("the clock is broken")
        return datetime.now(UTC)

    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "a.png").write_bytes(picture(1))
    with watching(now=now) as (watch, store, problems):
        until(problems.all)
        said = problems.all()
        broken.clear()
        until(lambda: queued(store))
        until(lambda: not problems.all())

    assert said == ["LOM: ZeroDivisionError: the clock is broken"]
    assert watch.health().online


def test_after_fault_upon_fault_the_watch_waits_longer_and_never_gives_up(watching):
    with watching() as (watch, _, problems):
        until(watch.ready.is_set)
        waits_s = [watch._again("the database is away") for _ in range(6)]

    assert waits_s == [1.0, 2.0, 5.0, 10.0, 10.0, 10.0]
    assert problems.all() == ["LOM: the database is away"]


@pytest.mark.parametrize("how", ["gone", "empty"])
def test_a_source_that_is_away_is_said_and_nothing_of_it_is_forgotten(tmp_path, watching, how):
    with watching(mode="poll", scan_every_s=0.1) as (watch, store, problems):
        (tmp_path / "export" / "a.png").write_bytes(picture(1))
        until(lambda: queued(store))
        (tmp_path / "export").rename(tmp_path / "aside")
        if how == "empty":
            (tmp_path / "export").mkdir()
        until(lambda: not watch.is_reachable())
        until(problems.all)
        away, said = watch.health(), problems.all()
        known = store.files.list_known("LOM")
        if how == "empty":
            (tmp_path / "export").rmdir()
        (tmp_path / "aside").rename(tmp_path / "export")
        until(watch.is_reachable)
        until(lambda: not problems.all())
        back = watch.health()

    assert not away.online
    assert away.offline_since is not None
    assert str(tmp_path / "export") in said[0]
    assert ("is the share mounted?" in said[0]) == (how == "empty")
    assert list(known) == ["a.png"]
    assert back.online
    assert back.offline_since is None


@pytest.mark.parametrize(
    ("wish", "mode", "why"),
    [
        ("auto", {"native", "poll"}, "file system|tells nobody"),
        ("poll", {"poll"}, "set so"),
        ("native", {"native"}, "set so"),
    ],
)
def test_how_news_is_heard_is_said_with_the_reason(watching, wish, mode, why):
    with structlog.testing.capture_logs() as events, watching(mode=wish) as (watch, _, _):
        until(watch.ready.is_set)
        health = watch.health()

    (listed,) = [event for event in events if event["event"] == "folder.listed"]
    assert health.mode in mode
    assert listed["mode"] == health.mode
    assert any(word in listed["why"] for word in why.split("|"))


CHILD = """
import sys, threading
from datetime import UTC, datetime
from pathlib import Path
from agent.log import set_up
from agent.service.health.problems import Problems
from agent.orders.facts.order_policy import build_provenance
from agent.service.source_thread import SourceWatch
from agent.settings import Source
from agent.store import Store
set_up()
folder, mode = Path(sys.argv[1]), sys.argv[2]
source = Source(name="LOM", folder=folder / "export", quiet_s=0.1, scan_every_s=3600, mode=mode)
problems, work = Problems(), threading.Event()
with Store.open(f"sqlite:///{folder}/a.db", site="Plant 1", agent="PC") as store:
    watch = SourceWatch(
        source,
        store=store,
        now=lambda: datetime.now(UTC),
        on_work=work.set,
        problems=problems,
    )
    watch.start()
    watch.ready.wait(60)
    while line := sys.stdin.readline().strip():
        if line == "work":
            work.wait(60)
            claims = store.work_queue.claim(9, at=datetime.now(UTC), lease_s=60)
            print(sorted(claim.relative for claim in claims))
            work.clear()
        else:
            print(watch.health().mode, *problems.all())
        sys.stdout.flush()
    watch.stop()
    watch.join()
"""
"""A watch in a process of its own, listing by the hour: what it finds sooner, it was told of."""


class Child:
    """That process, asked line by line."""

    def __init__(self, folder, mode, *before):
        command = [*before, sys.executable, "-c", CHILD, str(folder), mode]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.ask("mode")

    def ask(self, what):
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.communicate("\n", timeout=120)


linux = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


@linux
def test_events_that_the_kernel_dropped_cost_no_file(tmp_path):
    export = tmp_path / "export"
    export.mkdir()
    with open("/proc/sys/fs/inotify/max_queued_events", encoding="ascii") as limit:  # noqa: PTH123
        most = int(limit.read())
    with Child(tmp_path, "native") as child:
        child.process.send_signal(signal.SIGSTOP)  # a PC so busy that nobody takes the events away
        for _ in range(most // 4 + 1000):
            for name in ("one.tmp", "other.tmp"):  # by turns: equal events in a row are one
                (export / name).touch()
                (export / name).unlink()
        (export / "a.png").write_bytes(picture(1))
        child.process.send_signal(signal.SIGCONT)

        assert child.ask("work") == "['a.png']"


def _may_set_limits():
    command = ["unshare", "--user", "--map-root-user", "sh", "-c"]
    command += ["echo 9 > /proc/sys/user/max_inotify_watches"]
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@linux
def test_a_used_up_limit_of_watched_folders_is_said_and_polled_around(tmp_path):
    if not _may_set_limits():
        pytest.skip("no namespace of our own to set limits in")
    for number in range(9):
        (tmp_path / "export" / str(number)).mkdir(parents=True)
    less = 'echo 5 > /proc/sys/user/max_inotify_watches; exec "$@"'
    own = ("unshare", "--user", "--map-root-user", "sh", "-c", less, "sh")
    with Child(tmp_path, "auto", *own) as child:
        said = child.ask("mode")
        (tmp_path / "export" / "8" / "a.png").write_bytes(picture(1))

        assert child.ask("work") == "['8/a.png']"
    assert said.startswith("poll LOM: this PC's limit of watched folders is used up")
    assert "fs.inotify.max_user_watches" in said


def test_a_bell_that_died_is_hung_anew(tmp_path, watching):
    ahead_s, heard = [0.0], []

    def listen(folder, ring):
        heard.append(ring)
        return EventListener(folder, ring)

    with watching(
        mode="native", scan_every_s=3600, listen=listen,
        steady=lambda: time.monotonic() + ahead_s[0],
    ) as (watch, store, _):  # fmt: skip
        until(watch.ready.is_set)
        before = watch._watched._listener
        for emitter in before._observer.emitters:
            emitter.stop()
            emitter.join()
        ahead_s[0] = TEND_EVERY_S  # the next look is when it is checked, and is now
        heard[0]()
        until(lambda: watch._watched._listener not in (None, before))
        (tmp_path / "export" / "a.png").write_bytes(picture(1))
        until(lambda: queued(store) == 1)  # told, or found by the listing that a new bell asks for
        (tmp_path / "export" / "b.png").write_bytes(picture(2))
        until(lambda: queued(store) == 2)  # told: the next listing is an hour away
