"""Judge archived micrographs again on a Ray cluster: a task for each few dozen of them.

Ray repeats the task of a lost node. What is done are the answers in the database, so a repeated
task finds those of the first one.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from agent.errors import WrongUse
from agent.retrain import Again, Step, judge_patiently
from agent.retrain.bundle_registry import get_bundle
from agent.service.composition import open_store
from agent.service.folder.data_folder import clock
from agent.service.jobs.shadow import note_end, open_judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from agent.retrain import Role
    from agent.retrain.reprocessing import Judge
    from agent.settings import Settings
    from agent.store import Store

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
) -> Iterator[Step | Again]:
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
        `Step`s, last an `Again`, which is in the audit log.

    Raises:
        BadBundle: There is none of this name.
        WrongUse: Ray is missing or does not answer, or its nodes cannot share the database.
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
            yield Step("reprocess", again.done, len(left))
        note_end(store, again, bundle=bundle, role=role, days=days, by=by, now=clock)
        yield again
    finally:
        ray.shutdown()


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
