"""Texts about the classes of a taxonomy, in the language of the page, with plain defaults."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import reports
from model import Size, Subtype, Taxonomy, TaxonomyError
from model.class_names import LEAST_WORD
from reports import gettext as _


@dataclass(frozen=True, slots=True)
class ClassTexts:
    """Texts of the classes, apart from their names.

    Attributes:
        clues: Subtype, and structure code with a size → what in the picture carries it.
        scale: Name of the scale of the sizes, "" where the lab named none.
        criterion: Name of what decides a size, "" where the lab named none.
    """

    clues: dict[str, str] = field(default_factory=dict)
    scale: str = ""
    criterion: str = ""


def build_class_texts(taxonomy: Taxonomy) -> ClassTexts:
    """Return the texts of a taxonomy in the language that is spoken."""
    language = reports.language()
    clues: dict[str, str] = {}
    for subtype in taxonomy.subtypes:
        clues[subtype.name] = subtype.look_for.choose(language)
        if subtype.has_sizes:
            clues |= {
                subtype.code(size.name): size.look_for.choose(language) for size in subtype.sizes
            }
    sized = [subtype for subtype in taxonomy.subtypes if subtype.has_sizes]
    return ClassTexts(
        clues={name: text for name, text in clues.items() if text},
        scale="; ".join(_distinct(subtype.scale.choose(language) for subtype in sized)),
        criterion=" / ".join(_distinct(subtype.criterion.choose(language) for subtype in sized)),
    )


def name_criterion(taxonomy: Taxonomy) -> str:
    """Return what the criterion of a size is called; "" where no subtype has sizes."""
    if not any(subtype.has_sizes for subtype in taxonomy.subtypes):
        return ""
    return build_class_texts(taxonomy).criterion or _("Size criterion")


def name_scale(taxonomy: Taxonomy) -> str:
    """Return a sentence that names the scale of the sizes, "" where the lab named none."""
    scale = build_class_texts(taxonomy).scale
    return _("Size numbers: {scale}.").format(scale=scale) if scale else ""


def choose_title(entry: Subtype | Size) -> str:
    """Return the title of a subtype or size in the current language."""
    return entry.titles.choose(reports.language())


def label_of(size: Size) -> str:
    """Return what is written on a size's button: its number, else its title."""
    return size.name if size.numbers or not size.name else choose_title(size)


def name_code(code: str, taxonomy: Taxonomy) -> str:
    """Return a structure code for a sentence in the current language.

    A code of words is read in the language of the lab's file: in German its titles stand for it,
    where the lab wrote them. A code such as "G8" is the same in each language.
    """
    if reports.language() != "de":
        return code
    try:
        name, size_name = taxonomy.parse(code)
    except TaxonomyError:
        return code
    subtype = taxonomy.subtype(name)
    size = subtype.sizes[subtype.rank(size_name)]
    if len(name) < LEAST_WORD or not (subtype.title_de or size.title_de):
        return code
    return f"{name_subtype(name, taxonomy)} {size.title_de or size_name}".strip()


def name_subtype(name: str, taxonomy: Taxonomy) -> str:
    """Return the name of a subtype for a sentence in the current language, as `name_code`."""
    if reports.language() != "de" or len(name) < LEAST_WORD:
        return name
    return next((s.title_de for s in taxonomy.subtypes if s.name == name), "") or name


def describe_codes(taxonomy: Taxonomy) -> dict[str, str]:
    """Return structure code → titles of subtype and size, in the taxonomy's order."""
    return {
        subtype.code(size.name): ", ".join(
            title for title in (choose_title(subtype), choose_title(size)) if title
        )
        for subtype in taxonomy.subtypes
        for size in subtype.sizes
    }


def _distinct(texts: Iterable[str]) -> list[str]:
    return [text for text in dict.fromkeys(texts) if text]
