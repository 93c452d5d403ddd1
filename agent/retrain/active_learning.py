"""Suggest which micrographs to label next, and estimate how many more labels pay.

The reviewer labels them without the model's answer in view.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agent.labelled_import import make_loader
from agent.retrain.progress import Step
from model import (
    Estimate,
    fit_learning_curve,
    inspect_labels,
    predict_out_of_sample,
    select_diverse,
    wilson,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from agent.archive import Archive
    from agent.retrain.training_set import Collected
    from agent.store import MicrographView
    from model import Classifier, InspectedImage, LearningCurve

POOL = 300
"""At most so many waiting micrographs are inspected, the newest."""
_LEAST_DOUBT = 0.05
"""Least weight of an image that the model is sure of: it may be sure and wrong."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What to label next.

    Args:
        views: The micrographs, the most useful first.
        recalls: Structure code → share that is right, by heads fitted without the specimen.
        labelled: Structure code → labelled micrographs.
        curve: How the errors fall with more labels, or None with too few specimens.
    """

    views: tuple[MicrographView, ...]
    recalls: Mapping[str, Estimate]
    labelled: Mapping[str, int]
    curve: LearningCurve | None


def suggest(
    waiting: Sequence[MicrographView],
    collected: Collected,
    classifier: Classifier,
    archive: Archive,
    *,
    n: int,
) -> Iterator[Step | Suggestion]:
    """Choose micrographs that are uncertain, unlike the labelled ones and unlike each other.

    Unusual ones are left out: they come first in the queue anyway, and may be no steel at all. So
    are control samples: they test the next model and are not trained on.

    Args:
        waiting: The review queue, in any order.
        collected: What is labelled.
        classifier: The active bundle.
        archive: The pixels.
        n: How many to suggest.

    Yields:
        `Step`s, last a `Suggestion`.
    """
    pool = list_candidates(waiting, lambda view: archive.has_crop(view.sha256, view.page))
    scores: list[np.ndarray[tuple[int], np.dtype[np.float32]]] = []
    for view in pool:
        microscope = view.process_data.get("microscope", "")
        field = make_loader(archive, view.sha256, view.page, view.um_per_px, microscope)()
        scores.append(classifier.score_ood(field)[0])
        yield Step("pool", len(scores), len(pool))
    inspected: tuple[InspectedImage, ...] = ()
    for step in inspect_labels(classifier, collected.examples):
        inspected = step.result or inspected
        yield Step(step.stage, step.done, step.total)
    known = np.stack([image.embedding for image in inspected]) if inspected else None
    chosen = (
        select_diverse(np.stack(scores), n, known=known, weights=_compute_weights(pool))
        if pool
        else []
    )
    yield _suggestion([pool[place] for place in chosen], inspected, classifier)


def list_candidates(
    waiting: Sequence[MicrographView], has_crop: Callable[[MicrographView], bool]
) -> list[MicrographView]:
    """Return the newest waiting micrographs that may be trained on; control samples may not."""
    wanted = [
        view
        for view in waiting
        if view.label is None and not {"strange", "control_sample"} & set(view.result.reasons)
    ]
    return sorted(filter(has_crop, wanted), key=lambda view: view.result.done_at)[-POOL:]


def _compute_weights(
    views: Sequence[MicrographView],
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([max(_LEAST_DOUBT, 1.0 - (view.result.probability or 0.0)) for view in views])


def _suggestion(
    views: Sequence[MicrographView], inspected: Sequence[InspectedImage], classifier: Classifier
) -> Suggestion:
    taught = classifier.taxonomy.trained_codes
    known = [image for image in inspected if image.code in taught]
    codes = [image.code for image in known]
    labelled = {code: codes.count(code) for code in taught}
    taxonomy = classifier.taxonomy.restricted_to(frozenset(codes))
    recalls: dict[str, Estimate] = {}
    curve: LearningCurve | None = None
    if len(set(codes)) > 1:
        shares, names = predict_out_of_sample(known, taxonomy)
        predicted = np.where(np.isnan(shares).any(axis=1), -1, np.nan_to_num(shares).argmax(axis=1))
        for code in sorted(set(codes)):
            own = [
                place
                for place, given in enumerate(codes)
                if given == code and predicted[place] >= 0
            ]
            recalls[code] = wilson(sum(names[predicted[place]] == code for place in own), len(own))
        embeddings = np.stack([image.embedding for image in known])
        curve = fit_learning_curve(
            embeddings, codes, [image.example.group for image in known], taxonomy
        )
    return Suggestion(tuple(views), recalls, labelled, curve)
