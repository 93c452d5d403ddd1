"""Micrograph reading, scale and specimen detection, and cropping to steel."""

from __future__ import annotations

from agent.imaging.crop import Crop, SpecimenArea, crop, public_id
from agent.imaging.pool import WALL_CLOCK, CropPool, encode_landmarks, is_worker_killed
from agent.imaging.readers.metadata import Scale
from agent.imaging.readers.read import Limits, read

__all__ = [
    "WALL_CLOCK",
    "Crop",
    "CropPool",
    "Limits",
    "Scale",
    "SpecimenArea",
    "crop",
    "encode_landmarks",
    "is_worker_killed",
    "public_id",
    "read",
]
