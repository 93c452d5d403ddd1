"""Say the stable words of the agent as a person reads them, with what to do.

In:  a word such as "strange" or "truncated". Out: its title and its remedy. Next: `content`.
The words of DESIGN.md hold here: an answer is never "accepted" or "rejected", a dark particle is
a "possible inclusion", and strange means "not comparable with the reference images".
"""

from __future__ import annotations

REASONS: dict[str, tuple[str, str]] = {
    "strange": (
        "Not comparable with the reference images",
        (
            "Look at the marked place: a possible inclusion, another structure, a fault? "
            "Say which with S, or give the structure code if it is an ordinary field."
        ),
    ),
    "uncertain": (
        "The model is unsure of the code",
        "Compare with the neighbouring sizes and say which it is.",
    ),
    "scale_unknown": (
        "Scale unknown",
        (
            "The size number is provisional. Export with a micron bar or metadata, or enter the "
            "objective in agent.toml."
        ),
    ),
    "scale_conflict": (
        "Scales disagree",
        (
            "Metadata and micron bar differ by more than 5 %. Check the objective set in the "
            "microscope software; the size number is provisional."
        ),
    ),
    "input_defect": (
        "Image or preparation defect",
        "Shoot again, or prepare the specimen again; mark it unusable with U if it cannot be read.",
    ),
    "unexpected_subtype": (
        "Subtype other than expected",
        "Check that specimen and order belong together.",
    ),
    "out_of_scope": (
        "Outside what the model was validated on",
        (
            "Decide by eye; or shoot it as the validated ones were, or have the model validated "
            "on it (agent validate)."
        ),
    ),
    "untrained": (
        "No model yet",
        "Give it a structure code: it becomes an example that the first model learns from.",
    ),
    "control_sample": (
        "Control sample",
        (
            "Picked by its content hash, whatever the model said, to measure how often it is "
            "right. Decide as you would any other."
        ),
    ),
}
"""Reason → title, what to do."""

FILE_CODES: dict[str, tuple[str, str]] = {
    "empty": ("Empty file", "Export it again."),
    "truncated": ("Cut off", "The file ends too early: export or copy it again."),
    "not_an_image": ("Not an image", "Nothing to do, unless it should have been one."),
    "unsupported": ("Format not supported", "Export as TIFF, PNG or JPEG, 8 or 16 bits."),
    "too_large": ("Too large", "Export a smaller field, or raise [imaging] max_megapixels."),
    "no_steel": ("No usable steel", "Nothing was left after cutting: shoot the field again."),
    "unreadable": ("Could not be read", "Check the rights of the folder and the file."),
    "decoder_killed": (
        "Decoder stopped",
        "Reading took too long or too much memory. Export the file again in another format.",
    ),
    "crashed": ("Failed five times", "`agent retry` tries it again; the log has the details."),
}
"""Code of a file that could not be used → title, what to do."""

STRANGE_KINDS: dict[str, str] = {
    "possible_inclusion": "possible inclusion",
    "pearlite": "pearlite",
    "ferrite": "ferrite, decarburised",
    "carbide_network": "carbide network",
    "crack": "crack or pore",
    "coarser": "coarser than any taught size",
    "other_material": "another material",
    "no_micrograph": "no micrograph",
    "other": "something else",
}
"""Kinds of strangeness a reviewer can name."""

UNUSABLE_WHYS: dict[str, str] = {
    "out_of_focus": "out of focus",
    "over_etched": "over-etched",
    "under_etched": "under-etched",
    "scratched": "scratched",
    "stained": "stained, bleeding",
    "exposure": "too bright or too dark",
    "wrong_crop": "cropped wrongly",
    "wrong_magnification": "wrong magnification",
    "other": "something else",
}
"""Why a micrograph cannot be judged."""

CRITERIA: dict[str, str] = {
    "mean": "mean: overall impression",
    "max": "max: coarse regions decide",
    "unrecorded": "not recorded",
}
"""Needle-length criterion a rater used."""


def reason(word: str) -> tuple[str, str]:
    """Say a reason's title and what to do; an unknown word speaks for itself."""
    return REASONS.get(word, (word.replace("_", " "), "Look at it."))


def file_code(word: str) -> tuple[str, str]:
    """Say what a file's reason code means and what to do."""
    return FILE_CODES.get(word, (word.replace("_", " "), "See the sentence beside it."))


def strange_kind(word: str) -> str:
    """Say a kind of strangeness; free text speaks for itself."""
    return STRANGE_KINDS.get(word, word.replace("_", " "))


def unusable_why(word: str) -> str:
    """Say why something is unusable; free text speaks for itself."""
    return UNUSABLE_WHYS.get(word, word.replace("_", " "))
