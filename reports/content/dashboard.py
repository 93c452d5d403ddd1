"""Content of the dashboard, and of the list of files that need an operator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markupsafe import Markup

    from reports.content.components import Fact, Tone


@dataclass(frozen=True, slots=True)
class Need:
    """Something that waits for one role.

    Args:
        n: How many.
        text: What waits, such as "micrographs to review".
        who: The role that acts.
        href: Where it is done.
        tone: How urgently.
    """

    n: int
    text: str
    who: str
    href: str
    tone: Tone


@dataclass(frozen=True, slots=True)
class FirstStep:
    """A step of setting the lab up: what to do, whether it is done, where it is explained."""

    text: str
    is_done: bool
    href: str


@dataclass(frozen=True, slots=True)
class Tile:
    """One number, its meaning, and what is behind it; `note` is its basis, "" for none."""

    number: str
    text: str
    href: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class SourceCard:
    """A source today.

    Args:
        name: Of the source.
        state: Whether its folder can be reached, in words.
        tone: How urgently it needs action.
        last: Newest file and when it came, in words; "" before the first one.
        numbers: Counts with the pages behind them.
    """

    name: str
    state: str
    tone: Tone
    last: str
    numbers: tuple[Tile, ...]


@dataclass(frozen=True, slots=True)
class CodeRow:
    """A structure code today next to the usual share.

    Args:
        code: Structure code.
        href: The micrographs behind the number, or "".
        n: Micrographs today.
        share: Today, as a percentage in words.
        usual: Usual share and its range in words; "" where it is not known.
        chart: The same as inline SVG.
    """

    code: str
    href: str
    n: int
    share: str
    usual: str
    chart: Markup


@dataclass(frozen=True, slots=True)
class LabFact:
    """One fact of how the lab is, with the page behind it."""

    name: str
    value: str
    tone: Tone
    href: str = ""


@dataclass(frozen=True, slots=True)
class DashboardPage:
    """The dashboard.

    Args:
        site: The lab's name.
        reviewer: Who reads the page, "" where unknown.
        day: Today, in words.
        at: Site's clock when the figures were read.
        version: Version of the figures.
        problems: What is wrong, in sentences.
        steps: What to do first; empty once the lab runs.
        needs: What waits, and for whom.
        tiles: Numbers of today.
        sources: Every source.
        codes: Structure codes today.
        codes_note: What the codes are compared with.
        lab: How the lab is.
        jobs: Long jobs that run.
    """

    site: str
    reviewer: str
    day: str
    at: str
    version: str
    problems: tuple[str, ...]
    steps: tuple[FirstStep, ...]
    needs: tuple[Need, ...]
    tiles: tuple[Tile, ...]
    sources: tuple[SourceCard, ...]
    codes: tuple[CodeRow, ...]
    codes_note: str
    lab: tuple[LabFact, ...]
    jobs: tuple[Fact, ...]
