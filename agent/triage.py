"""Decide what a person has to look at: the lab's policy, pure.

In:  a `Prediction` and what is known of the file. Out: a `Verdict`. Next: `store`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from model import Prediction


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


@dataclass(frozen=True, slots=True)
class Policy:
    """The lab's policy.

    Args:
        min_probability: In [0, 1]; a structure code below it is uncertain.
        control_share: In [0, 1]; this share of contents is reviewed whatever the model says.
        um_per_px_range: Scales that the bundle was validated for, µm per pixel, or None.
        subtypes_of: Material → the subtypes it can have; an absent material is not judged.
    """

    min_probability: float = 0.6
    control_share: float = 0.05
    um_per_px_range: tuple[float, float] | None = None
    subtypes_of: dict[str, tuple[str, ...]] | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Automatic, or review with every reason for it, the weightiest first."""

    handling: Handling
    reasons: tuple[Reason, ...]


def triage(
    prediction: Prediction | None,
    *,
    sha256: str,
    um_per_px: float | None,
    warnings: Sequence[str],
    material: str,
    policy: Policy,
) -> Verdict:
    """Say who speaks last. Without a prediction (no bundle yet) everything is `untrained`.

    Args:
        prediction: What the model says, or None where there is no bundle.
        sha256: Of the content; decides, reproducibly, who is a control sample.
        um_per_px: The agreed scale, µm per pixel, or None.
        warnings: The crop's warnings; "scale_conflict" and "input_defect…" count here.
        material: The process data's material, "" where unknown.
        policy: The lab's policy.
    """
    reasons = (
        *_of_the_image(um_per_px, warnings, policy.um_per_px_range),
        *(_of_the_answer(prediction, material, policy) if prediction else (Reason.UNTRAINED,)),
        *((Reason.CONTROL_SAMPLE,) if is_control_sample(sha256, policy.control_share) else ()),
    )
    ordered = tuple(reason for reason in Reason if reason in reasons)
    return Verdict(Handling.REVIEW if ordered else Handling.AUTOMATIC, ordered)


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


def _of_the_answer(prediction: Prediction, material: str, policy: Policy) -> Iterator[Reason]:
    if prediction.defects:
        yield Reason.INPUT_DEFECT
    if prediction.strangeness.flagged:
        yield Reason.STRANGE
    if prediction.probability < policy.min_probability:
        yield Reason.UNCERTAIN
    expected = (policy.subtypes_of or {}).get(material)
    if expected and prediction.subtype not in expected:
        yield Reason.UNEXPECTED_SUBTYPE


def is_control_sample(sha256: str, share: float) -> bool:
    """Say whether a content belongs to the control share; the same content always does."""
    return int(sha256[:8], 16) % 100 < round(share * 100)
