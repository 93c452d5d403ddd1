"""Content of the card of one micrograph that needs a reviewer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reports.content.components import Fact, Figure, Link
    from reports.content.needles import FieldNeedles


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a reviewer should inspect it, and what to do.

    Args:
        word: The stable word, such as "strange".
        title: The same in words.
        sentence: What was detected.
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
        text: The same in words, such as "91 %".
        chosen: It is the model's answer.
        possible: It is in the prediction set.
    """

    label: str
    words: str
    percent: float
    text: str
    chosen: bool = False
    possible: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """The model's answer on a micrograph.

    Args:
        code: The structure code, "" without a bundle.
        words: The same in words.
        probability: Such as "91 %".
        provisional: Why the answer is provisional, "" where it is not.
        possible: The prediction set, such as "G8 or G9-10"; "" if it is the code alone.
        subtypes: Bars of the first stage.
        sizes: Bars of the second.
        size_title: Such as "Size in G".
        strangeness: One sentence.
        strange: Whether it is unusual.
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
class Card:
    """One micrograph that needs a reviewer.

    Args:
        id: The public id.
        name: The file's name.
        path: Its path below the source.
        source: Its source.
        at: When it was done, local time.
        causes: Why it is here, the weightiest first.
        answer: The model's.
        field: The whole field, with the removed part; None on a card with the crop alone.
        crop: The model's input.
        maps: Saliency of both stages and the OOD map.
        nearest: The most similar reference images, per candidate code.
        facts: Scale, process data and the like.
        warnings: Sentences.
        decision: The one that counts, `agent.store.LabelView`, or None.
        review: Where it is decided, or None.
        order: The order that it belongs to, with its page where the agent's address is set.
        needles: Its needle lengths, None where they were not to be measured.
    """

    id: str
    name: str
    path: str
    source: str
    at: str
    causes: tuple[Cause, ...]
    answer: Answer
    field: Figure | None
    crop: Figure
    maps: tuple[Figure, ...]
    nearest: tuple[Figure, ...]
    facts: tuple[Fact, ...]
    warnings: tuple[str, ...]
    decision: Any
    review: Link | None
    order: Link | None = None
    needles: FieldNeedles | None = None
