"""A settings version reaches PCs ring by ring; none applies it after the first one that differs."""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ringed_pcs import AT, RIGHT, RingedPcs, late

from agent.errors import WrongUse
from agent.store import HostState, RingRules, RolloutState, Signature, Store
from reports import Message

BUNDLE, OTHER = "20261101-0badcafe", "20261125-beefbeef"
PCS = tuple(f"PC-{n}" for n in range(1, 7))
RULES = RingRules(("PC-1",), share=0.2, wait_minutes=5, absent_minutes=10)
WRONG = {"g8": {"image": "g8.tif", "code": "G7", "probability": 0.91}}


def content(share: float) -> dict:
    return {"settings": {"triage": {"control_share": share}}, "files": {}}


class Plant(RingedPcs):
    """PCs of one site, each with its own connection; `applied` is the version of each one."""

    def __init__(self, stack: ExitStack, address: str, names: tuple[str, ...] = PCS) -> None:
        super().__init__(stack, address, names, BUNDLE)
        self.applied = dict.fromkeys(names, "")

    def publish(self, share: float, by: str = "Lea") -> str:
        signature = Signature(by, "more control", AT)
        return self.one.settings_versions.publish(content(share), signature).version

    def start(self, version: str, rules: RingRules = RULES, *, by="Lea", promoters=1, at=AT):
        self.one.settings_versions.start(
            version, Signature(by, "better", at), promoters=promoters, rings=rules, ring_at=at
        )

    def refresh(self, name: str, answers=RIGHT, at: datetime = AT) -> None:
        """Do what an agent does between two batches."""
        store = self.stores[name]
        wanted = store.settings_versions.find_wanted()
        if wanted.ticket and not wanted.is_agreed:
            store.rollouts.record_answers(wanted.ticket, answers, at=at)
            wanted = store.settings_versions.find_wanted()
        self.applied[name] = wanted.applied.version if wanted.applied else ""

    def advance(self, at: datetime):
        return self.one.rollouts.advance(dict.fromkeys(self.stores, at), at=at)

    def finish(self, at: datetime) -> datetime:
        for _ in range(3):
            self.refresh_all(at)
            at += timedelta(minutes=6)
            self.advance(at)
        return at

    def on(self, version: str) -> set[str]:
        return {name for name, applied in self.applied.items() if applied == version}


@pytest.fixture
def plant(address):
    with ExitStack() as stack:
        yield Plant(stack, address)


def test_a_version_goes_through_the_rings_and_is_then_in_use_without_a_promotion(plant):
    new = plant.publish(0.1)
    before = plant.one.settings_versions.find_wanted()
    plant.start(new)
    reached = []
    for minutes in (0, 6, 12):
        plant.refresh_all(late(minutes))
        reached.append(len(plant.on(new)))
        in_use = plant.one.settings_versions.find_current()
        plant.advance(late(minutes + 5.5))

    assert (before.applied, before.ticket) == (None, None)
    assert (reached, in_use) == ([1, 2, 6], None)
    assert plant.one.settings_versions.find_current() == new
    assert plant.one.settings_versions.find_wanted().applied.content == content(0.1)
    assert plant.one.settings_versions.list_wanted() == dict.fromkeys(PCS, new)
    assert len(plant.one.promotions.list_all()) == 1
    acts = [e for e in plant.one.audit_log.iter_acts() if e.act.startswith(("settings", "rollout"))]
    assert [(e.act, e.actor, e.subject) for e in acts][:2] == [
        ("settings.published", "Lea", new),
        ("rollout.started", "Lea", new),
    ]
    assert acts[0].facts["changed"] == {"triage.control_share": [None, 0.1]}
    assert plant.one.checks.compare_rows().faults == ()


def test_a_pc_that_differs_or_refuses_sends_every_pc_back_to_the_version_before(plant):
    old, new = plant.publish(0.1), plant.publish(0.2)
    plant.start(old)
    at = plant.finish(AT)
    for fail in ("differs", "refuses"):
        plant.start(new, at=at)
        plant.refresh("PC-1", at=at)
        at += timedelta(minutes=6)
        plant.advance(at)
        (second,) = plant.ring(2) - {"PC-1"}
        on = plant.on(new)
        if fail == "differs":
            plant.refresh(second, WRONG, at=at)
        else:
            store = plant.stores[second]
            ticket = store.settings_versions.find_wanted().ticket
            message = Message("no such setting")
            store.rollouts.record_failure(ticket, message, is_missing=False, at=at)
        rollout = plant.one.rollouts.find_latest()
        plant.refresh_all(at)

        assert on == {"PC-1"}
        assert (rollout.state, rollout.stopped_by) == (RolloutState.STOPPED, "agent")
        assert second in rollout.why.in_english()
        assert plant.on(old) == set(PCS)
        assert plant.one.settings_versions.find_current() == old
        plant.one.rollouts.stop(by="Rita", at=at)


def test_a_stopped_version_continues_at_ring_one_and_each_pc_answers_again(plant):
    new = plant.publish(0.1)
    plant.start(new)
    plant.refresh("PC-1")
    plant.one.rollouts.stop(by="Rita", at=AT)
    plant.refresh_all()
    stopped = plant.on(new)
    plant.one.rollouts.resume(Signature("Lea", "go on", late(1)))
    wanted = plant.one.settings_versions.find_wanted()

    assert stopped == set()
    assert (wanted.applied, wanted.tried.version, wanted.is_agreed) == (None, new, False)
    plant.finish(late(1))
    assert plant.on(new) == set(PCS)


def test_one_rollout_at_a_time_of_bundle_or_settings(plant):
    new = plant.publish(0.1)
    plant.start(new)
    sign = {"metrics": {}, "promoters": 1, "instead_of": BUNDLE}
    signature = Signature("Lea", "better", AT)

    with pytest.raises(WrongUse, match=rf"^{new} is being rolled out in rings, and a site changes"):
        plant.one.promotions.sign(OTHER, signature, rings=RULES, **sign)
    with pytest.raises(WrongUse, match="one at a time"):
        plant.one.promotions.promote(OTHER, by="Lea", reason="x", at=AT, metrics={})
    with pytest.raises(WrongUse, match="one at a time"):
        plant.start(plant.publish(0.2))
    assert plant.one.rollouts.find_wanted().name == BUNDLE
    assert plant.one.rollouts.list_wanted() == {}

    plant.one.rollouts.stop(by="Rita", at=AT)
    assert plant.one.promotions.sign(OTHER, signature, rings=RULES, **sign)
    with pytest.raises(WrongUse, match=rf"^{OTHER} is being rolled out in rings"):
        plant.start(new)
    assert plant.one.settings_versions.find_wanted().applied is None


def test_of_a_bundle_and_a_version_that_start_at_once_one_does(plant):
    new, barrier, faults = plant.publish(0.1), threading.Barrier(2), []

    def start(act) -> None:
        barrier.wait()
        try:
            act()
        except WrongUse as fault:
            faults.append(str(fault))

    def sign() -> None:
        plant.stores["PC-2"].promotions.sign(
            OTHER, Signature("Bob", "better", AT), metrics={}, promoters=1, instead_of=BUNDLE,
            rings=RULES,
        )  # fmt: skip

    threads = [
        threading.Thread(target=start, args=(act,)) for act in (sign, lambda: plant.start(new))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(faults) == 1
    assert plant.one.rollouts.find_latest().bundle in {OTHER, new}
    started = [e for e in plant.one.audit_log.iter_acts() if e.act == "rollout.started"]
    assert len(started) == 1


def test_a_bundle_that_a_sharing_site_promotes_stops_the_rollout_of_settings(address):
    with ExitStack() as stack:
        plant = Plant(stack, address, PCS[:2])
        shares = {"shares": ("bundles",)}
        other = stack.enter_context(Store.open(address, site="Plant 2", agent="PC-1", **shares))
        stack.enter_context(Store.open(address, site="Plant 1", agent="PC-9", **shares))
        new = plant.publish(0.1)
        plant.start(new)
        plant.refresh("PC-1")
        other.promotions.promote(OTHER, by="Bo", reason="x", at=late(1), metrics={})
        moved = plant.advance(late(6))

        assert moved.state is RolloutState.STOPPED
        assert OTHER in moved.why.in_english()
        assert other.settings_versions.list_all() == []
        assert other.settings_versions.find(new) is None


def test_the_publication_is_the_first_of_two_signatures(plant):
    new = plant.publish(0.1, by="Lea")

    with pytest.raises(WrongUse, match=r"Lea published .*a second person has to start"):
        plant.start(new, by="lea", promoters=2)
    plant.start(new, by="Bob", promoters=2)

    assert plant.one.rollouts.find_latest().by == "Bob"
    with pytest.raises(WrongUse, match="published already, by Lea"):
        plant.publish(0.1, by="Bob")
    plant.one.rollouts.stop(by="Rita", at=AT)
    with pytest.raises(WrongUse, match="No settings version settings-0"):
        plant.start("settings-0")


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("refresh"), st.integers(0, 3), st.sampled_from([0, 0, 0, 0, 1])),
        st.tuples(st.just("try"), st.integers(0, 3)),
        st.tuples(st.just("answer"), st.integers(0, 3), st.sampled_from([0, 0, 0, 1])),
        st.tuples(st.just("advance"), st.integers(0, 15)),
        st.tuples(st.sampled_from(["stop", "resume", "later", "restored"])),
    ),
    max_size=40,
)


def do(plant: Plant, tickets: dict, step: str, *rest: int, at: datetime) -> None:
    """Do one step: of a PC that refreshes, tries or answers late, of a leader, or of a person."""
    names = list(plant.stores)
    if step == "refresh":
        plant.refresh(names[rest[0]], WRONG if rest[1] else RIGHT, at=at)
    elif step == "try":
        store = plant.stores[names[rest[0]]]
        tickets[names[rest[0]]] = store.settings_versions.find_wanted().ticket
    elif step == "answer" and (ticket := tickets.pop(names[rest[0]], None)):
        store = plant.stores[names[rest[0]]]
        store.rollouts.record_answers(ticket, WRONG if rest[1] else RIGHT, at=at)
    elif step == "advance":
        on = [name for n, name in enumerate(names) if rest[0] >> n & 1]
        plant.one.rollouts.advance(dict.fromkeys(on, at), at=at)
    elif step == "stop":
        plant.one.rollouts.stop(by="Rita", at=at)
    elif step == "restored":
        plant.one.rollouts.stop_restored(at=at)
    elif step == "resume":
        with suppress(WrongUse):
            plant.one.rollouts.resume(Signature("Lea", "on", at))


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_never_more_pcs_apply_a_version_than_the_ring_allows_and_none_after_a_stop(
    sqlite_template, tmp_path_factory, steps
):
    file = tmp_path_factory.mktemp("laws") / "martensight.db"
    file.write_bytes(sqlite_template.read_bytes())
    with ExitStack() as stack:
        plant, tickets, minutes = Plant(stack, f"sqlite:///{file}", PCS[:4]), {}, 0.0
        new = plant.publish(0.1)
        plant.start(new)
        for step, *rest in steps:
            minutes += 6 if step == "later" else 0
            do(plant, tickets, step, *rest, at=late(minutes))

            rollout = plant.one.rollouts.find_latest()
            allowed = {
                RolloutState.RUNNING: plant.ring(rollout.step),
                RolloutState.STOPPED: set(),
                RolloutState.DONE: set(plant.stores),
            }[rollout.state]
            wanted = {n: s.settings_versions.find_wanted() for n, s in plant.stores.items()}
            to_apply = {name for name, one in wanted.items() if one.applied}
            assert to_apply <= allowed
            agreed = {
                host.name
                for host in plant.one.rollouts.list_hosts(rollout.id)
                if host.state is HostState.AGREED
            }
            assert rollout.state is RolloutState.DONE or to_apply <= agreed
            is_done = rollout.state is RolloutState.DONE
            assert plant.one.settings_versions.find_current() == (new if is_done else None)
        plant.one.rollouts.stop(by="Rita", at=late(minutes))
        plant.refresh_all()
        is_done = plant.one.rollouts.find_latest().state is RolloutState.DONE
        assert plant.on(new) == (set(plant.stores) if is_done else set())
