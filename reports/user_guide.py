"""Render and search the user guide: Markdown pages in the package, served without a network.

Raw HTML in a page is not passed on, and no link of a script scheme is.

A page is `guide/NAME.md`, in another language `guide/LANGUAGE/NAME.md`, or English where there is
none. Its anchors are those of the English headings, so that one link serves every language. Its
last line, which Markdown does not show, is a hash of the English words that it translates.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise, repeat
from typing import TYPE_CHECKING

from markupsafe import Markup

from reports.i18n import Language, language

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from markdown_it import MarkdownIt
    from markdown_it.token import Token


# --- content of the pages of the user guide -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GuideHeading:
    """A heading; `level` is 1 for the page's title."""

    level: int
    text: str
    anchor: str


@dataclass(frozen=True, slots=True)
class GuidePage:
    """One page of the guide, rendered; `language` is that of its text."""

    name: str
    title: str
    html: Markup
    headings: tuple[GuideHeading, ...]
    language: Language


@dataclass(frozen=True, slots=True)
class GuideTitle:
    """A page in the table of contents; `lead` is its first sentence."""

    name: str
    title: str
    lead: str
    language: Language


@dataclass(frozen=True, slots=True)
class GuideHit:
    """A section that a search found.

    `excerpt` is in pieces, each with whether it is what was searched for.
    """

    page: str
    title: str
    heading: str
    anchor: str
    excerpt: tuple[tuple[str, bool], ...]
    language: Language


# --- render and search the user guide: Markdown pages in the package, served without a network ----


GUIDE_PAGES = (
    "concepts",
    "first-night",
    "dashboard",
    "reviewing",
    "orders",
    "archive",
    "needles",
    "own-classes",
    "measuring-people",
    "retraining",
    "kept-features",
    "fleet",
    "object-storage",
    "ten-million",
    "integrations",
    "evidence",
    "troubleshooting",
    "commands",
    "settings",
    "log-events",
)
"""The pages in reading order; each is `guide/NAME.md`."""
GUIDE_PICTURES = (
    "own-classes-setup.webp",
    "own-classes-review.webp",
    "own-classes-order.webp",
)
"""Pictures of the pages; made by `tests/bench/guide_pictures.py`."""
LONGEST_QUERY = 80
MOST_HITS = 30
EXCERPT = 170
TITLE_WEIGHT = 10
MOST_OF_WORD = 5
"""How often a word counts in the text of a section: a long table is not the best for its length."""
LINK = re.compile(r"([a-z][a-z-]*)\.md(#[\w-]+)?")


@dataclass(frozen=True, slots=True)
class _Section:
    """A part of a page below one heading, as plain text."""

    page: str
    title: str
    heading: str
    anchor: str
    text: str
    language: Language


def read_guide(name: str, wanted: Language = "en") -> str:
    """Return the Markdown text of a page in a language; "" where it is in English alone.

    Raises:
        KeyError: The guide has no page of that name.
    """
    if name not in GUIDE_PAGES:
        raise KeyError(name)
    folder = files("reports").joinpath("guide")
    page = (folder if wanted == "en" else folder.joinpath(wanted)).joinpath(f"{name}.md")
    return page.read_text(encoding="utf-8") if wanted == "en" or page.is_file() else ""


def read_guide_picture(name: str) -> bytes:
    """Return a picture of the guide, WebP.

    Raises:
        KeyError: The guide has no picture of that name.
    """
    if name not in GUIDE_PICTURES:
        raise KeyError(name)
    return files("reports").joinpath("guide", name).read_bytes()


def get_guide_page(name: str) -> GuidePage:
    """Return a rendered page in the language of the page, or in English where it has no other.

    Raises:
        KeyError: The guide has no page of that name.
    """
    return _render(name, language())


def list_guide() -> tuple[GuideTitle, ...]:
    """Return every page's name, title and first sentence, in reading order."""
    first = (_sections(name, language())[0] for name in GUIDE_PAGES)
    return tuple(
        GuideTitle(section.page, section.title, _lead(section.text), section.language)
        for section in first
    )


def search_guide(query: str) -> tuple[GuideHit, ...]:
    """Find the sections that hold every word of a query, the best first.

    Args:
        query: Words in any case and order; only the first 80 characters count.

    Returns:
        At most 30 sections. A word in a heading counts ten times as much as one in the text.
    """
    words = tuple(dict.fromkeys(query[:LONGEST_QUERY].casefold().split()))
    if not words:
        return ()
    scored: list[tuple[int, int, _Section]] = []
    for name in GUIDE_PAGES:
        for section in _sections(name, language()):
            score = _score(section, words)
            if score:
                scored.append((-score, len(scored), section))
    return tuple(
        GuideHit(section.page, section.title, section.heading, section.anchor,
                 tuple(_excerpt(section.text, words)), section.language)
        for _score_, _order, section in sorted(scored, key=lambda row: row[:2])[:MOST_HITS]
    )  # fmt: skip


@cache
def _render(name: str, wanted: Language) -> GuidePage:
    parser = _parser()
    tokens, headings, spoken = _parse(name, wanted)
    _point_links(tokens)
    # Our own pages, and the parser passes on no raw HTML.
    html = Markup(parser.renderer.render(tokens, parser.options, {}))  # noqa: S704
    return GuidePage(name, headings[0].text, html, headings[1:], spoken)


def _parse(
    name: str, wanted: Language
) -> tuple[Sequence[Token], tuple[GuideHeading, ...], Language]:
    """Return the tokens of a page, its headings, and the language that it is in."""
    english = _parser().parse(read_guide(name))
    headings = tuple(_name_headings(english, repeat("")))
    text = "" if wanted == "en" else read_guide(name, wanted)
    if not text:
        return english, headings, "en"
    tokens = _parser().parse(text)
    anchors = (heading.anchor for heading in headings)
    return tokens, tuple(_name_headings(tokens, anchors)), wanted


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt  # noqa: PLC0415 - only the guide needs it

    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    # Both may be wider than the screen: the keyboard has to reach what scrolls.
    parser.add_render_rule("table_open", _open_table)
    parser.add_render_rule("table_close", _close_table)
    parser.add_render_rule("fence", _fence)
    return parser


def _open_table(_self: object, *_rest: object) -> str:
    return '<div class="table" tabindex="0"><table>\n'


def _close_table(_self: object, *_rest: object) -> str:
    return "</table></div>\n"


def _fence(_self: object, tokens: Sequence[Token], index: int, *_rest: object) -> str:
    token = tokens[index]
    kind = "shell" if token.info.strip() == "sh" else "text"
    return Markup('<pre class="{}" tabindex="0"><code>{}</code></pre>\n').format(
        kind, token.content
    )


def _name_headings(tokens: Sequence[Token], anchors: Iterable[str]) -> Iterator[GuideHeading]:
    """Set a unique id on each heading, from `anchors` or its text, and yield the headings."""
    taken: set[str] = set()
    given = iter(anchors)
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            text = _plain(inline)
            anchor = next(given, "") or _free_anchor(text, taken)
            opening.attrSet("id", anchor)
            yield GuideHeading(int(opening.tag[1:]), text, anchor)


def _free_anchor(text: str, taken: set[str]) -> str:
    """Return the anchor that GitHub makes of a heading, so that one link serves both."""
    slug = re.sub(r"[^\w\- ]", "", text.casefold()).strip().replace(" ", "-")
    anchor, number = slug, 0
    while anchor in taken:
        number += 1
        anchor = f"{slug}-{number}"
    taken.add(anchor)
    return anchor


def _point_links(tokens: Sequence[Token]) -> None:
    """Convert links to other Markdown pages and pictures into addresses below `/help`."""
    for token in tokens:
        for child in token.children or ():
            match = LINK.fullmatch(str(child.attrGet("href") or ""))
            if child.type == "link_open" and match:
                child.attrSet("href", f"/help/{match[1]}{match[2] or ''}")
            elif child.type == "image":
                child.attrSet("src", f"/help/pictures/{child.attrGet('src')}")
                child.attrSet("loading", "lazy")


@cache
def _sections(name: str, wanted: Language) -> tuple[_Section, ...]:
    """Return a page in parts, one per heading, as plain text."""
    tokens, named, spoken = _parse(name, wanted)
    headings = iter(named)
    title = ""
    parts: list[tuple[GuideHeading, list[str]]] = []
    in_heading = False
    for token in tokens:
        if token.type == "heading_open":
            parts.append((next(headings), []))
            title = title or parts[0][0].text
        in_heading = token.type == "heading_open" or (in_heading and token.type == "inline")
        if parts and not in_heading and token.type in {"inline", "fence"}:
            parts[-1][1].append(_plain(token))
    return tuple(
        _Section(
            name, title, heading.text, heading.anchor, " ".join(" ".join(texts).split()), spoken
        )
        for heading, texts in parts
    )


def _plain(token: Token) -> str:
    if token.children is None:
        return token.content
    return "".join(
        " " if child.type in {"softbreak", "hardbreak"} else child.content
        for child in token.children
    )


def _lead(text: str) -> str:
    return re.split(r"(?<=[.:])\s", text, maxsplit=1)[0]


def _score(section: _Section, words: Sequence[str]) -> int:
    heading, text = section.heading.casefold(), section.text.casefold()
    counts = [
        TITLE_WEIGHT * heading.count(word) + min(text.count(word), MOST_OF_WORD) for word in words
    ]
    return sum(counts) if all(counts) else 0


def _excerpt(text: str, words: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Yield a part of a text around the first word that was searched for, each hit marked."""
    # A folded word has "ss" for "ß".
    forms = (re.escape(word).replace("ss", "(?:ss|ß)") for word in words)
    pattern = re.compile("|".join(forms), re.IGNORECASE)
    first = pattern.search(text)
    begin = max(0, first.start() - EXCERPT // 3) if first else 0
    if begin:
        begin = text.find(" ", begin) + 1
    part = text[begin : begin + EXCERPT]
    if begin + EXCERPT < len(text):
        part = part.rpartition(" ")[0] + " …"
    end = 0
    for hit in pattern.finditer(part):
        yield ("… " if begin and not end else "") + part[end : hit.start()], False
        yield hit[0], True
        end = hit.end()
    yield part[end:], False
