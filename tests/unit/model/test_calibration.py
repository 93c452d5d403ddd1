"""Probabilities are honest, and a prediction set is a run of neighbours that holds the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.calibration import (
    fit_conformal_level,
    fit_temperature,
    order_by_inclusion,
    prediction_set,
)
from model.networks.schemes import softmax

shares = st.lists(st.floats(0.001, 1.0), min_size=1, max_size=5).map(
    lambda raw: {str(i): value / sum(raw) for i, value in enumerate(raw)}
)


def drawn(n: int, heat: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `heat` times too sure, and classes drawn from what they should say."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, 3))
    true = np.array([rng.choice(3, p=p) for p in softmax(logits)], dtype=np.intp)
    return logits * heat, true


@pytest.mark.parametrize("heat", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found(heat):
    logits, true = drawn(4000, heat, 1)

    assert fit_temperature(logits, true) == pytest.approx(heat, rel=0.1)


def test_a_head_without_a_mistake_does_not_become_infinitely_sure():
    logits = np.eye(3)[np.arange(30) % 3] * 2.0

    assert fit_temperature(logits, (np.arange(30) % 3).astype(np.intp)) > 0.2


def test_too_few_images_change_no_temperature():
    assert fit_temperature(np.zeros((3, 3)), np.zeros(3, np.intp)) == 1.0


@given(shares, st.floats(0, 1))
def test_a_prediction_set_is_a_run_of_neighbours_around_the_best(sizes, level):
    members = prediction_set(sizes, level)

    places = [list(sizes).index(size) for size in members]
    assert places == list(range(places[0], places[-1] + 1))
    assert max(sizes, key=sizes.__getitem__) in members


@given(shares)
def test_a_set_grows_with_its_level(sizes):
    assert len(prediction_set(sizes, 0.0)) >= 1
    assert set(prediction_set(sizes, 1.0)) == set(sizes)
    assert next(size for size, _ in order_by_inclusion(sizes)) == max(sizes, key=sizes.__getitem__)


def test_the_promised_share_of_fields_has_its_true_size_in_the_set():
    logits, true = drawn(3000, 1.0, 2)
    said = [dict(zip("abc", row, strict=True)) for row in softmax(logits)]
    names = ["abc"[t] for t in true]

    level = fit_conformal_level(said[:1000], names[:1000], confidence=0.9)
    held = [
        name in prediction_set(one, level)
        for one, name in zip(said[1000:], names[1000:], strict=True)
    ]

    assert np.mean(held) > 0.88


def test_with_too_few_images_every_size_is_named():
    assert fit_conformal_level([{"a": 1.0}] * 5, ["a"] * 5) == 1.0
