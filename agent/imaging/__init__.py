"""Read a micrograph, find its scale and its specimen, and cut it down to steel."""

from __future__ import annotations

from agent.imaging.crop import Box, Crop, MicronBar, Scale, SpecimenArea, crop, public_id

__all__ = ["Box", "Crop", "MicronBar", "Scale", "SpecimenArea", "crop", "public_id"]
