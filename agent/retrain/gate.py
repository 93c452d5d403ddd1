"""Compare a candidate with the active bundle; a gate states the result in words and numbers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from agent.files.whole_file import write_whole
from agent.retrain.bundle_registry import get_record_folder
from agent.retrain.promotion import GATE_FILE, read_gate_record
from model import (
    UNTRAINED_PREFIX,
    Comparison,
    ComparisonOutcome,
    GateThresholds,
    PairedTestSet,
    Progress,
    compare_bundles,
    evaluate_pair,
    group_untrained,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from agent.retrain.training_set import Collected
    from model import Example, Taxonomy


class Gate(StrEnum):
    """Recommendation of the numbers; a lead decides."""

    RECOMMENDED = "recommended"
    NOT_RECOMMENDED = "not_recommended"
    NOT_ENOUGH_EVIDENCE = "not_enough_evidence"


_GATES = {
    ComparisonOutcome.BETTER: Gate.RECOMMENDED,
    ComparisonOutcome.NOT_WORSE: Gate.RECOMMENDED,
    ComparisonOutcome.WORSE: Gate.NOT_RECOMMENDED,
    ComparisonOutcome.NOT_ENOUGH_EVIDENCE: Gate.NOT_ENOUGH_EVIDENCE,
}


@dataclass(frozen=True, slots=True)
class Demands:
    """What the lab requires of a candidate.

    Args:
        rules: Floors, margins and allowances.
        limits: Limit in use → whether a structure code keeps it.
        alpha: False-alarm rate from the settings, in (0, 1).
    """

    rules: GateThresholds = field(default_factory=GateThresholds)
    limits: Mapping[str, Callable[[str], bool]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    alpha: float = 0.02


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a retraining.

    Args:
        gate: Recommendation of the numbers.
        finding: The same, distinguishing better from not worse.
        sentence: Why, for a reader.
        candidate: The candidate's name, or "" where none was trained.
        current: The active bundle, or "".
        numbers: Everything the sentence rests on; every check under "checks".
    """

    gate: Gate
    finding: ComparisonOutcome
    sentence: str
    candidate: str
    current: str
    numbers: dict[str, Any]


def build_outcome(
    finding: ComparisonOutcome,
    sentence: str,
    *,
    candidate: str,
    current: str,
    numbers: dict[str, Any],
) -> Outcome:
    """Build an outcome, with the gate that follows from a finding."""
    return Outcome(_GATES[finding], finding, sentence, candidate, current, numbers)


def evaluate_candidate(
    current: Path, candidate: Path, collected: Collected, demands: Demands | None
) -> Iterator[Progress[None] | Comparison]:
    """Compare two bundles on the candidate's test images that neither was trained on.

    Both are compared as they were tested, before their heads learned from those images too.

    Images of codes that neither was trained on, and those that reviewers called unusual, are
    evaluated too: both must flag them. So are those that reviewers once corrected, trained on or
    not.

    Args:
        current: Folder of the active bundle.
        candidate: Folder of the other one.
        collected: Has the images.
        demands: What the lab requires.

    Yields:
        `Progress`, last a `Comparison`.
    """
    from model import Classifier  # noqa: PLC0415 - PyTorch takes seconds

    demands = demands or Demands()
    first, second = (
        Classifier.load(folder, alpha=demands.alpha, as_tested=True)
        for folder in (current, candidate)
    )
    tested = set(second.manifest.split["test"]) - first.learned_from
    matter = PairedTestSet(
        examples=tuple(e for e in collected.examples if e.key in tested),
        strange=_must_be_flagged(collected, first.taxonomy, second.taxonomy),
        corrected=tuple(e for e in collected.examples if e.key in collected.corrected),
        vouched=collected.vouched,
        limits=demands.limits,
    )
    for step in evaluate_pair(first, second, matter):
        yield Progress(step.stage, step.done, step.total, candidate.name)
        if step.result is not None:
            yield compare_bundles(step.result, demands.rules)


def _must_be_flagged(
    collected: Collected, current: Taxonomy, candidate: Taxonomy
) -> dict[str, tuple[Example, ...]]:
    untaught = {
        kind: tuple(examples)
        for kind, examples in group_untrained(collected.examples, candidate).items()
        if kind.removeprefix(UNTRAINED_PREFIX) not in current.trained_codes
    }
    return untaught | dict(collected.strange)


# --- the record ---------------------------------------------------------------------------------


def save_outcome(bundle: Path, outcome: Outcome) -> None:
    """Save an outcome in the candidate's record."""
    content = json.dumps(asdict(outcome), indent=1, ensure_ascii=False)
    get_record_folder(bundle).mkdir(exist_ok=True)
    write_whole({get_record_folder(bundle) / GATE_FILE: content.encode()})


def load_outcome(bundle: Path) -> Outcome | None:
    """Load the outcome in a bundle's record.

    Returns:
        None where the bundle was never compared with another.

    Raises:
        UnusableBundleError: The record is broken; the bundle's answers do not depend on it.
    """
    return read_gate_record(bundle, _parse_outcome)


def _parse_outcome(facts: dict[str, Any]) -> Outcome:
    gate, finding = Gate(facts.pop("gate")), ComparisonOutcome(facts.pop("finding"))
    return Outcome(gate=gate, finding=finding, **facts)
