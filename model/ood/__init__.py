"""Out-of-distribution detection: features, scores, calibration, localization."""
