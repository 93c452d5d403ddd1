"""A whole field unlike every reference field is flagged, one of a new known specimen is not."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from model.ood.conformal import compute_alarm_limit, compute_p_values
from model.ood.feature_arrays import CellFeatures
from model.ood.features import describe_blocks
from model.ood.field_distance import (
    FieldDistance,
    ReferenceFields,
    compute_held_out_distances,
    compute_surprise,
)
from model.ood.outliers import Outlier, find_outliers, format_outliers
from model.ood.score_normalization import LOOKS

WIDTH = 8
USUAL = np.zeros(len(LOOKS))


def blocks(seed, centre, spread=0.05, count=4):
    """Unit rows around a direction, which the specimen shifts."""
    rng = np.random.default_rng([seed, 11])
    specimen = np.random.default_rng([seed // 5, 12]).normal(0, 0.05, WIDTH)
    rows = np.eye(WIDTH)[centre] + specimen + rng.normal(0, spread, (count, WIDTH))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def reference(count=120, microscopes=None, calibrated=()):
    rng = np.random.default_rng(0)
    return ReferenceFields(
        blocks=[blocks(i, i // 5 % 2) for i in range(count)],
        quarters={i: blocks(i, i // 5 % 2, 0.1, 1) for i in range(0, count, 10)},
        z_scores=rng.normal(size=(count, len(LOOKS))),
        folds=np.arange(count) // 5 % 10,
        microscopes=microscopes or [""] * count,
        calibrated=calibrated,
        area_px=1000.0,
    )


def p_value(fitted, score):
    return float(compute_p_values(np.array([score]), fitted.reference_scores(""))[0])


@pytest.fixture(scope="module")
def fitted():
    return FieldDistance.fit(reference())


def test_a_field_between_two_known_kinds_is_flagged_though_its_looks_are_usual(fitted):
    between = np.full((4, WIDTH), 0.0, np.float32)
    between[:, :2] = np.sqrt(0.5)

    score, look = fitted.join(USUAL, between, 1000.0)

    assert p_value(fitted, score) == pytest.approx(1 / 121)
    assert look == "whole"


def test_an_unusual_look_is_flagged_though_the_field_is_near(fitted):
    z_scores = USUAL.copy()
    z_scores[LOOKS.index("patch")] = 12.0

    score, look = fitted.join(z_scores, blocks(0, 0), 1000.0)

    assert p_value(fitted, score) == pytest.approx(1 / 121)
    assert look == "patch"


def test_the_look_that_the_distance_replaces_flags_nothing(fitted):
    z_scores = USUAL.copy()
    z_scores[LOOKS.index("whole")] = 50.0

    assert fitted.join(z_scores, blocks(0, 0), 1000.0) == fitted.join(USUAL, blocks(0, 0), 1000.0)


@pytest.mark.parametrize(("area_px", "spread", "count"), [(250.0, 0.1, 1), (1e3, 0.05, 4)])
def test_new_specimens_are_flagged_no_more_than_chance_allows(fitted, area_px, spread, count):
    rng = np.random.default_rng(1)
    fresh = [blocks(1000 + 5 * i, i % 2, spread, count) for i in range(200)]

    scores = [fitted.join(rng.normal(size=len(LOOKS)), one, area_px)[0] for one in fresh]

    flagged = sum(p_value(fitted, score) <= 0.05 for score in scores)
    assert flagged / 200 <= compute_alarm_limit(0.05, 120, 200)


def test_a_stored_comparison_gives_the_same_bits():
    names = ["LOM-07"] * 70 + ["LOM-09"] * 50
    one = FieldDistance.fit(reference(microscopes=names, calibrated=["LOM-07"]))

    other = FieldDistance.load(load(save(one.tensors())), json.loads(json.dumps(one.facts())))

    assert other.join(USUAL, blocks(7, 3), 300.0) == one.join(USUAL, blocks(7, 3), 300.0)
    assert [len(other.reference_scores(name)) for name in ("LOM-07", "LOM-09")] == [70, 120]


def test_cells_without_steel_change_no_block():
    rng = np.random.default_rng(3)
    features = rng.normal(size=(24, 34, 5)).astype(np.float16)
    steel = np.ones((24, 34), bool)
    steel[12:, 22:] = False
    other = np.where(steel[..., None], features, 99).astype(np.float16)

    one, two = (
        describe_blocks(CellFeatures(f, steel, 32.0, None), 10, (24, 34)) for f in (features, other)
    )

    assert np.array_equal(one, two)
    assert len(one) == 11  # of 3 × 4, the one without steel is left out
    assert np.linalg.norm(one, axis=1) == pytest.approx(1, abs=1e-6)


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


def test_the_weight_of_the_distance_is_stored_only_where_it_is_not_one(fitted):
    heavy = FieldDistance.fit(replace(reference(), weight=1.5))

    assert "weight" not in fitted.facts()
    assert FieldDistance.load(fitted.tensors(), fitted.facts()).weight == 1.0
    loaded = FieldDistance.load(heavy.tensors(), heavy.facts())
    far = blocks(0, 0, 0.4)
    assert loaded.join(USUAL, far, 1000.0) == heavy.join(USUAL, far, 1000.0)
    assert np.array_equal(heavy.distances, fitted.distances)


def test_a_far_field_outranks_an_odd_place_the_more_the_distance_weighs(fitted):
    heavy = FieldDistance.fit(replace(reference(), weight=1.5))
    far, odd = blocks(0, 0, 0.4), USUAL.copy()
    odd[LOOKS.index("patch")] = 3.5

    light_far, light_odd = (
        fitted.join(z, b, 1000.0)[0] for z, b in ((USUAL, far), (odd, blocks(0, 0)))
    )
    heavy_far, heavy_odd = (
        heavy.join(z, b, 1000.0)[0] for z, b in ((USUAL, far), (odd, blocks(0, 0)))
    )

    assert heavy_far - heavy_odd > light_far - light_odd


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


def test_distances_that_are_known_already_change_nothing():
    fields = reference()

    again = FieldDistance.fit(fields, compute_held_out_distances(fields))

    assert again.facts() == FieldDistance.fit(fields).facts()
    assert np.array_equal(again.scores, FieldDistance.fit(fields).scores)
