"""What the pages of a round robin say: frozen, already counted and sorted.

In:  nothing. Out: nouns. Next: `render`. They hold a pseudonym where a person rated, and no answer
of a model or of another rater where one still rates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.content.parts import Fact, Link, Picture, Table
    from reports.content.review import Choice, Notice, Ruler, SubtypeChoice


@dataclass(frozen=True, slots=True)
class RatingPage:
    """One micrograph before a rater.

    Args:
        site: The lab's name.
        campaign: Which.
        rater: Pseudonym.
        place: Counted from 1 in the rater's own order.
        done, total: Images rated, and all.
        picture: The micrograph, or None where its pixels are gone.
        ruler: None: scale unknown.
        subtypes: Each with its sizes; what was chosen before is `suggested`.
        chosen: The subtype that was chosen before, "" for none.
        criteria: By which a size was decided.
        comment: As it was typed before.
        action: Where the form goes.
        revision: Of the rating that it gives.
        previous: The one before, "" where there is no way back.
        notice: What just happened, or None.
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
        """How far it has come, for a bar."""
        return f"{100 * self.done / self.total:.1f}"


@dataclass(frozen=True, slots=True)
class RatingEnd:
    """What a rater reads who has nothing to rate.

    Args:
        site, campaign: As above.
        title, sentence: What it says.
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
        is_open: Ratings are taken.
        images: How many.
        raters: Pseudonym, rated and percent of each.
        given, expected: Ratings.
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
    """What was said of one micrograph, for Figure 5 and the table of all.

    Args:
        label: Its number.
        name: Its public id.
        stratum: Why it was chosen, "" for named.
        reference, model, majority: codes, "" where there is none.
        votes: Code and how many said it, the most frequent first.
        untold: How many could not tell, in words, "" for nobody.
        criteria: Likewise by what.
        note: What a person should look at, "" for nothing.
        comments: Who said what.
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
    """What a round robin, or a study of the measuring system, found.

    Args:
        site: The lab's name.
        title: Of the page.
        sentences: What has to be known first.
        headline: The figures that are asked for first.
        images: In the order of the figure's columns; () in a study.
        codes: Of its rows, from the bottom.
        raters: How many.
        tables: Everything else, in its order.
        method: How it was computed, sentence by sentence.
        generated: When it was written, as it is read.
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
    """One line of a plan: which image is taken, by whom, where."""

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
        generated: When it was written, as it is read.
    """

    site: str
    name: str
    blocks: tuple[tuple[PlanRun, ...], ...]
    generated: str
