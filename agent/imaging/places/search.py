"""Find the stored micrographs that show the place of another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from agent.imaging.places.registration import SAME_PLACE, register

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.imaging.places.index import PlaceIndex
    from agent.imaging.places.landmarks import Landmarks
    from agent.imaging.places.registration import Overlap


class SamePlace(NamedTuple):
    """A stored micrograph of the same place, and how it overlaps."""

    key: int
    overlap: Overlap  # from the stored micrograph to the one in question


def find_same_places(
    landmarks: Landmarks,
    index: PlaceIndex,
    load: Callable[[int], Landmarks],
    *,
    least_share: float = SAME_PLACE,
    limit: int = 8,
) -> list[SamePlace]:
    """Return the stored micrographs of the same place, the largest overlap first.

    Micrographs of one order are few: register those with each other, without the index, and none
    is missed.

    Args:
        landmarks: Of the micrograph in question; if it is in the index, it is returned as well.
        index: Of all stored micrographs.
        load: Returns the landmarks of a key.
        least_share: Least overlap, as a share of the smaller micrograph.
        limit: Most stored micrographs that are registered.
    """
    places = []
    for key in index.candidates(landmarks, limit):
        overlap = register(load(key), landmarks)
        if overlap is not None and overlap.share_of_smaller >= least_share:
            places.append(SamePlace(key, overlap))
    return sorted(places, key=lambda place: -place.overlap.share_of_smaller)
