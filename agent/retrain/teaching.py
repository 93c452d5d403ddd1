"""Teach a candidate and hold it against the bundle at work; a gate says why or why not.

In:  `Collected` cases, the bundle at work. Out: an `Outcome` with its numbers. Next: a person, who
promotes or does not. Nothing here promotes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import structlog

from agent.imaging.crop import RECIPE
from agent.retrain.progress import Step
from model import (
    NOT_TAUGHT,
    Classifier,
    Plan,
    compare,
    evaluate,
    not_taught,
    read_manifest,
    taxonomy_from,
    train,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from agent.retrain.cases import Collected
    from model import Comparison, Example, Manifest, Progress

log = structlog.get_logger()


class Gate(StrEnum):
    """What the numbers say; a person decides."""

    RECOMMENDED = "recommended"
    NOT_RECOMMENDED = "not_recommended"
    NOT_ENOUGH_EVIDENCE = "not_enough_evidence"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a retraining ended.

    Args:
        gate: What the numbers say. sentence: why, for a person.
        candidate: The candidate's name, or "" where none was trained.
        current: The bundle at work, or "".
        numbers: Everything the sentence rests on.
    """

    gate: Gate
    sentence: str
    candidate: str
    current: str
    numbers: dict[str, Any]


def plan_of(manifest: Manifest, *, epochs: int = 0) -> Plan:
    """Say how a bundle was taught, to teach the next one the same way.

    Args:
        manifest: Of the bundle.
        epochs: Another number of epochs, 0 for the bundle's own.
    """
    known = set(Plan.__dataclass_fields__) - {"taxonomy", "weights"}
    said = {name: value for name, value in manifest.facts["plan"].items() if name in known}
    lists = {name: tuple(value) for name, value in said.items() if isinstance(value, list)}
    asked = {"epochs": epochs} if epochs else {}
    wanted = manifest.facts.get("taxonomy")  # with the codes that had no image then
    taxonomy = taxonomy_from(wanted) if wanted else manifest.taxonomy
    return Plan(taxonomy=taxonomy, **{**said, **lists, **asked})


def retrain(
    collected: Collected,
    *,
    current: Path,
    plan: Plan,
    bundles: Path,
    min_new: int,
    now: datetime,
    may_lose: float = 0.01,
) -> Iterator[Step | Outcome]:
    """Teach a candidate and hold it against the bundle at work, on images neither learned from.

    Args:
        collected: What there is to learn from.
        current: The folder of the bundle at work.
        plan: How to teach.
        bundles: Where the candidate is put.
        min_new: With fewer new labels than this nothing is taught.
        now: Aware UTC.
        may_lose: Share of the test images that a recommended candidate may lose on balance.

    Yields:
        `Step`s, last an `Outcome`.
    """
    manifest = read_manifest(current)
    new = collected.new_since(manifest)
    if len(new) < min_new:
        yield _too_few(len(new), min_new, manifest)
        return
    candidate: Path | None = None
    for progress in train(
        collected.examples, plan, bundles, kept=manifest.split, recipe=RECIPE, now=now
    ):
        candidate = progress.bundle or candidate
        yield _step(progress)
    if candidate is None:
        raise RuntimeError("training ended without a bundle")
    steps: list[Step] = []
    comparison = held_against(current, candidate, collected.examples, steps, may_lose=may_lose)
    yield from steps
    outcome = _outcome(comparison, candidate.name, manifest.name, len(new))
    log.info("model.trained", bundle=candidate.name, current=manifest.name, gate=str(outcome.gate))
    yield outcome


def _step(progress: Progress) -> Step:
    return Step(progress.stage, progress.done, progress.total, progress.note)


def _too_few(new: int, min_new: int, manifest: Manifest) -> Outcome:
    sentence = (
        f"Not enough evidence: {new} new label{'s' if new != 1 else ''} since {manifest.name}, "
        f"at least {min_new} are wanted (retrain.min_new_labels)."
    )
    return Outcome(Gate.NOT_ENOUGH_EVIDENCE, sentence, "", manifest.name, {"new_labels": new})


def held_against(
    current: Path,
    candidate: Path,
    examples: Sequence[Example],
    steps: list[Step],
    *,
    may_lose: float = 0.01,
) -> Comparison:
    """Judge two bundles on the candidate's test images that neither learned from.

    Images of codes that neither was taught are looked at too: both must flag them.

    Args:
        current: Folder of the bundle at work.
        candidate: Folder of the other one.
        examples: Where the images are.
        steps: What was done is appended here.
        may_lose: Share of the test images that a recommended candidate may lose on balance.
    """
    manifest = read_manifest(candidate)
    tested = set(manifest.split["test"])
    unseen = [example for example in examples if example.key in tested]
    taught = set(read_manifest(current).taxonomy.trained_codes)
    untaught = {
        kind: some
        for kind, some in not_taught(examples, manifest.taxonomy).items()
        if kind.removeprefix(NOT_TAUGHT) not in taught
    }
    found = []
    for name in (current, candidate):
        classifier = Classifier.load(name)
        found.append(evaluate(classifier, unseen, strange=untaught))
        steps.append(Step("comparison", len(found), 2, name.name))
    return compare(found[0], found[1], may_lose=may_lose)


def _outcome(comparison: Comparison, candidate: str, current: str, new: int) -> Outcome:
    gate = Gate.RECOMMENDED if comparison.recommend else Gate.NOT_RECOMMENDED
    if comparison.sentence.startswith("Not enough evidence"):
        gate = Gate.NOT_ENOUGH_EVIDENCE
    numbers = {**comparison.numbers, "new_labels": new}
    return Outcome(gate, comparison.sentence, candidate, current, numbers)
