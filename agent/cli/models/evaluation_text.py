"""Words and tables of an evaluation and of a gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.cli import console
from agent.errors import AgentError, UsageError
from agent.terminal import format_count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.retrain import Outcome
    from agent.settings import Settings
    from agent.store import Job, Store

NUMBERS = {
    "kappa": "size agreement beyond chance (quadratic kappa)",
    "nll": "negative log-likelihood of the true code (NLL)",
    "ece": "calibration error (ECE)",
}


def format_share(estimate: dict[str, float | None], n: int | None = None) -> str:
    """Return a share with its 95 % interval: "91.3 % (86.8 to 94.4 %, n = 160)"."""
    value, low, high = estimate["value"], estimate["low"], estimate["high"]
    if value is None or low is None or high is None:
        return "no cases"
    counted = f", n = {n}" if n is not None else ""
    return f"{100 * value:.1f} % ({100 * low:.1f} to {100 * high:.1f} %{counted})"


def format_lacking(metrics: Mapping[str, Any]) -> str:
    """Return the trained codes of which nothing was tested: "M7, M8"."""
    return ", ".join(code for code, row in metrics["per_code"].items() if not row["n"])


def print_evaluation(document: dict[str, Any]) -> None:
    """Print an evaluation; limits come first, since parts are judged by them."""
    from agent.retrain import estimate

    n = document["n"]
    left_out = document["seen_in_training"]
    training = (
        f" ({left_out} more were left out: the bundle was trained on them)" if left_out else ""
    )
    console.out.print(
        f"bundle {document['bundle']} on {format_count(n, 'micrograph')}{training}", markup=False
    )
    if not n and left_out and not document["strange"]:
        console.out.print(
            f"Its figures on its own test images: agent models show {document['bundle']}",
            markup=False,
        )
        return
    console.table(
        ("limit", "wrongly called conforming", "wrongly called not conforming"),
        [
            (name, _bound(both["false_conform"]), _bound(both["false_nonconform"]))
            for name, both in document["limits"].items()
        ],
    )
    names = {
        "accuracy": "structure code right",
        "within_one_size": "within one size",
        "macro_f1": "macro-F1",
        "coverage": "prediction sets that contain the true code",
    }
    rows = [(title, format_share(document[key])) for key, title in names.items()]
    rows += [(title, _with_interval(estimate(document, key))) for key, title in NUMBERS.items()]
    rows += [
        ("subtype right", format_share(document["per_stage"]["subtype"])),
        *(
            (f"size right in {subtype}", format_share(row, row.get("n")))
            for subtype, row in document["per_stage"]["size"].items()
        ),
        ("flagged as unusual", format_share(document["false_alarm_rate"])),
    ]
    console.table(("measure", "value (95 % interval)"), rows)
    console.table(
        ("true code", "n", "right", "in the prediction set", "codes in a set"),
        [
            (code, n, row["right"], row["covered"], f"{row['members'] / n:.1f}")
            for code, row in document["per_code"].items()
            if (n := row["n"])
        ],
    )
    if lacking := format_lacking(document):
        console.out.print(f"Not tested, as no micrograph shows it: {lacking}", markup=False)
    _print_confusion(document["confusion"]["codes"], document["confusion"]["rows_predicted"])
    for stage, row in document["stage_confusions"].items():
        console.out.print(stage.replace("size:", "sizes of "), markup=False)
        _print_confusion(row["classes"], row["rows_predicted"])
    _print_slices(document["slices"])
    if document["strange"]:
        console.table(
            ("unusual kind", "n", "flagged (95 % interval)", "AUROC (95 % interval)"),
            [
                (
                    kind,
                    row["n"],
                    format_share(_estimate(row["tpr_at_alpha"], row["tpr_interval"])),
                    _with_interval(_estimate(row["auroc"], row["auroc_interval"])),
                )
                for kind, row in document["strange"].items()
            ],
        )


def _bound(row: dict[str, Any]) -> str:
    upper = row["upper95"]
    at_most = f", at most {100 * upper:.1f} %" if upper is not None else ""
    return f"{row['wrong']} of {row['n']}{at_most}"


def _estimate(value: float | None, interval: Sequence[float | None]) -> dict[str, float | None]:
    return {"value": value, "low": interval[0], "high": interval[1]}


def _with_interval(row: Mapping[str, float | None]) -> str:
    """Return a number with its interval: "0.91 (0.86 to 0.95)"."""
    value, low, high = row["value"], row["low"], row["high"]
    if value is None:
        return "no cases"
    return (
        f"{value:.2f}" if low is None or high is None else f"{value:.2f} ({low:.2f} to {high:.2f})"
    )


def _print_confusion(classes: Sequence[str], rows: Sequence[Sequence[int]]) -> None:
    console.table(
        ("predicted \\ true", *classes),
        [(name, *(count or "" for count in row)) for name, row in zip(classes, rows, strict=True)],
    )


def _print_slices(slices: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the accuracy by process data, for columns with more than one value."""
    rows = [
        (f"{key} {value}", row["n"], format_share(row), format_share(row["within_one_size"]))
        for key, values in slices.items()
        if len(values) > 1
        for value, row in values.items()
    ]
    if rows:
        console.table(("only", "n", "structure code right", "within one size"), rows)


def explain_last_verdict(settings: Settings, store: Store, *, json: bool) -> None:
    """Print how the last retraining ended; nothing is started.

    Args:
        settings: Of the lab.
        store: Open.
        json: As one document instead of sentences.

    Raises:
        UsageError: No retraining has ended yet.
    """
    from agent.service.jobs.retrain import JOB

    ended = store.jobs.list_ended(JOB)
    if not ended:
        raise UsageError("no retraining has ended yet; agent retrain starts one.")
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
