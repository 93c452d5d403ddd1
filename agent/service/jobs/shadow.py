"""Judge archived micrographs with another bundle, in a child of low priority; no result changes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from agent.bundle_registry import get_bundle
from agent.retrain import Again, Gate, attend
from agent.service.composition import open_store
from agent.service.data_folder import clock
from agent.service.jobs.retrain import JOB
from agent.service.jobs.supervisor import Cancelled, run_supervised
from agent.service.jobs.unit_pulling import build_worker, describe_end, note_end, request_job
from agent.service.lock import Lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from agent.retrain import Role, Step
    from agent.settings import Settings
    from agent.store import Store


def judge_job(settings: Settings, *, job_id: int) -> Iterator[Step | Again]:
    """Work on a job of work units until it is at its end: the work of the child."""
    with open_store(settings) as store:
        yield from attend(build_worker(settings, store), job_id)


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
    """Judge archived micrographs with another bundle in a child, which shares units with others.

    An unfinished job of the same bundle, role and days is continued. A keyboard interrupt pauses
    it, so that no other agent goes on with it.

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
    with lock:  # refused before there is a job
        job = request_job(store, bundle=bundle, role=role, days=days, by=by, now=now)
    steps = run_supervised(
        partial(judge_job, job_id=job.id),
        settings,
        store,
        name=role,
        lock=lock,
        by=by,
        now=now,
        ending=lambda again: (again.state, describe_end(again, bundle, days)),
        should_stop=should_stop,
    )
    try:
        for news in steps:
            if isinstance(news, Again) and news.is_ended_here:
                note_end(store, news, job, by=by, now=now)
            yield news
    except (KeyboardInterrupt, GeneratorExit):
        store.work_jobs.pause(job.id, by=by, at=now())
        raise
    except Cancelled:
        store.work_jobs.cancel(job.id, by=by, at=now())
        raise


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
