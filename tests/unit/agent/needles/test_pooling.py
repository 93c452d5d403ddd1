"""Stored fields are combined as their needles would be, and no number has a false precision."""

from dataclasses import replace

import numpy as np
import pytest
from drawn.needle_samples import measured, not_measured

from agent.needles.pooling import pool_needles
from model.needles.lengths import LENGTH_EDGES_UM, find_quantile, find_quantiles


def test_four_fields_have_a_value_and_no_interval_five_have_one() -> None:
    four = pool_needles(measured(seed) for seed in range(4))
    five = pool_needles(measured(seed) for seed in range(5))

    assert (four.measured, four.l90.low_um, four.l90.high_um) == (4, None, None)
    assert five.l90.low_um < five.l90.value_um < five.l90.high_um
    assert five.l50.value_um < five.l90.value_um


def test_l99_is_stated_from_6000_needles_on() -> None:
    few = pool_needles(measured(seed, count=1100) for seed in range(5))
    enough = pool_needles(measured(seed, count=1300) for seed in range(5))

    assert few.l99 is None
    assert enough.l90.value_um < enough.l99.value_um < enough.l99.high_um


def test_fields_without_lengths_are_counted_by_their_reason() -> None:
    pooled = pool_needles(
        [not_measured("too_few"), not_measured("too_few"), not_measured("no_scale")]
    )

    assert (pooled.measured, pooled.l90) == (0, None)
    assert pooled.to_json()["fields_not_measured"] == {"too_few": 2, "no_scale": 1}


def test_the_longest_needle_to_expect_needs_twenty_fields() -> None:
    fields = [measured(seed) for seed in range(20)]

    assert pool_needles(fields[:19]).predicted is None
    pooled = pool_needles(fields, area_mm2=50)
    assert pooled.maximum_um < pooled.predicted.high_um
    assert pooled.to_json()["longest_expected"]["area_mm2"] == 50


def test_fields_of_different_area_predict_no_longest_needle() -> None:
    fields = [measured(seed, area_um2=19_200.0 * (1 + seed % 2)) for seed in range(20)]

    assert pool_needles(fields).predicted is None


@pytest.mark.parametrize("other", [{"network": "ba9876543210"}, {"calibration": "2026-11"}])
def test_fields_of_two_networks_or_calibrations_are_not_combined(other) -> None:
    pooled = pool_needles([measured(1), replace(measured(2), **other)])

    assert (pooled.is_mixed, pooled.l90) == (True, None)


def test_the_stored_histogram_gives_the_quantile_of_its_field() -> None:
    field = measured(3, count=2000)

    pooled = pool_needles([field])

    assert pooled.l50.value_um == pytest.approx(field.l50_um, rel=0.03)
    assert pooled.l90.value_um == pytest.approx(field.l90_um, rel=0.03)


def test_quantiles_of_many_histograms_are_those_of_each() -> None:
    rng = np.random.default_rng(4)
    rows = rng.poisson(0.4, (20, len(LENGTH_EDGES_UM) - 1)).astype(float)
    rows[3] = 0

    for share in (0.0, 0.5, 0.9, 1.0):
        each = [find_quantile(row, share) for row in rows]
        assert each[3] is None
        assert find_quantiles(rows, share).tolist() == [
            value for value in each if value is not None
        ]
