"""A bundle reaches PCs ring by ring, and none runs it after the first PC that answers otherwise."""

from __future__ import annotations

import math
import threading
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import UsageError
from agent.store import HostState, RingRules, RolloutState, Signature, Store, WantedBundle
from agent.store.bundles.rollout_plan import assign_rings, compare_answers
from reports import Message

AT = datetime(2026, 11, 24, 21, 0, tzinfo=UTC)
RIGHT = {"g8": {"image": "g8.tif", "code": "G8", "probability": 0.91}}
OLD, NEW = "20261101-0badcafe", "20261125-beefbeef"
PCS = tuple(f"PC-{n}" for n in range(1, 13))
RULES = RingRules(("pc-1",), share=0.2, wait_minutes=30, absent_minutes=10)
OTHER_CODE = {"g8": {"image": "g8.tif", "code": "G7", "probability": 0.91}}
OTHER_PROBABILITY = {"g8": {"image": "g8.tif", "code": "G8", "probability": 0.935}}


def start(store: Store, rules: RingRules = RULES, *, by: str = "Lea", promoters: int = 1) -> bool:
    return store.promotions.sign(
        NEW, Signature(by, "better on G8", AT), metrics={"n": 80}, promoters=promoters,
        instead_of=store.promotions.find_current(), rings=rules,
    )  # fmt: skip


def late(minutes: float) -> datetime:
    """Return the instant so many minutes after `AT`."""
    return AT + timedelta(minutes=minutes)


class Plant:
    """PCs of one site, each with its own connection; `serving` is what each one runs."""

    def __init__(self, stack: ExitStack, address: str, names: tuple[str, ...] = PCS) -> None:
        self.stores = {
            name: stack.enter_context(Store.open(address, site="Plant 1", agent=name))
            for name in names
        }
        for store in self.stores.values():
            store.agents.record_start(at=AT)
        self.one = next(iter(self.stores.values()))
        self.one.promotions.promote(OLD, by="Lea", reason="first", at=AT, metrics={})
        self.serving = dict.fromkeys(names, WantedBundle(OLD))

    def refresh_all(self, at: datetime = AT) -> None:
        """Let each PC do what an agent does between two batches."""
        for name in self.stores:
            self.refresh(name, at=at)

    def ring(self, most: int) -> set[str]:
        """Return the PCs of the rings up to this one."""
        rollout = self.one.rollouts.find_latest()
        hosts = self.one.rollouts.list_hosts(rollout.id)
        return {name for name, host in hosts.items() if host.ring <= most}

    def refresh(self, name: str, answers=RIGHT, at: datetime = AT) -> None:
        """Do what an agent does between two batches."""
        rollouts = self.stores[name].rollouts
        wanted = rollouts.find_wanted()
        if wanted == self.serving[name]:
            return
        if wanted.ticket is None or rollouts.record_answers(wanted.ticket, answers, at=at):
            self.serving[name] = wanted

    def on_new(self) -> set[str]:
        return {name for name, bundle in self.serving.items() if bundle.name == NEW}


@pytest.fixture
def plant(address):
    with ExitStack() as stack:
        yield Plant(stack, address)


def seen(at: datetime, names=PCS) -> dict[str, datetime]:
    return dict.fromkeys(names, at)


def test_a_bundle_goes_to_named_pcs_then_to_a_share_then_to_all_and_is_promoted_at_the_end(plant):
    assert start(plant.one)
    reached = []
    for minutes in (0, 31, 62, 93):
        plant.refresh_all(late(minutes))
        reached.append(len(plant.on_new()))
        promoted = plant.one.promotions.find_current()
        plant.one.rollouts.advance(seen(late(minutes)), at=late(minutes))

    assert reached == [1, 1, 1 + 3, 12]
    assert promoted == OLD
    (last, _first) = plant.one.promotions.list_all()
    assert (last.bundle, last.by, last.reason) == (NEW, "Lea", "better on G8")
    assert [signature["by"] for signature in last.signatures] == ["Lea"]
    acts = [(e.act, e.actor) for e in plant.one.audit_log.iter_acts() if "rollout." in e.act]
    assert acts == [
        ("rollout.started", "Lea"),
        ("rollout.advanced", "agent"),
        ("rollout.advanced", "agent"),
        ("rollout.finished", "agent"),
    ]
    assert plant.one.checks.compare_rows()[0] == []


@pytest.mark.parametrize("minutes", [0, 29])
def test_a_ring_lasts_at_least_its_time(plant, minutes):
    start(plant.one)
    plant.refresh_all()

    assert plant.one.rollouts.advance(seen(late(minutes)), at=late(minutes)) is None
    assert plant.one.rollouts.find_latest().step == 1


@pytest.mark.parametrize(
    ("answers", "fault", "why"),
    [
        (OTHER_CODE, None, "{pc}: g8.tif: structure code G7, G8 on PC-1"),
        (OTHER_PROBABILITY, None, "{pc}: g8.tif: probability 0.9350, 0.9100 on PC-1"),
        ({}, None, "{pc}: no reference image of {pc} could be judged"),
        (RIGHT, Message("m9.tif: no scale"), "{pc}: m9.tif: no scale"),
    ],
)
def test_the_first_pc_that_answers_otherwise_stops_all_and_is_named(plant, answers, fault, why):
    start(plant.one)
    plant.refresh_all()
    plant.one.rollouts.advance(seen(late(31)), at=late(31))
    odd, *others = sorted(plant.ring(2) - {"PC-1"})
    plant.refresh(others[0], at=late(32))

    store = plant.stores[odd]
    ticket = store.rollouts.find_wanted().ticket
    took = store.rollouts.record_answers(ticket, answers, fault=fault, at=late(33))
    rollout = plant.one.rollouts.find_latest()
    before = len(plant.on_new())
    plant.refresh_all(late(34))

    assert (took, rollout.state, rollout.stopped_by) == (False, RolloutState.STOPPED, "agent")
    assert rollout.why.in_english() == why.format(pc=odd)
    assert (before, plant.on_new()) == (2, set())
    assert plant.one.promotions.find_current() == OLD
    host = store.rollouts.list_hosts(rollout.id)[odd]
    assert host.state == HostState.DIFFERS


def test_a_pc_that_judged_fewer_images_than_the_first_one_differs():
    first = RIGHT | {"g7": {"image": "g7.tif", "code": "G7", "probability": 0.8}}

    fewer, more = (
        compare_answers(before, answers, tolerance=0.01, pc="PC-2", before_pc="PC-1")
        for before, answers in ((first, RIGHT), (RIGHT, first))
    )

    said = "PC-2: 1 of 2 reference images of PC-1 were not judged"
    assert fewer.message.in_english() == said
    assert not more.message


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ("bf16", "fp32", "g8.tif: computed in fp32, in bf16 on PC-1"),
        ("bf16", "bf16", ""),
        ("", "fp32", ""),  # begun by an earlier program, or not set to a precision of all PCs
    ],
)
def test_a_pc_that_computes_in_another_precision_differs(one, other, said):
    first, second = (
        {"g8": RIGHT["g8"] | ({"precision": precision} if precision else {})}
        for precision in (one, other)
    )

    found = compare_answers(first, second, tolerance=0.01, pc="PC-2", before_pc="PC-1")

    assert found.message.in_english() == said


def test_a_difference_within_the_tolerance_agrees_and_is_shown(plant):
    start(plant.one)
    plant.refresh("PC-1")
    plant.one.rollouts.advance(seen(late(31)), at=late(31))
    name = min(plant.ring(2) - {"PC-1"})
    near = {"g8": {**RIGHT["g8"], "probability": 0.902}}

    plant.refresh(name, near)

    rollout = plant.one.rollouts.find_latest()
    host = plant.one.rollouts.list_hosts(rollout.id)[name]
    assert (host.state, host.n, host.same_codes) == (HostState.AGREED, 1, 1)
    assert host.max_difference == pytest.approx(0.008)
    assert rollout.baseline_host == "PC-1"


def test_a_pc_that_is_off_or_dies_in_a_step_is_not_waited_for_and_its_late_answer_counts(plant):
    start(plant.one)
    plant.refresh("PC-1")
    plant.one.rollouts.advance(seen(late(31)), at=late(31))
    dead, *alive = sorted(plant.ring(2) - {"PC-1"})
    ticket = plant.stores[dead].rollouts.find_wanted().ticket  # it dies while it judges
    for name in alive:
        plant.refresh(name, at=late(32))
    alive_at = {name: late(62) for name in PCS if name != dead}

    waits = plant.one.rollouts.advance({**alive_at, dead: late(53)}, at=late(62))
    moved = plant.one.rollouts.advance({**alive_at, dead: late(51)}, at=late(62))

    assert (waits, moved.step) == (None, 3)
    assert not plant.stores[dead].rollouts.record_answers(ticket, OTHER_CODE, at=late(70))
    assert plant.one.rollouts.find_latest().state == RolloutState.STOPPED


def test_a_ring_whose_pcs_are_all_off_proves_nothing(plant):
    start(plant.one)

    assert plant.one.rollouts.advance({}, at=late(600)) is None


def test_a_missing_bundle_is_waited_for_and_a_damaged_one_stops(plant):
    start(plant.one)
    rollouts = plant.one.rollouts
    ticket, why = rollouts.find_wanted().ticket, Message("it lacks the bundle")

    rollouts.record_failure(ticket, why, is_missing=True, at=AT)
    waits = rollouts.advance(seen(late(31)), at=late(31))
    rollouts.record_failure(ticket, why, is_missing=False, at=AT)

    assert waits is None
    assert rollouts.find_latest().why.in_english() == "PC-1: it lacks the bundle"
    assert plant.stores["PC-1"].rollouts.find_wanted().name == OLD


@pytest.mark.both_databases
def test_agents_that_move_a_ring_on_at_once_move_it_one_step(plant):
    rules = RingRules(("PC-1",), share=0.2, wait_minutes=0)
    start(plant.one, rules)
    plant.refresh("PC-1")
    moved = []
    gate = threading.Barrier(4)

    def lead(store: Store) -> None:
        gate.wait()
        moved.append(store.rollouts.advance(seen(AT), at=AT))

    threads = [threading.Thread(target=lead, args=(plant.stores[n],)) for n in PCS[:4]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [rollout.step for rollout in moved if rollout] == [2]
    acts = [e.act for e in plant.one.audit_log.iter_acts("rollout.advanced")]
    assert acts == ["rollout.advanced"]


@pytest.mark.both_databases
def test_of_leads_who_start_at_once_one_does(plant):
    gate, outcomes = threading.Barrier(3), []

    def sign(store: Store) -> None:
        gate.wait()
        try:
            outcomes.append(start(store))
        except UsageError:
            outcomes.append(False)

    threads = [threading.Thread(target=sign, args=(plant.stores[name],)) for name in PCS[:3]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == [False, False, True]
    # PostgreSQL gives out a number for an attempt that it takes back, so the id says nothing.
    latest, acts = (
        plant.one.rollouts.find_latest(),
        plant.one.audit_log.iter_acts("rollout.started"),
    )
    assert (latest.attempt, latest.bundle, latest.state) == (1, NEW, RolloutState.RUNNING)
    assert [e.act for e in acts] == ["rollout.started"]


def test_a_stop_needs_no_signature_and_a_continuation_begins_at_ring_one_again(plant):
    start(plant.one)
    plant.refresh_all()
    late_ticket = plant.one.rollouts.find_wanted().ticket
    plant.one.rollouts.advance(seen(late(31)), at=late(31))

    assert plant.one.rollouts.stop(by="Rita", at=late(32)) is True
    assert plant.one.rollouts.stop(by="Rita", at=late(32)) is False
    plant.refresh_all(late(33))
    off = plant.on_new()
    again = plant.one.rollouts.resume(Signature("Lea", "driver of PC-4 replaced", late(40)))

    assert (off, again.step, again.attempt) == (set(), 1, 2)
    assert not plant.one.rollouts.record_answers(late_ticket, RIGHT, at=late(41))
    plant.refresh_all(late(41))
    assert plant.on_new() == {"PC-1"}
    hosts = plant.one.rollouts.list_hosts(again.id)
    assert [host.state for host in list(hosts.values())[1:]] == [HostState.WAITING] * 11


def test_what_agents_stopped_is_a_problem_until_it_is_acknowledged(plant):
    start(plant.one)
    ticket = plant.one.rollouts.find_wanted().ticket
    plant.one.rollouts.record_answers(ticket, {}, at=AT)

    assert plant.one.rollouts.find_latest().stopped_by == "agent"
    assert plant.one.rollouts.stop(by="Rita", at=AT) is True
    assert plant.one.rollouts.find_latest().stopped_by == "Rita"


def test_no_other_bundle_is_promoted_during_a_rollout(plant):
    start(plant.one)

    for act in (
        lambda: start(plant.one),
        lambda: plant.one.promotions.promote(
            OLD, by="Lea", reason="back", at=AT, metrics={}
        ),
        lambda: plant.one.rollouts.resume(Signature("Lea", "on", AT)),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=r"agent models (rollout --stop|promote NAME --rings)"):
            act()


def test_rings_need_a_named_pc_and_as_many_signatures_as_a_promotion(plant):
    with pytest.raises(UsageError, match=r"Ring 1 has no PC \(PC-99 named\)"):
        start(plant.one, RingRules(("PC-99",)))

    shown = {"rings": RULES.to_json()}
    signed = Signature("Lea", "better", late(1), shown)
    wants = {"metrics": {}, "promoters": 2, "instead_of": OLD}

    assert plant.one.promotions.sign(NEW, signed, rings=RULES, **wants) is False
    with pytest.raises(UsageError, match="Lea signed for a rollout"):
        plant.one.promotions.sign(NEW, Signature("Bob", "yes", late(2)), **wants)
    assert plant.one.promotions.sign(
        NEW, Signature("Bob", "yes", late(2), shown), rings=RULES, **wants
    )
    assert plant.one.rollouts.find_latest().state == RolloutState.RUNNING


def test_a_withdrawn_bundle_judges_no_more_and_a_promoted_one_does(plant):
    one, two = plant.stores["PC-1"].rollouts, plant.stores["PC-2"].rollouts
    start(plant.one)
    begun = one.is_withdrawn(NEW)
    plant.refresh("PC-1")

    running = (one.is_withdrawn(NEW), two.is_withdrawn(NEW), one.is_withdrawn(OLD))
    plant.one.rollouts.stop(by="Rita", at=AT)
    stopped = (one.is_withdrawn(NEW), two.is_withdrawn(NEW))
    plant.one.promotions.promote(NEW, by="Lea", reason="all", at=AT, metrics={})

    assert (begun, running, stopped) == (True, (False, True, False), (True, True))
    assert not two.is_withdrawn(NEW)


def test_a_pc_that_first_runs_during_a_rollout_joins_the_last_ring_and_is_asked_before_the_end(
    plant, address
):
    start(plant.one, RingRules(("PC-1",), wait_minutes=0))
    plant.refresh_all()
    plant.one.rollouts.advance(seen(late(1)), at=late(1))
    with Store.open(address, site="Plant 1", agent="PC-late") as store:
        store.agents.record_start(at=late(2))
        before = store.rollouts.find_wanted().name
        on = seen(late(3), (*PCS, "PC-late"))
        for _ in range(3):  # every other PC answers, so nothing but the late one is waited for
            plant.refresh_all(late(3))
            plant.one.rollouts.advance(on, at=late(3))
        rollout = plant.one.rollouts.find_latest()
        listed = plant.one.rollouts.list_hosts(rollout.id)
        wanted = store.rollouts.find_wanted()
        store.rollouts.record_answers(wanted.ticket, RIGHT, at=late(4))
        ended = plant.one.rollouts.advance(on, at=late(4))
        hosts = plant.one.rollouts.list_hosts(rollout.id)
        after = {name: host.state for name, host in hosts.items()}

    assert (before, wanted.name) == (OLD, NEW)
    assert (rollout.state, rollout.step) == (RolloutState.RUNNING, 3)
    assert (listed["PC-late"].ring, listed["PC-late"].state) == (3, HostState.WAITING)
    assert ended.state == RolloutState.DONE
    assert set(after.values()) == {HostState.AGREED}
    assert len(after) == len(PCS) + 1


def test_a_pc_that_joined_late_and_differs_stops_all_and_stays_listed(plant, address):
    start(plant.one, RingRules(("PC-1",), share=1, wait_minutes=0))
    plant.refresh_all()
    plant.one.rollouts.advance(seen(late(1)), at=late(1))
    plant.refresh_all(late(1))
    with Store.open(address, site="Plant 1", agent="PC-late") as store:
        store.agents.record_start(at=late(2))
        moved = plant.one.rollouts.advance(seen(late(2)), at=late(2))
        store.rollouts.record_answers(store.rollouts.find_wanted().ticket, OTHER_CODE, at=late(3))
    hosts = plant.one.rollouts.list_hosts(moved.id)
    plant.refresh_all(late(4))

    assert (moved.state, moved.step) == (RolloutState.RUNNING, 3)
    assert plant.one.rollouts.find_latest().state == RolloutState.STOPPED
    assert (hosts["PC-late"].ring, hosts["PC-late"].state) == (3, HostState.DIFFERS)
    assert plant.on_new() == set()


def test_another_site_has_its_own_rollouts(plant, address):
    start(plant.one)
    with Store.open(address, site="Plant 2", agent="PC-1") as other:
        assert other.rollouts.find_wanted().name is None
        assert other.rollouts.find_latest() is None


# --- the rings ------------------------------------------------------------------------------------


@given(
    names=st.sets(st.text("abcXYZ-0123456789", min_size=1, max_size=8), max_size=40),
    share=st.floats(0.01, 1),
)
def test_the_share_is_a_number_of_pcs_and_stays_the_same_ones(names, share):
    rules = RingRules(("b-1", "B-2"), share=share)
    rings = assign_rings(names, rules)
    others = [name for name in names if name.casefold() not in {"b-1", "b-2"}]
    chosen = {name for name, ring in rings.items() if ring == 2}

    assert len(chosen) == min(len(others), max(1, math.ceil(share * len(others) - 1e-9)))
    assert {name for name, ring in rings.items() if ring == 1} == names - set(others)
    fewer = assign_rings(names, RingRules(rules.first, share=share / 2))
    assert {name for name, ring in fewer.items() if ring == 2} <= chosen


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("refresh"), st.integers(0, 3)),
        st.tuples(st.just("try"), st.integers(0, 3)),
        st.tuples(st.just("answer"), st.integers(0, 3), st.sampled_from([0, 0, 0, 0, 1])),
        st.tuples(st.just("advance"), st.integers(0, 15)),
        st.tuples(st.sampled_from(["stop", "resume", "later"])),
    ),
    max_size=40,
)


def do(plant: Plant, tickets: dict, step: str, *rest: int, at: datetime) -> None:
    """Do one step: of a PC that refreshes, tries or answers late, of a leader, or of a person."""
    names = list(plant.stores)
    if step == "refresh":
        plant.refresh(names[rest[0]], at=at)
    elif step == "try":
        tickets[names[rest[0]]] = plant.stores[names[rest[0]]].rollouts.find_wanted().ticket
    elif step == "answer" and (ticket := tickets.pop(names[rest[0]], None)):
        name, answers = names[rest[0]], OTHER_CODE if rest[1] else RIGHT
        if plant.stores[name].rollouts.record_answers(ticket, answers, at=at):
            plant.serving[name] = WantedBundle(NEW, ticket)
    elif step == "advance":
        on = [name for n, name in enumerate(names) if rest[0] >> n & 1]
        plant.one.rollouts.advance(seen(at, on), at=at)
    elif step == "stop":
        plant.one.rollouts.stop(by="Rita", at=at)
    elif step == "resume":
        with suppress(UsageError):
            plant.one.rollouts.resume(Signature("Lea", "on", at))


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_never_more_pcs_run_the_bundle_than_the_ring_allows_and_none_after_a_stop(
    sqlite_template, tmp_path_factory, steps
):
    file = tmp_path_factory.mktemp("laws") / "martensight.db"
    file.write_bytes(sqlite_template.read_bytes())
    with ExitStack() as stack:
        plant, tickets, minutes = Plant(stack, f"sqlite:///{file}", PCS[:4]), {}, 0.0
        start(plant.one, RingRules(("PC-1",), share=0.2, wait_minutes=5, absent_minutes=10))
        for step, *rest in steps:
            minutes += 6 if step == "later" else 0
            do(plant, tickets, step, *rest, at=late(minutes))

            rollout = plant.one.rollouts.find_latest()
            allowed = {
                RolloutState.RUNNING: plant.ring(rollout.step),
                RolloutState.STOPPED: set(),
                RolloutState.DONE: set(plant.stores),
            }[rollout.state]
            wanted = {name: store.rollouts.find_wanted() for name, store in plant.stores.items()}
            assert {name for name, one in wanted.items() if one.name == NEW} <= allowed
            agreed = {name for name in plant.on_new() if plant.serving[name] == wanted[name]}
            assert agreed <= allowed  # any other goes back before its next batch
            is_done = rollout.state == RolloutState.DONE
            assert plant.one.promotions.find_current() == (NEW if is_done else OLD)
        plant.one.rollouts.stop(by="Rita", at=late(minutes))
        plant.refresh_all()
        assert plant.on_new() == (set(plant.stores) if is_done_at_end(plant) else set())


def is_done_at_end(plant: Plant) -> bool:
    return plant.one.rollouts.find_latest().state == RolloutState.DONE


def test_a_promotion_before_the_rollout_permits_no_pc_outside_of_its_rings(plant):
    one, two = plant.stores["PC-1"].rollouts, plant.stores["PC-2"].rollouts
    for bundle, minutes in ((NEW, -100), (OLD, -50)):  # in use for a while, then taken back
        plant.one.promotions.promote(
            bundle, by="Lea", reason="x", at=late(minutes), metrics={}
        )  # fmt: skip
    before = two.is_withdrawn(NEW)
    start(plant.one)
    plant.refresh("PC-1")

    running = (one.is_withdrawn(NEW), two.is_withdrawn(NEW))
    plant.one.rollouts.stop(by="Rita", at=late(5))

    assert (before, running) == (False, (False, True))
    assert (one.is_withdrawn(NEW), two.is_withdrawn(NEW)) == (True, True)


def test_a_person_who_is_called_agent_acknowledges_what_agents_stopped(plant):
    start(plant.one)
    ticket = plant.one.rollouts.find_wanted().ticket
    plant.one.rollouts.record_answers(ticket, {}, at=AT)

    assert plant.one.rollouts.stop(by="agent", at=AT) is True
    assert plant.one.rollouts.find_latest().stopped_by == "agent (person)"
    assert plant.one.rollouts.stop(by="agent", at=AT) is False


@pytest.mark.parametrize("first", [True, False], ids=["first PC", "later PC"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_probability_that_is_no_number_stops_all_pcs_and_is_compared_with_none(
    plant, first, value
):
    wrong = {"g8": {"image": "g8.tif", "code": "G8", "probability": value}}
    start(plant.one, RingRules(("PC-1", "PC-2")))
    if not first:
        plant.refresh("PC-1")

    plant.refresh("PC-2", wrong)
    plant.refresh_all()

    rollout = plant.one.rollouts.find_latest()
    assert rollout.why.in_english() == "PC-2: g8.tif: the probability is no number"
    assert rollout.state == RolloutState.STOPPED
    assert plant.on_new() == set()
    assert rollout.baseline_host == ("" if first else "PC-1")
    host = plant.one.rollouts.list_hosts(rollout.id)["PC-2"]
    assert host.max_difference is None


def test_the_second_lead_signs_for_the_rings_that_the_first_one_signed_for(plant):
    others = RingRules(("PC-9", "PC-8"), share=0.9, wait_minutes=0)

    def sign(who: str, minutes: float, rules: RingRules) -> bool:
        return plant.one.promotions.sign(
            NEW, Signature(who, "better", late(minutes), {"rings": rules.to_json()}), metrics={},
            promoters=2, instead_of=OLD, rings=rules,
        )  # fmt: skip

    sign("Lea", 1, RULES)
    with pytest.raises(
        UsageError, match=r"Lea signed for other rings .*share = 0.9 instead of 0.2"
    ):
        sign("Bob", 2, others)

    assert plant.one.rollouts.find_latest() is None
    assert sign("Bob", 3, RULES)
    assert plant.one.rollouts.find_latest().rules == RULES
