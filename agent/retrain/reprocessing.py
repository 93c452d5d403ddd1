"""Classify archived micrographs with another bundle and store its answers next to the old ones."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from agent.errors import BadStore
from agent.labelled_import import make_loader
from agent.pipeline import select_maps
from agent.retrain.progress import Step
from agent.retrain.unit_worker import UNIT, UnitWorker
from agent.store import GIVEN, JobState, MicrographResult, UnitAnswer, find_given
from agent.triage import triage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from agent.archive import Archive
    from agent.retrain.unit_worker import Judge
    from agent.store import MicrographView, Store, WorkProgress
    from agent.triage import Policy
    from model import Classifier, Field, Prediction

LOOK_EVERY_S = 1.0
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
        unreadable: Micrographs whose archived crop cannot be read.
        set_aside: Micrographs in units that failed several times.
        waiting: Micrographs that are not finished: paused, cancelled, or archived on other PCs.
        waits_for: Names of the agents that hold the crops of waiting units.
        state: State of the job.
        is_ended_here: This run ended the job; of several that worked on it, one did.
    """

    judged: int
    known: int
    lost: int
    flips: Mapping[tuple[str, str], int]
    flagged: int
    unreadable: int = 0
    set_aside: int = 0
    waiting: int = 0
    waits_for: tuple[str, ...] = ()
    state: str = JobState.DONE
    is_ended_here: bool = False

    @classmethod
    def from_progress(cls, progress: WorkProgress, *, is_ended_here: bool = False) -> Again:
        """Return the result of a job as far as it is."""
        job = progress.job
        return cls(
            judged=progress.judged,
            known=job.known + progress.known,
            lost=progress.lost,
            flips=dict(progress.flips),
            flagged=progress.flagged,
            unreadable=progress.unreadable,
            set_aside=progress.set_aside,
            waiting=max(job.total - progress.done - progress.set_aside, 0),
            waits_for=progress.waits_for,
            state=str(job.state),
            is_ended_here=is_ended_here,
        )


def reprocess(
    store: Store,
    archive: Archive,
    classifier: Classifier,
    *,
    policy: Policy,
    thresholds: Mapping[str, float],
    now: Callable[[], datetime],
    role: Role = "reprocess",
    days: int | None = None,
    since: datetime | None = None,
    by: str = "agent",
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
        days: How many days back, where `since` was computed from it.
        since: Only watched micrographs since then; None: everything. The newest come first.
        by: Who requested it.

    Yields:
        `Step`s, last an `Again`.
    """
    job = store.work_jobs.open(classifier.name, role, days=days, since=since, by=by, at=now())
    judge = build_judge(archive, classifier, policy=policy, thresholds=thresholds)
    worker = UnitWorker(
        store,
        has_bundle=lambda name: name == classifier.name,
        open_judge=lambda _name: judge,
        has_crop=archive.has_crop,
        now=now,
        unit=UNIT,
    )
    yield from attend(worker, job.id)


def attend(
    worker: UnitWorker, job_id: int, *, steady: Callable[[], float] = time.monotonic
) -> Iterator[Step | Again]:
    """Work on a job until it is at its end, or nothing is left that this PC can do.

    Args:
        worker: Pulls its units.
        job_id: Number of the job.
        steady: A clock that cannot be set, in seconds.

    Yields:
        `Step`s, last an `Again`.
    """
    jobs, now = worker.store.work_jobs, worker.now
    due_s = 0.0
    while True:
        for _ in worker.pull([job_id]):
            if steady() >= due_s:
                due_s = steady() + LOOK_EVERY_S
                yield _measure_step(jobs.get_progress(job_id, at=now()))
        is_ended_here = jobs.close_when_done(job_id, at=now())
        progress = jobs.get_progress(job_id, at=now())
        yield _measure_step(progress)
        homes = worker.find_homes([job_id])
        if progress.job.state is not JobState.OPEN or not worker.may_work():
            break
        if progress.job.is_divided and not worker.store.work_units.is_any_ahead([job_id], homes):
            break
        worker.pause(LOOK_EVERY_S)
    yield Again.from_progress(progress, is_ended_here=is_ended_here)


def _measure_step(progress: WorkProgress) -> Step:
    return Step("reprocess", progress.done + progress.set_aside, progress.job.total)


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

    def judge(views: Sequence[MicrographView]) -> list[UnitAnswer]:
        loaded = [_load(archive, view) for view in views]
        fields = [field for field in loaded if not isinstance(field, str)]
        predictions = iter(classifier.classify(fields) if fields else ())
        answers = []
        for view, field in zip(views, loaded, strict=True):
            if isinstance(field, str):
                answers.append(UnitAnswer(view, fault=field))
                continue
            prediction = next(predictions)
            archive.keep_maps(view.sha256, view.page, prediction.bundle, select_maps(prediction))
            answers.append(UnitAnswer(view, _finding(view, prediction, policy, thresholds)))
        return answers

    return judge


def _load(archive: Archive, view: MicrographView) -> Field | str:
    """Return an archived crop, "" where it is no longer there, or why it cannot be read."""
    if not archive.has_crop(view.sha256, view.page):
        return ""
    microscope = view.process_data.get("microscope", "")
    try:
        return make_loader(archive, view.sha256, view.page, view.um_per_px, microscope)()
    except BadStore as error:
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
