"""Content that several templates or a PDF share: parts of pages, needles, statements."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup


class Tone(StrEnum):
    """How urgently something needs action; always drawn as a shape and a word next to a colour."""

    CALM = "calm"
    ATTENTION = "attention"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture and its alt text.

    Args:
        src: A data URI in a report, a path below the site's root on a review page.
        alt: Its content in words.
        width: In pixels.
        height: In pixels.
    """

    src: str
    alt: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture with its title and what to look for.

    Args:
        title: A few words.
        caption: What to look for, in one sentence.
        picture: None where there is none; then `note` states why.
        note: Next to the picture, such as "no positive evidence"; "" for none.
    """

    title: str
    caption: str
    picture: Picture | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """A name and its value, both as they are read."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Link:
    """A text and its address."""

    text: str
    href: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it is read.

    Args:
        title: Its subject.
        columns: Heads of the columns; the first one names the row.
        rows: One tuple of cells per row.
        chart: The same as SVG from `figures`, or "".
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    chart: str = ""


@dataclass(frozen=True, slots=True)
class StatementPicture:
    """A picture of a field.

    Attributes:
        jpeg: Its bytes.
        width, height: In pixels.
        title: Such as "Specimen 01, field 4: G8".
        caption: Who decided, and the id.
        gone: It does not count.
    """

    jpeg: bytes
    width: int
    height: int
    title: str
    caption: str
    gone: bool = False


@dataclass(frozen=True, slots=True)
class DocumentSection:
    """One part of a statement or a model card; what is empty is not shown."""

    title: str
    lines: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[StatementPicture, ...] = ()

    @property
    def is_filled(self) -> bool:
        """Whether there is anything to show below the title."""
        tables = any(table.rows for table in self.tables)
        return bool(self.lines or self.facts or self.pictures or tables)


@dataclass(frozen=True, slots=True)
class SignForm:
    """The form with which a lead signs.

    Args:
        action: Where it is sent.
        title: What is signed, such as "Promote 20261124-1f2e3d4c".
        note: What follows from it.
        needs_password: The lab has accounts.
        blocked: Why it cannot be signed yet, "" where it can.
        sure: What the lead has to confirm, "" for nothing.
    """

    action: str
    title: str
    note: str
    needs_password: bool
    blocked: str = ""
    sure: str = ""


# --- content of the viewer: where a micrograph's pixels are, its scale, and what is drawn over it


Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Layer:
    """A picture that is shown over the crop on request.

    Args:
        word: "subtype", "size" or "strangeness".
        title: Such as "Why size 8".
        caption: What to look for.
        note: Next to it, "" for none.
        picture: As large as the crop, see-through.
        scale: What its colours mean, in words.
    """

    word: str
    title: str
    caption: str
    note: str
    picture: Picture
    scale: str


@dataclass(frozen=True, slots=True)
class Ruler:
    """A scale bar over the crop.

    Args:
        label: Such as "20 µm".
        length: In pixels of the crop.
        width, height: Of the crop, in pixels.
        um_per_px: Scale of the crop, 0.0 where the page needs none.
    """

    label: str
    length: float
    width: int
    height: int
    um_per_px: float = 0.0


@dataclass(frozen=True, slots=True)
class Viewer:
    """What the viewer of one micrograph shows.

    Args:
        um_per_px: Scale of crop and field, None where it is unknown.
        full: Address of the crop with all its pixels, "" where they are deleted.
        companions: Address of the pictures to compare it with, as JSON.
        place: The most unusual place, x0, y0, x1, y1 in pixels of the crop; None for none.
        border: The crop, in pixels of the field; None where there is none.
        outline: The specimen's outline in pixels of the field.
        marks: Further areas that were left out, in pixels of the field.
        chart: Address of the wall of chart plates, "" where the lab has none.
        needles: Address of the needles that are measured here, "" where none can be kept.
        kept: Needles that the reader measured: number, x and y of both tips in pixels of the crop.
    """

    um_per_px: float | None
    full: str
    companions: str
    place: Box | None = None
    border: Box | None = None
    outline: tuple[tuple[int, int], ...] = ()
    marks: tuple[Box, ...] = ()
    chart: str = ""
    needles: str = ""
    kept: tuple[tuple[float, ...], ...] = ()


# --- answers to choose from when a micrograph is decided or rated, and the keys that press them ---


@dataclass(frozen=True, slots=True)
class Choice:
    """An answer that a reviewer gives with one press.

    Args:
        value: What is sent, such as "code:G8".
        text: On the button.
        words: What it means.
        key: The digits that press it, "" for none.
        taught: The bundle was trained on it.
        suggested: It is the bundle's answer.
    """

    value: str
    text: str
    words: str = ""
    key: str = ""
    taught: bool = True
    suggested: bool = False


def number_keys(count: int, *, first: int = 1) -> tuple[str, ...]:
    """Return keys for `count` choices, equally long so that none begins another.

    Args:
        count: How many choices.
        first: Number of the first; 0 gives one more key, such as "0" or "00".
    """
    width = len(str(count))
    return tuple(f"{number:0{width}}" for number in range(first, count + 1))


MOST_DIGITS = 2


def size_keys(lowest: Sequence[float | None]) -> tuple[str, ...]:
    """Return the digits of sizes as their keys, equally long so that none begins another.

    Args:
        lowest: Lowest number of each size, such as 9 of "9-10", None where it has none.

    Returns:
        Such as "7", "8", "9", or "07" … "12"; counted from 1 where numbers are missing, are no
        whole numbers, are not distinct or have more than `MOST_DIGITS` digits.
    """
    whole = [int(value) for value in lowest if value is not None and value >= 0 and value % 1 == 0]
    width = len(str(max(whole, default=0)))
    if len(whole) < len(lowest) or len(set(whole)) < len(whole) or width > MOST_DIGITS:
        return number_keys(len(lowest))
    return tuple(f"{number:0{width}}" for number in whole)


@dataclass(frozen=True, slots=True)
class SubtypeChoice:
    """A subtype, and its sizes, coarse to fine.

    Args:
        name: Of the subtype. title: what it means, "" for nothing more.
        key: The digits that open it. letter: the letter that does so too, "" for none.
        sizes: Of the subtype.
    """

    name: str
    title: str
    key: str
    sizes: tuple[Choice, ...]
    letter: str = ""


# --- needle lengths of fields next to each other, and of one field --------------------------------


@dataclass(frozen=True, slots=True)
class NeedleBar:
    """The lengths of one field or of several together, µm.

    Args:
        name: Such as "field 2".
        l50, l90, l99, longest: Lengths, None where it was not measured.
        reason: Why not, "" where it was.
        href: The field's own page, "" for none.
        low, high: 95 % interval of L90, None where there is none.
        needles: Complete needles.
    """

    name: str
    l50: float | None = None
    l90: float | None = None
    l99: float | None = None
    longest: float | None = None
    reason: str = ""
    href: str = ""
    low: float | None = None
    high: float | None = None
    needles: int = 0

    @property
    def is_measured(self) -> bool:
        """Whether it has lengths."""
        return self.l90 is not None


@dataclass(frozen=True, slots=True)
class NeedleTable:
    """Fields of a specimen next to each other.

    Args:
        status: "trial, not calibrated here".
        summary: All fields together, in words.
        bars: The fields, the last one all together where several were measured.
        chart: The bars drawn, empty where none was measured.
    """

    status: str
    summary: str
    bars: tuple[NeedleBar, ...]
    chart: Markup


@dataclass(frozen=True, slots=True)
class FieldNeedles:
    """The needles of one micrograph on its card.

    Args:
        status: "trial, not calibrated here".
        summary: Its lengths, or why it was not measured, in words.
        chart: Its distribution, empty where it was not measured.
        longest: The longest needles, longest first: length and cut-out with the needle drawn.
        note: What to keep in mind, "" for none.
    """

    status: str
    summary: str
    chart: Markup
    longest: tuple[tuple[str, Picture], ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class NeedlePlot:
    """The points and lines of one Bland-Altman plot.

    Args:
        name: Unique on the page, for the ids inside the drawing.
        points: Geometric mean of both lengths in µm, program over people, and whether both tips are
            at the same places.
        bias: Mean ratio and its interval.
        lower: Lower limit of agreement and its interval.
        upper: Upper limit of agreement and its interval.
    """

    name: str
    points: tuple[tuple[float, float, bool], ...]
    bias: tuple[float, float, float]
    lower: tuple[float, float, float]
    upper: tuple[float, float, float]


# --- content of a statement, from which both the page and the PDF are drawn -----------------------


@dataclass(frozen=True, slots=True)
class Letterhead:
    """The lab's own part of a customer's report.

    Attributes:
        logo: PNG or JPEG, b"" for none.
        address: Lines.
        closing: Lines at the end, such as who answers for the report.
    """

    logo: bytes = b""
    address: tuple[str, ...] = ()
    closing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StatementPage:
    """A statement for a reader.

    Attributes:
        site: Name of the site.
        title: Such as "Statement on order 4711".
        number: Which statement of the order it is, in words.
        word: Such as "conforms".
        tone: Of the word.
        demand: What is demanded, in words.
        sentences: Why it does not conform, or what is missing.
        facts: Customer, product, material and the like.
        sections: In order.
        generated: When it was stated.
        sha256: Hash of the document.
        footer: One line for the foot of each page.
    """

    site: str
    title: str
    number: str
    word: str
    tone: Tone
    demand: str
    sentences: tuple[str, ...]
    facts: tuple[Fact, ...]
    sections: tuple[DocumentSection, ...]
    generated: str
    sha256: str
    footer: str
