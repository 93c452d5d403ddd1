"""Decide what several readings of one label say together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.imaging.boxes import overlap
from agent.imaging.scale_bar.line_ends import SAME

if TYPE_CHECKING:
    from agent.imaging.scale_bar.bar_label import BarLabel, LabelledLine
    from agent.imaging.scale_bar.lengths import Length

_ONE_PLACE = 0.3  # share of words that two readings of them have in common


def is_new(label: BarLabel, read: list[BarLabel]) -> bool:
    """Return whether no label with the same length was read where a label is."""
    return not any(
        other.length.um == label.length.um and overlap(label.box, other.box) > _ONE_PLACE
        for other in read
    )


def select_agreeing(read: list[BarLabel]) -> list[BarLabel]:
    """Return one label per place, if all readings there agree."""
    kept: list[BarLabel] = []
    for label in read:
        there = [reading for reading in read if overlap(label.box, reading.box) > _ONE_PLACE]
        surely = all(_supports(reading.length, label.length) for reading in there)
        known = label.length.um is not None
        if known and surely and not any(reading in kept for reading in there):
            kept.append(label)
    return kept


def _supports(length: Length, stated: Length) -> bool:
    """Return whether a reading states the same length, or the same number and no unit."""
    return length.um == stated.um or (length.um is None and length.number == stated.number)


def is_one_label(reading: BarLabel, label: BarLabel) -> bool:
    """Return whether two readings of one place state the same length; their boxes may differ."""
    return reading.length.um == label.length.um and overlap(label.box, reading.box) > _ONE_PLACE


def choose_labelled(found: list[LabelledLine | None]) -> LabelledLine | None:
    """Return the line of a label that was read several times, sure if one reading makes it so.

    A grain lengthens a line, so that a sure one is not longer than another measurement of it.
    """
    lines = [labelled for labelled in found if labelled is not None]
    sure = [labelled for labelled in lines if labelled.sure]
    if not sure:
        return next(iter(lines), None)
    best = sure[0]
    rivals = [other for other in lines if overlap(other.line.box, best.line.box) > 0]
    shortest = min(labelled.length_px for labelled in rivals)
    alike = all(abs(labelled.length_px / best.length_px - 1) < SAME for labelled in sure)
    longest = (1 + SAME) * shortest
    return best if alike and best.length_px < longest else replace(best, sure=False)
