"""Judge archived micrographs with another bundle, in a child of low priority; no result changes."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from agent.archive import Archive
from agent.retrain import Again, Gate, build_judge, reprocess
from agent.retrain.bundle_registry import get_bundle
from agent.service.composition import build_policy, collect_thresholds, load_bundle, open_store
from agent.service.folder.data_folder import clock
from agent.service.folder.lock import Lock
from agent.service.jobs.retrain import JOB
from agent.service.jobs.supervisor import run_supervised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from agent.retrain import Role, Step
    from agent.retrain.reprocessing import Judge
    from agent.settings import Settings
    from agent.store import Store


def open_judge(settings: Settings, bundle: str) -> Judge:
    """Return what judges micrographs of the lab with a bundle."""
    classifier = load_bundle(settings, bundle)
    return build_judge(
        Archive.open(settings.store),
        classifier,
        policy=build_policy(settings, classifier),
        thresholds=collect_thresholds(settings),
    )


def judge_archive(
    settings: Settings, *, bundle: str, role: Role, days: int | None
) -> Iterator[Step | Again]:
    """Judge what the bundle has not answered yet: the work of the child."""
    since = clock() - timedelta(days=days) if days is not None else None
    with open_store(settings) as store:
        judge = open_judge(settings, bundle)
        yield from reprocess(store, bundle, judge, role=role, since=since, now=clock)


def judge_in_child(
    settings: Settings,
    store: Store,
    *,
    bundle: str,
    role: Role,
    days: int | None,
    by: str,
    now: Callable[[], datetime] = clock,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[object]:
    """Judge archived micrographs with another bundle in a child.

    What it has answered already is left out, so that a run goes on where the last one ended.

    Args:
        settings: Of the lab.
        store: Open.
        bundle: Name of the bundle.
        role: Of the results.
        days: How many days back; None: everything.
        by: Who started it.
        now: Returns the time, aware UTC.
        should_stop: As in `run_supervised`.

    Yields:
        `Step`s, last an `Again`, which is in the audit log.

    Raises:
        BadBundle: There is none of this name.
        WrongUse: Another bundle is judging.
        ChildEnded: It failed.
        Cancelled: Its end was requested.
    """
    get_bundle(settings.store.folder, bundle)
    lock = Lock(
        settings.store.folder / "judge.lock",
        "micrographs are being judged again already{who}; agent status says how far that is.",
    )
    steps = run_supervised(
        partial(judge_archive, bundle=bundle, role=role, days=days),
        settings,
        store,
        name=role,
        lock=lock,
        by=by,
        now=now,
        ending=lambda again: ("done", describe_end(again, bundle, days)),
        should_stop=should_stop,
    )
    for news in steps:
        if isinstance(news, Again):
            note_end(store, news, bundle=bundle, role=role, days=days, by=by, now=now)
        yield news


def note_end(
    store: Store,
    again: Again,
    *,
    bundle: str,
    role: Role,
    days: int | None,
    by: str,
    now: Callable[[], datetime],
) -> None:
    """Record in the audit log that archived micrographs were judged."""
    facts = describe_end(again, bundle, days)
    store.audit_log.add(at=now(), actor=by, act=f"model.{role}ed", subject=bundle, facts=facts)


def describe_end(again: Again, bundle: str, days: int | None) -> dict[str, Any]:
    """Return the facts that are stored of a job at its end."""
    flips = sum(again.flips.values())
    return {"bundle": bundle, "days": days, "judged": again.judged, "flips": flips}


def find_waiting_candidate(store: Store) -> str | None:
    """Return which recommended candidate waits for a promotion; None where none does.

    A promotion of any bundle ends the waiting: the next candidate is compared with that one.
    """
    ended, promotions = store.jobs.list_ended(JOB), store.promotions.list_all()
    if not ended or not promotions:
        return None
    last = next((job for job in reversed(ended) if job.facts.get("candidate")), None)
    if last is None or last.outcome != Gate.RECOMMENDED:
        return None
    if last.ended_at is None or last.ended_at < promotions[0].promoted_at:
        return None
    return str(last.facts["candidate"])


def has_news(store: Store, bundle: str, *, since: datetime, now: datetime) -> bool:
    """Return whether micrographs were stored since that a bundle has not judged."""
    answered = {view.id for view in store.results.iter_by_bundle(bundle, since=since)}
    return any(view.id not in answered for view in store.results.list_between(since, now))
