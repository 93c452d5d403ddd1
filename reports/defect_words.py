"""Image and preparation defects and their remedies, in the language of the page."""

from __future__ import annotations

from reports.i18n import gettext, marked

DEFECT_WORDS = (
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
)
"""Findings and remedies of `model.image_quality.DEFECTS`, each a message id."""


def describe_defect(defect: str) -> str:
    """Return a defect as stored, "finding: remedy", in the language of the page."""
    finding, colon, remedy = defect.replace("_", " ").strip().partition(": ")
    return f"{gettext(finding)}{colon}{gettext(remedy)}"
