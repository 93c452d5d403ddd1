"""Needle lengths as results of micrographs: measured by the pipeline, stored, pooled, compared.

A trial: the network was trained on drawings. Each field names its calibration, None for "not
calibrated here". Importing the package loads no PyTorch.
"""

from __future__ import annotations

from agent.needles.correction import LengthCorrection, correct_lengths
from agent.needles.field import (
    LongNeedle,
    NeedleField,
    NeedleHistogram,
    NeedleStatus,
    describe_reason,
    name_laths,
)
from agent.needles.size_check import SizeRule, find_size_conflict

__all__ = [
    "LengthCorrection",
    "LongNeedle",
    "NeedleField",
    "NeedleHistogram",
    "NeedleStatus",
    "SizeRule",
    "correct_lengths",
    "describe_reason",
    "find_size_conflict",
    "name_laths",
]
