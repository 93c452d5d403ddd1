"""Content of the pages of bundles: the list, an impact, a model card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.content.components import Fact, Link, Picture, Table, Tone


@dataclass(frozen=True, slots=True)
class FlipCard:
    """One micrograph that two bundles answer differently.

    Args:
        id: The public id.
        name: The file's name.
        place: Order and specimen, "" where unknown.
        picture: A thumbnail, or None where it is deleted.
        before: The answer of the active bundle, such as "G8".
        after: The answer of the other one.
        before_more, after_more: What differs next to the answer, such as "could be G7".
        decided: A reviewer's decision, "" for none.
    """

    id: str
    name: str
    place: str
    picture: Picture | None
    before: str
    after: str
    before_more: str
    after_more: str
    decided: str = ""


@dataclass(frozen=True, slots=True)
class ImpactOrder:
    """One order whose conformity would change, and the fields that would change it."""

    number: str
    before: str
    after: str
    before_tone: Tone
    after_tone: Tone
    why: tuple[str, ...]
    flips: tuple[FlipCard, ...]


@dataclass(frozen=True, slots=True)
class ImpactPage:
    """What would change under another bundle.

    Args:
        site: The lab's name.
        title: Of the page.
        headline: The result in one sentence.
        tone: How urgently it needs action.
        sentences: What it rests on, and what is not known.
        orders: Whose conformity would change.
        flips: Fields of other orders.
        left_out: How many of these are not shown, in words, or "".
        mark: The hash that a signature keeps of this page.
        generated: When it was written, in words.
    """

    site: str
    title: str
    headline: str
    tone: Tone
    sentences: tuple[str, ...]
    orders: tuple[ImpactOrder, ...]
    flips: tuple[FlipCard, ...]
    left_out: str
    mark: str
    generated: str


@dataclass(frozen=True, slots=True)
class CardSection:
    """One part of a model card: sentences, then facts, then tables."""

    title: str
    sentences: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a bundle is, what it is good for, and what it is not.

    Args:
        site: The lab's name.
        title: Of the page.
        state: Whether it is active, in words.
        tone: Calm where it is or was promoted.
        sections: In their order.
        generated: When it was written, in words.
    """

    site: str
    title: str
    state: str
    tone: Tone
    sections: tuple[CardSection, ...]
    generated: str


@dataclass(frozen=True, slots=True)
class JobLine:
    """A running job: its title, its progress, who started it, and whether it can be cancelled."""

    title: str
    stage: str
    how_far: str
    percent: str
    note: str
    said: str
    cancellable: bool


@dataclass(frozen=True, slots=True)
class BundleLine:
    """A bundle: whether it is active, who promoted it, its facts, and links to more."""

    name: str
    state: str
    tone: Tone | None
    said: str
    facts: tuple[Fact, ...]
    card: Link | None
    impact: Link | None


@dataclass(frozen=True, slots=True)
class ModelsPage:
    """Every bundle, the newest first, and the jobs on them.

    Args:
        site: The lab's name.
        reviewer: Who reads the page, "" where unknown.
        jobs: Those that run.
        may_cancel: The reader may cancel them.
        last: How the last training ended, "" where there was none.
        bundles: Of the lab.
        classes: The page of the lab's classes, None for who may not change them.
        training: The page where a training is started, None for who may not.
        needles: The page of measured needles, None in a lab that measures none.
    """

    site: str
    reviewer: str
    jobs: tuple[JobLine, ...]
    may_cancel: bool
    last: str
    bundles: tuple[BundleLine, ...]
    classes: Link | None = None
    training: Link | None = None
    needles: Link | None = None


@dataclass(frozen=True, slots=True)
class Experiments:
    """Results of repeating the paper's experiments.

    Args:
        site: The lab's name.
        title: Of the page.
        sentences: What to know before reading the numbers.
        tables: In their order.
        generated: When it was written, in words.
    """

    site: str
    title: str
    sentences: tuple[str, ...]
    tables: tuple[Table, ...]
    generated: str
