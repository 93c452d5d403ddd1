"""Inspect every labelled image once before training: pixel sizes, scope, copies."""

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
    """Pixel sizes, scope and near-duplicates of the examples of a split.

    Args:
        sides: The split.
    """

    def __init__(self, sides: Split) -> None:
        self._sides = sides
        self._um_per_px: list[float] = []
        self._compared: list[ComparedImage] = []

    def scan(self) -> Iterator[int]:
        """Load every image, and yield how many are done."""
        sides = (self._sides.train, self._sides.validation, self._sides.test)
        for side, examples in zip(SIDES, sides, strict=True):
            for example in examples:
                field = example.load()
                compared = ComparedImage(example.key, example.group, side, compute_signature(field))
                self._compared.append(compared)
                if field.um_per_px is not None and side == "train":
                    self._um_per_px.append(field.um_per_px)
                yield len(self._compared)

    def build_framing(self, config: TrainingConfig) -> Framing:
        """Return the framing, with the median pixel size assumed for fields without a scale."""
        return Framing(
            kind=config.framing,  # type: ignore[arg-type]  # checked by TrainingConfig
            frame_px=config.frame_px,
            um_per_px=config.um_per_px,
            usual_um_per_px=(
                float(np.median(self._um_per_px)) if self._um_per_px else config.um_per_px
            ),
        )

    def build_scope(self) -> dict[str, Any]:
        """Return the range of images that the bundle is validated for."""
        um_per_px, train = self._um_per_px, self._sides.train
        scope: dict[str, Any] = {
            "um_per_px": [min(um_per_px), max(um_per_px)] if um_per_px else None,
            "images": dict(Counter(example.code for example in train)),
            "criteria": dict(Counter(example.criterion for example in train)),
        }
        for key in ("microscope", "magnification", "material"):
            scope[key] = dict(
                Counter(example.slices[key] for example in train if example.slices.get(key))
            )
        return scope

    def find_copies(self) -> list[tuple[str, str]]:
        """Return pairs of keys (trained on, tested on) whose images are near-duplicates."""
        return find_leaks(self._compared)
