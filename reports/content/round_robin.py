"""Content of the pages of a round robin: frozen, already counted and sorted.

They name raters by pseudonym, and hold no answer of a model or of another rater while the rater
still rates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.content.components import Fact, Link, Picture, Table
    from reports.content.review import Choice, Notice, SubtypeChoice
    from reports.content.viewer import Ruler


@dataclass(frozen=True, slots=True)
class RatingPage:
    """One micrograph to be rated.

    Args:
        site: The lab's name.
        campaign: Its name.
        rater: Pseudonym.
        place: Counted from 1 in the rater's own order.
        done: Images rated.
        total: All images.
        picture: The micrograph, or None where its pixels are deleted.
        ruler: None where the scale is unknown.
        subtypes: Each with its sizes; what was chosen before is `suggested`.
        chosen: The subtype that was chosen before, "" for none.
        criteria: By which a size was decided.
        comment: As it was typed before.
        action: Where the form is sent.
        revision: Of the rating that is entered.
        previous: The one before, "" where there is no way back.
        notice: The result of the last action, or None.
        wrong: What is missing, "" for nothing.
        may_go_back: Whether a rating can be changed later.
        prefetch: The next picture, "" for none.
    """

    site: str
    campaign: str
    rater: str
    place: int
    done: int
    total: int
    picture: Picture | None
    ruler: Ruler | None
    subtypes: tuple[SubtypeChoice, ...]
    chosen: str
    criteria: tuple[Choice, ...]
    comment: str
    action: str
    revision: int
    previous: str
    notice: Notice | None
    wrong: str
    may_go_back: bool
    prefetch: str

    @property
    def percent(self) -> str:
        """Share of rated images, 0 to 100, for a bar."""
        return f"{100 * self.done / self.total:.1f}"


@dataclass(frozen=True, slots=True)
class RatingEnd:
    """Message to a rater who has nothing to rate.

    Args:
        site, campaign: Their names.
        title, sentence: The message.
        back: The last rating, or None.
    """

    site: str
    campaign: str
    title: str
    sentence: str
    back: Link | None = None


@dataclass(frozen=True, slots=True)
class CampaignLine:
    """One campaign in the list.

    Args:
        name: Of it.
        state: "planned", "open" or "closed", in words.
        is_open: It accepts ratings.
        images: How many.
        raters: Pseudonym, rated and percent of each.
        given: Ratings entered.
        expected: Ratings of a complete campaign.
        rate_href: Where the reader rates, "" for nowhere.
        report: Its report, or None.
    """

    name: str
    state: str
    is_open: bool
    images: int
    raters: tuple[tuple[str, int, str], ...]
    given: int
    expected: int
    rate_href: str
    report: Link | None


@dataclass(frozen=True, slots=True)
class CampaignsPage:
    """Every campaign of a site, and its measurement-system analyses, the newest first."""

    site: str
    reviewer: str
    campaigns: tuple[CampaignLine, ...]
    analyses: tuple[Link, ...] = ()


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
