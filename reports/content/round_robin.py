"""Content of the pages of a round robin: frozen, already counted and sorted.

They name raters by pseudonym, and hold no answer of a model or of another rater while the rater
still rates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.content.components import Fact, Picture, Table


@dataclass(frozen=True, slots=True)
class RatedImage:
    """The ratings of one micrograph, for Figure 5 and the table of all.

    Args:
        label: Its number.
        name: Its public id.
        stratum: Why it was chosen, "" for named.
        reference, model, majority: Codes, "" where there is none.
        votes: Code and how many gave it, the most frequent first.
        untold: How many could not tell, in words, "" for none.
        criteria: How many decided by which criterion, in words.
        note: What a reviewer should inspect, "" for nothing.
        comments: Rater and comment.
        thumbnail: Of it, or None.
    """

    label: str
    name: str
    stratum: str
    reference: str
    model: str
    majority: str
    votes: tuple[tuple[str, int], ...]
    untold: str
    criteria: str
    note: str
    comments: tuple[tuple[str, str], ...]
    thumbnail: Picture | None


@dataclass(frozen=True, slots=True)
class StudyReport:
    """Results of a round robin, or of a study of the measuring system.

    Args:
        site: The lab's name.
        title: Of the page.
        sentences: At the top of the page.
        headline: The most important figures.
        images: In the order of the figure's columns; () in a study.
        codes: Of its rows, from the bottom.
        raters: How many.
        tables: Everything else, in its order.
        method: How it was computed, sentence by sentence.
        generated: When it was written, in words.
    """

    site: str
    title: str
    sentences: tuple[str, ...]
    headline: tuple[Fact, ...]
    images: tuple[RatedImage, ...]
    codes: tuple[str, ...]
    raters: int
    tables: tuple[Table, ...]
    method: tuple[str, ...]
    generated: str


@dataclass(frozen=True, slots=True)
class PlanRun:
    """One line of a plan: the image, its operator and its microscope."""

    number: int
    specimen: str
    operator: str
    microscope: str
    image: int


@dataclass(frozen=True, slots=True)
class PlanSheet:
    """A plan of runs, to be printed and ticked off.

    Args:
        site: The lab's name.
        name: Of the plan, which is the order number of its images.
        blocks: Runs per preparation, in the order in which they are done.
        generated: When it was written, in words.
    """

    site: str
    name: str
    blocks: tuple[tuple[PlanRun, ...], ...]
    generated: str
