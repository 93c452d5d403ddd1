"""Needle lengths as results of micrographs: measured by the pipeline, stored, pooled, compared.

A trial: the network was trained on drawings. Each field names its calibration, None for "not
calibrated here". Importing the package loads no PyTorch.
"""

from __future__ import annotations

from agent.needles.field import (
    LengthCorrection,
    LongNeedle,
    NeedleField,
    NeedleHistogram,
    NeedleStatus,
    SizeRule,
    correct_lengths,
    find_size_conflict,
    name_laths,
)

__all__ = [
    "LengthCorrection",
    "LongNeedle",
    "NeedleField",
    "NeedleHistogram",
    "NeedleStatus",
    "SizeRule",
    "correct_lengths",
    "find_size_conflict",
    "name_laths",
]
