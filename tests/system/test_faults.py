"""Killed, on a full disk or without its database, work goes wrong nowhere: the next run ends it."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from folders import ROOT
from labs.feature_shards import OF, list_kept, row, sha
from labs.lab import DAY, Lab
from labs.statements import freeze, label, take, write
from sqlalchemy import Engine, event

from agent.backup.maintenance import back_up, verify_statement_files
from agent.backup.verification import Outside, verify_trail
from agent.errors import AgentError
from agent.features import FeatureFolder
from agent.files.whole_file import write_whole
from agent.orders.statements.customer_report import find_statement, render_customer_report
from agent.store import SearchQuery, Store, StoreFaultError

NAMED = (AgentError, StoreFaultError, OSError)
"""What work may end with: the service and the commands say it in a sentence."""
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
MOST = 400
END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"


# --- work, each of which may be done again ------------------------------------------------------


def index(lab: Lab, order: str) -> None:
    """Decide a field, which the search finds by its new code then."""
    (view,) = lab.store.results.search(order=order)
    if view.label is None:
        label(lab, view.id, "G7")
    found = lab.store.search.list_hits(SearchQuery(f"code:G7 order:{order}"), most=9)
    assert found == [view.id]


def state(lab: Lab, order: str) -> None:
    """Freeze the statement of an order, and write its files."""
    index(lab, order)
    freeze(lab, order)
    write(lab)
    assert lab.store.statements.lacking("pdf", 9) == []
    assert lab.store.statements.problems() == []
    assert list(verify_statement_files(lab.store, lab.archive)) == []


def report(lab: Lab, order: str) -> None:
    """Write the report of an order for its customer."""
    index(lab, order)
    freeze(lab, order)
    statement = find_statement(lab.store, order, None)
    made = render_customer_report(lab.store, lab.archive, statement, language="en", folder=None)
    files = {lab.folder / f"{order}.{kind}": content for kind, content in made.items()}
    write_whole(files)
    assert {path: path.read_bytes() for path in files} == files


def keep_features(lab: Lab, order: str) -> None:
    """Keep the features of a micrograph."""
    folder, number = FeatureFolder(lab.folder / "features", "PC"), int(order)
    if sha(number) not in list_kept(folder):
        folder.buffer.append(OF, row(number))
    folder.compact()
    assert sha(number) in list_kept(folder)
    assert not list(folder.iter_faults())


def run_job(lab: Lab, order: str) -> None:
    """Run a job, whose earlier run may have been killed."""
    lab.store.jobs.end_lost(order, at=DAY)
    number = lab.store.jobs.begin(order, at=DAY)
    lab.store.jobs.report(number, {"done": 1}, at=DAY)
    lab.store.jobs.end(number, at=DAY, outcome="done", facts={"done": 2})
    assert lab.store.jobs.find_last_facts(order)["done"] == 2


def save(lab: Lab, order: str) -> None:
    """Back the lab up."""
    target = lab.folder / f"{order}.zip"
    back_up(
        *(lab.store, lab.folder, target),
        settings_files=[],
        pixels=False,
        at=DAY,
        progress=lambda *_: None,
    )
    with zipfile.ZipFile(target) as packed:
        assert packed.testzip() is None


WORK: dict[str, Callable[[Lab, str], None]] = {
    work.__name__: work for work in (index, state, report, keep_features, run_job, save)
}


def require_whole(lab: Lab) -> None:
    """Raise where the evidence of a lab differs from its audit log."""
    assert verify_trail(lab.store, Outside(lab.reports))[0] == []


# --- killed ---------------------------------------------------------------------------------------


def kill_at(count: int) -> None:
    """Kill this process at its n-th change of a file or commit."""
    left = itertools.count(1)

    def note() -> None:
        if next(left) == count:
            os.kill(os.getpid(), signal.SIGKILL)

    def hear(name: str, facts: tuple[object, ...]) -> None:
        is_write = name == "open" and isinstance(facts[2], int) and facts[2] & WRITES
        if is_write or name in {"os.rename", "os.remove", "os.mkdir", "os.link"}:
            note()

    event.listen(Engine, "commit", lambda _connection: note())
    sys.addaudithook(hear)


def in_child(work: Callable[[], None]) -> int:
    """Run work in a copy of this process; return how it ended, as `os.waitpid` has it."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        work()
        os._exit(0)
    except BaseException:  # noqa: BLE001 - the parent reads how it ended
        traceback.print_exc()
        os._exit(1)


def play_kills(folder: Path, name: str) -> None:
    """Do work on ever new orders, killed a step later each time, until it ends by itself."""
    for count in range(1, MOST):
        order = str(count)

        def prepare(order: str = order, count: int = count) -> None:
            take(Lab(folder, "LOM-07", count), order=order)

        def be_killed(order: str = order, count: int = count) -> None:
            lab = Lab(folder)
            kill_at(count)
            WORK[name](lab, order)

        def end(order: str = order) -> None:
            lab = Lab(folder)
            WORK[name](lab, order)
            require_whole(lab)

        assert in_child(prepare) == 0
        ended = in_child(be_killed)
        assert in_child(end) == 0, f"{name}: killed at step {count}"
        if ended == 0:
            sys.stdout.write(f"{name}: killed at {count - 1} steps\n")
            return
        assert os.WTERMSIG(ended) == signal.SIGKILL
    raise AssertionError(f"{name} does not end")


def play_full(folder: Path, name: str) -> None:
    """Do work with ever more space on a small disk, and again once there is enough."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "none", str(folder)], check=True)
    lab, ballast, failed = Lab(folder / "data"), folder / "ballast", 0
    for number, free in enumerate((0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)):
        order = str(number + 1)
        take(lab, order=order)
        with ballast.open("wb") as file:
            file.write(bytes(max(0, shutil.disk_usage(folder).free - free * 1024)))
        try:
            WORK[name](lab, order)
        except NAMED:
            failed += 1
        ballast.unlink()
        WORK[name](lab, order)
        require_whole(lab)
    lab.store.close()
    sys.stdout.write(f"{name}: the disk was full {failed} times\n")
    assert failed or name == "run_job"


def play(how: str, folder: Path, name: str, *before: str) -> None:
    """Play faults in a process of its own: this one has threads, which no fork copies."""
    command = [*before, sys.executable, "-m", "tests.system.test_faults", how, str(folder), name]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    ended = subprocess.run(
        command,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    sys.stdout.write(ended.stdout)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="no SIGKILL")
@pytest.mark.parametrize("name", WORK)
def test_work_that_was_killed_at_any_step_is_ended_by_the_next_run(tmp_path, name) -> None:
    play("kills", tmp_path / "data", name)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root mounts a small disk")
@pytest.mark.parametrize("name", WORK)
def test_work_on_a_full_disk_fails_in_words_and_is_ended_once_there_is_space(
    tmp_path, name
) -> None:
    play("full", tmp_path, name, "unshare", "--mount")


# --- without a database ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", WORK.keys() - {"save", "keep_features"})
def test_work_whose_database_went_away_is_ended_once_it_is_back(postgres, tmp_path, name) -> None:
    lab = Lab(tmp_path / "data")
    lab.store.close()
    url = postgres.empty("ours")
    lab.store = Store.open(url, site="Plant 1", agent="test")
    lab.compares_places = False
    left, failed = [0], 0

    def hear(*_: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            postgres.run(END_SESSIONS.format(name=url.rpartition("/")[-1]))

    event.listen(Engine, "before_cursor_execute", hear)
    try:
        for number in itertools.count(1):
            take(lab, order=str(number))
            left[0] = number * 5
            try:
                WORK[name](lab, str(number))
            except NAMED:
                failed += 1
            was_away, left[0] = left[0] <= 0, 0
            WORK[name](lab, str(number))
            require_whole(lab)
            if not was_away:
                break
    finally:
        event.remove(Engine, "before_cursor_execute", hear)
        lab.store.close()

    assert failed


if __name__ == "__main__":
    {"kills": play_kills, "full": play_full}[sys.argv[1]](Path(sys.argv[2]), sys.argv[3])
