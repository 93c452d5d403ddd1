"""Measured needles are compared with the program's; intervals hold what they promise."""

import numpy as np
import pytest
from labs.needle_lengths import simulate

from agent.needle_truth.comparison import (
    compute_agreement,
    do_tips_agree,
    find_counterpart,
    fit_trend,
)

Z95 = 1.959963984540054


@pytest.mark.parametrize(("fields", "needles"), [(8, 4), (30, 10)])
@pytest.mark.parametrize(("between", "within"), [(0.02, 0.25), (0.15, 0.15)])
def test_the_intervals_of_bias_and_limits_contain_the_truth_in_about_95_percent(
    fields, needles, between, within
):
    rng = np.random.default_rng(1)
    spread = np.sqrt(between**2 + within**2 + 0.03**2)
    truth = {
        "bias": np.log(1.12),
        "lower": np.log(1.12) - Z95 * spread,
        "upper": np.log(1.12) + Z95 * spread,
    }
    hits = dict.fromkeys(truth, 0)
    trials = 300

    for _ in range(trials):
        pairs = simulate(
            rng, fields=fields, needles=needles, bias=1.12, between=between, within=within
        )
        found = compute_agreement(pairs)
        for name, value in truth.items():
            ratio = getattr(found, name)
            hits[name] += np.log(ratio.low) <= value <= np.log(ratio.high)

    assert all(0.92 <= n / trials <= 0.99 for n in hits.values()), hits


def test_19_of_20_new_needles_are_between_the_limits():
    rng = np.random.default_rng(2)
    found = compute_agreement(simulate(rng, fields=30, needles=10, bias=0.9))
    new = [
        pair.program_um / pair.measured_um
        for pair in simulate(rng, fields=400, needles=5, bias=0.9)
    ]

    inside = np.mean([found.lower.value <= ratio <= found.upper.value for ratio in new])

    assert 0.92 <= inside <= 0.98
    assert found.bias.low < 0.9 < found.bias.high


def test_the_trend_is_zero_where_the_ratio_is_one_number_although_the_program_scatters_more():
    rng = np.random.default_rng(3)
    hits = sum(
        trend.low <= 0 <= trend.high
        for trend in (
            fit_trend(simulate(rng, fields=30, needles=10, within=0.3)) for _ in range(200)
        )
    )

    assert hits >= 180


def test_a_ratio_that_falls_with_the_length_is_found():
    trend = fit_trend(simulate(np.random.default_rng(4), fields=30, needles=10, slope=-0.3))

    assert trend.low < -0.3 < trend.high < -0.15
    assert trend.drift == pytest.approx((trend.to_um / trend.from_um) ** trend.slope)


@pytest.mark.parametrize(("fields", "needles"), [(1, 20), (2, 9), (3, 1)])
def test_too_few_needles_or_fields_have_no_statistics(fields, needles):
    pairs = simulate(np.random.default_rng(5), fields=fields, needles=needles)[: fields * needles]

    assert compute_agreement(pairs) is None


MEASURED = np.array([[10.0, 10.0], [30.0, 10.0]])
"""20 µm long, along x."""


def needle(x0, y0, x1, y1):
    return [[x0, y0], [x1, y1]]


@pytest.mark.parametrize(
    "program",
    [
        needle(10, 10, 30, 10),
        needle(30.4, 10.2, 9.6, 9.9),  # the other way round
        needle(10, 10, 17, 10),  # a part of it
        needle(5, 10, 55, 10),  # two merged
        needle(10, 11.5, 30, 10.5),
    ],
)
def test_a_needle_on_the_same_axis_is_its_counterpart(program):
    far = needle(80, 80, 95, 95)

    assert find_counterpart(MEASURED, np.array([far, program], float)) == 1


@pytest.mark.parametrize(
    "program",
    [
        needle(20, 0, 20, 20),  # crosses it
        needle(10, 14, 30, 14),  # parallel, 4 µm away
        needle(31, 10, 50, 10),  # the next one in its line
        needle(10, 10, 28, 20),  # turned by 29°
        needle(18, 10, 21, 10),  # a splinter on it
    ],
)
def test_a_neighbour_is_not_its_counterpart(program):
    assert find_counterpart(MEASURED, np.array([program], float)) is None
    assert find_counterpart(MEASURED, np.zeros((0, 2, 2))) is None


def test_of_two_on_one_axis_it_is_the_one_with_more_in_common():
    short, whole = needle(11, 10, 17, 10), needle(10, 10.5, 29, 10.5)

    assert find_counterpart(MEASURED, np.array([short, whole], float)) == 1


def test_tips_agree_within_15_percent_whichever_comes_first():
    assert do_tips_agree(MEASURED, np.array(needle(32, 10, 9, 10), float))
    assert not do_tips_agree(MEASURED, np.array(needle(10, 10, 36, 10), float))
