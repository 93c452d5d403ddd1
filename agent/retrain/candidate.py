"""Train a candidate and compare it with the active bundle.

Nothing here promotes: a lead does, or does not.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import structlog

from agent.retrain.gate import Demands, Outcome, build_outcome, evaluate_candidate, save_outcome
from agent.retrain.label_suggestions import Cleaned, clean_labels
from agent.retrain.pseudo_labels import PseudoLabelled
from agent.retrain.training_set import Collected
from agent.settings.root import RECIPE
from model import (
    ComparisonOutcome,
    FeatureCache,
    Manifest,
    Progress,
    TrainingConfig,
    read_manifest,
    read_training_labels,
    taxonomy_from,
    train,
)

log = structlog.get_logger()

T = TypeVar("T")


def get_training_config(manifest: Manifest, *, epochs: int = 0) -> TrainingConfig:
    """Return the training configuration of a bundle, to train the next one in the same way.

    Args:
        manifest: Of the bundle.
        epochs: Another number of epochs, 0 for the bundle's own.
    """
    known = set(TrainingConfig.__dataclass_fields__) - {"taxonomy", "weights"}
    values = {name: value for name, value in manifest.facts["plan"].items() if name in known}
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    overrides = {"epochs": epochs} if epochs else {}
    document = manifest.facts.get("taxonomy")  # with the codes that had no image then
    taxonomy = taxonomy_from(document) if document else manifest.taxonomy
    return TrainingConfig(taxonomy=taxonomy, **{**values, **lists, **overrides})


def retrain(
    collected: Collected,
    *,
    current: Path,
    plan: TrainingConfig,
    bundles: Path,
    min_new: int,
    now: datetime,
    demands: Demands | None = None,
    leave_out_doubted: bool = True,
    pseudo: PseudoLabelled | None = None,
    features: FeatureCache | None = None,
) -> Iterator[Progress[None] | Outcome]:
    """Train a candidate and compare it with the active bundle, on images neither was trained on.

    Args:
        collected: Labelled micrographs.
        current: The folder of the active bundle.
        plan: Training configuration.
        bundles: Folder in which the candidate is written.
        min_new: With fewer new or changed labels than this nothing is trained.
        now: Aware UTC.
        demands: What the lab requires of a candidate.
        leave_out_doubted: Whether suspect labels are left out.
        pseudo: The model's own answers, trained on too, never tested on.
        features: Keeps what frozen networks compute of a crop, or None.

    Yields:
        `Progress`, last an `Outcome`.
    """
    demands = demands or Demands()
    manifest = read_manifest(current)
    if pseudo and not pseudo.audit.passed:
        yield _unaudited(pseudo, manifest)
        return
    taught = read_training_labels(current)
    if (n := len(collected.news_to(manifest, taught))) < min_new:
        yield _too_few(n, min_new, manifest)
        return
    clean = yield from _forward_steps(
        clean_labels(
            collected,
            current,
            leave_out=leave_out_doubted,
            alpha=demands.alpha,
            several_subtypes=plan.taxonomy.several_subtypes,
        )
    )
    collected = clean.collected
    new = collected.news_to(manifest, taught)
    if len(new) < min_new:
        yield _too_few(len(new), min_new, manifest, clean)
        return
    candidate: Path | None = None
    for progress in train(
        (*collected.for_training(manifest), *(pseudo.examples if pseudo else ())),
        plan,
        bundles,
        kept=_fix_sides(collected, manifest, pseudo),
        tested_only=collected.control,
        features=features,
        recipe=RECIPE,
        now=now,
    ):
        candidate = progress.result or candidate
        yield Progress(progress.stage, progress.done, progress.total, progress.note)
    if candidate is None:
        raise RuntimeError("training ended without a bundle")
    comparison = yield from _forward_steps(
        evaluate_candidate(current, candidate, collected, demands)
    )
    outcome = build_outcome(
        comparison.finding,
        _with_doubts(comparison.sentence, clean),
        candidate=candidate.name,
        current=manifest.name,
        numbers={
            **comparison.numbers,
            "new_labels": len(new),
            **_doubts_to_json(clean),
            **({"pseudo_labels": pseudo.as_json()} if pseudo else {}),
        },
    )
    save_outcome(candidate, outcome)
    log.info("model.trained", bundle=candidate.name, current=manifest.name, gate=str(outcome.gate))
    yield outcome


def _forward_steps(steps: Iterator[Progress[None] | T]) -> Generator[Progress[None], None, T]:
    """Pass steps on, and return the result that follows them."""
    for step in steps:
        if not isinstance(step, Progress):
            return step
        yield step
    raise RuntimeError("a long job ended without saying how")


def _fix_sides(
    collected: Collected, manifest: Manifest, pseudo: PseudoLabelled | None
) -> dict[str, tuple[str, ...]]:
    """Return the split side that images already have; pseudo-labelled ones are only trained on."""
    kept = collected.sides(manifest)
    own = tuple(example.key for example in pseudo.examples) if pseudo else ()
    return kept | {"train": (*kept.get("train", ()), *own)}


def _unaudited(pseudo: PseudoLabelled, manifest: Manifest) -> Outcome:
    return build_outcome(
        ComparisonOutcome.NOT_ENOUGH_EVIDENCE,
        f"Pseudo-labels are not used: {pseudo.audit.sentence()}",
        candidate="",
        current=manifest.name,
        numbers={"pseudo_labels": pseudo.as_json()},
    )


def _too_few(new: int, min_new: int, manifest: Manifest, clean: Cleaned | None = None) -> Outcome:
    sentence = (
        f"Not enough evidence: {new} new or changed label{'s' if new != 1 else ''} since "
        f"{manifest.name}, "
        f"at least {min_new} are wanted (retrain.min_new_labels)."
    )
    return build_outcome(
        ComparisonOutcome.NOT_ENOUGH_EVIDENCE,
        _with_doubts(sentence, clean),
        candidate="",
        current=manifest.name,
        numbers={"new_labels": new, **_doubts_to_json(clean)},
    )


def _with_doubts(sentence: str, clean: Cleaned | None) -> str:
    suspects = clean.sentence() if clean else ""
    return f"{sentence} Suspect labels, to be reviewed again: {suspects}." if suspects else sentence


def _doubts_to_json(clean: Cleaned | None) -> dict[str, Any]:
    return {"doubted": [asdict(issue) for issue in clean.doubts]} if clean else {}
