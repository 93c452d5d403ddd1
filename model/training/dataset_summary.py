"""Inspect every labelled image once before training: pixel sizes, scope, copies."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from model.data.near_duplicates import ComparedImage, compute_signature, find_leaks
from model.data.splits import SIDES
from model.framing import Framing
from model.ood.frozen_pass import UM_PER_PX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model.data.splits import Split
    from model.taxonomy import Taxonomy
    from model.training.config import TrainingConfig

MANY_SCALES: Final = 4.0
"""Ratio of the 95th to the 5th percentile of the pixel size from which images are of many scales: a
common pixel size then enlarges or shrinks many of them so much that their texture is lost. 500 and
1000 times, the usual magnifications of hardened steel, differ by a factor of 2."""

_RESIZED = 2.0


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

    def has_many_scales(self, taxonomy: Taxonomy) -> bool:
        """Return whether a common pixel size makes no sense for the training images.

        Sizes are lengths, so codes with several sizes always need the common pixel size.

        Args:
            taxonomy: Of the trained codes.
        """
        if not self._um_per_px or any(len(s.trained_sizes) > 1 for s in taxonomy.subtypes):
            return False
        low, high = np.quantile(self._um_per_px, (0.05, 0.95))
        return bool(high > MANY_SCALES * low)

    def keeps_pixels(self, config: TrainingConfig) -> bool:
        """Return whether the frozen pass uses the pixels of each image as they are."""
        return config.framing == "native" or self.has_many_scales(config.taxonomy)

    def describe_pixels(self, config: TrainingConfig) -> str:
        """Return the sentences on pixels that are kept because of many scales, or ""."""
        if config.framing == "native" or not self.keeps_pixels(config):
            return ""
        kept = (
            "All are used with their own pixels."
            if config.framing == "scale"
            else "The unusual check uses all with their own pixels."
        )
        zooms = np.array(self._um_per_px) / UM_PER_PX
        resized = int(((zooms > _RESIZED) | (zooms < 1 / _RESIZED)).sum())
        return (
            f"Pixel sizes from {min(self._um_per_px):.2g} to {max(self._um_per_px):.2g} µm: at one "
            f"common size of {UM_PER_PX:g} µm, {resized} of {len(zooms)} micrographs to train "
            f"would change more than twofold. {kept}"
        )

    def build_framing(self, config: TrainingConfig) -> Framing:
        """Return the framing, with the median pixel size assumed for fields without a scale."""
        is_native = config.framing == "scale" and self.keeps_pixels(config)
        return Framing(
            kind="native" if is_native else config.framing,  # type: ignore[arg-type]  # checked by TrainingConfig
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
