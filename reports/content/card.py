"""What is said of one micrograph: its card, or its row where nobody needs to look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.content.parts import Fact, Figure, Link, Picture


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a person should look, and what to do about it.

    Args:
        word: The stable word, such as "strange".
        title: What a person reads.
        sentence: What was found.
        action: What to do.
    """

    word: str
    title: str
    sentence: str
    action: str


@dataclass(frozen=True, slots=True)
class Share:
    """One bar of a list of probabilities.

    Args:
        label: A subtype, size or structure code.
        words: What it means, "" where known.
        percent: 0 to 100, for the bar's length.
        text: As it is read, such as "91 %".
        chosen: The model's answer.
        possible: In the prediction set.
    """

    label: str
    words: str
    percent: float
    text: str
    chosen: bool = False
    possible: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says of a micrograph.

    Args:
        code: The structure code, "" without a bundle.
        words: It in words.
        probability: Such as "91 %".
        provisional: Said instead of a footnote, "" where it is firm.
        possible: The prediction set, such as "G8 or G9-10"; "" if it is the code alone.
        subtypes: Bars of the first stage.
        sizes: Bars of the second.
        size_title: "Size in G".
        strangeness: One sentence.
        strange: Whether it is flagged.
    """

    code: str
    words: str
    probability: str
    provisional: str
    possible: str
    subtypes: tuple[Share, ...]
    sizes: tuple[Share, ...]
    size_title: str
    strangeness: str
    strange: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person said: "G8" or "strange: possible inclusion", by whom and when."""

    text: str
    by: str
    at: str
    comment: str = ""
    criterion: str = ""
    undone: bool = False
    unsure: bool = False


@dataclass(frozen=True, slots=True)
class Card:
    """One micrograph that needs a person.

    Args:
        id: The public id.
        name: The file's name.
        path: Its path below the source.
        source: Where it came from.
        at: When it was done, local time.
        causes: Why it is here, the weightiest first.
        answer: What the model says.
        field: The whole field, with what was cut away.
        crop: What the model saw.
        maps: Saliency of both stages and the strangeness map.
        nearest: Known micrographs it resembles most, per candidate code.
        facts: Scale, process data and the like.
        warnings: Sentences.
        decision: The newest one in force, or None.
        review: Link or None.
    """

    id: str
    name: str
    path: str
    source: str
    at: str
    causes: tuple[Cause, ...]
    answer: Answer
    field: Figure
    crop: Figure
    maps: tuple[Figure, ...]
    nearest: tuple[Figure, ...]
    facts: tuple[Fact, ...]
    warnings: tuple[str, ...]
    decision: Decision | None
    review: Link | None


@dataclass(frozen=True, slots=True)
class Row:
    """One micrograph in one line.

    Args:
        href: Where its card is, "" if it has none.
    """

    id: str
    name: str
    source: str
    at: str
    code: str
    probability: str
    handling: str
    why: str
    thumbnail: Picture | None
    href: str
