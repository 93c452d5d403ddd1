"""Decide what a person has to look at: the lab's policy, pure.

In:  a `Prediction` and what is known of the file. Out: a `Verdict`. Next: `store`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from model import Prediction


NOTHING_TOLD: Mapping[str, str] = MappingProxyType({})


class Handling(StrEnum):
    """Who speaks last on a micrograph. Never "accepted": the model's answer passes no part."""

    AUTOMATIC = "automatic"
    REVIEW = "review"


class Reason(StrEnum):
    """Why a person should look, the weightiest first."""

    UNEXPECTED_SUBTYPE = "unexpected_subtype"
    STRANGE = "strange"
    UNCERTAIN = "uncertain"
    SCALE_UNKNOWN = "scale_unknown"
    SCALE_CONFLICT = "scale_conflict"
    INPUT_DEFECT = "input_defect"
    OUT_OF_SCOPE = "out_of_scope"
    UNTRAINED = "untrained"
    CONTROL_SAMPLE = "control_sample"
    DISAGREEMENT = "disagreement"  # said by a round robin, never by `triage`
    DOUBTED_LABEL = "doubted_label"  # said by `retrain`, never by `triage`
    UNLIKE_TAUGHT = "unlike_taught"  # said after a night, never by `triage`


WAYS = ("subtype", "etchant", "microscope", "objective", "magnification")
"""What a validated scope tells apart inside a material; the subtype stands for the treatment."""


@dataclass(frozen=True, slots=True)
class Scope:
    """On what a bundle was validated.

    Args:
        ways: One mapping per way in which validated micrographs were taken: `material`, and of
            `WAYS` what is known. Empty: nobody wrote down what it was validated on.
    """

    ways: tuple[Mapping[str, str], ...] = ()

    def outside(self, told: Mapping[str, str], expected: Sequence[str] = ()) -> str:
        """Say why a micrograph lies outside, in one sentence; "" where nothing says so.

        Args:
            told: Its process data, column → value.
            expected: The subtypes that were ordered, () where that is not known.
        """
        material = told.get("material", "")
        if not self.ways or not material:
            return ""
        ways = [way for way in self.ways if _same(way.get("material", ""), material)]
        if not ways:
            return f"material {material} has 0 validated specimens"
        for column in WAYS:
            wanted = expected if column == "subtype" else (told.get(column, ""),)
            known = [way for way in ways if way.get(column)]
            if not any(wanted) or not known:
                continue
            ways = [
                way
                for way in ways
                if not way.get(column) or any(_same(way[column], one) for one in wanted)
            ]
            if not ways:
                said = " or ".join(wanted)
                return f"{column} {said} has 0 validated specimens of material {material}"
        return ""


def _same(one: str, other: str) -> bool:
    return "".join(one.split()).casefold() == "".join(other.split()).casefold()


@dataclass(frozen=True, slots=True)
class Policy:
    """The lab's policy.

    Args:
        min_probability: In [0, 1]; a structure code below it is uncertain.
        control_share: In [0, 1]; this share of contents is reviewed whatever the model says.
        um_per_px_range: Scales that the bundle was validated for, µm per pixel, or None.
        subtypes_of: Material → the subtypes it can have; an absent material is not judged.
        scope: On what the bundle was validated.
    """

    min_probability: float = 0.6
    control_share: float = 0.05
    um_per_px_range: tuple[float, float] | None = None
    subtypes_of: dict[str, tuple[str, ...]] | None = None
    scope: Scope = field(default_factory=Scope)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Automatic, or review with every reason for it, the weightiest first.

    Args:
        handling: Who speaks last. reasons: why.
        outside: Why it lies outside the validated scope, one sentence, "" where it does not.
    """

    handling: Handling
    reasons: tuple[Reason, ...]
    outside: str = ""


def triage(
    prediction: Prediction | None,
    *,
    sha256: str,
    um_per_px: float | None,
    warnings: Sequence[str],
    material: str,
    policy: Policy,
    told: Mapping[str, str] = NOTHING_TOLD,
    expected: Sequence[str] = (),
) -> Verdict:
    """Say who speaks last. Without a prediction (no bundle yet) everything is `untrained`.

    Args:
        prediction: What the model says, or None where there is no bundle.
        sha256: Of the content; decides, reproducibly, who is a control sample.
        um_per_px: The agreed scale, µm per pixel, or None.
        warnings: The crop's warnings; "scale_conflict" and "input_defect…" count here.
        material: The process data's material, "" where unknown.
        policy: The lab's policy.
        told: Its process data, for the validated scope.
        expected: The subtypes that its order says were made; () leaves that to the material.
    """
    wanted = tuple(expected) or (policy.subtypes_of or {}).get(material, ())
    outside = policy.scope.outside({**told, "material": material}, wanted) if prediction else ""
    reasons = (
        *_of_the_image(um_per_px, warnings, policy.um_per_px_range),
        *(_of_the_answer(prediction, wanted, policy) if prediction else (Reason.UNTRAINED,)),
        *((Reason.OUT_OF_SCOPE,) if outside else ()),
        *((Reason.CONTROL_SAMPLE,) if is_control_sample(sha256, policy.control_share) else ()),
    )
    ordered = tuple(reason for reason in Reason if reason in reasons)
    return Verdict(Handling.REVIEW if ordered else Handling.AUTOMATIC, ordered, outside)


def _of_the_image(
    um_per_px: float | None, warnings: Sequence[str], validated: tuple[float, float] | None
) -> Iterator[Reason]:
    if any(warning.startswith("input_defect") for warning in warnings):
        yield Reason.INPUT_DEFECT
    if "scale_conflict" in warnings:
        yield Reason.SCALE_CONFLICT
    elif um_per_px is None:
        yield Reason.SCALE_UNKNOWN
    elif validated and not validated[0] <= um_per_px <= validated[1]:
        yield Reason.OUT_OF_SCOPE


def _of_the_answer(
    prediction: Prediction, expected: Sequence[str], policy: Policy
) -> Iterator[Reason]:
    if prediction.defects:
        yield Reason.INPUT_DEFECT
    if prediction.strangeness.flagged:
        yield Reason.STRANGE
    if prediction.probability < policy.min_probability:
        yield Reason.UNCERTAIN
    if expected and prediction.subtype not in expected:
        yield Reason.UNEXPECTED_SUBTYPE


def is_control_sample(sha256: str, share: float) -> bool:
    """Say whether a content belongs to the control share; the same content always does."""
    return int(sha256[:8], 16) % 100 < round(share * 100)
