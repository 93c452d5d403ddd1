"""What raters, reference and model answered on each image of a round robin."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.roundrobin.agreement_coefficients import (
    PAIR,
)
from agent.roundrobin.panel import (
    Level,
    Panel,
    list_raters,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class ImageResult:
    """Ratings of one image.

    Args:
        number: Of it.
        reference, model, majority: Codes, or None.
        votes: Code → how many gave it, the most frequent first.
        untold: How many could not tell.
        criteria: "mean" and "max" → how many decided by it.
    """

    number: int
    reference: str | None
    model: str | None
    majority: str | None
    votes: Mapping[str, int]
    untold: int
    criteria: Mapping[str, int]

    @property
    def agreed(self) -> float | None:
        """Share of the codes that are the most frequent one; None where no rater gave one."""
        n = sum(self.votes.values())
        return max(self.votes.values()) / n if n else None

    @property
    def majority_differs(self) -> bool:
        """Whether the majority's code is not the reference."""
        return None not in (self.majority, self.reference) and self.majority != self.reference

    @property
    def is_disputed(self) -> bool:
        """Whether a reviewer should inspect it again.

        At least two gave a code, and no code has more than half of the votes, or the one that has
        is not the reference's.
        """
        if sum(self.votes.values()) < PAIR:
            return False
        return (self.agreed or 0.0) <= 1 / PAIR or self.majority_differs


def image_results(panel: Panel) -> list[ImageResult]:
    """Return the ratings of each image, in their order."""
    return [_image(panel, image) for image in panel.images]


def _image(panel: Panel, image: int) -> ImageResult:
    answers = [panel.answers[rater, image] for rater in list_raters(panel, image)]
    votes = Counter(answer.code for answer in answers if answer.code is not None)
    return ImageResult(
        number=image,
        reference=panel.reference.get(image),
        model=panel.model.get(image),
        majority=panel.majority(image, Level.CODE),
        votes=dict(sorted(votes.items(), key=lambda vote: (-vote[1], vote[0]))),
        untold=sum(answer.code is None for answer in answers),
        criteria=dict(Counter(answer.criterion for answer in answers if answer.code is not None)),
    )
