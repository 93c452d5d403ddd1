"""Labelled micrographs, and their honest split.

In:  `Example`s. Out: a `Split` with no specimen on two sides. Next: `train`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from model.frame import Field


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled micrograph, its pixels loaded only when asked for.

    Args:
        key: The micrograph's content hash (with page), unique.
        code: The structure code somebody gave it, such as "G8".
        group: What must stay on one side of a split: the specimen where known, else the key.
        load: Returns the field; called many times, so it reads from the archive.
        criterion: "mean", "max" or "unrecorded": which needle-length criterion the rater used.
        weight: How much a label counts in training, 1 by default.
        slices: Where known: "microscope", "magnification", "material", for evaluation.
    """

    key: str
    code: str
    group: str
    load: Callable[[], Field]
    criterion: str = "unrecorded"
    weight: float = 1.0
    slices: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
