"""Content of a statement, from which both the page and the PDF are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.content.components import DocumentSection, Fact, Tone


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
