"""The program's needle lengths against those that reviewers measured, and a site's calibration.

Importing the package loads no PyTorch.
"""

from __future__ import annotations

from agent.needle_truth.calibration import (
    WANTED_FIELDS,
    WANTED_NEEDLES,
    CalibrationRefusedError,
    NeedleCalibration,
    TruthGroup,
    calibrate,
    choose_field,
    find_refusal,
    fit_calibration,
    list_calibrations,
    list_measurable,
    load_groups,
    needle_calibration,
    withdraw_calibration,
)
from agent.needle_truth.comparison import Agreement, LengthPair, Place, Ratio, compare_needles

__all__ = [
    "WANTED_FIELDS",
    "WANTED_NEEDLES",
    "Agreement",
    "CalibrationRefusedError",
    "LengthPair",
    "NeedleCalibration",
    "Place",
    "Ratio",
    "TruthGroup",
    "calibrate",
    "choose_field",
    "compare_needles",
    "find_refusal",
    "fit_calibration",
    "list_calibrations",
    "list_measurable",
    "load_groups",
    "needle_calibration",
    "withdraw_calibration",
]
