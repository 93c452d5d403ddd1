"""JSON of a job of work units, as `agent status` and `agent reprocess --list` print it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.store import WorkProgress


def describe_work(progress: WorkProgress) -> dict[str, Any]:
    """Return how far a job of work units is."""
    job = progress.job
    rate = progress.rate_per_s
    return {
        "id": job.id,
        "bundle": job.bundle,
        "role": job.role,
        "days": job.days,
        "state": str(job.state),
        "by": job.by,
        "acted_by": job.acted_by,
        "started_at": job.created_at.isoformat(),
        "ended_at": job.ended_at.isoformat() if job.ended_at else None,
        "done": progress.done,
        "total": job.total,
        "judged": progress.judged,
        "known": job.known + progress.known,
        "lost": progress.lost,
        "unreadable": progress.unreadable,
        "flagged": progress.flagged,
        "set_aside": progress.set_aside,
        "units": dict(progress.units),
        "rate_per_h": round(rate * 3600, 1) if rate else None,
        "left_s": round(progress.left_s) if progress.left_s is not None else None,
        "agents": list(progress.agents),
        "waits_for": list(progress.waits_for),
        "failures": [
            {
                "unit": fault.unit_id,
                "state": fault.state,
                "micrographs": fault.n,
                "failures": fault.failures,
                "reason": fault.reason,
            }
            for fault in progress.faults
        ],
    }
