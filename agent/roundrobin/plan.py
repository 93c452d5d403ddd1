"""Plan the runs of a measurement-system analysis: everything crossed, in a random order.

A new preparation destroys the surface before it, so preparations are blocks, one after another;
within one everything is shuffled.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class StudyRun:
    """One image to be taken.

    Args:
        number: From 1, in the order of the runs.
        preparation: From 1.
        specimen, operator, microscope: Their names.
        image: From 1.
    """

    number: int
    preparation: int
    specimen: str
    operator: str
    microscope: str
    image: int

    def as_json(self) -> dict[str, int | str]:
        """Return the JSON values for the record."""
        return {
            "number": self.number,
            "preparation": self.preparation,
            "specimen": self.specimen,
            "operator": self.operator,
            "microscope": self.microscope,
            "image": self.image,
        }


def plan_runs(
    specimens: Sequence[str],
    operators: Sequence[str],
    microscopes: Sequence[str],
    *,
    images: int,
    preparations: int,
    seed: int,
) -> list[StudyRun]:
    """Cross everything with everything, in a random order within each preparation.

    Args:
        specimens: Names.
        operators: Who takes the images.
        microscopes: On which.
        images: How often each of those is imaged, each time from the start.
        preparations: How often each specimen is ground, polished and etched.
        seed: Of the order; the same seed, the same plan.
    """
    rng, runs = random.Random(seed), []
    for preparation in range(1, preparations + 1):
        block = list(product(specimens, operators, microscopes, range(1, images + 1)))
        rng.shuffle(block)
        runs += [(preparation, *combination) for combination in block]
    return [StudyRun(number, *run) for number, run in enumerate(runs, start=1)]


def run_from_json(kept: Mapping[str, int | str]) -> StudyRun:
    """Parse a run; the inverse of `Run.as_json`."""
    return StudyRun(
        number=int(kept["number"]),
        preparation=int(kept["preparation"]),
        specimen=str(kept["specimen"]),
        operator=str(kept["operator"]),
        microscope=str(kept["microscope"]),
        image=int(kept["image"]),
    )
