"""Hold a candidate against the bundle at work; a gate says why or why not, in words and numbers.

In:  two bundles, `Collected` cases, what the lab asks. Out: an `Outcome`, kept in the candidate's
record. Next: a person, who promotes or does not.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from agent.archive import write_whole
from agent.errors import BadBundle
from agent.retrain.bundles import record_of
from agent.retrain.progress import Step
from model import (
    NOT_TAUGHT,
    Comparison,
    Finding,
    GateThresholds,
    Matter,
    compare_bundles,
    evaluate_pair,
    not_taught,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from agent.retrain.cases import Collected
    from model import Example, Taxonomy

KEPT = "gate.json"
"""A bundle's outcome, in its record."""


class Gate(StrEnum):
    """What the numbers say; a person decides."""

    RECOMMENDED = "recommended"
    NOT_RECOMMENDED = "not_recommended"
    NOT_ENOUGH_EVIDENCE = "not_enough_evidence"


_GATES = {
    Finding.BETTER: Gate.RECOMMENDED,
    Finding.NOT_WORSE: Gate.RECOMMENDED,
    Finding.WORSE: Gate.NOT_RECOMMENDED,
    Finding.NOT_ENOUGH_EVIDENCE: Gate.NOT_ENOUGH_EVIDENCE,
}


@dataclass(frozen=True, slots=True)
class Demands:
    """What the lab asks of a candidate.

    Args:
        rules: Floors, margins and allowances.
        limits: Limit in use → whether a structure code keeps it.
        alpha: The alarm rate that is set.
    """

    rules: GateThresholds = field(default_factory=GateThresholds)
    limits: Mapping[str, Callable[[str], bool]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    alpha: float = 0.02


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a retraining ended.

    Args:
        gate: What the numbers say.
        finding: The same, telling better from not worse.
        sentence: Why, for a person.
        candidate: The candidate's name, or "" where none was trained.
        current: The bundle at work, or "".
        numbers: Everything the sentence rests on; every check under "checks".
    """

    gate: Gate
    finding: Finding
    sentence: str
    candidate: str
    current: str
    numbers: dict[str, Any]


def outcome_of(
    finding: Finding, sentence: str, *, candidate: str, current: str, numbers: dict[str, Any]
) -> Outcome:
    """Say what a finding means for the gate."""
    return Outcome(_GATES[finding], finding, sentence, candidate, current, numbers)


def held_against(
    current: Path, candidate: Path, collected: Collected, demands: Demands | None = None
) -> Iterator[Step | Comparison]:
    """Judge two bundles on the candidate's test images that neither learned from.

    Images of codes that neither was taught, and those that people called strange, are looked at
    too: both must flag them. So are those that people once corrected, learned from or not.

    Args:
        current: Folder of the bundle at work.
        candidate: Folder of the other one.
        collected: Where the images are.
        demands: What the lab asks.

    Yields:
        `Step`s, last a `Comparison`.
    """
    from model import Classifier  # noqa: PLC0415 - PyTorch takes seconds

    demands = demands or Demands()
    one, other = (Classifier.load(folder, alpha=demands.alpha) for folder in (current, candidate))
    tested = set(other.manifest.split["test"]) - one.learned_from
    matter = Matter(
        examples=tuple(e for e in collected.examples if e.key in tested),
        strange=_must_be_flagged(collected, one.taxonomy, other.taxonomy),
        corrected=tuple(e for e in collected.examples if e.key in collected.corrected),
        vouched=collected.vouched,
        limits=demands.limits,
    )
    for step in evaluate_pair(one, other, matter):
        yield Step(step.stage, step.done, step.total, candidate.name)
        if step.found is not None:
            yield compare_bundles(step.found, demands.rules)


def _must_be_flagged(
    collected: Collected, current: Taxonomy, candidate: Taxonomy
) -> dict[str, tuple[Example, ...]]:
    untaught = {
        kind: tuple(some)
        for kind, some in not_taught(collected.examples, candidate).items()
        if kind.removeprefix(NOT_TAUGHT) not in current.trained_codes
    }
    return untaught | dict(collected.strange)


# --- the record ---------------------------------------------------------------------------------


def keep(bundle: Path, outcome: Outcome) -> None:
    """Write an outcome into the candidate's record."""
    said = json.dumps(asdict(outcome), indent=1, ensure_ascii=False)
    record_of(bundle).mkdir(exist_ok=True)
    write_whole({record_of(bundle) / KEPT: said.encode()})


def kept(bundle: Path) -> Outcome | None:
    """Give the outcome in a bundle's record; None where it was never held against another.

    Raises:
        BadBundle: The record is broken; what the bundle answers does not rest on it.
    """
    path = record_of(bundle) / KEPT
    try:
        said = json.loads(path.read_bytes())
        gate, finding = Gate(said.pop("gate")), Finding(said.pop("finding"))
        return Outcome(gate=gate, finding=finding, **said)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadBundle(
            f"{path}: what the gate said cannot be read ({error}); agent models diff holds two "
            "bundles against each other again."
        ) from error
