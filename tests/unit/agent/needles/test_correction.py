"""A calibration divides every length of a field, pooled or not, and names itself."""

import pytest
from drawn.needle_samples import measured, not_measured

from agent.needles import LengthCorrection, correct_lengths
from agent.needles.pooling import pool_needles

CORRECTION = LengthCorrection("G/LOM-07 2", 1.1)


def test_all_lengths_are_divided_and_the_evidence_stays() -> None:
    raw = measured(1)

    field = correct_lengths(raw, CORRECTION)

    assert field.calibration == "G/LOM-07 2"
    for name in ("l50_um", "l90_um", "l99_um", "l50_number_um", "maximum_um"):
        assert getattr(field, name) == pytest.approx(getattr(raw, name) / 1.1, abs=0.01)
    assert field.longest[0].length_um == field.maximum_um
    assert (field.intercept_um, field.longest[0].line_px) == (3.0, raw.longest[0].line_px)


def test_pooled_fields_are_corrected_as_each_of_them() -> None:
    raw = [measured(seed, count=400) for seed in range(20)]

    before = pool_needles(raw)
    after = pool_needles([correct_lengths(field, CORRECTION) for field in raw])

    for name in ("L50", "L90", "L99"):
        was, now = before.get_quantile(name), after.get_quantile(name)
        assert now.value_um == pytest.approx(was.value_um / 1.1, abs=0.01)
        assert now.high_um < was.high_um / 1.1  # without the error that nobody has measured here
    assert after.predicted.value_um == pytest.approx(before.predicted.value_um / 1.1, rel=0.01)
    assert after.calibration == "G/LOM-07 2"


def test_without_a_calibration_or_lengths_nothing_changes() -> None:
    assert correct_lengths(measured(1), None) == measured(1)
    assert correct_lengths(not_measured(), CORRECTION) == not_measured()
