"""Suggest which micrographs to label next, in a child of low priority; the job keeps the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.archive import Archive
from agent.service.composition import load_bundle, open_store
from agent.service.folder.data_folder import clock
from agent.service.folder.lock import Lock
from agent.service.jobs.retrain import find_training_job
from agent.service.jobs.supervisor import run_supervised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from agent.retrain import Step, Suggestion
    from agent.settings import Settings
    from agent.store import Store

SUGGEST = "suggest"
SUGGESTED = 24
GAIN = 0.02
"""Gain of accuracy, a share, for which the number of further labels is estimated."""


def suggest_next(settings: Settings) -> Iterator[Step | Suggestion]:
    """Choose what to label next: the work of the child."""
    from agent.retrain import suggest  # noqa: PLC0415 - the child's alone

    with open_store(settings) as store:
        lesson, waiting = find_training_job(settings, store), store.review_queue.list_micrographs()
    classifier = load_bundle(settings, lesson.manifest.name)
    archive = Archive.open(settings.store)
    yield from suggest(waiting, lesson.collected, classifier, archive, n=SUGGESTED)


def suggest_in_child(
    settings: Settings,
    store: Store,
    *,
    by: str,
    now: Callable[[], datetime] = clock,
    work: Callable[[Settings], Iterator[object]] = suggest_next,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[object]:
    """Choose what to label next in a child; see `run_supervised`."""
    lock = Lock(settings.store.folder / "suggest.lock", "Suggestions are being made already{who}.")
    yield from run_supervised(
        work,
        settings,
        store,
        name=SUGGEST,
        lock=lock,
        by=by,
        now=now,
        ending=suggestion_to_facts,
        should_stop=should_stop,
    )


def suggestion_to_facts(suggestion: Suggestion) -> tuple[str, dict[str, Any]]:
    """Return the outcome of the job, and the suggestion as JSON values."""
    curve = suggestion.curve
    more, low, high = curve.until(GAIN) if curve else (None, None, None)
    return "done", {
        "ids": [view.id for view in suggestion.views],
        "labelled": dict(suggestion.labelled),
        "recall": {code: recall.as_json() for code, recall in suggestion.recalls.items()},
        "gain": GAIN,
        "more_labels": {"value": more, "low": low, "high": high},
        "curve": curve.as_json() if curve else None,
    }
