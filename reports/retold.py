"""Translate sentences that are stored in English into the language of the page.

Results of a model or a rule are stored in English, for every language a lab may set later. Here a
sentence is recognised by its form; one of no known form is returned as it is.
"""

from __future__ import annotations

import re
from functools import cache

from reports.i18n import decimal, gettext, language, marked

FORMS: tuple[str, ...] = (
    # how unusual a micrograph is, and where
    marked("Not comparable with the reference images: {rare}; {what}."),
    marked("{what}, {area} µm² marked"),
    marked("Unlike all {n} reference images"),
    marked("unlike all {n} reference images"),
    marked("Like the reference images"),
    marked("like the reference images"),
    marked("1 in {n} reference images scores as high"),
    marked("the whole field"),
    marked("a part of the field"),
    marked("unusual texture"),
    marked("unusual brightness or colour"),
    # what is wrong with an image or a preparation, and the remedy
    marked("out of focus"),
    marked("over- or underexposed"),
    marked("too dark"),
    marked("too bright"),
    marked("too little contrast"),
    marked("under-etched"),
    marked("over-etched"),
    marked("scratched"),
    marked("stained"),
    marked("too little steel in view"),
    marked("shoot again"),
    marked("shoot again with another exposure"),
    marked("shoot again with more light"),
    marked("shoot again with less light"),
    marked("check the aperture and shoot again"),
    marked("etch longer"),
    marked("re-polish and re-etch"),
    marked("re-polish and re-etch, or take another field"),
    marked("clean and dry, or re-etch, or take another field"),
    marked("take another field"),
    # why a micrograph is outside of what was validated
    marked("material {material} has 0 validated specimens"),
    marked("subtype {word} has 0 validated specimens of material {material}"),
    marked("etchant {word} has 0 validated specimens of material {material}"),
    marked("microscope {word} has 0 validated specimens of material {material}"),
    marked("objective {word} has 0 validated specimens of material {material}"),
    marked("magnification {word} has 0 validated specimens of material {material}"),
    # limits and places of orders
    marked("{number} or finer"),
    marked("{number} or coarser"),
    marked("no order number is known of it"),
    marked("no specimen is known of it"),
    marked("no order number and no specimen is known of it"),
    # what became of a bundle
    marked("bundle {name} cannot be loaded; {earlier} serves instead: {why}"),
    marked("bundle {name} cannot be loaded; every micrograph goes to review: {why}"),
    # joined sentences, after all that have a separate form
    "{one}; {other}.",
    "{one}: {other}",
    "{one}.",
)
"""In order of precedence: the first form that matches is used."""


RESTATED: tuple[tuple[str, str], ...] = (
    (r"tranger than all (\d+) known (?:images|micrographs)", r"nlike all \1 reference images"),
    (r"ike the known images", "ike the reference images"),
    (r"(\d+) known images looks this strange", r"\1 reference images scores as high"),
    (r"the structure of (?:a patch, about 20 µm wide|one place)", "unusual texture"),
    (
        r"(?:a patch about 20 µm wide|one place), by how dark, bright or coloured it is",
        "unusual brightness or colour",
    ),
    (r"a part of the field, about 80 µm wide", "a part of the field"),
    (r" \(the marked place has (\d+) µm²\)", r", \1 µm² marked"),
    (r"\b(\d{2,3})(\d{3}) µm² marked", "\\1\u00a0\\2 µm² marked"),
)
"""Words of stored sentences → words of today; the size of a window is not that of the place."""


def restate(sentence: str) -> str:
    """Return a stored sentence in today's words, in English."""
    for before, now in RESTATED:
        sentence = re.sub(before, now, sentence)
    return re.sub(r"\bS(?=nlike)", "U", re.sub(r"\bs(?=nlike)", "u", sentence))


def retold(sentence: str) -> str:
    """Return a stored sentence in the language of the page; an unknown one as it is."""
    sentence = restate(sentence)
    if language() == "en" or not sentence:
        return sentence
    if re.fullmatch(r"\d+\.\d+", sentence):
        return decimal(float(sentence), "g")
    for form, pattern in _patterns():
        if match := pattern.fullmatch(sentence):
            return gettext(form).format(**{k: retold(v) for k, v in match.groupdict().items()})
    return sentence


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((form, re.compile(_pattern(form))) for form in FORMS)


def _pattern(form: str) -> str:
    return re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+?)", re.escape(form))
