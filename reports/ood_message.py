"""How unusual a micrograph is, and where: the out-of-distribution result as a message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.i18n import marked
from reports.messages import Message

if TYPE_CHECKING:
    from collections.abc import Mapping

PARTS: Mapping[str, str] = {
    "whole": marked("the whole field"),
    "window": marked("a part of the field"),
    "fine": marked("unusual texture"),
    "broad": marked("unusual texture"),
    "patch": marked("unusual texture"),
    "tone": marked("unusual brightness or colour"),
    "shade": marked("unusual brightness or colour"),
}
"""The look that found it → what is unusual."""

_NOT_COMPARABLE = marked("Unusual: {rare}; {what}.")
_LARGER = marked("{rest} Larger than any reference field ({ratio} times the usual area).")
_SMALLER = marked("{rest} Smaller than any reference field ({ratio} times the usual area).")
_TWO_DIGITS_BELOW = 10


def compose_ood_message(
    p_value: float,
    references: int,
    *,
    look: str = "",
    area_um2: float | None = None,
    size_ratio: float | None = None,
    is_resolvable: bool = True,
) -> Message:
    """Compose the reason for the reviewer: what is unusual, how rare that is, the field's size.

    Args:
        p_value: Share of the reference images that score at least as high, in (0, 1].
        references: Number of reference images that were compared.
        look: Where the field is flagged, the one of `PARTS` that is most unusual; "" if it is not.
        area_um2: Area of the marked place in µm², None without one or without a scale.
        size_ratio: Area divided by the usual one, where no reference field is as large or as
            small; else None.
        is_resolvable: There are enough reference images for the alarm rate.
    """
    message = _compose(p_value, references, look, area_um2, is_resolvable=is_resolvable)
    if size_ratio is None:
        return message
    ratio = float(f"{size_ratio:.2g}") if size_ratio < _TWO_DIGITS_BELOW else round(size_ratio)
    return Message(_LARGER if size_ratio > 1 else _SMALLER, {"rest": message, "ratio": ratio})


def _compose(
    p_value: float, references: int, look: str, area_um2: float | None, *, is_resolvable: bool
) -> Message:
    if not is_resolvable:
        return Message(
            marked("{rare}; too few reference images to raise an alarm."),
            {"rare": describe_rarity(p_value, references)},
        )
    if not look:
        return Message(marked("{rare}."), {"rare": describe_rarity(p_value, references)})
    part: Message = Message(PARTS[look])
    if area_um2 is not None and look != "whole":
        part = Message(
            marked("{what}, {area} µm² marked"), {"what": part, "area": _round(area_um2)}
        )
    return Message(
        _NOT_COMPARABLE,
        {"rare": describe_rarity(p_value, references, inside=True), "what": part},
    )


def shorten_ood_message(message: Message) -> Message:
    """Return the message without the words that a title above it has already."""
    if message.id == _NOT_COMPARABLE:
        return Message(marked("{rare}; {what}."), message.parameters)
    rest = message.parameters.get("rest")
    if isinstance(rest, Message):
        return Message(message.id, {**message.parameters, "rest": shorten_ood_message(rest)})
    return message


def describe_rarity(p_value: float, references: int, *, inside: bool = False) -> Message:
    """Describe a p-value as a frequency among the reference images.

    Args:
        p_value: In (0, 1].
        references: Number of reference images that were compared.
        inside: It stands within a sentence, so it begins with a small letter.
    """
    at_least = round(p_value * (references + 1)) - 1
    if at_least <= 0:
        unlike = (
            marked("unlike all {n} reference images")
            if inside
            else marked("Unlike all {n} reference images")
        )
        return Message(unlike, {"n": references})
    if at_least >= references / 2:
        return Message(
            marked("like the reference images") if inside else marked("Like the reference images")
        )
    return Message(
        marked("1 in {n} reference images scores as high"), {"n": round(references / at_least)}
    )


def _round(area_um2: float) -> int | float:
    """Return an area with two digits."""
    rounded = float(f"{area_um2:.2g}")
    return int(rounded) if rounded.is_integer() else rounded
