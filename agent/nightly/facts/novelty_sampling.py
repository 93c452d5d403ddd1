"""Choose micrographs for labelling that are unlike all labelled ones.

Uncertainty and OOD scores find what is hard for a model; ordinary fields far from every training
image improve it as much. One of each specimen is chosen, since its fields are alike, the farthest
first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.triage import Handling

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.store import MicrographView

DISTANCE = "knn"
"""The companion score that is the cosine distance to the nearest reference image."""


def list_farthest(views: Iterable[MicrographView], most: int) -> list[str]:
    """Return the public ids of the micrographs farthest from the training images.

    Args:
        views: Of a night; those that are flagged or labelled are left out.
        most: How many at most.
    """
    best: dict[tuple[str, ...], tuple[float, str]] = {}
    for view in views:
        distance = view.result.strangeness.companions.get(DISTANCE)
        if distance is None or view.label is not None or view.result.handling != Handling.AUTOMATIC:
            continue
        process_data = view.process_data
        specimen = process_data.get("specimen")
        key = (process_data.get("order", ""), specimen) if specimen else (view.id,)
        best[key] = max(best.get(key, (float("-inf"), "")), (float(distance), view.id))
    ranked = sorted(best.values(), key=lambda scored: (-scored[0], scored[1]))
    return [public_id for _distance, public_id in ranked[:most]]
