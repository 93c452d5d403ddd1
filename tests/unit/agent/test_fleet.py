"""Each PC of a database is seen with what differs from the others; idle PCs alone take units."""

from __future__ import annotations

import json
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from time import monotonic

import psycopg
import pytest
from fastapi.testclient import TestClient
from labs.lab import DAY, HOME, Lab, web_of
from labs.second_bundle import fill
from servers.databases import TIMEOUT_S

from agent.cli.app import main
from agent.service.active_bundle import RolloutLeader
from agent.service.health.database_clock import DatabaseClock
from agent.store import AgentSeen, RingRules, RolloutState, Signature, Store, is_absent
from agent.store.sites.fleet import KEY, list_members, list_seen
from agent.web.app import create_app

NOW = datetime(2026, 11, 24, 21, 0, tzinfo=UTC)
PC = {
    "version": "1.0", "bundle": "B", "recipe": "1", "queue": 0, "failed_checks": 0,
    "settings": "5e77", "clock_ahead_s": 0.0, "free_bytes": 50, "total_bytes": 100,
}  # fmt: skip


def seen(name: str, *, ago_s: float = 3.0, stopped: bool = False, **facts: object) -> AgentSeen:
    at = NOW - timedelta(seconds=ago_s)
    sent = {"stopped": True} if stopped else {KEY: {**PC, **facts}}
    return AgentSeen("Plant 1", name, at, at, at, sent)


STATES = [
    (seen("x"), "running", ()),
    (seen("x", stopped=True, ago_s=9999), "stopped", ()),
    (seen("x", ago_s=90), "silent", ("silent",)),
    (seen("x", ago_s=-600, clock_ahead_s=602.0), "running", ("clock",)),
    (seen("x", ago_s=603, clock_ahead_s=-600.0), "running", ("clock",)),
    (seen("x", free_bytes=5), "running", ("disk",)),
    (seen("x", failed_checks=2, bundle="C"), "running", ("checks", "other_bundle")),
    (seen("x", version="0.9", recipe="0"), "running", ("other_version", "other_recipe")),
    (seen("x", ago_s=90, version="0.9"), "silent", ("silent",)),
    (seen("x", settings="0badcafe"), "running", ("other_settings",)),
]


def test_a_pc_is_shown_with_its_state_and_what_needs_an_operator():
    for agent, state, remarks in STATES:
        others = [seen("a"), seen("b")]

        *_, member = list_members([*others, agent], now=NOW)

        assert (str(member.state), member.remarks) == (state, remarks), agent


def test_a_heartbeat_with_broken_facts_is_a_pc_of_which_nothing_is_known():
    at = NOW - timedelta(seconds=1)
    (member,) = list_members([AgentSeen("P", "x", at, at, at, {KEY: "?", "problems": 0})], now=NOW)

    assert (str(member.state), member.version, member.queue) == ("running", "", None)


def test_the_page_shows_what_pcs_report_as_text(tmp_path):
    lab = Lab(tmp_path)
    lab.store.agents.record_start(at=DAY)
    lab.store.agents.record_heartbeat({KEY: {**PC, "bundle": "<b>x</b>", "free_bytes": 1}}, at=DAY)
    with TestClient(create_app(web_of(lab)), base_url=HOME) as browser:
        fleet = browser.get("/fleet").text

    assert "&lt;b&gt;x&lt;/b&gt;" in fleet
    assert "the disk is nearly full" in fleet
    lab.store.close()


def test_the_shell_lists_pcs(tmp_path, capsys):
    (tmp_path / "agent.toml").write_text('[site]\nname = "Plant 1"\n', encoding="utf-8")
    with Store.open(
        f"sqlite:///{tmp_path}/data/martensight.db", site="Plant 1", agent="P"
    ) as store:
        store.agents.record_start(at=NOW)
        store.agents.record_heartbeat({KEY: PC}, at=NOW)

    def call(*words: str) -> dict:
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(tmp_path / "agent.toml"), *words])
        assert ended.value.code in (0, None)
        return json.loads(capsys.readouterr().out)

    (pc,) = call("fleet", "--json")["pcs"]

    assert (pc["name"], pc["state"], pc["version"]) == ("P", "silent", "1.0")


RETIRED_BY = ("--by", "Lea", "--reason", "its board is dead")
WRONG_RETIRING = (("OLD", ()), ("X", RETIRED_BY), ("NEW", RETIRED_BY))


def test_a_pc_that_was_replaced_is_taken_off_the_list_until_it_runs_again(tmp_path, capsys):
    (tmp_path / "agent.toml").write_text('[site]\nname = "Plant 1"\n', encoding="utf-8")
    url = f"sqlite:///{tmp_path}/data/martensight.db"
    now = datetime.now(UTC)

    def beat(name: str, at: datetime) -> None:
        with Store.open(url, site="Plant 1", agent=name) as store:
            store.agents.record_start(at=at)
            store.agents.record_heartbeat({KEY: PC}, at=at)

    def call(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(tmp_path / "agent.toml"), "fleet", *words])
        said = capsys.readouterr()
        return int(ended.value.code or 0), " ".join((said.out + said.err).split())

    def listed() -> list[str]:
        return [pc["name"] for pc in json.loads(call("--json")[1])["pcs"]]

    beat("OLD", now - timedelta(days=30))
    beat("NEW", now)
    wrong = [call("--retire", name, *words) for name, words in WRONG_RETIRING]
    code, said = call("--retire", "OLD", *RETIRED_BY)

    assert [fault[0] for fault in wrong] == [2, 2, 2]
    assert "its agent runs" in wrong[2][1]
    assert (code, listed()) == (0, ["NEW"])
    assert "OLD is off the list" in said
    with Store.open(url, site="Plant 1", agent="NEW") as store:
        (act,) = store.audit_log.iter_acts("agent.retired")
    assert (act.actor, act.subject, act.facts["reason"]) == ("Lea", "OLD", "its board is dead")
    beat("OLD", now)
    assert listed() == ["NEW", "OLD"]


def test_the_clock_of_a_pc_is_measured_against_the_database(address):
    ahead = timedelta(minutes=10)
    with Store.open(address, site="Plant 1", agent="PC") as store:
        clock = DatabaseClock(store, now=lambda: datetime.now(UTC) + ahead)
        expected_s = ahead.total_seconds() if store.kind == "postgresql" else 0.0

        assert clock.measure() == pytest.approx(expected_s, abs=5)


@pytest.mark.parametrize("days", [2, -2])
def test_a_leading_pc_whose_clock_is_set_ends_no_ring_early_and_takes_no_pc_for_off(address, days):
    jumped = [timedelta(0)]

    def now() -> datetime:
        return datetime.now(UTC) + jumped[0]

    with ExitStack() as stack:
        first, other = (
            stack.enter_context(Store.open(address, site="Plant 1", agent=name))
            for name in ("PC-1", "PC-2")
        )
        for store in (first, other):
            store.agents.record_start(at=now())
            store.agents.record_heartbeat({"fleet": {"clock_ahead_s": 0.0}}, at=now())
        if first.kind == "sqlite":
            pytest.skip("the clock of the only PC is that of the database")
        first.promotions.promote("old", by="Lea", reason="x", at=now(), metrics={})
        leader = RolloutLeader(first, now=now)
        first.promotions.sign(
            "new", Signature("Lea", "better", now() + timedelta(days=days)), metrics={},
            promoters=1, instead_of="old", rings=RingRules(("PC-1",), wait_minutes=1),
            ring_at=DatabaseClock(first, now=now)(),
        )  # fmt: skip
        answers = {"a": {"image": "a.tif", "code": "G8", "probability": 0.9}}
        first.rollouts.record_answers(first.rollouts.find_wanted().ticket, answers, at=now())
        leader.tend()
        jumped[0] = timedelta(days=days)
        leader.tend()
        early = first.rollouts.find_latest().step
        first.rollouts.advance(list_seen(first.agents.list_all()), at=later(minutes=2))
        leader.tend()

        rollout = first.rollouts.find_latest()
        assert early == 1
        assert (rollout.step, rollout.state) == (2, RolloutState.RUNNING)
        assert not is_absent(
            list_seen(first.agents.list_all())["PC-2"],
            rollout.rules,
            now=DatabaseClock(first, now=now)(),
        )


def later(*, minutes: float) -> datetime:
    return datetime.now(UTC) + timedelta(minutes=minutes)


def test_a_process_opens_no_more_connections_than_are_set(postgres):
    url = postgres.empty("ours")
    name = url.rpartition("/")[2]
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"

    def count() -> int:
        address = f"host=127.0.0.1 port={postgres.port} user=postgres dbname=postgres"
        with psycopg.connect(address) as connection:
            return connection.execute(query, (name,)).fetchone()[0]

    def count_once_closed(wanted: int) -> int:
        """Return the count as soon as it is wanted: who hung up is listed a moment longer."""
        last = monotonic() + TIMEOUT_S
        while (found := count()) != wanted and monotonic() < last:
            pass
        return found

    with Store.open(url, site="Plant 1", agent="PC", connections=3) as store:
        fill(store, 1)
        readings = [store.results.iter_all() for _ in range(3)]
        for reading in readings:
            next(reading)
        used = count_once_closed(3)
        for reading in readings:
            reading.close()
        kept = count_once_closed(2)
    with Store.open(url, site="Plant 1", agent="PC", connections=0) as store:
        assert len(store.agents.list_all()) == 1

        assert (used, kept, count_once_closed(0)) == (3, 2, 0)
