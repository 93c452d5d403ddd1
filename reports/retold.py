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
    marked("{rest} Larger than any reference field ({ratio} times the usual area)."),
    marked("{rest} Smaller than any reference field ({ratio} times the usual area)."),
    marked("Not comparable with the reference images: {rare}; {what}."),
    marked("{what}, {area} µm² marked"),
    marked("Unlike all {n} reference images"),
    marked("unlike all {n} reference images"),
    marked("Like the reference images"),
    marked("like the reference images"),
    marked("1 in {n} reference images scores as high"),
    marked("too few reference images to raise an alarm"),
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
    # why the scatter of a source is not known
    marked("there is only one"),
    marked("cannot be separated from {source} in this plan"),
    # limits and places of orders
    marked("{number} or finer"),
    marked("{number} or coarser"),
    marked("no order number is known of it"),
    marked("no specimen is known of it"),
    marked("no order number and no specimen is known of it"),
    # what became of a bundle
    marked("bundle {name} cannot be loaded; {earlier} serves instead: {why}"),
    marked("bundle {name} cannot be loaded; every micrograph goes to review: {why}"),
    # why a report did not reach the lab
    marked(
        "[report] mail_to: the mail of {night} was not accepted: {why}; it is tried again by "
        "itself."
    ),
    marked(
        "[report] mail_to: the mail of {night} may not have arrived: {why}. It is not sent again, "
        "so that no one gets it twice."
    ),
    marked("its sending was interrupted"),
    marked("[report] mail_to: the server refused {names}. The others got the report."),
    marked("[report] share: night of {night}: {why}; it is tried again by itself."),
    # joined sentences, after all that have a separate form
    "{one}; {other}.",
    "{one}: {other}",
    "{one}.",
)
"""In order of precedence: the first form that matches is used."""

EARLIER: dict[str, str] = {
    "{what} (the marked place has {area} µm²)": "{what}, {area} µm² marked",
    "Stranger than all {n} known images": "Unlike all {n} reference images",
    "stranger than all {n} known images": "unlike all {n} reference images",
    "Stranger than all {n} known micrographs": "Unlike all {n} reference images",
    "stranger than all {n} known micrographs": "unlike all {n} reference images",
    "Like the known images": "Like the reference images",
    "like the known images": "like the reference images",
    "1 in {n} known images looks this strange": "1 in {n} reference images scores as high",
    "too few known images to raise an alarm": "too few reference images to raise an alarm",
    # the size of the window is not that of the marked place
    "a part of the field, about 80 µm wide": "a part of the field",
    "the structure of one place": "unusual texture",
    "one place, by how dark, bright or coloured it is": "unusual brightness or colour",
    "the structure of a patch, about 20 µm wide": "unusual texture",
    "a patch about 20 µm wide, by how dark, bright or coloured it is": (
        "unusual brightness or colour"
    ),
}
"""Form in rows of earlier versions → the present form, in which it is shown."""

_CHANGES_IN_ENGLISH = re.compile(
    "known (?:images|micrographs)|marked place"
    "|a part of the field, about|the structure of|by how dark"
    r"|\d{5} µm² marked"
)


def retold(sentence: str) -> str:
    """Return a stored sentence in the language of the page; an unknown one as it is."""
    if not sentence or (language() == "en" and not _CHANGES_IN_ENGLISH.search(sentence)):
        return sentence
    if re.fullmatch(r"\d+\.\d+", sentence):
        return decimal(float(sentence), "g")
    for form, pattern in _patterns():
        if match := pattern.fullmatch(sentence):
            return gettext(form).format(**{k: _retell(k, v) for k, v in match.groupdict().items()})
    return sentence


def _retell(name: str, value: str) -> str:
    """Return the value of a placeholder as the page shows it, five digits and more in groups."""
    if name == "area" and re.fullmatch(r"\d{5,}", value):
        return f"{int(value):,}".replace(",", "\u00a0")
    return retold(value)


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    present = dict(zip(FORMS, FORMS, strict=True))
    return tuple((new, re.compile(_pattern(old))) for old, new in (EARLIER | present).items())


def _pattern(form: str) -> str:
    return re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+?)", re.escape(form))
