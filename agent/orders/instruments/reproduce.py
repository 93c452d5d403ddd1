"""Judge an archived crop again with the bundle that judged it, and compare the answers.

Another PC, driver or engine rounds differently, so the numbers may differ within the tolerances of
the control check; code and prediction set may not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from agent.orders.instruments.instrument_checks import P_TOLERANCE, PROBABILITY_TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.archive import Archive
    from agent.store import MicrographView
    from model import Classifier, Prediction


class Sameness(StrEnum):
    """Comparison of a second judgement with the first."""

    SAME = "same"
    DIFFERENT = "different"
    NOT_POSSIBLE = "not_possible"


@dataclass(frozen=True, slots=True)
class Rerun:
    """Result of a second judgement.

    Args:
        outcome: See `Sameness`.
        sentence: The numbers side by side, or why there are none.
    """

    outcome: Sameness
    sentence: str


def judge_again(view: MicrographView, archive: Archive, classifier: Classifier | None) -> Rerun:
    """Judge one archived crop again; nothing is written.

    Args:
        view: The micrograph with the result that counts.
        archive: Where its crop is.
        classifier: The bundle of that result, loaded, or None where it cannot be had.
    """
    result = view.result
    if view.pruned_at:
        return Rerun(Sameness.NOT_POSSIBLE, f"its pixels were pruned on {view.pruned_at:%Y-%m-%d}")
    if damage := archive.damage(view.sha256, view.page, view.artefacts):
        return Rerun(Sameness.DIFFERENT, damage[0])
    if classifier is None:
        why = f"bundle {result.bundle} cannot be loaded" if result.bundle else "no model judged it"
        return Rerun(Sameness.NOT_POSSIBLE, why)
    try:
        pixels, valid = archive.field(view.sha256, view.page)
    except (OSError, ValueError) as error:
        return Rerun(Sameness.NOT_POSSIBLE, f"its archived crop cannot be read ({error})")
    from model import Field  # noqa: PLC0415 - PyTorch takes seconds

    microscope = view.process_data.get("microscope", "")
    (now,) = classifier.classify([Field(pixels, valid, view.um_per_px, microscope)])
    if faults := list(_iter_differences(view, now)):
        return _describe_differences(faults, result.precision, now.precision)
    was, is_ = result.probability or 0.0, float(now.probability)
    return Rerun(
        Sameness.SAME,
        f"{now.structure_code} again, probability {was:.4f} then, {is_:.4f} now "
        f"({result.engine} {result.precision} then, {now.engine} {now.precision} now)",
    )


def _describe_differences(faults: list[str], then: str, now: str) -> Rerun:
    """Return that the answers differ, or that this PC cannot reproduce their precision."""
    sentence = "; ".join(faults)
    if not then or then == now:
        return Rerun(Sameness.DIFFERENT, sentence)
    return Rerun(
        Sameness.NOT_POSSIBLE,
        f"it was computed in {then}, which this PC does not reproduce; in {now}: {sentence}",
    )


def _iter_differences(view: MicrographView, now: Prediction) -> Iterator[str]:
    result = view.result
    if result.structure_code != now.structure_code:
        yield f"structure code {result.structure_code} then, {now.structure_code} now"
    if sorted(result.prediction_set) != sorted(now.prediction_set):
        were, are = (
            ", ".join(codes) or "empty" for codes in (result.prediction_set, now.prediction_set)
        )
        yield f"prediction set {were} then, {are} now"
    pairs = (
        ("probability", result.probability, float(now.probability), PROBABILITY_TOLERANCE),
        (
            "strangeness p",
            result.strangeness.p_value,
            float(now.strangeness.p_value),
            P_TOLERANCE,
        ),
    )
    for name, was, is_, tolerance in pairs:
        if was is not None and abs(was - is_) > tolerance:
            yield f"{name} {was:.4f} then, {is_:.4f} now"
