"""Judge a file's crops: choose the bundle, classify, decide what needs a reviewer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import structlog

from agent.imaging import Crop, Scale, SpecimenArea
from agent.needles import (
    LengthCorrection,
    NeedleField,
    SizeRule,
    correct_lengths,
    find_size_conflict,
    name_laths,
)
from agent.orders.facts.scale_tracing import GivenScale, find_settled
from agent.settings import PROCESS_COLUMNS
from agent.store import (
    BY_REVIEWER,
    GIVEN,
    NEEDLES_MESSAGE,
    StoreFaultError,
    find_given,
    keep_warnings,
)
from agent.triage import Policy, Reason, TriageVerdict, triage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from agent.archive import Archive
    from agent.pipeline.in_flight import InFlightFile
    from agent.store import MicrographResult, MicrographView, Ordered, Store
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


# --- choose the bundle that judges a file: one specimen is judged by one bundle to its end --------


log = structlog.get_logger()

BundleChoice = tuple["Classifier | None", Policy]
"""A bundle, None where there is none, and the triage policy that goes with it."""


class BundleRouter:
    """Choose the bundle of each file.

    The store records which bundle began a specimen, so that two agents, or one that was killed,
    never split it.

    Args:
        store: Open.
        now: Returns the time, aware UTC.
        classifier: The bundle in use, or None.
        policy: The triage policy of the lab.
        load_bundle: Loads a bundle that began a specimen; None where it is not available.
    """

    def __init__(
        self,
        store: Store,
        now: Callable[[], datetime],
        classifier: Classifier | None,
        policy: Policy,
        load_bundle: Callable[[str], BundleChoice | None],
    ) -> None:
        self._store, self._now, self._load = store, now, load_bundle
        self._newest, self._policy = classifier, policy
        self._by_source: dict[str, tuple[str, BundleChoice]] = {}
        self._cached: dict[str, BundleChoice | None] = {}

    def use(self, classifier: Classifier | None, policy: Policy | None) -> None:
        """Judge specimens that begin from now on by another bundle."""
        if self._newest:
            self._cached = {self._newest.name: (self._newest, self._policy)}
        self._newest = classifier
        self._policy = policy or self._policy

    def is_batched(self) -> bool:
        """Return whether the bundle in use runs on a GPU, which pads each batch."""
        return self._newest is not None and self._newest.engine.on_gpu

    def iter_groups(
        self, files: Sequence[InFlightFile]
    ) -> Iterator[tuple[BundleChoice, list[InFlightFile]]]:
        """Yield the files of a batch by the bundle that judges them."""
        groups: dict[int, tuple[BundleChoice, list[InFlightFile]]] = {}
        for file in files:
            choice = self.choose(file)
            groups.setdefault(id(choice[0]), (choice, []))[1].append(file)
        yield from groups.values()

    def choose(self, file: InFlightFile) -> BundleChoice:
        """Return the bundle that judges a file: the one that began its specimen, else the newest.

        A promotion holds from the next specimen on. A bundle whose rollout was stopped judges no
        more: the rest of its specimens goes to review, since a specimen is not split.
        """
        newest = (self._newest, self._policy)
        order, specimen = (file.process_data.get(key, "") for key in ("order", "specimen"))
        if file.claim.origin == "import" or file.conflict or not specimen:
            return newest
        if not order:  # the specimen has no name beyond its source; it is one run of files there
            before = self._by_source.get(file.claim.source)
            if before is None or before[0] != specimen:
                self._by_source[file.claim.source] = (specimen, newest)
            return self._by_source[file.claim.source][1]
        wish = self._newest.name if self._newest else ""
        named = self._store.orders.expect(order, specimen).bundle
        if named is None and wish:
            named = self._store.orders.reserve(order, specimen, wish, at=self._now())
        return newest if not named or named == wish else self._get_earlier(named)

    def choose_again(self, view: MicrographView) -> BundleChoice | None:
        """Return the bundle that judges a known micrograph again; None where it is not available.

        It is the one that began its specimen, else the newest.
        """
        order, specimen = (view.process_data.get(key, "") for key in ("order", "specimen"))
        begun = self._store.orders.expect(order, specimen).bundle if order and specimen else ""
        bundle = begun or (view.result.bundle if specimen else "")
        if not bundle or (self._newest and bundle == self._newest.name):
            return self._newest, self._policy
        choice = self._get_earlier(bundle)
        return choice if choice[0] else None

    def _get_earlier(self, bundle: str) -> BundleChoice:
        if self._store.rollouts.is_withdrawn(bundle):
            log.warning("bundle.withdrawn", bundle=bundle)
            return None, self._policy
        if bundle not in self._cached:
            self._cached = {bundle: self._load(bundle)}
            if self._cached[bundle] is None:
                log.warning("bundle.missing", bundle=bundle)
        return self._cached[bundle] or (None, self._policy)


# --- judge micrographs again at the scale that reviewers gave them, from the archived crop --------


class ScaleRejudging:
    """Finds the scales that no result has been judged with yet.

    Args:
        store: Open.
        archive: The pixels.
        judge: Judges a crop of a micrograph; None where its bundle cannot be had now.
    """

    def __init__(
        self,
        store: Store,
        archive: Archive,
        judge: Callable[[MicrographView, Crop], MicrographResult | None],
    ) -> None:
        self._store, self._archive, self._judge = store, archive, judge
        self._last_record = 0

    def judge_pending(self, *, now: Callable[[], datetime]) -> int:
        """Judge what waits; return how many micrographs have a new result.

        Raises:
            StoreFaultError: The database does not answer; what waits goes on waiting.
        """
        judged = 0
        records = self._store.records.list_after(GIVEN, self._last_record)
        for public_id in dict.fromkeys(record.subject for record in records):
            try:
                judged += self._judge_one(public_id, now)
            except StoreFaultError:
                raise
            except Exception:  # one micrograph that cannot be judged never stops the work
                log.exception("scale.crashed", micrograph=public_id)
        if records:
            self._last_record = records[-1].id
        return judged

    def _judge_one(self, public_id: str, now: Callable[[], datetime]) -> bool:
        view = self._store.results.find(public_id)
        scale = find_settled(self._store, view) if view else None
        if view is None or scale is None:
            return False
        if find_given(view.result.thresholds).get("record") == scale.record:
            return False
        crop = self._load(view, scale)
        finding = self._judge(view, crop) if crop else None
        if finding is None:
            log.warning("scale.unjudged", micrograph=public_id, has_crop=crop is not None)
            return False
        thresholds = {**finding.thresholds, GIVEN: scale.to_json()}
        at = now()
        self._store.results.add(
            public_id, replace(finding, thresholds=thresholds), role="live", at=at
        )
        log.info("scale.judged", micrograph=public_id, um_per_px=scale.um_per_px)
        return True

    def _load(self, view: MicrographView, scale: GivenScale) -> Crop | None:
        if view.crop is None or not self._archive.has_crop(view.sha256, view.page):
            return None
        try:
            pixels, valid = self._archive.field(view.sha256, view.page)
        except ValueError:  # it was replaced: agent verify names it
            return None
        return Crop(
            sha256=view.sha256,
            page=view.page,
            pages=1,
            width=view.width,
            height=view.height,
            format="",
            um_per_px=scale.um_per_px,
            um_per_px_source=BY_REVIEWER,
            scales=(Scale(BY_REVIEWER, scale.um_per_px),),
            micron_bar=None,
            band=None,
            specimen_area=SpecimenArea(whole_frame=True, outside_fraction=0.0, polygon=()),
            box=view.crop,
            recipe=view.recipe,
            warnings=keep_warnings({GIVEN: scale.to_json()}, view.warnings),
            pixels=pixels,
            valid=valid,
            preview=pixels,
            metadata={},
        )
