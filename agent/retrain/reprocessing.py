"""Classify archived micrographs with another bundle and store its answers next to the old ones."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from agent.labelled_import import make_loader
from agent.pipeline import select_maps
from agent.retrain.progress import Step
from agent.store import GIVEN, MicrographResult, find_given
from agent.triage import triage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from agent.archive import Archive
    from agent.store import MicrographView, Store
    from agent.triage import Policy
    from model import Classifier, Prediction

TOGETHER = 8
Role = Literal["reprocess", "shadow"]
"""Of a result next to the one that counts: requested by a lead, or before a promotion."""


@dataclass(frozen=True, slots=True)
class Again:
    """Result of classifying archived micrographs with another bundle.

    Args:
        judged: Micrographs that have a new answer next to the old ones.
        known: Micrographs this bundle had answered before.
        lost: Micrographs whose crop is no longer in the archive.
        flips: Old code → new code → how many.
        flagged: How many are unusual to this bundle.
    """

    judged: int
    known: int
    lost: int
    flips: Mapping[tuple[str, str], int]
    flagged: int


def reprocess(
    store: Store,
    archive: Archive,
    classifier: Classifier,
    *,
    policy: Policy,
    thresholds: Mapping[str, float],
    now: Callable[[], datetime],
    role: Role = "reprocess",
    since: datetime | None = None,
) -> Iterator[Step | Again]:
    """Classify archived micrographs with another bundle and store its answers next to the old ones.

    Args:
        store: Open.
        archive: The pixels.
        classifier: The other bundle.
        policy: The lab's triage policy.
        thresholds: Stored with each result.
        now: Returns the time, aware UTC.
        role: Of the results.
        since: Only watched micrographs since then, the newest first; None: everything.

    Yields:
        `Step`s, last an `Again`.
    """
    views = [view for view in _list_views(store, now(), since) if view.bundle != classifier.name]
    answered = {view.id for view in store.results.iter_by_bundle(classifier.name, since=since)}
    unknown = [view for view in views if view.id not in answered]
    archived = [view for view in unknown if archive.crop_path(view.sha256, view.page).is_file()]
    flips: Counter[tuple[str, str]] = Counter()
    judged = flagged = 0
    for start in range(0, len(archived), TOGETHER):
        batch = archived[start : start + TOGETHER]
        fields = [
            make_loader(
                archive, v.sha256, v.page, v.um_per_px, v.process_data.get("microscope", "")
            )()
            for v in batch
        ]
        for view, prediction in zip(batch, classifier.classify(fields), strict=True):
            archive.keep_maps(view.sha256, view.page, prediction.bundle, select_maps(prediction))
            finding = _finding(view, prediction, policy, thresholds)
            if store.results.add(view.id, finding, role=role, at=now()):
                judged += 1
                flagged += prediction.strangeness.flagged
                if view.structure_code and view.structure_code != prediction.structure_code:
                    flips[view.structure_code, prediction.structure_code] += 1
        yield Step("reprocess", min(start + TOGETHER, len(archived)), len(archived))
    known = len(views) - len(unknown)
    yield Again(judged, known, len(unknown) - len(archived), dict(flips), flagged)


def _list_views(store: Store, at: datetime, since: datetime | None) -> list[MicrographView]:
    return (
        list(store.results.iter_all())
        if since is None
        else store.results.list_between(since, at)[::-1]
    )


def _finding(
    view: MicrographView, prediction: Prediction, policy: Policy, thresholds: Mapping[str, float]
) -> MicrographResult:
    verdict = triage(
        prediction,
        sha256=view.sha256,
        um_per_px=view.um_per_px,
        warnings=view.warnings,
        material=view.process_data.get("material", ""),
        policy=policy,
    )
    return MicrographResult(
        crop_facts={},
        process_data={},
        process_extra={},
        prediction=prediction,
        verdict=verdict,
        thresholds={
            **thresholds,
            **prediction.evidence_limits,
            **({GIVEN: given} if (given := find_given(view.thresholds)) else {}),
        },
        origin=view.origin,
    )
