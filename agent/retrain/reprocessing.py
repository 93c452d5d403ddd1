"""Classify archived micrographs with another bundle and store its answers next to the old ones.

What is done are the answers themselves, which are unique per micrograph, bundle and recipe: a run
that was interrupted is continued by the next one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import structlog

from agent.archive import Archive
from agent.errors import StoreError
from agent.labelled_import import make_loader
from agent.objects import ObjectsUnavailableError
from agent.pipeline import select_maps
from agent.store import GIVEN, MicrographResult, MicrographView, Store, StoreFaultError, find_given
from agent.triage import Policy, triage
from model import Classifier, Field, ModelError, Prediction, Progress

Judge = Callable[[Sequence[MicrographView]], list[MicrographResult | str]]
"""Answers in the sequence of the views: "" without a crop, or why it cannot be read."""

log = structlog.get_logger()

TOGETHER = 8
"""Micrographs per batch, which is one transaction."""
AGAIN_S = (1.0, 5.0, 20.0)
"""Pauses (s) after database or object storage did not answer; the last one repeats."""
Role = Literal["reprocess", "shadow"]
"""Of a result next to the one that counts: requested by a lead, or before a promotion."""


@dataclass(slots=True)
class Again:
    """Counts of classifying archived micrographs with another bundle.

    Args:
        judged: Micrographs that have a new answer next to the old ones.
        known: Micrographs this bundle had answered before.
        lost: Micrographs whose crop is no longer in the archive.
        unreadable: Micrographs whose crop cannot be read or classified.
        flagged: How many are unusual to this bundle.
        flips: Old code → new code → how many.
    """

    judged: int = 0
    known: int = 0
    lost: int = 0
    unreadable: int = 0
    flagged: int = 0
    flips: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def done(self) -> int:
        """Micrographs that this run finished."""
        return self.judged + self.lost + self.unreadable

    def add(self, other: Again) -> None:
        """Add the counts of another part."""
        self.judged += other.judged
        self.known += other.known
        self.lost += other.lost
        self.unreadable += other.unreadable
        self.flagged += other.flagged
        self.flips.update(other.flips)


def reprocess(
    store: Store,
    bundle: str,
    judge: Judge,
    *,
    role: Role,
    since: datetime | None,
    now: Callable[[], datetime],
) -> Iterator[Progress[None] | Again]:
    """Classify archived micrographs with another bundle and store its answers next to the old ones.

    Args:
        store: Open.
        bundle: Its name.
        judge: Classifies with it, as `build_judge` returns it.
        role: Of the results.
        since: Only watched micrographs since then; None: everything. The newest come first.
        now: Returns the time, aware UTC.

    Yields:
        `Progress`, last an `Again`.
    """
    left, known = store.results.list_unanswered(bundle, since=since)
    again = Again(known=known)
    for start in range(0, len(left), TOGETHER):
        yield Progress("reprocess", start, len(left))
        numbers = left[start : start + TOGETHER]
        again.add(judge_patiently(store, judge, numbers, role=role, now=now))
    yield Progress("reprocess", len(left), len(left))
    yield again


def judge_patiently(
    store: Store,
    judge: Judge,
    numbers: Sequence[int],
    *,
    role: Role,
    now: Callable[[], datetime],
    pause: Callable[[float], None] = time.sleep,
) -> Again:
    """Classify micrographs in one transaction; wait while database or storage do not answer.

    Args:
        store: Open.
        judge: As `build_judge` returns it.
        numbers: Of the micrographs.
        role: Of the results.
        now: Returns the time, aware UTC.
        pause: Waits for some seconds.
    """
    failures = 0
    while True:
        try:
            return _judge_batch(store, judge, numbers, role=role, now=now)
        except (StoreFaultError, ObjectsUnavailableError) as fault:
            log.warning("reprocess.waits", reason=str(fault))
            pause(AGAIN_S[min(failures, len(AGAIN_S) - 1)])
            failures += 1


def _judge_batch(
    store: Store,
    judge: Judge,
    numbers: Sequence[int],
    *,
    role: Role,
    now: Callable[[], datetime],
) -> Again:
    views = store.results.list_views(numbers)
    again = Again()
    try:
        answers = judge(views)
    except ModelError as error:
        if len(numbers) > 1:  # one that cannot be classified does not stop the others
            for number in numbers:
                again.add(_judge_batch(store, judge, [number], role=role, now=now))
            return again
        answers = [str(error)]
    found = [
        (view, answer)
        for view, answer in zip(views, answers, strict=True)
        if not isinstance(answer, str)
    ]
    stored = store.results.add_all(
        [(view.id, answer) for view, answer in found], role=role, at=now()
    )
    for (view, answer), is_new in zip(found, stored, strict=True):
        _count(again, view, answer, is_new=is_new)
    again.lost = answers.count("")
    again.unreadable = len(answers) - len(found) - again.lost
    return again


def _count(again: Again, view: MicrographView, answer: MicrographResult, *, is_new: bool) -> None:
    if not is_new:  # by another run, meanwhile
        again.known += 1
        return
    again.judged += 1
    prediction = answer.prediction
    if prediction is None:
        return
    again.flagged += bool(prediction.strangeness.flagged)
    before = view.result.structure_code
    if before and before != prediction.structure_code:
        again.flips[before, prediction.structure_code] += 1


def build_judge(
    archive: Archive,
    classifier: Classifier,
    *,
    policy: Policy,
    thresholds: Mapping[str, float],
) -> Judge:
    """Return a function that judges micrographs by their archived crops.

    Args:
        archive: The pixels.
        classifier: The bundle.
        policy: The lab's triage policy.
        thresholds: Stored with each result.
    """

    def judge(views: Sequence[MicrographView]) -> list[MicrographResult | str]:
        loaded = [_load(archive, view) for view in views]
        fields = [field for field in loaded if not isinstance(field, str)]
        predictions = iter(classifier.classify(fields) if fields else ())
        answers: list[MicrographResult | str] = []
        for view, field_ in zip(views, loaded, strict=True):
            if isinstance(field_, str):
                answers.append(field_)
                continue
            prediction = next(predictions)
            archive.keep_maps(view.sha256, view.page, prediction.bundle, select_maps(prediction))
            answers.append(_finding(view, prediction, policy, thresholds))
        return answers

    return judge


def _load(archive: Archive, view: MicrographView) -> Field | str:
    """Return an archived crop, "" where it is no longer there, or why it cannot be read."""
    if not archive.has_crop(view.sha256, view.page):
        return ""
    microscope = view.process_data.get("microscope", "")
    try:
        return make_loader(archive, view.sha256, view.page, view.um_per_px, microscope)()
    except StoreError as error:
        return str(error)


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
            **({GIVEN: given} if (given := find_given(view.result.thresholds)) else {}),
        },
        origin=view.result.origin,
    )
