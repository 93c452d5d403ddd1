"""Look at every labelled image once before any network does.

In:  a `Split`. Out: how fields are framed, on what a bundle is validated, which test images are
too easy. Next: `training`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from model.data.near_duplicates import ComparedImage, compute_signature, find_leaks
from model.data.splits import SIDES
from model.framing import Framing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model.data.splits import Split
    from model.training.config import TrainingConfig


class DatasetSummary:
    """What is learned from looking at every image once.

    Args:
        sides: The images, and which side of the split each is on.
    """

    def __init__(self, sides: Split) -> None:
        self._sides = sides
        self._um_per_px: list[float] = []
        self._looked: list[ComparedImage] = []

    def look(self) -> Iterator[int]:
        """Look at every image; gives how many are done."""
        sides = (self._sides.train, self._sides.validation, self._sides.test)
        for side, examples in zip(SIDES, sides, strict=True):
            for example in examples:
                shown = example.load()
                seen = ComparedImage(example.key, example.group, side, compute_signature(shown))
                self._looked.append(seen)
                if shown.um_per_px is not None and side == "train":
                    self._um_per_px.append(shown.um_per_px)
                yield len(self._looked)

    def framing(self, plan: TrainingConfig) -> Framing:
        """Give the framing, with the pixel size that a field without one is assumed to have."""
        return Framing(
            kind=plan.framing,  # type: ignore[arg-type]  # checked by Plan
            frame_px=plan.frame_px,
            um_per_px=plan.um_per_px,
            usual_um_per_px=(
                float(np.median(self._um_per_px)) if self._um_per_px else plan.um_per_px
            ),
        )

    def scope(self) -> dict[str, Any]:
        """Say on what the bundle is validated."""
        known, train = self._um_per_px, self._sides.train
        scope: dict[str, Any] = {
            "um_per_px": [min(known), max(known)] if known else None,
            "images": dict(Counter(e.code for e in train)),
            "criteria": dict(Counter(e.criterion for e in train)),
        }
        for key in ("microscope", "magnification", "material"):
            scope[key] = dict(Counter(e.slices[key] for e in train if e.slices.get(key)))
        return scope

    def doubled(self) -> list[tuple[str, str]]:
        """Give pairs (learned from, tested on) of which one is a copy of the other."""
        return find_leaks(self._looked)
