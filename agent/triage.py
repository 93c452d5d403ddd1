"""Decide which micrographs need review, by the lab's policy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from model import Prediction
from reports import Message, marked

NO_PROCESS_DATA: Mapping[str, str] = MappingProxyType({})


class Handling(StrEnum):
    """Whether a reviewer decides. Never "accepted": the model's answer passes no part."""

    AUTOMATIC = "automatic"
    REVIEW = "review"


class Reason(StrEnum):
    """Reason for a review, the weightiest first: the order of the review queue."""

    UNEXPECTED_SUBTYPE = "unexpected_subtype"
    STRANGE = "strange"
    UNCERTAIN = "uncertain"
    SCALE_UNKNOWN = "scale_unknown"
    SCALE_CONFLICT = "scale_conflict"
    INPUT_DEFECT = "input_defect"
    OUT_OF_SCOPE = "out_of_scope"
    UNTRAINED = "untrained"
    CONTROL_SAMPLE = "control_sample"
    DISAGREEMENT = "disagreement"  # set by a round robin, never by `triage`
    DOUBTED_LABEL = "doubted_label"  # set by `retrain`, never by `triage`
    UNLIKE_TAUGHT = "unlike_taught"  # set after a night, never by `triage`
    REQUESTED = "requested"  # set by a lead in the archive, never by `triage`
    NEEDLES_DISAGREE = "needles_disagree"


NAMED_FIRST = (Reason.SCALE_UNKNOWN, Reason.SCALE_CONFLICT)
"""Reasons that make every other one and the code provisional."""


def sort_reasons(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """Return reasons in the order of naming: a missing scale first, then by weight."""
    present = set(reasons)
    named = dict.fromkeys((*NAMED_FIRST, *Reason))
    return tuple(reason for reason in named if reason in present)


def is_provisional(reasons: Iterable[str]) -> bool:
    """Return whether the code and how unusual it is hold only if the assumed scale does."""
    return bool(set(NAMED_FIRST) & set(reasons))


def get_weightiest(reasons: Iterable[str]) -> Reason:
    """Return the weightiest of at least one reason; it decides the place in the review queue."""
    present = set(reasons)
    return next(reason for reason in Reason if reason in present)


_NO_MATERIAL = marked("material {material} has 0 validated specimens")
_NO_WAY: Mapping[str, str] = {
    "subtype": marked("subtype {word} has 0 validated specimens of material {material}"),
    "etchant": marked("etchant {word} has 0 validated specimens of material {material}"),
    "microscope": marked("microscope {word} has 0 validated specimens of material {material}"),
    "objective": marked("objective {word} has 0 validated specimens of material {material}"),
    "magnification": marked(
        "magnification {word} has 0 validated specimens of material {material}"
    ),
}
WAYS = tuple(_NO_WAY)
"""Columns of a validated scope within a material; the subtype stands for the treatment."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Conditions for which a bundle was validated.

    Args:
        ways: One mapping per combination of conditions: `material`, and those of `WAYS` that are
            known. Empty: the validation is not documented.
    """

    ways: tuple[Mapping[str, str], ...] = ()

    def outside(self, told: Mapping[str, str], expected: Sequence[str] = ()) -> Message | None:
        """Return why a micrograph is outside; None where it is inside or that is not known.

        Args:
            told: Its process data, column → value.
            expected: The ordered subtypes, () if unknown.
        """
        material = told.get("material", "")
        if not self.ways or not material:
            return None
        ways = [way for way in self.ways if _is_same(way.get("material", ""), material)]
        if not ways:
            return Message(_NO_MATERIAL, {"material": material})
        for column in WAYS:
            wanted = expected if column == "subtype" else (told.get(column, ""),)
            known = [way for way in ways if way.get(column)]
            if not any(wanted) or not known:
                continue
            ways = [
                way
                for way in ways
                if not way.get(column) or any(_is_same(way[column], value) for value in wanted)
            ]
            if not ways:
                return Message(_NO_WAY[column], {"word": " or ".join(wanted), "material": material})
        return None


def _is_same(value: str, other_value: str) -> bool:
    return "".join(value.split()).casefold() == "".join(other_value.split()).casefold()


@dataclass(frozen=True, slots=True)
class Policy:
    """The lab's policy.

    Args:
        min_probability: In [0, 1]; a structure code below it is uncertain.
        control_share: In [0, 1]; share of contents reviewed whatever the model's answer.
        um_per_px_range: Validated scales of the bundle, µm per pixel, or None.
        subtypes_of: Material → its possible subtypes; an absent material is not checked.
        scope: Conditions for which the bundle was validated.
    """

    min_probability: float = 0.6
    control_share: float = 0.05
    um_per_px_range: tuple[float, float] | None = None
    subtypes_of: dict[str, tuple[str, ...]] | None = None
    scope: Scope = field(default_factory=Scope)


@dataclass(frozen=True, slots=True)
class TriageVerdict:
    """Automatic, or review with all reasons, in the order of `sort_reasons`.

    Args:
        handling: Whether a reviewer decides.
        reasons: Reasons for a review.
        outside: Why it is outside the validated scope, None if inside.
    """

    handling: Handling
    reasons: tuple[Reason, ...]
    outside: Message | None = None


def triage(
    prediction: Prediction | None,
    *,
    sha256: str,
    um_per_px: float | None,
    warnings: Sequence[str],
    material: str,
    policy: Policy,
    told: Mapping[str, str] = NO_PROCESS_DATA,
    expected: Sequence[str] = (),
    needles_disagree: bool = False,
) -> TriageVerdict:
    """Decide whether a micrograph needs review. Without a bundle every one is `untrained`.

    Args:
        prediction: The model's answer, or None without a bundle.
        sha256: Of the content; selects control samples reproducibly.
        um_per_px: The agreed scale, µm per pixel, or None.
        warnings: The crop's warnings; "scale_conflict" and "input_defect…" count here.
        material: The process data's material, "" if unknown.
        policy: The lab's policy.
        told: Its process data, for the validated scope.
        expected: The subtypes in its order; () uses those of the material.
        needles_disagree: Its size number and its needle lengths contradict each other.
    """
    wanted = tuple(expected) or (policy.subtypes_of or {}).get(material, ())
    outside = policy.scope.outside({**told, "material": material}, wanted) if prediction else None
    reasons = (
        *_check_image(um_per_px, warnings, policy.um_per_px_range),
        *(_check_prediction(prediction, wanted, policy) if prediction else (Reason.UNTRAINED,)),
        *((Reason.OUT_OF_SCOPE,) if outside else ()),
        *((Reason.NEEDLES_DISAGREE,) if needles_disagree else ()),
        *((Reason.CONTROL_SAMPLE,) if is_control_sample(sha256, policy.control_share) else ()),
    )
    ordered = sort_reasons(reasons)
    return TriageVerdict(Handling.REVIEW if ordered else Handling.AUTOMATIC, ordered, outside)


def _check_image(
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


def _check_prediction(
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
    """Return whether a content is in the control share; the same content always is."""
    return int(sha256[:8], 16) % 100 < round(share * 100)
