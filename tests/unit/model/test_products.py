"""Sums over cells are exact to float32, whatever the library, and a bundle names its library."""

from __future__ import annotations

import numpy as np
import pytest

from model.errors import ModelError
from model.products import NUMPY, TORCH, get_products

RNG = np.random.default_rng(4)
BOTH = pytest.mark.parametrize("products", [NUMPY, TORCH], ids=["numpy", "torch"])


@BOTH
@pytest.mark.parametrize("shape", [(3, 1, 1), (5, 7, 9), (4, 40, 60), (2, 300, 400)])
def test_mean_and_deviation_are_those_of_float64(products, shape):
    features = (RNG.normal(size=shape) + 3).astype(np.float32)
    weights = RNG.random(shape[1:]).astype(np.float32)

    mean, std = products.describe(features, weights)

    share = weights.astype(np.float64) / weights.sum(dtype=np.float64)
    exact = (features * share).sum(axis=(1, 2))
    spread = np.sqrt((np.square(features - exact[:, None, None]) * share).sum(axis=(1, 2)))
    assert np.abs(mean - exact).max() < 3e-6
    assert np.abs(std - spread).max() < 3e-6
    assert mean.dtype == std.dtype == np.float32


@BOTH
def test_a_window_of_a_map_is_described_like_a_copy_of_it(products):
    features = RNG.normal(size=(6, 30, 30)).astype(np.float32)
    weights = np.ones((10, 12), np.float32)

    window = products.describe(features[:, 5:15, 3:15], weights)

    copy = products.describe(np.ascontiguousarray(features[:, 5:15, 3:15]), weights)
    assert all(np.array_equal(a, b) for a, b in zip(window, copy, strict=True))


@BOTH
def test_a_layer_is_applied_to_every_cell(products):
    features = RNG.normal(size=(300, 20, 30)).astype(np.float32)
    weight = RNG.normal(size=(11, 300))

    logits = products.apply(weight, features)

    exact = np.einsum("kc,crs->krs", weight, features.astype(np.float64))
    assert logits.shape == (11, 20, 30)
    assert np.abs(logits - exact).max() < 1e-3


@BOTH
def test_no_heads_give_no_logits(products):
    logits = products.apply(np.zeros((0, 8)), np.ones((8, 2, 3), np.float32))

    assert logits.shape == (0, 2, 3)


def test_a_map_without_cells_has_no_logits():
    assert NUMPY.apply(np.ones((4, 8)), np.ones((8, 0, 1), np.float32)).shape == (4, 0, 1)


@BOTH
@pytest.mark.parametrize("maps", [1, 3])
def test_several_maps_are_described_like_each_by_itself(products, maps):
    cells = RNG.normal(size=(maps, 5, 70)).astype(np.float32)
    weights = RNG.random((maps, 70)).astype(np.float32)
    alone = [
        products.describe(own[:, None], weight[None]).moments
        for own, weight in zip(cells, weights, strict=True)
    ]

    together = products.describe_each(cells.copy(), weights)

    # PyTorch's bits depend on where in memory a row begins.
    assert np.abs(together - np.stack(alone)).max() < (1e-6 if products is TORCH else 1e-12)


@BOTH
@pytest.mark.parametrize("rows", [1, 2, 41, 2500])
def test_a_product_is_that_of_float64_for_one_row_and_for_many(products, rows):
    first, second = RNG.normal(size=(rows, 640)), RNG.normal(size=(640, 50)).astype(np.float32)

    product = products.multiply(first, second)

    exact = np.einsum("nd,dm->nm", first, second.astype(np.float64))
    assert product.dtype == np.float64
    assert np.abs(product - exact).max() < 1e-11


def test_a_bundle_of_a_newer_version_is_refused():
    assert (get_products("numpy"), get_products("torch")) == (NUMPY, TORCH)

    with pytest.raises(ModelError, match="no arithmetic 'jax'"):
        get_products("jax")
