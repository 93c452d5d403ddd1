"""Report the state of the agent, also when it, its folders or its database are unavailable."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

from agent.errors import StoreError, hide_passwords
from agent.evidence.anchors import list_losses
from agent.orders.instruments.instrument_holds import Affected, list_affected_orders, load_holds
from agent.orders.lims.resumption import read_floors
from agent.service.data_folder import RunLock, agent_name, bundles_folder
from agent.service.health.database_clock import DatabaseClock
from agent.service.health.share_facts import ShareFacts, gather_share_facts
from agent.settings import Settings, Source
from agent.settings.root import RECIPE
from agent.site_time import compute_night_end, night_of
from agent.store import (
    AgentSeen,
    Job,
    RolloutState,
    SourceHealth,
    Store,
    StoreFaultError,
    store_url,
)
from agent.store.sites.fleet import is_alive, list_seen, rollout_to_json
from agent.store.sites.site_folders import get_features_folder, get_own_file, list_kept_copies
from agent.terminal import format_count

NAMED = 5
"""Orders that a sentence names."""


def describe_unfollowed(store: Store) -> str:
    """Return of which orders what was lost was not followed yet, "" for none."""
    if not read_floors(store):
        return ""
    from agent.orders.lims.lost_conformity import list_unfollowed  # noqa: PLC0415 - after a restore

    numbers = list_unfollowed(store)
    if not numbers:
        return ""
    more = f" and {len(numbers) - NAMED} more" if len(numbers) > NAMED else ""
    orders = format_count(len(numbers), "order")
    return (
        f"a restored back-up lost revisions or statements of {orders} "
        f"({', '.join(numbers[:NAMED])}{more}): enter again what was lost, or let a lead "
        "acknowledge it (agent orders resume NUMBER); until then nothing better is stated or sent."
    )


QUIET_AFTER_S = 15.0  # three of them missed
LOW_DISK_BYTES = 1_000_000_000
MEMO = "status.json"
"""The last status of the running agent, for when the database cannot be queried."""


def build_status(
    settings: Settings, *, now: datetime, open_store: Callable[[], Store]
) -> dict[str, Any]:
    """Return the whole status, with one sentence per problem; never raises for what it reports.

    Args:
        settings: Of the lab.
        now: Aware UTC.
        open_store: Opens the database; what it raises becomes a problem.
    """
    running = RunLock.of(settings).is_held()
    try:
        store = open_store()
    except (StoreError, StoreFaultError) as error:
        return _without_store(settings, running=running, sentence=str(error), now=now)
    try:
        return build_status_from_store(settings, store, now=now, running=running)
    except (StoreError, StoreFaultError) as error:
        return _without_store(settings, running=running, sentence=str(error), now=now)


def build_status_from_store(
    settings: Settings,
    store: Store,
    *,
    now: datetime,
    running: bool,
    affected: Sequence[Affected] | None = None,
    outside: ShareFacts | None = None,
) -> dict[str, Any]:
    """Return the whole status from an open database.

    Args:
        settings: Of the lab.
        store: Open.
        now: Aware UTC.
        running: The agent runs here.
        affected: Orders with held results where they are known; None: they are queried.
        outside: Facts of the folders outside where they are known; None: they are gathered.
    """
    if affected is None:
        affected = list_affected_orders(store, load_holds(settings, store), now=now)
    own = store.agents.list_all()
    database_now = DatabaseClock(store, now=lambda: now)()
    here = running
    running = running or any(is_alive(agent, now=database_now) for agent in own)
    outside = outside or gather_share_facts(settings, store, now=now)
    by_source = {health.name: health for health in store.sources.list_all()}
    mine = next((agent for agent in own if agent.name == agent_name()), None)
    heard = list(mine.facts.get("problems", [])) if running and mine else []
    messages = mine.facts.get("problem_messages", {}) if running and mine else {}
    sources = [
        _source_to_json(s, by_source.get(s.name), is_online=outside.online.get(s.name, False))
        for s in settings.sources
    ]
    counts = store.files.count_by_state()
    bundle = store.promotions.find_current()
    problems = [
        *(_iter_silence_problems(mine, now) if here else ()),
        *heard,
        *_iter_source_problems(sources, by_source, running=running),
        *_iter_bundle_problems(settings, bundle),
        *(loss.sentence for loss in list_losses(store)),
        *_iter_file_problems(counts),
        *_iter_hold_problems(affected),
        *_iter_disk_problems(settings.store.folder),
        *outside.problems,
        *filter(None, [describe_unfollowed(store)]),
    ]
    return {
        "version": version("martensight"),
        "running": running,
        "sources": sources,
        "states": counts,
        "to_review": store.files.count_to_review(),
        "bundle": bundle,
        "rollout": _describe_rollout(store, now),
        "site": settings.site.name,
        "other_sites": [
            name for name in store.over_all_sites().names() if name != settings.site.name
        ],
        "shares": list(settings.site.shares),
        "database": f"{store.kind}: {store.place}",
        "next_report_at": next_report_at(settings, now).isoformat(),
        "disk": _measure_disk(settings.store.folder),
        "backup": outside.backup,
        "features": _measure_features(settings, store),
        "objects": _measure_objects(settings),
        "kept_copies": _measure_kept_copies(settings),
        "jobs": [_job(job) for job in store.jobs.list_running(at=now)],
        "affected_orders": sorted({number for group in affected for number in group.orders}),
        "notes": _list_bundle_notes(settings, bundle),
        "problems": list(dict.fromkeys(problems)),
        "problem_messages": messages,
    }


def _describe_rollout(store: Store, now: datetime) -> dict[str, Any] | None:
    """Return the rollout that runs or was stopped, with its PCs; None where there is none."""
    rollout = store.rollouts.find_latest()
    if rollout is None or rollout.state == RolloutState.DONE:
        return None
    seen, hosts = list_seen(store.agents.list_all()), store.rollouts.list_hosts(rollout.id)
    return rollout_to_json(rollout, hosts, seen=seen, now=now)


def _measure_disk(folder: Path) -> dict[str, int] | None:
    """Return the size of the data folder's disk in bytes, None where it cannot be reached."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return {"free_bytes": usage.free, "total_bytes": usage.total}


def _measure_features(settings: Settings, store: Store) -> dict[str, int]:
    """Return how many rows of kept features there are, and their size in bytes."""
    folder = get_features_folder(settings.store.folder, store)
    if not folder.is_dir():
        return {"rows": 0, "size_bytes": 0}
    from agent.features import FeatureFolder  # noqa: PLC0415 - Parquet takes a while to import

    kept = FeatureFolder(folder, agent_name()).measure()
    return {"rows": kept.rows, "size_bytes": kept.size_bytes}


def _measure_kept_copies(settings: Settings) -> dict[str, int]:
    """Return how many copies upgrades and restores kept, which may be deleted, and their size."""
    sizes = list_kept_copies(settings.store.folder)
    return {"n": len(sizes), "size_bytes": sum(sizes.values())}


def _measure_objects(settings: Settings) -> dict[str, Any] | None:
    """Return what lies in the object storage; None for a lab without one. It is not asked."""
    if not settings.store.objects:
        return None
    from agent.objects import open_mirror  # noqa: PLC0415 - few labs have an object storage

    mirror = open_mirror(settings.store)
    if mirror is None:
        return None
    files, size_bytes, local_bytes = mirror.index.measure()
    return {
        "url": settings.store.objects,
        "files": files,
        "size_bytes": size_bytes,
        "local_bytes": local_bytes,
    }


def _iter_hold_problems(affected: Sequence[Affected]) -> Iterator[str]:
    for group in affected:
        n, failure = len(group.orders), group.failure
        what = f"the control check on {failure.pc}" if failure.pc else "the control specimen"
        since = f"{failure.after:%Y-%m-%d %H:%M} UTC" if failure.after else "the beginning"
        until = f"{failure.until:%Y-%m-%d %H:%M} UTC" if failure.until else "now"
        yield (
            f"{failure.source}: {what} of {failure.first_at:%Y-%m-%d %H:%M} UTC failed: {n} "
            f"order{'s' if n > 1 else ''} affected, results from {since} to {until} are held until "
            f"a lead releases them (agent orders release-hold {failure.source})."
        )


def _job(job: Job) -> dict[str, Any]:
    return {
        "name": job.name,
        "by": job.facts.get("by"),
        "started_at": job.started_at.isoformat() if job.started_at else None,
        "stage": job.facts["stage"],
        "done": job.facts["done"],
        "total": job.facts["total"],
        "note": job.facts["note"],
    }


def next_report_at(settings: Settings, now: datetime) -> datetime:
    """Return when the current night is over, aware."""
    at, zone = settings.night.at, settings.site.time_zone
    end = compute_night_end(night_of(now, at, zone), at, zone)
    return (
        end
        if end > now
        else compute_night_end(night_of(now + timedelta(days=1), at, zone), at, zone)
    )


def save_status(settings: Settings, document: dict[str, Any]) -> None:
    """Write the document into the data folder, for when the database is unavailable.

    A full disk is ignored.
    """
    file = _get_memo(settings)
    part = file.with_name(f".{file.name}.part")
    try:
        part.write_text(json.dumps(document, default=str), encoding="utf-8")
        part.replace(file)
    except OSError:
        return


def _get_memo(settings: Settings) -> Path:
    return get_own_file(settings.store.folder, MEMO, url=settings.store.url)


def _without_store(
    settings: Settings, *, running: bool, sentence: str, now: datetime
) -> dict[str, Any]:
    remembered = _load_status(settings) if running else {}
    outside = gather_share_facts(settings, None, now=now)
    sources = [_source_to_json(s, None, is_online=outside.online[s.name]) for s in settings.sources]
    return {
        "version": version("martensight"),
        "running": running,
        "sources": remembered.get("sources") or sources,
        "states": {},
        "to_review": None,
        "bundle": remembered.get("bundle"),
        "rollout": None,
        "database": hide_passwords(
            store_url(settings.store.folder, settings.store.url).split("@")[-1]
        ),
        "next_report_at": next_report_at(settings, now).isoformat(),
        "jobs": [],
        "affected_orders": [],
        "notes": [],
        "problems": list(
            dict.fromkeys(
                [sentence, *_iter_disk_problems(settings.store.folder), *outside.problems]
            )
        ),
    }


def _load_status(settings: Settings) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(_get_memo(settings).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return document


def _source_to_json(
    source: Source, health: SourceHealth | None, *, is_online: bool
) -> dict[str, Any]:
    return {
        "name": source.name,
        "folder": str(source.folder),
        "mode": health.mode if health and health.mode else source.mode,
        "online": health.online if health and health.last_scan_at else is_online,
        "last_scan_at": health.last_scan_at.isoformat() if health and health.last_scan_at else None,
        "found_by_scan": health.found_by_scan if health else 0,
        "found_by_event": health.found_by_event if health else 0,
    }


def _iter_silence_problems(mine: AgentSeen | None, now: datetime) -> Iterator[str]:
    """Yield that the agent that runs here cannot write into the database."""
    if mine is None or mine.seen_at is None or mine.facts.get("stopped"):
        return
    if (now - mine.seen_at).total_seconds() > QUIET_AFTER_S:
        yield (
            "the running agent could not write to the database since "
            f"{mine.seen_at:%Y-%m-%d %H:%M:%S} UTC: another program may hold it locked, "
            "or its disk is full or read-only."
        )


def _iter_source_problems(
    sources: list[dict[str, Any]], by_source: dict[str, SourceHealth], *, running: bool
) -> Iterator[str]:
    if not sources:
        yield "no source is set: add a [[sources]] entry to agent.toml."
    for source in sources:
        health = by_source.get(source["name"])
        if running and health and health.problem:
            yield f"{source['name']}: {health.problem}"
        elif not source["online"]:
            yield f"{source['name']}: {source['folder']} cannot be reached"


def _iter_bundle_problems(settings: Settings, name: str | None) -> Iterator[str]:
    if name is None:
        yield "there is no bundle yet: every micrograph goes to review (agent train FOLDER)."
        return
    manifest = bundles_folder(settings) / name / "bundle.json"
    try:
        recipe = json.loads(manifest.read_text("utf-8"))["recipe"]
    except (OSError, ValueError, KeyError) as error:
        yield f"bundle {name}: {manifest} cannot be read ({error})."
        return
    if recipe != RECIPE:
        yield (
            f"bundle {name} was trained on crops of recipe {recipe}, and this version uses "
            f"recipe {RECIPE}. Run agent retrain."
        )


def _list_bundle_notes(settings: Settings, name: str | None) -> list[str]:
    """Return why the alarm rate of the bundle in use is uncertain: no one has to act on it now."""
    try:
        manifest = bundles_folder(settings) / (name or "") / "bundle.json"
        known = json.loads(manifest.read_text("utf-8"))["facts"]["strangeness"]
    except (OSError, ValueError, KeyError, TypeError):  # none in use, or a problem names it
        return []
    from model import alarm_rate_warnings  # noqa: PLC0415 - only a bundle needs it

    return alarm_rate_warnings(settings.strangeness.alpha, known)


def _iter_file_problems(counts: dict[str, int]) -> Iterator[str]:
    if failed := counts.get("failed", 0):
        files = format_count(
            failed,
            "file failed and is tried again by itself",
            "files failed and are tried again by themselves",
        )
        yield f"{files} (agent files --failed)."


def _iter_disk_problems(folder: Path) -> Iterator[str]:
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        yield f"{folder}: the data folder is not there."
        return
    if free < LOW_DISK_BYTES:
        yield f"{folder}: the disk is nearly full ({free / 1e6:.0f} MB are left)."
