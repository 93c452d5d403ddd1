"""Micrograph reading, scale and specimen detection, and cropping to steel."""

from __future__ import annotations

from agent.imaging.crop import (
    Box,
    Crop,
    MicronBar,
    SpecimenArea,
    crop,
    crop_to_json,
    error_to_json,
    public_id,
)
from agent.imaging.pool import WALL_CLOCK, CropPool, encode_landmarks, is_worker_killed
from agent.imaging.readers.metadata import Scale
from agent.imaging.readers.read import Limits, MicrographImage, read

__all__ = [
    "WALL_CLOCK",
    "Box",
    "Crop",
    "CropPool",
    "Limits",
    "MicrographImage",
    "MicronBar",
    "Scale",
    "SpecimenArea",
    "crop",
    "crop_to_json",
    "encode_landmarks",
    "error_to_json",
    "is_worker_killed",
    "public_id",
    "read",
]
