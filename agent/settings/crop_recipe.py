"""Version of how a file is cropped; loads no OpenCV, so that `agent status` answers at once."""

from __future__ import annotations

RECIPE = "5"
"""Increment whenever the same file would be cropped differently."""
