"""Needle lengths are exact where the axes are known, and corrected for the border of the field."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from drawn.needles import draw_field
from drawn.needles.canvas import NeedleCanvas
from drawn.needles.plates import Population, scatter
from drawn.needles.truth import measure_truth
from scipy.stats import gumbel_r

from model.needles.field import LEAST_RELIABILITY, list_longest, measure_mean_intercept
from model.needles.instances import find_needles
from model.needles.lengths import (
    LENGTH_EDGES_UM,
    compute_distribution,
    compute_weights,
    estimate_quantile,
    find_quantile,
    fit_gumbel,
    predict_longest,
)
from model.needles.needle_map import NeedleMap

PIXEL_UM = 0.2


def draw_bars(*bars, side=300):
    """Draw bars (start, end, width in px) over each other; return owner and axes."""
    owner, axes = np.zeros((side, side), np.int32), []
    for number, (start, end, width) in enumerate(bars, start=1):
        cv2.line(owner, start, end, number, width)
        axes.append(np.linspace(start, end, 15))
    return owner, axes


def as_map(targets):
    """Return the map that a perfect network would give."""
    return NeedleMap(
        axis=targets.axis,
        body=targets.body.astype(np.float32),
        structure=np.ones_like(targets.axis),
        near_um=targets.near_um,
        far_um=targets.far_um,
        angle=np.arctan2(targets.direction[1], targets.direction[0]) / 2,
        log_error=np.full_like(targets.axis, -3),
    )


def test_a_needle_crossed_by_another_one_keeps_its_length():
    owner, axes = draw_bars(((50, 150), (250, 150), 7), ((150, 60), (150, 240), 9))

    needles, targets = measure_truth(owner, axes, PIXEL_UM)
    measured = find_needles(as_map(targets))

    assert [round(needle.length_um) for needle in needles] == [40, 36]
    assert sorted(measured.length_um.round()) == [36, 40]


def test_a_part_hidden_for_longer_than_both_visible_parts_is_not_bridged():
    owner, axes = draw_bars(((50, 150), (250, 150), 7), ((150, 60), (150, 240), 140))

    needles, _ = measure_truth(owner, axes, PIXEL_UM)

    assert sorted(round(needle.length_um) for needle in needles) == [6, 6, 36]


def test_a_needle_of_which_extent_and_prediction_differ_is_listed_and_not_reliable():
    owner, axes = draw_bars(((50, 80), (250, 80), 7), ((50, 200), (200, 200), 7))
    _, targets = measure_truth(owner, axes, PIXEL_UM)
    long = targets.number == 1

    exact = find_needles(as_map(targets))
    doubled = replace(
        targets,
        near_um=np.where(long, 2 * targets.near_um, targets.near_um),
        far_um=np.where(long, 2 * targets.far_um, targets.far_um),
    )
    wrong = find_needles(as_map(doubled))

    listed = [
        [
            (round(needles.length_um[index]), needles.reliability[index] >= LEAST_RELIABILITY)
            for index in list_longest(needles, np.ones(2))
        ]
        for needles in (exact, wrong)
    ]
    assert listed == [[(40, True), (30, True)], [(80, False), (30, True)]]


def test_on_drawn_fields_the_grouping_of_exact_maps_gives_the_true_distribution():
    compared = 0
    for seed in (100, 104, 105, 108):
        field = draw_field(np.random.default_rng(seed))
        needles, targets = measure_truth(field.owner, field.axes, PIXEL_UM)
        measured = find_needles(as_map(targets))

        lengths = np.array([needle.length_um for needle in needles])
        areas = np.array([needle.area_um2 for needle in needles])
        true = compute_distribution(lengths, areas, np.ones(len(lengths)))
        counted = compute_distribution(
            measured.length_um, measured.area_um2, np.ones(len(measured))
        )

        for share in (0.5, 0.9):
            assert counted.quantile_um(share) == pytest.approx(true.quantile_um(share), rel=0.08)
        compared += 1
    assert compared == 4


def test_abutting_needles_meet_tip_to_tip_in_one_line():
    canvas = NeedleCanvas.blank(600, 200)
    population = Population(
        length_um=20, spread=0.1, aspect=6, coverage=0.1, tone=110, tone_spread=10, edge=-40,
        edges=2, halo=0, midrib=0, blunt=0.4, bend=0, kinked=0, branched=0, packets=0, variants=0,
        grain=1, longest_first=False, abutting=1.0,
    )  # fmt: skip

    scatter(population, np.random.default_rng(1), canvas)

    tips = np.array([axis[[0, -1]] for axis in canvas.axes])
    lengths = np.linalg.norm(tips[:, 1] - tips[:, 0], axis=1) * PIXEL_UM
    inside = ((tips > 60) & (tips < 540)).all(axis=(1, 2))  # the other half is on the canvas too
    step = np.linalg.norm(tips[inside][:, :, None, None] - tips, axis=-1)  # (n, 2, m, 2)
    own = np.zeros((inside.sum(), len(tips)), bool)
    own[np.arange(inside.sum()), np.flatnonzero(inside)] = True
    nearest = np.where(own[:, None, :, None], 99, step).min(axis=(1, 2, 3))
    assert inside.sum() > 10
    assert (nearest < 5).all()  # px: a gap of at most 2, and halves that are turned by some degrees
    assert np.median(lengths) == pytest.approx(10, rel=0.25)


def test_the_border_correction_gives_back_the_mixture_that_was_drawn():
    rng = np.random.default_rng(3)
    length = np.where(rng.random(60_000) < 0.5, 10.0, 60.0)
    angle = rng.uniform(0, np.pi, len(length))
    half = np.stack([np.cos(angle), np.sin(angle)], axis=1) * length[:, None] / 2
    middle = rng.uniform(-40, 140, (len(length), 2))
    ends = np.stack([middle - half, middle + half], axis=1)
    seen = ((middle > 0) & (middle < 100)).all(axis=1)  # as many of both, by their middles

    weights = compute_weights(ends, (100.0, 100.0))
    share_long = weights[length > 30].sum() / weights.sum()
    inside = weights > 0

    assert share_long == pytest.approx((length[seen] > 30).mean(), abs=0.03)
    assert (length[inside] > 30).mean() < 0.35  # without the correction


def test_needles_that_touch_the_border_do_not_count():
    ends = np.array([[[0.5, 50], [20, 50]], [[40, 50], [60, 50]]], np.float64)

    assert compute_weights(ends, (102.4, 102.4)).tolist() == [0.0, pytest.approx(1.25)]


def test_a_quantile_is_found_inside_its_bin():
    histogram = np.zeros(len(LENGTH_EDGES_UM) - 1)
    histogram[10] = 2.0

    middle = find_quantile(histogram, 0.5)

    assert middle == pytest.approx(np.sqrt(LENGTH_EDGES_UM[10] * LENGTH_EDGES_UM[11]))
    assert find_quantile(np.zeros_like(histogram), 0.5) is None


def fields_of(rng, n, sigma):
    medians = 12 * rng.lognormal(0, sigma, n)
    return [
        compute_distribution(median * rng.lognormal(0, 0.4, 200), np.ones(200), np.ones(200))
        for median in medians
    ]


def test_below_five_fields_there_is_no_interval():
    estimate = estimate_quantile(fields_of(np.random.default_rng(1), 4, 0.1), 0.5)

    assert estimate is not None
    assert (estimate.low_um, estimate.high_um, estimate.n_fields) == (None, None, 4)
    assert estimate_quantile([], 0.5) is None


def test_the_interval_of_six_fields_contains_the_true_median_in_about_95_percent():
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(120):
        estimate = estimate_quantile(fields_of(rng, 6, 0.15), 0.5, is_calibrated=True)
        hits += estimate.low_um <= 12.0 * np.exp(0) <= estimate.high_um

    assert hits >= 107


@pytest.mark.parametrize(("share", "times"), [(0.5, 1.2), (0.9, 1.3)])
def test_without_a_calibration_the_interval_holds_what_the_network_measures_too_short(share, times):
    fields = fields_of(np.random.default_rng(3), 60, 0.05)

    exact = estimate_quantile(fields, share, is_calibrated=True)
    estimate = estimate_quantile(fields, share)

    assert estimate.value_um == exact.value_um
    assert 1.05 < exact.high_um / exact.value_um < 1.1  # ten fields know the mean error so well
    assert estimate.low_um <= estimate.value_um * 0.95
    assert estimate.high_um > estimate.value_um * times


def test_the_gumbel_fit_is_that_of_scipy():
    sample = gumbel_r.rvs(30, 5, size=60, random_state=4)

    location, scale = fit_gumbel(sample[None])

    assert (location[0], scale[0]) == pytest.approx(gumbel_r.fit(sample), rel=1e-3)


def test_the_longest_needle_of_an_area_is_in_its_interval_in_95_percent():
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(300):
        maxima = rng.gumbel(30, 4, 24)
        predicted = predict_longest(maxima, [20_000] * 24, 2.0)  # a hundred fields
        hits += predicted.low_um <= rng.gumbel(30, 4, 100).max() <= predicted.high_um

    assert 276 <= hits <= 296


@pytest.mark.parametrize(
    ("maxima", "areas"),
    [
        ([30.0 + i for i in range(19)], [1e4] * 19),
        ([30.0 + i for i in range(20)], [1e4] * 19 + [2e4]),
    ],
    ids=["nineteen fields", "fields of different size"],
)
def test_the_longest_needle_is_not_predicted_from(maxima, areas):
    assert predict_longest(maxima, areas, 100.0) is None


def test_the_mean_intercept_of_stripes_is_half_their_period_across_and_none_along():
    column = np.arange(600)
    stripes = np.tile(np.where(column // 10 % 2, 200, 60), (600, 1)).astype(np.float32)

    # rows cross a stripe every 2 µm, columns never do: the mean over both is twice that
    assert measure_mean_intercept(stripes, PIXEL_UM) == pytest.approx(4.0, rel=0.03)
    assert measure_mean_intercept(np.full((50, 50), 90, np.float32), PIXEL_UM) is None
