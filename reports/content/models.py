"""What the pages of bundles say: those there are, what one would change, how good it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.content.parts import Fact, Link, Picture, Table, Tone


@dataclass(frozen=True, slots=True)
class FlipCard:
    """One micrograph that two bundles answer differently.

    Args:
        id: The public id.
        name: The file's name.
        place: Order and specimen, "" where unknown.
        picture: A thumbnail, or None where there is none any more.
        before, after: What the bundle at work says, and the other one: "G8".
        before_more, after_more: What goes with each where they differ, such as "could be G7".
        decided: What a person said of it, "" where nobody did.
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
    """What would change, were another bundle at work.

    Args:
        site: The lab's name.
        title: Of the page.
        headline: The finding in one sentence.
        tone: How much it wants a person.
        sentences: What it rests on, and what is not known.
        orders: Whose conformity would change.
        flips: Fields of other orders.
        left_out: Of these that are not shown, in words, or "".
        mark: The hash a signature keeps of what is shown here.
        generated: When it was written, as it is read.
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
        state: Whether it is at work, in words.
        tone: Calm where it is or was at work by somebody's signature.
        sections: In their order.
        generated: When it was written, as it is read.
    """

    site: str
    title: str
    state: str
    tone: Tone
    sections: tuple[CardSection, ...]
    generated: str


@dataclass(frozen=True, slots=True)
class JobLine:
    """A long piece of work that goes on: what, how far, by whom, and whether it can be ended."""

    title: str
    stage: str
    how_far: str
    percent: str
    note: str
    said: str
    cancellable: bool


@dataclass(frozen=True, slots=True)
class BundleLine:
    """A bundle: whether it is at work, who said so, what it is, and where to read more."""

    name: str
    state: str
    tone: Tone | None
    said: str
    facts: tuple[Fact, ...]
    card: Link | None
    impact: Link | None


@dataclass(frozen=True, slots=True)
class ModelsPage:
    """Every bundle, the newest first, and what is being done with them.

    Args:
        site: The lab's name.
        reviewer: Who looks, "" where unknown.
        jobs: What goes on.
        may_cancel: Whoever looks may end it.
        last: How the last teaching ended, "" where there was none.
        bundles: Of the lab.
    """

    site: str
    reviewer: str
    jobs: tuple[JobLine, ...]
    may_cancel: bool
    last: str
    bundles: tuple[BundleLine, ...]


@dataclass(frozen=True, slots=True)
class Experiments:
    """What repeating the paper's experiments found.

    Args:
        site: The lab's name.
        title: Of the page.
        sentences: What has to be known before the numbers are read.
        tables: In their order.
        generated: When it was written, as it is read.
    """

    site: str
    title: str
    sentences: tuple[str, ...]
    tables: tuple[Table, ...]
    generated: str
