"""List, pause, resume and cancel jobs of `agent reprocess`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.cli import console
from agent.cli.signing import os_user
from agent.errors import WrongUse

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.store import Store, WorkProgress


def print_jobs(store: Store, bundle: str, *, json: bool) -> None:
    """Print the progress of the newest jobs, of one bundle or of all."""
    from agent.service.data_folder import clock
    from agent.service.work_status import describe_work

    progresses = [
        progress
        for progress in store.work_jobs.list_progress(at=clock())
        if not bundle or progress.job.bundle == bundle
    ]
    if json:
        console.print_json({"work": [describe_work(progress) for progress in progresses]})
        return
    if not progresses:
        console.out.print("There is no job. Start one with: agent reprocess --bundle NAME")
    for progress in progresses:
        console.out.print(format_job(progress), markup=False)
        for fault in progress.faults:
            console.out.print(
                f"    unit {fault.unit_id}, {fault.state}: {fault.reason}", markup=False
            )


def format_job(progress: WorkProgress) -> str:
    """Return one line about a job."""
    job = progress.job
    parts = [f"{job.bundle} ({job.role}): {job.state}, {progress.done} of {job.total} micrographs"]
    if progress.rate_per_s and progress.left_s is not None:
        parts.append(
            f"{progress.rate_per_s * 3600:.0f} per hour, {_format_left(progress.left_s)} left"
        )
    if progress.set_aside:
        parts.append(f"{progress.set_aside} set aside")
    if progress.agents:
        parts.append(f"in work on {', '.join(progress.agents)}")
    if progress.waits_for:
        parts.append(f"crops on {', '.join(progress.waits_for)}")
    return ", ".join(parts)


def _format_left(left_s: float) -> str:
    minutes = round(left_s / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"  # noqa: PLR2004 - minutes of an hour


def pause_jobs(store: Store, bundle: str, *, json: bool) -> None:
    """Pause the unfinished jobs of a bundle, or all."""
    _act(store, bundle, store.work_jobs.pause, "paused", json=json)


def resume_jobs(store: Store, bundle: str, *, json: bool) -> None:
    """Resume the jobs of a bundle, or all, and queue units again that were set aside."""
    _act(store, bundle, store.work_jobs.resume, "resumed", json=json)


def cancel_jobs(store: Store, bundle: str, *, json: bool) -> None:
    """Cancel the unfinished jobs of a bundle, or all."""
    _act(store, bundle, store.work_jobs.cancel, "cancelled", json=json)


def _act(
    store: Store, bundle: str, act: Callable[..., bool], participle: str, *, json: bool
) -> None:
    from agent.service.data_folder import clock

    changed: list[dict[str, Any]] = []
    for progress in store.work_jobs.list_progress(at=clock()):
        job = progress.job
        if bundle in ("", job.bundle) and act(job.id, by=os_user(), at=clock()):
            changed.append({"id": job.id, "bundle": job.bundle, "role": job.role})
    if not changed:
        raise WrongUse(f"No job can be {participle}. See agent reprocess --list.")
    if json:
        console.print_json({participle: changed})
        return
    for job_facts in changed:
        console.out.print(
            f"{job_facts['bundle']} ({job_facts['role']}): {participle}.", markup=False
        )
