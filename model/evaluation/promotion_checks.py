"""Every check of whether a candidate may replace the bundle in use, one criterion each.

Every check is a small pure function. Images of one specimen are not independent, so significance
is tested over specimens.
"""

from __future__ import annotations

from model.evaluation.accuracy_checks import (
    check_codes,
    check_corrected,
    check_evidence,
    check_floors,
    check_limits,
    check_overall,
    check_slices,
)
from model.evaluation.reliability_checks import (
    check_calibration,
    check_false_alarms,
    check_latency,
    check_new_images,
    check_unusual,
)

CHECKS = (
    check_evidence,
    check_overall,
    check_limits,
    check_new_images,
    check_corrected,
    check_codes,
    check_slices,
    check_floors,
    check_calibration,
    check_false_alarms,
    check_unusual,
    check_latency,
)
"""All checks, in the order of the report."""
