"""The rollout of a bundle in words, for the page of the PCs and programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.retrain.bundle_registry import list_bundles
from agent.site_time import local
from agent.store import (
    BY_AGENT,
    HostState,
    Ring,
    RolloutState,
    assign_rings,
    is_absent,
)
from agent.store.sites.fleet import list_members, list_seen, rollout_to_json
from agent.web.authentication import may_decide, may_lead, who_is
from agent.web.context import read_database_time
from reports import Fact, SignForm, Tone, decimal, marked, ngettext
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from fastapi import Request

    from agent.store import RingRules, Rollout, RolloutHost
    from agent.web.context import Desk

START, CONTINUE, STOP = "/fleet/rollout", "/fleet/rollout/continue", "/fleet/rollout/stop"
STATES = {
    RolloutState.RUNNING: (marked("running"), Tone.CALM),
    RolloutState.STOPPED: (marked("stopped"), Tone.PROBLEM),
    RolloutState.DONE: (marked("done"), Tone.CALM),
}
RINGS = {
    Ring.NAMED: marked("1: named PCs"),
    Ring.SHARE: marked("2: a share"),
    Ring.ALL: marked("3: all"),
}
HOSTS = {
    HostState.WAITING: (marked("not judged yet"), Tone.ATTENTION),
    HostState.AGREED: (marked("agrees"), Tone.CALM),
    HostState.DIFFERS: (marked("differs"), Tone.PROBLEM),
    HostState.REFUSED: (marked("it cannot be loaded"), Tone.PROBLEM),
    HostState.MISSING: (marked("bundle is missing"), Tone.ATTENTION),
}
BUNDLES_SHOWN = 50


def load_rollout(desk: Desk) -> dict[str, Any] | None:
    """Return the newest rollout as JSON, None before the first."""
    rollout = desk.store.rollouts.find_latest()
    if rollout is None:
        return None
    seen, hosts = (
        list_seen(desk.store.agents.list_all()),
        desk.store.rollouts.list_hosts(rollout.id),
    )
    return rollout_to_json(rollout, hosts, seen=seen, now=read_database_time(desk))


def build_view(desk: Desk, request: Request) -> dict[str, Any] | None:
    """Return the newest rollout of this site with its PCs; None before the first."""
    rollout = desk.store.rollouts.find_latest()
    if rollout is None:
        return None
    agents, hosts = desk.store.agents.list_all(), desk.store.rollouts.list_hosts(rollout.id)
    seen, now = list_seen(agents), read_database_time(desk)
    in_use = {member.name: member.bundle for member in list_members(agents, now=now)}
    wanted = desk.store.rollouts.list_wanted()
    current = desk.store.promotions.find_current() or ""
    state, tone = STATES[rollout.state]
    is_stopped = rollout.state is RolloutState.STOPPED
    is_open = rollout.state is RolloutState.RUNNING or (
        is_stopped and rollout.stopped_by == BY_AGENT
    )
    pcs = []
    for host in hosts:
        text, urgency = _describe_state(rollout, host)
        pc = {"host": host, "state": text, "tone": urgency}
        pc |= {"wanted": wanted.get(host.name, current), "in_use": in_use.get(host.name, "")}
        pcs.append(pc | {"is_off": is_absent(seen.get(host.name), rollout.rules, now=now)})
    return {
        "newest": rollout,
        "state": state,
        "tone": tone,
        "rings": RINGS,
        "facts": list(_list_facts(rollout, hosts, seen, desk.zone, now)),
        "pcs": pcs,
        "may_stop": is_open and may_decide(request),
        "sign": _build_continue(request) if is_stopped and may_lead(request) else None,
    }


def build_start(desk: Desk, request: Request) -> tuple[SignForm, tuple[str, ...]] | None:
    """Build the form that starts a rollout, and the names of the bundles to choose from.

    None where a rollout is running, the reader is no lead, or there is nothing else to choose.
    """
    rules, current = desk.learning.rings, desk.store.promotions.find_current()
    newest = desk.store.rollouts.find_latest()
    bundles = tuple(
        folder.name for folder in list_bundles(desk.archive.folder)[::-1] if folder.name != current
    )[:BUNDLES_SHOWN]
    is_running = newest is not None and newest.state is RolloutState.RUNNING
    if not bundles or is_running or not may_lead(request):
        return None
    names = [agent.name for agent in desk.store.agents.list_all() if agent.started_at]
    form = SignForm(
        action=START,
        title=_("Roll out a bundle in rings"),
        note=_describe_rings(names, rules),
        needs_password=who_is(request) is not None,
        blocked=""
        if Ring.NAMED in assign_rings(names, rules).values()
        else _("Name the PCs of ring 1 first: first = [...] in [rollout] of agent.toml."),
    )
    return form, bundles


def _describe_rings(names: list[str], rules: RingRules) -> str:
    rings = assign_rings(names, rules)
    first = ", ".join(sorted(name for name in names if rings[name] == Ring.NAMED)) or "–"
    share = ", ".join(sorted(name for name in names if rings[name] == Ring.SHARE)) or "–"
    rest = sum(ring == Ring.ALL for ring in rings.values())
    text = _(
        "Ring 1: {first}. Ring 2: {share}. Ring 3: {n} more. Each ring lasts at least {minutes} "
        "min. The first PC whose answers to the reference images differ stops it."
    )
    return text.format(first=first, share=share, n=rest, minutes=decimal(rules.wait_minutes, "g"))


def _build_continue(request: Request) -> SignForm:
    return SignForm(
        action=CONTINUE,
        title=_("Continue at ring 1"),
        note=_("Every PC of a ring judges the reference images again."),
        needs_password=who_is(request) is not None,
    )


def _list_facts(
    rollout: Rollout,
    hosts: list[RolloutHost],
    seen: Mapping[str, datetime],
    zone: str,
    now: datetime,
) -> Iterator[Fact]:
    yield Fact(_("Ring"), _("{n} of {of}").format(n=rollout.step, of=len(Ring)))
    due = [host for host in hosts if host.ring <= rollout.step]
    agreed = sum(host.state is HostState.AGREED for host in due)
    absent = sum(is_absent(seen.get(host.name), rollout.rules, now=now) for host in due)
    yield Fact(_("PCs that agree"), _("{n} of {of}").format(n=agreed, of=len(due)))
    if absent:
        text = ngettext("{n} PC, not waited for", "{n} PCs, not waited for", absent)
        yield Fact(_("Off"), text.format(n=absent))
    yield Fact(_("Replaces"), rollout.previous or _("no bundle"))
    yield Fact(_("Signed by"), f"{rollout.by}: {rollout.reason}")
    yield Fact(_("Started"), local(rollout.started_at, zone))
    if rollout.ended_at is not None:
        yield Fact(_("Ended"), local(rollout.ended_at, zone))
    if rollout.stopped_by:
        by = _("an agent") if rollout.stopped_by == BY_AGENT else rollout.stopped_by
        yield Fact(_("Stopped by"), by)
    if rollout.baseline_host:
        yield Fact(_("Compared with the answers of"), rollout.baseline_host)


def _describe_state(rollout: Rollout, host: RolloutHost) -> tuple[str, Tone | None]:
    if host.state is HostState.WAITING and host.ring > rollout.step:
        is_running = rollout.state is RolloutState.RUNNING
        return (marked("comes later") if is_running else marked("its ring was not reached")), None
    return HOSTS[host.state]
