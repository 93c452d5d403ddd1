"""Detection of micrographs of one place: turned, mirrored, magnified, cropped or saved again."""

from __future__ import annotations

from agent.imaging.places.index import PlaceIndex
from agent.imaging.places.landmarks import Landmarks, extract_landmarks
from agent.imaging.places.registration import SAME_PLACE, Overlap, register

__all__ = [
    "SAME_PLACE",
    "Landmarks",
    "Overlap",
    "PlaceIndex",
    "extract_landmarks",
    "register",
]
