"""Classify crops and decide which of them need a reviewer; nothing is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from agent.needles import (
    LengthCorrection,
    SizeRule,
    correct_lengths,
    find_size_conflict,
    name_laths,
)
from agent.settings import PROCESS_COLUMNS
from agent.store import NEEDLES_MESSAGE
from agent.triage import Policy, Reason, TriageVerdict, triage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from agent.imaging import Crop
    from agent.needles import NeedleField
    from agent.store import Ordered, Store
    from model import Classifier, Prediction
    from reports import Message

FROM_METADATA = ("microscope", "objective", "magnification", "operator")
"""Process data that the file itself may name, where neither the source nor the path does."""
FROM_ORDER = ("heat", "batch", "material", "etchant")
"""Columns of an order list that hold for each field of the order."""


class NeedleMeasuring(NamedTuple):
    """How needles are measured, and which lengths contradict a size.

    Args:
        measure: Measures the needles of a crop.
        size_rule: Which lengths correspond to a size number.
        find_correction: Returns the calibration of a subtype on a microscope, None where there is
            none.
    """

    measure: Callable[[Crop], NeedleField]
    size_rule: SizeRule = SizeRule()
    find_correction: Callable[[str, str], LengthCorrection | None] = lambda _s, _m: None


class UntriagedCrop(NamedTuple):
    """One micrograph before it is classified.

    Args:
        crop: Its pixels.
        process_data: What source, path and notes say of it.
        source: Name of its source, which stands for the microscope where that is not known.
        needles: Measures its needles, None where they are not to be measured.
    """

    crop: Crop
    process_data: Mapping[str, str]
    source: str = ""
    needles: NeedleMeasuring | None = None


class TriagedCrop(NamedTuple):
    """One micrograph, its prediction, and whether it needs a reviewer."""

    crop: Crop
    process_data: dict[str, str]
    extra: dict[str, str]
    prediction: Prediction | None
    verdict: TriageVerdict
    expected: dict[str, object]
    needles: NeedleField | None = None


def triage_crops(
    crops: Sequence[UntriagedCrop],
    classifier: Classifier | None,
    policy: Policy,
    *,
    store: Store,
    ordered: Callable[[Mapping[str, str], Ordered], tuple[str, ...]],
) -> list[TriagedCrop]:
    """Classify crops and decide which need a reviewer.

    Args:
        crops: Those to triage.
        classifier: The bundle, or None where there is none yet.
        policy: The triage policy.
        store: Is queried for what was ordered.
        ordered: Returns the subtypes that were ordered, for a field's process data.
    """
    predictions: Sequence[Prediction | None] = [None] * len(crops)
    if classifier:
        from model import Field  # noqa: PLC0415 - PyTorch takes seconds; a lab may start without

        fields = [
            Field(crop.pixels, crop.valid, crop.um_per_px, _find_microscope(crop, process_data))
            for crop, process_data, _source, _needles in crops
        ]
        predictions = classifier.classify(fields)
    return [
        _triage_crop(untriaged, prediction, classifier, policy, store, ordered)
        for untriaged, prediction in zip(crops, predictions, strict=True)
    ]


def _triage_crop(  # noqa: PLR0917 - as `triage_crops`, for one of them
    untriaged: UntriagedCrop,
    prediction: Prediction | None,
    classifier: Classifier | None,
    policy: Policy,
    store: Store,
    ordered: Callable[[Mapping[str, str], Ordered], tuple[str, ...]],
) -> TriagedCrop:
    crop, given, source, needles = untriaged
    process_data, extra = merge_metadata(given, crop.metadata)
    order = store.orders.expect(given.get("order", ""), given.get("specimen", ""))
    process_data = {**{k: v for k, v in order.told.items() if k in FROM_ORDER}, **process_data}
    wanted = ordered({**order.told, **process_data}, order)
    microscope = process_data.get("microscope", "") or source
    measured = _measure_needles(crop, prediction, classifier, needles, microscope)
    conflict = _find_conflict(measured, prediction, classifier, needles)
    verdict = triage(
        prediction,
        sha256=crop.sha256,
        um_per_px=crop.um_per_px,
        warnings=crop.warnings,
        material=process_data.get("material", ""),
        policy=policy,
        told=process_data,
        expected=wanted,
        needles_disagree=conflict is not None,
    )
    expected = _compare_with_order(crop, prediction, verdict, wanted, classifier)
    if conflict is not None:
        expected[NEEDLES_MESSAGE] = conflict.to_json()
    return TriagedCrop(crop, process_data, extra, prediction, verdict, expected, measured)


def _measure_needles(
    crop: Crop,
    prediction: Prediction | None,
    classifier: Classifier | None,
    needles: NeedleMeasuring | None,
    microscope: str,
) -> NeedleField | None:
    if needles is None:
        return None
    measured = needles.measure(crop)
    if not (prediction and prediction.subtype and classifier):
        return measured
    subtype = classifier.taxonomy.subtype(prediction.subtype)
    named = name_laths(measured, subtype.titles)
    return correct_lengths(named, needles.find_correction(subtype.name, microscope))


def _find_conflict(
    measured: NeedleField | None,
    prediction: Prediction | None,
    classifier: Classifier | None,
    needles: NeedleMeasuring | None,
) -> Message | None:
    if not (measured and prediction and classifier and needles):
        return None
    return find_size_conflict(
        measured, prediction.structure_code, classifier.taxonomy, needles.size_rule
    )


def _compare_with_order(
    crop: Crop,
    prediction: Prediction | None,
    verdict: TriageVerdict,
    wanted: Sequence[str],
    classifier: Classifier | None,
) -> dict[str, object]:
    """Return the size inside each ordered subtype where the answer is another, and the scope left.

    The keys are stored with the result.
    """
    expected: dict[str, object] = {}
    if verdict.outside:
        expected["outside"] = verdict.outside.in_english()
        expected["outside_message"] = verdict.outside.to_json()
    if Reason.UNEXPECTED_SUBTYPE not in verdict.reasons or not (prediction and classifier):
        return expected
    from model import Field  # noqa: PLC0415 - as in `triage_crops`

    field = Field(crop.pixels, crop.valid, crop.um_per_px)
    sizes = {name: classifier.size_probabilities_for([field], name)[0] for name in wanted}
    best = {
        name + max(shares, key=shares.__getitem__): shares
        for name, shares in sizes.items()
        if shares
    }
    return {**expected, "subtypes": list(wanted), "sizes": sizes, "codes": list(best)}


def _find_microscope(crop: Crop, process_data: Mapping[str, str]) -> str:
    return merge_metadata(process_data, crop.metadata)[0].get("microscope", "")


def merge_metadata(
    given: Mapping[str, str], metadata: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Fill process data from a file's metadata.

    Args:
        given: What source, path and notes say; the metadata never replaces it.
        metadata: Of the file.

    Returns:
        The process data that have a column, and everything else.
    """
    fills = {k: metadata[k] for k in FROM_METADATA if metadata.get(k) and not given.get(k)}
    process_data = {**given, **fills}
    columns = {k: v for k, v in process_data.items() if k in PROCESS_COLUMNS}
    others = {k: v for k, v in process_data.items() if k not in PROCESS_COLUMNS}
    differing = {k: v for k, v in metadata.items() if process_data.get(k) != v}
    return columns, {**differing, **others}
