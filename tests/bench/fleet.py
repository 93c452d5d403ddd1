# ruff: noqa: E501, S608 - SQL that the bench itself writes, a statement to a line
"""Run a fleet of agents on one real PostgreSQL, kill them, take the database away, count.

    python tests/bench/fleet.py --quick            8 kills, a quarter of an hour on a busy PC
    python tests/bench/fleet.py --only fleet --single --kills 100 --micrographs 400
    python tests/bench/fleet.py --only churn       1 000 000 units, about 8 minutes on an idle PC

200 agents of 40 sites do everything but read pictures: claims, leases, answers, heartbeats, status
of their jobs. Each is a thread with a store of its own; each process holds 25 and is killed with
SIGKILL as a whole. With `--single`, 20 of the agents have a process of their own, and each kill
hits one of them that has claimed a unit since it started. An answer takes `--batch-s` of waiting in
place of the networks. At the end every micrograph must have one answer, and the counts of the jobs
must be those of the rows.

The churn needs no agents: a procedure in the server plays the changes of a unit's life, six of the
seven each in a transaction of its own or with others of the same kind, and the clean-up of the job
deletes it. It measures the tables and their vacuum, not the agents' statements.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psycopg
from databases import Postgres
from lab import prediction_of
from unit_lab import NEW, SURE, fill

from agent import log
from agent.fleet import KEY
from agent.retrain.unit_worker import UnitWorker
from agent.service.database_clock import DatabaseClock
from agent.store import MicrographResult, Store, UnitAnswer
from agent.store.work_units import WorkUnits

PROCESSES, SINGLE = 8, 20
"""Processes with many agents, and with one agent each where `--single` kills them."""
LEASE_S = 20.0
UNIT = 8
LIMIT_MS = 50.0
WARM_S = 60.0
"""A process compiles its statements at first; its claims after this time are counted apart."""
STARTED_S = time.monotonic()
WATCHED = ("work_unit", "work_job", "agent", "source")


class TimedUnits(WorkUnits):
    """The repository of units, which notes how long claims take."""

    times: list[tuple[float, float, float]] = []  # noqa: RUF012 - of the process, written out by `Child`

    def claim(self, *args, **kwargs):
        began_s, began_cpu_s = time.perf_counter(), time.thread_time()
        claimed = super().claim(*args, **kwargs)
        age_s = time.monotonic() - STARTED_S
        self.times.append((time.perf_counter() - began_s, time.thread_time() - began_cpu_s, age_s))
        return claimed


class TimedStore(Store):
    """A store whose claims are timed."""

    @property
    def work_units(self) -> TimedUnits:
        return TimedUnits(self._engine, self._whose)


def clock() -> datetime:
    return datetime.now(UTC)


# --- the agents -----------------------------------------------------------------------------------


@dataclass
class Child:
    """A process with some agents; it writes down what its claims took every second."""

    address: str
    agents: list[int]
    sites: int
    batch_s: float
    beat_s: float
    notes: Path
    stores: list[TimedStore] = field(default_factory=list)

    def run(self) -> None:
        log.set_up(level="critical")
        for index in self.agents:
            threading.Thread(target=self._work, args=(index,), daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()
        while True:
            time.sleep(1)
            times, TimedUnits.times = TimedUnits.times, []
            with self.notes.open("a") as file:
                file.writelines(" ".join(f"{value:.6f}" for value in row) + "\n" for row in times)

    def _open(self, index: int) -> TimedStore:
        while True:
            try:
                return TimedStore.open(
                    self.address,
                    site=f"Plant {index % self.sites}",
                    agent=f"PC {index}",
                    connections=2,
                )
            except Exception:  # noqa: BLE001 - the database is away: an agent's supervisor waits too
                time.sleep(2)

    def _work(self, index: int) -> None:
        dice = random.Random(index)
        time.sleep(dice.uniform(0, self.batch_s))
        store = self._open(index)
        self.stores.append(store)
        worker = UnitWorker(
            store,
            has_bundle=lambda _name: True,
            open_judge=lambda _name: lambda views: self._judge(views, dice),
            has_crop=lambda _sha256, _page: True,
            now=DatabaseClock(store, now=clock),
            unit=UNIT,
            lease_s=LEASE_S,
        )
        while True:
            with suppress(Exception):  # a fault must not end an agent, as in `PeriodicThread`
                for _ in worker.pull():
                    pass
                for job in store.work_jobs.list_unfinished():
                    store.work_jobs.close_when_done(job.id, at=clock())
            time.sleep(dice.uniform(3, 6))

    def _judge(self, views, dice: random.Random) -> list[UnitAnswer]:
        time.sleep(dice.uniform(0.5, 1.5) * self.batch_s)
        prediction = replace(prediction_of("G7"), bundle=NEW)
        return [UnitAnswer(view, MicrographResult({}, {}, {}, prediction, SURE)) for view in views]

    def _beat(self) -> None:
        facts = {
            KEY: {"version": "1", "bundle": NEW, "recipe": "1", "queue": 0, "clock_ahead_s": 0.0}
        }
        while True:
            stores = list(self.stores)
            for store in stores:
                with suppress(Exception):
                    store.agents.record_heartbeat({**facts, "pid": os.getpid()}, at=clock())
                time.sleep(self.beat_s / max(len(stores), 1))
            time.sleep(0.1)


# --- the database ---------------------------------------------------------------------------------


class LargePostgres(Postgres):
    """A server for 200 agents, with the settings of Debian's package but these."""

    def resume(self) -> None:
        options = (
            f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c max_connections=600 "
            "-c shared_buffers=256MB -c autovacuum_naptime=1s "
            "-c shared_preload_libraries=pg_stat_statements"
        )
        log_file = str(self.folder / "server.log")
        self._call(
            "pg_ctl", "-D", str(self.folder / "data"), "-l", log_file, "-w", "-o", options, "start"
        )


def connect(server: Postgres, name: str) -> psycopg.Connection:
    return psycopg.connect(
        f"host=127.0.0.1 port={server.port} user=postgres dbname={name}", autocommit=True
    )


def lay_out(server: Postgres, url: str, micrographs: int, sites: int) -> None:
    """Make the sites, each with micrographs that are copies of one row, and a job."""
    for site in range(sites):
        with Store.open(url, site=f"Plant {site}", agent=f"PC {site}") as store:
            fill(store, 1)
    with connect(server, url.rpartition("/")[2]) as database:
        sha = "md5(t.id || 'x' || g) || md5(t.id || 'y' || g)"
        clone(database, "content", {"sha256": sha}, micrographs)
        rows = "JOIN content c ON c.site_id = t.site_id AND c.id <> t.content_id"
        own = {"sha256": "c.sha256", "public_id": "left(c.sha256, 16)", "content_id": "c.id"}
        clone(database, "micrograph", own, 1, rows)
        rows = "JOIN micrograph c ON c.site_id = t.site_id AND c.id <> t.micrograph_id"
        clone(database, "result", {"micrograph_id": "c.id"}, 1, rows)
        database.execute("ANALYZE")
        database.execute("CREATE EXTENSION pg_stat_statements")
    for site in range(sites):
        with Store.open(url, site=f"Plant {site}", agent=f"PC {site}") as store:
            job = store.work_jobs.open(
                NEW, "reprocess", days=None, since=None, by="bench", at=clock()
            )
            while store.work_jobs.divide(job.id, unit=UNIT, at=clock()):
                pass


def clone(database, table: str, own: dict[str, str], n: int, rows: str = "") -> None:
    """Copy each row of a table `n` times (or once for each joined row), with other keys."""
    query = "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND table_schema = 'public'"
    names = [name for (name,) in database.execute(query, (table,)) if name != "id"]
    columns = ", ".join(f'"{name}"' for name in names)
    values = ", ".join(own.get(name, f't."{name}"') for name in names)
    series = rows or f"CROSS JOIN generate_series(2, {n}) g"
    database.execute(f"INSERT INTO {table} ({columns}) SELECT {values} FROM {table} t {series}")


# --- the run --------------------------------------------------------------------------------------


@dataclass
class Run:
    """The processes, and who kills them."""

    server: Postgres
    url: str
    folder: Path
    arguments: argparse.Namespace
    groups: list[list[int]]
    processes: dict[int, subprocess.Popen] = field(default_factory=dict)
    noted: dict[int, int] = field(default_factory=dict)
    kills: int = 0
    killed: int = 0

    def start(self, number: int) -> None:
        notes = self.folder / f"claims-{number}"
        self.noted[number] = notes.stat().st_size if notes.exists() else 0
        agents = ",".join(map(str, self.groups[number]))
        call = [sys.executable, __file__, "--child", agents, "--url", self.url, "--notes", str(notes), "--sites", str(self.arguments.sites),
                "--batch-s", str(self.arguments.batch_s), "--beat-s", str(self.arguments.beat_s)]  # fmt: skip
        self.processes[number] = subprocess.Popen(call)

    def kill(self, dice: random.Random) -> bool:
        """Kill a process whose agents have claimed since it started; return whether there is one."""
        ready = [number for number in self.processes if self._may_be_killed(number)]
        if not ready:
            return False
        number = dice.choice(ready)
        self.processes[number].send_signal(signal.SIGKILL)
        self.processes[number].wait()
        self.start(number)
        self.kills += 1
        self.killed += len(self.groups[number])
        return True

    def _may_be_killed(self, number: int) -> bool:
        if self.arguments.single and len(self.groups[number]) > 1:
            return False
        notes = self.folder / f"claims-{number}"
        return notes.exists() and notes.stat().st_size > self.noted[number]

    def end(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()

    def count_left(self) -> int:
        query = "SELECT coalesce(sum(total), 0) - (SELECT count(*) FROM result WHERE bundle = %s) FROM work_job"
        with connect(self.server, self.url.rpartition("/")[2]) as database:
            return int(database.execute(query, (NEW,)).fetchone()[0])

    def is_closed(self) -> bool:
        with connect(self.server, self.url.rpartition("/")[2]) as database:
            return not database.execute(
                "SELECT count(*) FROM work_job WHERE state = 'open'"
            ).fetchone()[0]

    def count_connections(self) -> int:
        with connect(self.server, "postgres") as database:
            query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
            return int(database.execute(query, (self.url.rpartition("/")[2],)).fetchone()[0])

    def run(self) -> tuple[float, int]:
        """Run until every job is at its end; return seconds, and the most connections."""
        dice, arguments = random.Random(1), self.arguments
        for number in range(len(self.groups)):
            self.start(number)
        began_s, total, most, was_away = time.monotonic(), self.count_left(), 0, False
        while time.monotonic() - began_s < arguments.limit_s and not self.is_closed():
            time.sleep(arguments.look_s)
            left = self.count_left()
            most = max(most, self.count_connections())
            done = 1 - left / max(total, 1)
            print(
                f"{time.monotonic() - began_s:5.0f} s: {total - left} of {total} answers, {self.kills} kills, {most} connections, load {os.getloadavg()[0]:.0f}",
                flush=True,
            )
            due = (
                min(arguments.kills, int(arguments.kills * done / 0.8) + 1)
                if arguments.kills
                else 0
            )
            while self.kills < due and self.kill(dice):
                pass
            if arguments.away_s and done > 0.4 and not was_away:
                was_away = True
                print(f"the database is away for {arguments.away_s:.0f} s", flush=True)
                self.server.stop()
                time.sleep(arguments.away_s)
                self.server.resume()
        return time.monotonic() - began_s, most


def judge(run: Run) -> bool:
    """Print what the rows say; return whether nothing is lost or twice."""
    name = run.url.rpartition("/")[2]
    with connect(run.server, name) as database:
        total, closed, jobs = database.execute(
            "SELECT sum(total), count(*) FILTER (WHERE state = 'done'), count(*) FROM work_job"
        ).fetchone()
        rows, micrographs = database.execute(
            "SELECT count(*), count(DISTINCT micrograph_id) FROM result WHERE bundle = %s", (NEW,)
        ).fetchone()
        counts = [counts for (counts,) in database.execute("SELECT counts FROM work_job")]
        crossed = database.execute(
            "SELECT count(*) FROM result r JOIN micrograph m ON m.id = r.micrograph_id WHERE m.site_id <> r.site_id"
        ).fetchone()[0]
        aside, unanswered, reason, answered = database.execute(
            "SELECT count(*), coalesce(sum(n - judged), 0), max(reason), coalesce(sum(judged), 0) FROM work_unit WHERE state = 'set_aside'"
        ).fetchone()
    judged = sum(count.get("judged", 0) for count in counts) + int(answered)
    known = sum(count.get("known", 0) for count in counts)
    print(
        f"jobs: {closed} of {jobs} done; micrographs: {total}; answers: {rows} on {micrographs}; counted: {judged} judged, {known} known; of another site: {crossed}"
    )
    if aside:
        print(f"set aside: {aside} units with {unanswered} micrographs without an answer: {reason}")
    is_whole = rows == micrographs == judged == total - int(unanswered)
    return is_whole and not known and not crossed and closed == jobs


def print_claims(run: Run) -> None:
    rows = [
        line.split()
        for file in run.folder.glob("claims-*")
        for line in file.read_text().splitlines()
    ]
    if len(rows) < 2:
        return
    warm = [row for row in rows if float(row[2]) > WARM_S]
    for title, column, chosen in (
        ("wall clock", 0, rows),
        ("wall clock, warm", 0, warm),
        ("processor of the agent, warm", 1, warm),
    ):
        if len(chosen) < 2:
            continue
        cuts = statistics.quantiles((1000 * float(row[column]) for row in chosen), n=100)
        print(
            f"claims, {title}: {len(chosen)}; median {cuts[49]:.1f} ms, 95 % {cuts[94]:.1f} ms, 99 % {cuts[98]:.1f} ms (limit {LIMIT_MS:.0f}), load {os.getloadavg()[0]:.0f}"
        )
    with connect(run.server, run.url.rpartition("/")[2]) as database:
        query = "SELECT calls, mean_exec_time, max_exec_time, stddev_exec_time, left(regexp_replace(query, '.*FROM', 'FROM'), 150) FROM pg_stat_statements WHERE query ILIKE '%work_unit%' AND calls > 20 ORDER BY calls DESC LIMIT 12"
        for calls, mean, most, spread, text in database.execute(query):
            print(
                f"server: {calls} calls, mean {mean:.2f} ms, deviation {spread:.2f}, at most {most:.1f}: {text}"
            )


def print_tables(server: Postgres, name: str, when: str) -> dict[str, int]:
    """Print the watched tables; return their sizes with indexes, kB."""
    with connect(server, name) as database:
        rows = database.execute(
            "SELECT relname, n_live_tup, n_dead_tup, pg_total_relation_size(relid) / 1024, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = ANY(%s) ORDER BY 1", (list(WATCHED),),
        ).fetchall()  # fmt: skip
    for table, live, dead, size_kb, updates, hot in rows:
        print(
            f"{when}: {table}: {live} rows, {dead} dead, {size_kb} kB, {updates} updates, {hot / max(updates, 1):.0%} in their page",
            flush=True,
        )
    return {table: size_kb for table, _live, _dead, size_kb, _updates, _hot in rows}


UNITS_PER_CALL = 500
"""A server counts the changes of a call at its end, and vacuums by these counts."""
CHURN = """
CREATE PROCEDURE churn(n integer) LANGUAGE plpgsql AS $$
DECLARE job record; unit integer;
BEGIN
  SELECT * INTO job FROM work_job LIMIT 1;
  FOR round IN 1..n / 100 LOOP
    INSERT INTO work_unit (site_id, job_id, source_id, home_id, first_id, last_id, n, state, attempt, failures, due_at, done_to, judged, known, lost, unreadable, flagged, flips)
      SELECT job.site_id, job.id, s.id, a.id, 1, 500, 500, 'waiting', 0, 0, now(), 0, 0, 0, 0, 0, 0, '{}'
      FROM generate_series(1, 100), (SELECT id FROM source WHERE site_id = job.site_id LIMIT 1) s, (SELECT id FROM agent WHERE site_id = job.site_id LIMIT 1) a;
    COMMIT;
    UPDATE work_unit SET state = 'working', attempt = 1, due_at = now() + interval '90 s' WHERE job_id = job.id;
    COMMIT;
    FOR renewal IN 1..4 LOOP
      FOR unit IN SELECT id FROM work_unit WHERE job_id = job.id LOOP
        UPDATE work_unit SET due_at = now() + interval '90 s', judged = judged + 8, done_to = done_to + 8 WHERE id = unit;
        COMMIT;
      END LOOP;
      UPDATE agent SET seen_at = now() WHERE id % 100 = round % 100;
      COMMIT;
    END LOOP;
    UPDATE work_unit SET state = 'done', ended_at = now() WHERE job_id = job.id;
    COMMIT;
    DELETE FROM work_unit WHERE job_id = job.id;
    COMMIT;
  END LOOP;
END $$
"""


def churn(server: Postgres, name: str, units: int, rounds: int) -> None:
    """Play the life of many units in the server itself, and print the tables after each part."""
    with connect(server, name) as database:
        database.execute(CHURN)
        database.execute("SET synchronous_commit = off")
        sizes = []
        for part in range(rounds):
            began_s = time.monotonic()
            for _ in range(units // rounds // UNITS_PER_CALL):
                database.execute(f"CALL churn({UNITS_PER_CALL})")
            spent_s = time.monotonic() - began_s
            done = (part + 1) * (units // rounds // UNITS_PER_CALL) * UNITS_PER_CALL
            sizes.append(print_tables(server, name, f"after {done} units played ({spent_s:.0f} s)"))
    for table in sizes[0]:
        kilobytes = [size[table] for size in sizes]
        print(
            f"{table}: {kilobytes[0]} kB after the first part, {kilobytes[-1]} after the last, at "
            f"most {max(kilobytes)}: {max(kilobytes) / max(kilobytes[0], 1):.2f} times the first"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--micrographs", type=int, default=200, help="per site")
    parser.add_argument("--away-s", type=float, default=60.0)
    parser.add_argument("--batch-s", type=float, default=20.0)
    parser.add_argument("--beat-s", type=float, default=10.0)
    parser.add_argument("--look-s", type=float, default=5.0)
    parser.add_argument("--limit-s", type=float, default=3600.0)
    parser.add_argument(
        "--churn", type=int, default=1_000_000, help="units whose life the server plays"
    )
    parser.add_argument("--only", choices=("fleet", "churn"))
    parser.add_argument("--single", action="store_true", help="kill single agents")
    parser.add_argument("--agents", type=int, default=200)
    parser.add_argument("--sites", type=int, default=40)
    parser.add_argument("--child", help="numbers of its agents")
    parser.add_argument("--url")
    parser.add_argument("--notes", type=Path)
    arguments = parser.parse_args()
    if arguments.child is not None:
        agents = [int(number) for number in arguments.child.split(",")]
        Child(
            arguments.url,
            agents,
            arguments.sites,
            arguments.batch_s,
            arguments.beat_s,
            arguments.notes,
        ).run()
    if arguments.quick:
        arguments.kills, arguments.micrographs, arguments.churn = 8, 64, 50_000
    folder = Path(tempfile.mkdtemp(prefix="fleet-"))
    (folder / "pg").mkdir()
    server = LargePostgres(folder / "pg")
    folder.chmod(0o755)
    server.start()
    url = server.empty()
    name, is_whole = url.rpartition("/")[2], True
    try:
        lay_out(server, url, arguments.micrographs, arguments.sites)
        print_tables(server, name, "before")
        if arguments.only != "churn":
            is_whole = run_fleet(server, url, folder, arguments)
        if arguments.only != "fleet" and arguments.churn:
            parts = max(5, arguments.churn // 100_000)
            churn(server, name, arguments.churn, parts)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    if arguments.only != "churn":
        print("nothing lost, nothing twice" if is_whole else "WRONG")
    sys.exit(not is_whole)


def run_fleet(server: Postgres, url: str, folder: Path, arguments: argparse.Namespace) -> bool:
    """Run the agents, and print what they took; return whether nothing is lost or twice."""
    run = Run(server, url, folder, arguments, make_groups(arguments))
    try:
        spent_s, most = run.run()
    finally:
        run.end()
    is_whole = judge(run)
    print(
        f"{spent_s:.0f} s, {run.kills} kills of {run.killed} agents together, at most {most} connections for {arguments.agents} agents"
    )
    print_claims(run)
    print_tables(server, url.rpartition("/")[2], "after")
    return is_whole


def make_groups(arguments: argparse.Namespace) -> list[list[int]]:
    """Return the numbers of the agents of each process."""
    alone = min(SINGLE, arguments.agents // 2) if arguments.single else 0
    rest = range(alone, arguments.agents)
    together = [list(rest[start::PROCESSES]) for start in range(PROCESSES)]
    return [*([number] for number in range(alone)), *(group for group in together if group)]


if __name__ == "__main__":
    main()
