"""How a retraining ended: the gate's verdict, check by check, for people and programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.cli import console
from agent.errors import AgentError, WrongUse

if TYPE_CHECKING:
    from agent.retrain import Outcome
    from agent.settings import Settings
    from agent.store import Job, Store


def explain_last_verdict(settings: Settings, store: Store, *, json: bool) -> None:
    """Print how the last retraining ended; nothing is started.

    Args:
        settings: Of the lab.
        store: Open.
        json: As one document instead of sentences.

    Raises:
        WrongUse: No retraining has ended yet.
    """
    from agent.service.jobs.retrain import JOB

    ended = store.jobs.list_ended(JOB)
    if not ended:
        raise WrongUse("no retraining has ended yet; agent retrain starts one.")
    outcome = _load_outcome(settings, str(ended[-1].facts.get("candidate") or ""))
    if json:
        console.print_json(outcome_to_json(outcome) if outcome else _job_json(ended[-1]))
        return
    at = f"{ended[-1].ended_at:%Y-%m-%d %H:%M} UTC" if ended[-1].ended_at else ""
    sentence = outcome.sentence if outcome else _job_json(ended[-1])["sentence"]
    console.out.print(f"{at}: {sentence}", markup=False)
    if outcome:
        print_checks(outcome)


def _load_outcome(settings: Settings, candidate: str) -> Outcome | None:
    """Return the outcome that a candidate's folder keeps; None without a candidate."""
    from agent.retrain import load_outcome
    from agent.retrain.bundle_registry import get_bundle

    if not candidate:
        return None
    try:
        return load_outcome(get_bundle(settings.store.folder, candidate))
    except AgentError:
        return None  # the candidate was deleted; what the job recorded is what is known


def _job_json(job: Job) -> dict[str, Any]:
    """Return what the job alone recorded, with the keys of `outcome_to_json`."""
    return {
        "gate": job.outcome,
        "outcome": job.outcome,
        "sentence": str(job.facts.get("sentence") or job.outcome),
        "candidate": str(job.facts.get("candidate") or ""),
        "current": str(job.facts.get("current") or ""),
        "numbers": {},
    }


def outcome_to_json(outcome: Outcome) -> dict[str, Any]:
    """Return the outcome of a retraining as JSON."""
    return {
        "gate": str(outcome.gate),
        "outcome": str(outcome.finding),
        "sentence": outcome.sentence,
        "candidate": outcome.candidate,
        "current": outcome.current,
        "numbers": outcome.numbers,
    }


def print_checks(outcome: Outcome) -> None:
    """Print the result of every check of the gate."""
    console.table(
        ("check", "", "result"),
        [
            (check["name"].replace("_", " "), "" if check["passed"] else "no", check["sentence"])
            for check in outcome.numbers.get("checks", ())
        ],
    )
