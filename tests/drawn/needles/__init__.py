"""Drawn fields with exact ownership masks, from which the needle network is trained."""

from __future__ import annotations

from drawn.needles.field import DrawnField, draw_field

__all__ = ["DrawnField", "draw_field"]
