"""A whole field unlike every reference field is flagged, one of a new known specimen is not."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from model.ood.conformal import compute_alarm_limit, compute_p_values
from model.ood.feature_arrays import PLACES
from model.ood.field_distance import (
    FieldDistance,
    ReferenceFields,
    compute_surprise,
    find_directions,
    map_distances,
    measure_deviations,
)
from model.ood.fit import Outlier, find_outliers, format_outliers

WIDTH = 8
USUAL = np.zeros(len(PLACES))


def unit_rows(seed, centre, spread=0.05, count=4):
    """Unit rows around a direction, which the specimen shifts."""
    rng = np.random.default_rng([seed, 11])
    specimen = np.random.default_rng([seed // 5, 12]).normal(0, 0.05, WIDTH)
    rows = np.eye(WIDTH)[centre] + specimen + rng.normal(0, spread, (count, WIDTH))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def descriptor(seed, centre, spread=0.05, count=4):
    """Direction of the mean of such rows, as that of a whole field is."""
    mean = unit_rows(seed, centre, spread, count).mean(axis=0)
    return mean / np.linalg.norm(mean)


def fit(count=120, own=()):
    rng = np.random.default_rng(0)
    every = [descriptor(i, i // 5 % 2) for i in range(count)]
    windows = [unit_rows(i, i // 5 % 2, count=12) for i in range(count)]
    fields = ReferenceFields(every, windows, np.arange(count) // 5 % 10)
    quarters = {
        i: fields.compare(descriptor(i, i // 5 % 2, 0.1, 1), windows[i], i // 5 % 10).distance
        for i in range(0, count, 10)
    }
    return FieldDistance.fit(
        fields,
        fields.compare_held_out(),
        quarters=quarters,
        z_scores=rng.normal(size=(count, len(PLACES))),
        microscopes=dict(own),
        area_px=1000.0,
    )


def p_value(fitted, score):
    return float(compute_p_values(np.array([score]), fitted.reference_scores(""))[0])


@pytest.fixture(scope="module")
def fitted():
    return fit()


def join(fitted, own, *, windows=None, z_scores=USUAL, area_px=1000.0):
    windows = unit_rows(0, 0, count=12) if windows is None else windows
    return fitted.join(z_scores, fitted.compare(own, windows), area_px)


def test_a_field_between_two_known_kinds_is_flagged_though_its_looks_are_usual(fitted):
    between = np.zeros(WIDTH, np.float32)
    between[:2] = np.sqrt(0.5)

    score, look = join(fitted, between)

    assert p_value(fitted, score) == pytest.approx(1 / 121)
    assert look == "whole"


def test_an_unusual_look_is_flagged_though_the_field_is_near(fitted):
    z_scores = USUAL.copy()
    z_scores[PLACES.index("patch")] = 12.0

    score, look = join(fitted, descriptor(0, 0), z_scores=z_scores)

    assert p_value(fitted, score) == pytest.approx(1 / 121)
    assert look == "patch"


def test_one_foreign_window_is_flagged_though_the_field_is_near(fitted):
    windows = unit_rows(0, 0, count=12)
    windows[7] = np.eye(WIDTH)[5]

    score, look = join(fitted, descriptor(0, 0), windows=windows)

    assert p_value(fitted, score) == pytest.approx(1 / 121)
    assert look == "window"


def test_a_field_whose_windows_are_partly_those_of_a_reference_image_is_usual(fitted):
    windows = np.concatenate([unit_rows(0, 0, count=12)[:8], unit_rows(2, 0, count=12)[8:]])

    score, _ = join(fitted, descriptor(0, 0), windows=windows)

    assert p_value(fitted, score) > 0.05


def test_windows_are_compared_in_directions_that_differ_between_fields():
    rng = np.random.default_rng(3)
    between, within = np.eye(20)[:8], np.eye(20)[8:]
    means = rng.normal(size=(300, 8)) @ between
    covariance = between.T @ between * 0.01 + within.T @ within

    directions = find_directions(covariance, means + 0.01 * rng.normal(size=(300, 20)))

    assert directions.shape == (20, 8)
    lengths = np.square(directions).sum(axis=1)
    assert lengths[:8].min() > 1e4 * lengths[8:].max()
    ridge = 0.01 * np.trace(covariance) / 20
    variances = np.diag(directions.T @ (covariance + ridge * np.eye(20)) @ directions)
    assert variances == pytest.approx(np.ones(8), rel=1e-3)


def test_a_window_deviates_by_its_squared_distance_from_the_median_of_its_field():
    windows = np.eye(4)[[0, 0, 0, 1, 2]]

    deviations = measure_deviations(windows, np.eye(4, dtype=np.float32)[:, :3] * 2)

    assert deviations == pytest.approx([1e-6, 1e-6, 1e-6, 8, 8])


def test_a_field_far_from_all_others_but_alike_in_itself_has_no_unusual_window(fitted):
    windows = unit_rows(0, 5, count=12)

    own = fitted.compare(descriptor(0, 5), windows)

    assert own.deviation < fitted.usual["deviations"][-1]
    windows[3] = np.eye(WIDTH)[0]
    assert fitted.compare(descriptor(0, 5), windows).deviation > fitted.usual["deviations"][-1]
    assert fitted.compare(descriptor(0, 5), windows).windows.argmax() == 3


def test_a_distance_map_has_the_mean_of_the_windows_that_cover_a_cell():
    steel = np.array([[True, True], [True, False]])

    heat = map_distances(np.array([1.0, 3.0, 5.0]), steel)

    assert heat == pytest.approx(np.array([[1, 2, 3], [3, 3, 3], [5, 5, 0]]))


@pytest.mark.parametrize(("area_px", "spread", "count"), [(250.0, 0.1, 1), (1e3, 0.05, 4)])
def test_new_specimens_are_flagged_no_more_than_chance_allows(fitted, area_px, spread, count):
    rng = np.random.default_rng(1)
    fresh = [descriptor(1000 + 5 * i, i % 2, spread, count) for i in range(200)]

    scores = [
        join(
            fitted,
            one,
            windows=unit_rows(1000 + 5 * i, i % 2, count=12),
            z_scores=rng.normal(size=len(PLACES)),
            area_px=area_px,
        )[0]
        for i, one in enumerate(fresh)
    ]

    flagged = sum(p_value(fitted, score) <= 0.05 for score in scores)
    assert flagged / 200 <= compute_alarm_limit(0.05, 120, 200)


def test_a_stored_comparison_gives_the_same_bits():
    one = fit(own={"LOM-07": np.arange(70)})

    other = FieldDistance.load(load(save(one.tensors())), json.loads(json.dumps(one.facts())))

    assert join(other, descriptor(7, 3), area_px=300.0) == join(
        one, descriptor(7, 3), area_px=300.0
    )
    assert [len(other.reference_scores(name)) for name in ("LOM-07", "LOM-09")] == [70, 120]


@given(
    st.lists(st.floats(-9, 9), min_size=2, max_size=40).map(np.sort),
    st.floats(-20, 20),
    st.floats(0, 20),
)
@settings(max_examples=200, deadline=None)
def test_a_larger_value_is_never_less_surprising(values, value, more):
    less, larger = compute_surprise(value, values), compute_surprise(value + more, values)

    assert 0 <= less <= larger < np.inf
    assert compute_surprise(values[-1], values) == pytest.approx(np.log(2 * len(values)))


def test_reference_images_unlike_the_others_of_their_code_are_named_the_farthest_first():
    names = [f"field {i}.png (id)" for i in range(32)]
    codes = ["G7"] * 20 + ["G8"] * 10 + ["B8"] * 2
    distances = np.full(32, -2.0)
    distances[20:30] = -1.0
    distances[3] += np.log(2.5)
    distances[17] += np.log(1.9)
    distances[25] += np.log(3.0)
    distances[30] += np.log(9.0)  # of two images nobody knows what is usual

    outliers = find_outliers(names, codes, distances)

    assert [(one.name, one.code, round(one.times, 2)) for one in outliers] == [
        (names[25], "G8", 3.0),
        (names[3], "G7", 2.5),
    ]
    assert format_outliers(outliers, 32) == (
        "2 of 32 reference images are at least twice as far from the others as is usual for their "
        "code: field 25.png (id), G8, 3.0 times; field 3.png (id), G7, 2.5 times. Check them for "
        "an edge, scratches or a stain: they widen what counts as usual."
    )
    assert format_outliers([], 32) == ""


def test_of_many_outliers_five_are_named():
    outliers = [Outlier(f"{i}", "G7", 2.0) for i in range(7)]

    sentence = format_outliers(outliers, 900)

    assert sentence.startswith("7 of 900 reference images")
    assert "4, G7, 2.0 times and 2 more." in sentence
