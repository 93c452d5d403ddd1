"""The answers of a round robin: raters, their codes, and what was answered on each image."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from agent.roundrobin import agreement_coefficients
from agent.roundrobin.agreement_coefficients import PAIR

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from agent.store import Opinion
    from model import Estimate, Taxonomy


MODEL = "model"


class Level(StrEnum):
    """What counts as the same answer."""

    SUBTYPE = "subtype"
    CODE = "code"
    MERGED = "merged"


@dataclass(frozen=True, slots=True)
class RatedShare:
    """A share of right answers, with its interval."""

    right: int
    n: int
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class Panel:
    """Every answer of a campaign.

    Args:
        taxonomy: Of the campaign.
        raters: Pseudonyms.
        images: Their numbers.
        answers: (rater, image) → answer; a pair that is missing was not rated.
        reference: Image → code, where there is one.
        model: Image → the model's code, where there is one.
        merged: Code → the code it counts as.
        teams: Pseudonym → team, where they have one.
    """

    taxonomy: Taxonomy
    raters: tuple[str, ...]
    images: tuple[int, ...]
    answers: Mapping[tuple[str, int], Opinion]
    reference: Mapping[int, str] = field(default_factory=dict)
    model: Mapping[int, str] = field(default_factory=dict)
    merged: Mapping[str, str] = field(default_factory=dict)
    teams: Mapping[str, str] = field(default_factory=dict)

    def of(self, raters: Sequence[str]) -> Panel:
        """Return the panel with some of its raters alone."""
        return replace(self, raters=tuple(rater for rater in self.raters if rater in raters))

    def images_at(self, level: Level) -> tuple[int, ...]:
        """Return the images that count: for merged codes, those whose reference was trained on."""
        if level is not Level.MERGED:
            return self.images
        taught = self.taxonomy.trained_codes
        return tuple(
            image
            for image in self.images
            if image not in self.reference or self.reference[image] in taught
        )

    def said(self, rater: str, image: int, level: Level) -> str | None:
        """Return a rater's class of an image, or None."""
        answer = self.answers.get((rater, image))
        if answer is None:
            return None
        return answer.subtype if level is Level.SUBTYPE else self._class(self.code(answer), level)

    def code(self, answer: Opinion) -> str | None:
        """Return the structure code of an answer, or None where the rater could not tell it."""
        if answer.subtype is None or answer.size is None:
            return None
        return self.taxonomy.subtype(answer.subtype).code(answer.size)

    def true(self, image: int, level: Level) -> str | None:
        """Return the reference's class of an image, or None."""
        return self._class(self.reference.get(image), level)

    def model_said(self, image: int, level: Level) -> str | None:
        """Return the model's class of an image, or None."""
        return self._class(self.model.get(image), level)

    def majority(self, image: int, level: Level) -> str | None:
        """Return the most frequent class of an image; None for a tie, or without any class."""
        votes = Counter(
            name for rater in self.raters if (name := self.said(rater, image, level)) is not None
        )
        best = votes.most_common(PAIR)
        if not best or (len(best) == PAIR and best[0][1] == best[1][1]):
            return None
        return best[0][0]

    def _class(self, code: str | None, level: Level) -> str | None:
        if code is None:
            return None
        if level is Level.SUBTYPE:
            return self.taxonomy.parse(code)[0]
        return self.merged.get(code, code) if level is Level.MERGED else code

    def classes(self, level: Level) -> tuple[str, ...]:
        """Return the classes that raters, reference or model used, in the taxonomy's order."""
        used = {
            name
            for image in self.images_at(level)
            for name in (
                *(self.said(rater, image, level) for rater in self.raters),
                self.true(image, level),
                self.model_said(image, level),
            )
        }
        if level is Level.SUBTYPE:
            order = [subtype.name for subtype in self.taxonomy.subtypes]
        else:
            order = list(self.taxonomy.codes)
        others = sorted(name for name in used if name is not None and name not in order)
        return (*(name for name in order if name in used), *others)

    def table(self, level: Level) -> tuple[tuple[str, ...], NDArray[np.intp]]:
        """Return the classes, and (images, raters) indices of them, -1 for no class."""
        classes = self.classes(level)
        rows = [
            agreement_coefficients.indices(
                classes, [self.said(r, image, level) for r in self.raters]
            )
            for image in self.images_at(level)
        ]
        return classes, np.array(rows, np.intp).reshape(len(rows), len(self.raters))

    def sizes(self) -> tuple[tuple[str, ...], NDArray[np.intp]]:
        """Return the sizes that raters used, coarse to fine across subtypes, and their table."""
        order = list_sizes(self.taxonomy)
        rows = [
            [
                -1 if answer is None or not answer.has_code else order.index(answer.size or "")
                for answer in (self.answers.get((rater, image)) for rater in self.raters)
            ]
            for image in self.images
        ]
        table = np.array(rows, np.intp).reshape(len(rows), len(self.raters))
        # The scale between the ends stays whole: a size that no rater gave is still a step.
        first, last = (table[table >= 0].min(), table.max()) if (table >= 0).any() else (0, -1)
        return order[first : last + 1], np.where(table >= 0, table - first, -1)


def list_sizes(taxonomy: Taxonomy) -> tuple[str, ...]:
    """Order all sizes from coarse to fine, whatever the subtype."""
    return tuple(size.name for size in taxonomy.sizes)


def list_raters(panel: Panel, image: int) -> list[str]:
    """Return the raters who judged an image."""
    return [rater for rater in panel.raters if (rater, image) in panel.answers]


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
    coded = [answer for answer in answers if answer.has_code]
    votes = Counter(code for answer in coded if (code := panel.code(answer)))
    return ImageResult(
        number=image,
        reference=panel.reference.get(image),
        model=panel.model.get(image),
        majority=panel.majority(image, Level.CODE),
        votes=dict(sorted(votes.items(), key=lambda vote: (-vote[1], vote[0]))),
        untold=len(answers) - len(coded),
        criteria=dict(Counter(answer.criterion for answer in coded)),
    )
