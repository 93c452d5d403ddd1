"""Sums over cells are exact to float32."""

from __future__ import annotations

import numpy as np
import pytest

from model.products import apply_layer, describe_map, multiply

RNG = np.random.default_rng(4)


@pytest.mark.parametrize("shape", [(3, 1, 1), (5, 7, 9), (4, 40, 60), (2, 300, 400)])
def test_mean_and_deviation_are_those_of_float64(shape):
    features = (RNG.normal(size=shape) + 3).astype(np.float32)
    weights = RNG.random(shape[1:]).astype(np.float32)

    mean, std = describe_map(features, weights)

    share = weights.astype(np.float64) / weights.sum(dtype=np.float64)
    exact = (features * share).sum(axis=(1, 2))
    spread = np.sqrt((np.square(features - exact[:, None, None]) * share).sum(axis=(1, 2)))
    assert np.abs(mean - exact).max() < 3e-6
    assert np.abs(std - spread).max() < 3e-6
    assert mean.dtype == std.dtype == np.float32


def test_a_window_of_a_map_is_described_like_a_copy_of_it():
    features = RNG.normal(size=(6, 30, 30)).astype(np.float32)
    weights = np.ones((10, 12), np.float32)

    window = describe_map(features[:, 5:15, 3:15], weights)

    copy = describe_map(np.ascontiguousarray(features[:, 5:15, 3:15]), weights)
    assert all(np.array_equal(a, b) for a, b in zip(window, copy, strict=True))


def test_a_layer_is_applied_to_every_cell():
    features = RNG.normal(size=(300, 20, 30)).astype(np.float32)
    weight = RNG.normal(size=(11, 300))

    logits = apply_layer(weight, features)

    exact = np.einsum("kc,crs->krs", weight, features.astype(np.float64))
    assert logits.shape == (11, 20, 30)
    assert np.abs(logits - exact).max() < 1e-3


def test_no_heads_give_no_logits():
    logits = apply_layer(np.zeros((0, 8)), np.ones((8, 2, 3), np.float32))

    assert logits.shape == (0, 2, 3)


def test_a_map_without_cells_has_no_logits():
    assert apply_layer(np.ones((4, 8)), np.ones((8, 0, 1), np.float32)).shape == (4, 0, 1)


@pytest.mark.parametrize("rows", [1, 2, 41, 2500])
def test_a_product_is_that_of_float64_for_one_row_and_for_many(rows):
    first, second = RNG.normal(size=(rows, 640)), RNG.normal(size=(640, 50)).astype(np.float32)

    product = multiply(first, second)

    exact = np.einsum("nd,dm->nm", first, second.astype(np.float64))
    assert product.dtype == np.float64
    assert np.abs(product - exact).max() < 1e-11
