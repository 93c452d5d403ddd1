"""The stored needles of a field are corrected by the site, and compared with its size number."""

from dataclasses import replace

import pytest
from drawn.needle_samples import measured, not_measured

from agent.needles import LengthCorrection, SizeRule, correct_lengths, find_size_conflict
from agent.needles.pooling import pool_needles
from model import default_taxonomy, taxonomy_from

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


TAXONOMY = default_taxonomy()
RULE = SizeRule(l90_of_size_8_um=14.0, tolerance=2.0)


def conflict(l90_um: float | None, code: str | None, taxonomy=TAXONOMY):
    field = replace(measured(), l90_um=l90_um)
    return find_size_conflict(field, code, taxonomy, RULE)


def test_lengths_within_two_numbers_agree() -> None:
    for l90_um, code in (
        (14.0, "G8"),
        (7.1, "G8"),
        (27.9, "G8"),
        (19.8, "B7"),
        (8.3, "M9-10"),
        (3.6, "G9-10"),
    ):
        assert conflict(l90_um, code) is None, l90_um


@pytest.mark.parametrize(
    ("l90_um", "code", "sentence"),
    [
        (31.0, "G8", "size 8, but L90 = 31 µm, not calibrated here (expected 7 to 28 µm)"),
        (6.0, "G8", "size 8, but L90 = 6 µm, not calibrated here (expected 7 to 28 µm)"),
        (21.0, "G9-10", "size 9-10, but L90 = 21 µm, not calibrated here (expected 3.5 to 20 µm)"),
    ],
)
def test_lengths_further_away_are_named_with_the_expected_range(l90_um, code, sentence) -> None:
    message = conflict(l90_um, code)

    assert message is not None
    assert message.in_english() == sentence


def test_what_is_not_known_contradicts_nothing() -> None:
    assert conflict(31.0, None) is None
    assert conflict(None, "G8") is None
    assert find_size_conflict(not_measured(), "G8", TAXONOMY, RULE) is None
    assert find_size_conflict(None, "G8", TAXONOMY, RULE) is None


def test_sizes_that_allude_to_no_grain_size_contradict_nothing() -> None:
    """A named size has no number, and a length in µm falls from coarse to fine."""
    taxonomy = taxonomy_from(
        {
            "size": [{"name": name} for name in ("coarse", "fine", "40", "20")],
            "subtype": [
                {"name": "N", "sizes": ["coarse", "fine"]},
                {"name": "L", "sizes": ["40", "20"]},
            ],
        }
    )

    codes = [taxonomy.code("N", "fine"), taxonomy.code("L", "20")]

    assert [conflict(150.0, code, taxonomy) for code in codes] == [None, None]
