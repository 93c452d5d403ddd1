"""Judge work units on a Ray cluster: actors with one classifier each pull the same units.

Ray starts actors and replaces those of a lost node. What is done is in the database alone: an
actor that dies leaves a unit whose lease ends.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from agent.bundle_registry import get_bundle
from agent.errors import WrongUse
from agent.retrain import Again, Step
from agent.service.composition import open_store
from agent.service.data_folder import clock
from agent.service.jobs.unit_pulling import build_worker, note_end, request_job
from agent.store import JobState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.retrain import Role, UnitWorker
    from agent.settings import Settings
    from agent.store import Store

LOOK_EVERY_S = 1.0
MAKE = build_worker


class UnitActor:
    """An actor that judges one unit per call; its classifier stays loaded between calls.

    Args:
        settings: Of the lab; its folders have the same path on each node.
        job_id: Number of the job.
        make: Makes its worker.
    """

    def __init__(
        self,
        settings: Settings,
        job_id: int,
        make: Callable[[Settings, Store], UnitWorker] = MAKE,
    ) -> None:
        self._store, self._job_id = open_store(settings), job_id
        self._worker = make(settings, self._store)

    def judge_next(self) -> str:
        """Judge the next unit and return how it ended; "" where there is none for this actor."""
        for end in self._worker.pull([self._job_id]):
            if end is not None:
                return str(end)
        return ""


def judge_on_ray(
    settings: Settings,
    store: Store,
    *,
    address: str,
    bundle: str,
    role: Role,
    days: int | None,
    by: str,
    workers: int = 0,
    make: Callable[[Settings, Store], UnitWorker] = MAKE,
) -> Iterator[Step | Again]:
    """Judge archived micrographs with another bundle on a Ray cluster.

    Args:
        settings: Of the lab.
        store: Open.
        address: Of the cluster, "auto" for the one that runs on this PC.
        bundle: Name of the bundle.
        role: Of the results.
        days: How many days back; None: everything.
        by: Who started it.
        workers: Actors, each with one processor; 0: one per two processors of the cluster.
        make: Makes the worker of an actor.

    Yields:
        `Step`s, last an `Again`, which is in the audit log.

    Raises:
        BadBundle: There is none of this name.
        WrongUse: Ray is missing or does not answer, or its nodes cannot share the database.
    """
    get_bundle(settings.store.folder, bundle)
    ray = _connect(address)
    try:
        _require_shared(ray, store)
        job = request_job(store, bundle=bundle, role=role, days=days, by=by, now=clock)
        while store.work_jobs.divide(job.id, unit=settings.work.unit, at=clock()):
            pass
        n = workers or max(int(ray.cluster_resources().get("CPU", 1)) // 2, 1)
        actor = ray.remote(num_cpus=1, max_restarts=-1)(UnitActor)
        actors = [actor.remote(settings, job.id, make) for _ in range(n)]
        for news in _drive(ray, store, actors, job.id):
            if isinstance(news, Again) and news.is_ended_here:
                note_end(store, news, job, by=by, now=clock)
            yield news
    except (KeyboardInterrupt, GeneratorExit):
        for unfinished in store.work_jobs.list_unfinished():
            if (unfinished.bundle, unfinished.role) == (bundle, role):
                store.work_jobs.pause(unfinished.id, by=by, at=clock())
        raise
    finally:
        ray.shutdown()


def _drive(ray: Any, store: Store, actors: list[Any], job_id: int) -> Iterator[Step | Again]:
    """Keep each actor at work until the job is at its end, or no actor finds a unit."""
    running = {actor.judge_next.remote(): actor for actor in actors}
    jobs = store.work_jobs
    while True:
        ready, _ = ray.wait(list(running), timeout=LOOK_EVERY_S)
        is_idle = False
        for call in ready:
            actor = running.pop(call)
            end = ""
            with contextlib.suppress(ray.exceptions.RayActorError):  # its node is gone
                end = ray.get(call)
            is_idle = is_idle or not end
            running[actor.judge_next.remote()] = actor
        is_ended_here = jobs.close_when_done(job_id, at=clock())
        progress = jobs.get_progress(job_id, at=clock())
        yield Step("reprocess", progress.done + progress.set_aside, progress.job.total)
        ahead = progress.units.get("working") or progress.units.get("waiting")
        if progress.job.state is not JobState.OPEN or (is_idle and not ahead):
            break
    yield Again.from_progress(progress, is_ended_here=is_ended_here)


def _connect(address: str) -> Any:
    try:
        import ray  # noqa: PLC0415 - an extra
        import ray.exceptions  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise WrongUse(
            "--ray needs one more package, on Linux: pip install 'martensight[ray]'."
        ) from error
    try:
        ray.init(address=address, log_to_driver=False, include_dashboard=None)
    except Exception as error:
        raise WrongUse(
            f"--ray {address}: no Ray cluster answers ({error}). Start one with: ray start --head"
        ) from error
    return ray


def _require_shared(ray: Any, store: Store) -> None:
    hosts = {node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    if store.kind == "sqlite" and len(hosts) > 1:
        raise WrongUse(
            f"The cluster has {len(hosts)} PCs, and SQLite serves one of them. Set [store] url to "
            "PostgreSQL."
        )
