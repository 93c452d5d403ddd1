"""Judge archived micrographs with another bundle, in a child or on a Ray cluster.

Ray repeats the task of a lost node. What is done are the answers in the database, so a repeated
task finds those of the first one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from agent.archive import Archive
from agent.errors import UsageError
from agent.retrain import Again, Gate, Role, build_judge, judge_patiently, reprocess
from agent.retrain.bundle_registry import get_bundle
from agent.retrain.reprocessing import Judge
from agent.service.composition import build_policy, collect_thresholds, load_bundle, open_store
from agent.service.data_folder import Lock, clock
from agent.service.jobs.retrain import JOB
from agent.service.jobs.supervisor import run_supervised
from agent.settings import Settings
from agent.store import Store
from model import Progress


def open_judge(settings: Settings, bundle: str) -> Judge:
    """Return what judges micrographs of the lab with a bundle."""
    classifier = load_bundle(settings, bundle)
    return build_judge(
        Archive.open(settings),
        classifier,
        policy=build_policy(settings, classifier),
        thresholds=collect_thresholds(settings),
    )


def judge_archive(
    settings: Settings, *, bundle: str, role: Role, days: int | None
) -> Iterator[Progress[None] | Again]:
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
        `Progress`, last an `Again`, which is in the audit log.

    Raises:
        UnusableBundleError: There is none of this name.
        UsageError: Another bundle is judging.
        ChildEndedError: It failed.
        JobCancelledError: Its end was requested.
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


LOOK_EVERY_S = 1.0
PART = 64
"""Micrographs of a task: a minute of one processor."""


_judges: dict[tuple[str, str], Judge] = {}
"""What a process of Ray has loaded."""


def judge_part(
    settings: Settings,
    bundle: str,
    role: Role,
    numbers: Sequence[int],
    make: Callable[[Settings, str], Judge],
) -> Again:
    """Judge the micrographs of a task; Ray's process keeps what it loaded for the next one."""
    key = (str(settings.store.folder), bundle)
    if key not in _judges:
        _judges.clear()  # a bundle is hundreds of MB
        _judges[key] = make(settings, bundle)
    with open_store(settings) as store:
        return judge_patiently(store, _judges[key], numbers, role=role, now=clock)


def judge_on_ray(
    settings: Settings,
    store: Store,
    *,
    address: str,
    bundle: str,
    role: Role,
    days: int | None,
    by: str,
    part: int = PART,
    make: Callable[[Settings, str], Judge] = open_judge,
) -> Iterator[Progress[None] | Again]:
    """Judge archived micrographs with another bundle on a Ray cluster.

    Args:
        settings: Of the lab; its folders have the same path on each node.
        store: Open.
        address: Of the cluster, "auto" for the one that runs on this PC.
        bundle: Name of the bundle.
        role: Of the results.
        days: How many days back; None: everything.
        by: Who started it.
        part: Micrographs of a task.
        make: Returns what judges with the bundle, in a process of Ray.

    Yields:
        `Progress`, last an `Again`, which is in the audit log.

    Raises:
        UnusableBundleError: There is none of this name.
        UsageError: Ray is missing or does not answer, or its nodes cannot share the database.
    """
    get_bundle(settings.store.folder, bundle)
    ray = _connect(address)
    try:
        _require_shared(ray, store)
        since = clock() - timedelta(days=days) if days is not None else None
        left, known = store.results.list_unanswered(bundle, since=since)
        again = Again(known=known)
        task = ray.remote(num_cpus=1, max_retries=-1)(judge_part)
        most = 2 * max(int(ray.cluster_resources().get("CPU", 1)), 1)
        parts = [left[start : start + part] for start in range(0, len(left), part)]
        running: list[Any] = []
        while parts or running:
            while parts and len(running) < most:
                running.append(task.remote(settings, bundle, role, parts.pop(0), make))
            ready, running = ray.wait(running, timeout=LOOK_EVERY_S)
            for call in ready:
                again.add(ray.get(call))
            yield Progress("reprocess", again.done, len(left))
        note_end(store, again, bundle=bundle, role=role, days=days, by=by, now=clock)
        yield again
    finally:
        ray.shutdown()


def _connect(address: str) -> Any:
    try:
        import ray  # noqa: PLC0415 - an extra
        import ray.exceptions  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise UsageError(
            "--ray needs one more package, on Linux: pip install 'martensight[ray]'."
        ) from error
    try:
        ray.init(address=address, log_to_driver=False, include_dashboard=None)
    except Exception as error:
        raise UsageError(
            f"--ray {address}: no Ray cluster answers ({error}). Start one with: ray start --head"
        ) from error
    return ray


def _require_shared(ray: Any, store: Store) -> None:
    hosts = {node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    if store.kind == "sqlite" and len(hosts) > 1:
        raise UsageError(
            f"The cluster has {len(hosts)} PCs, and SQLite serves one of them. Set [store] url to "
            "PostgreSQL."
        )
