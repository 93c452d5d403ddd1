"""Distances are what their methods define, and a refined map finds what every cell would."""

from dataclasses import replace

import numpy as np
import pytest

from model.ood.feature_arrays import CellFeatures
from model.ood.mahalanobis import (
    Moments,
    Textures,
    compute_refined_map,
    log_top_mean,
    normalize_rows,
)
from model.ood.nearest_neighbor import (
    NearestNeighborScorer,
    ResidualScorer,
    fit_classifier_scorers,
    fit_scorers,
    score_uncertainty,
)

KNOWN = normalize_rows(np.random.default_rng(0).normal(size=(40, 12)) + 3.0).astype(np.float32)


def test_the_nearest_known_embedding_is_found_as_by_brute_force():
    asked = normalize_rows(np.random.default_rng(1).normal(size=(5, 12)))

    found = NearestNeighborScorer(KNOWN).scores(asked)

    assert found == pytest.approx([min(1 - float(a @ k) for k in KNOWN) for a in asked])


def test_a_known_embedding_is_not_strange_and_its_opposite_is_to_both():
    for scorer in fit_scorers(KNOWN).values():
        known, opposite = scorer.scores(np.stack([KNOWN[0], -KNOWN[0]]))
        assert known < opposite


def test_what_lies_inside_the_subspace_has_no_residual():
    flat = np.random.default_rng(2).normal(size=(60, 3)) @ np.eye(3, 8)

    found = ResidualScorer.fit(flat).scores(np.stack([flat[0], flat[0] + np.eye(8)[7]]))

    assert found == pytest.approx([0.0, 1.0], abs=1e-5)


def test_an_undecided_answer_has_more_entropy_and_a_weak_one_more_energy():
    sure = score_uncertainty(np.array([9.0, 0.0]), {"G8": 0.99, "G7": 0.01})
    torn = score_uncertainty(np.array([0.1, 0.0]), {"G8": 0.51, "G7": 0.49})

    assert torn["gen"] > sure["gen"]
    assert torn["energy"] > sure["energy"]
    assert torn["energy"] == pytest.approx(-np.log(np.exp(0.1) + 1.0))


def test_a_second_opinion_compares_directions_alone():
    found = fit_classifier_scorers(40.0 * KNOWN)["classifier_knn"].scores(KNOWN[:2])

    assert found == pytest.approx([0.0, 0.0], abs=1e-6)


ROWS, COLUMNS, LENGTH = 41, 54, 5


def smooth(noise):
    """Return the mean of each cell and its eight neighbours, as the frozen pass smooths cells."""
    padded = np.pad(noise, ((1, 1), (1, 1), (0, 0)), mode="edge")
    columns = padded[:-2] + padded[1:-1] + padded[2:]
    return (columns[:, :-2] + columns[:, 1:-1] + columns[:, 2:]) / 9


class CountingTextures(Textures):
    """Textures that count the cells that they compare."""

    __slots__ = ()
    compared = 0

    def compute_distances(self, vectors):
        CountingTextures.compared += len(vectors)
        return super().compute_distances(vectors)


@pytest.fixture
def textures():
    CountingTextures.compared = 0
    cells = smooth(np.random.default_rng(1).normal(size=(60, 60, LENGTH))).reshape(-1, LENGTH)
    moments = {"G": Moments.from_vectors(cells.astype(np.float32))}
    fitted = Textures.from_moments(moments)
    return CountingTextures(fitted.subtypes, fitted.means, fitted.whitens)


def draw_cells(*, inclusion=None):
    noise = np.random.default_rng(2).normal(size=(ROWS, COLUMNS, LENGTH))
    if inclusion:
        noise[inclusion] += 12
    steel = np.zeros((ROWS, COLUMNS), bool)
    steel[2:-2, 2:-2] = True
    return CellFeatures(smooth(noise).astype(np.float16), steel, 8.0, 4.0)


def compare_every_cell(textures, cells):
    distances = np.zeros(cells.steel.shape, np.float32)
    distances[cells.steel] = textures.compute_distances(cells.features[cells.steel])
    return distances


@pytest.mark.parametrize("inclusion", [(12, 20), (13, 20), (12, 21), (13, 21), (38, 51)])
def test_an_inclusion_between_the_cells_compared_first_is_found_as_by_every_cell(
    textures, inclusion
):
    cells = draw_cells(inclusion=inclusion)

    refined = compute_refined_map(textures, cells)
    every = compare_every_cell(textures, cells)

    assert refined.argmax() == every.argmax()
    assert log_top_mean(refined, 3) == pytest.approx(log_top_mean(every, 3), rel=1e-5)


def test_no_cell_in_between_is_farther_than_those_that_were_compared(textures):
    cells = draw_cells()

    refined = compute_refined_map(textures, cells)
    compared = CountingTextures.compared
    every = compare_every_cell(textures, cells)

    exact = np.isclose(refined, every, rtol=1e-5, atol=0)
    assert compared < 0.4 * cells.steel.sum()
    assert exact[cells.steel].sum() >= compared
    assert refined[~exact].max() < refined[exact & cells.steel].max()
    between = cells.steel & ~exact
    assert np.corrcoef(refined[between], every[between])[0, 1] > 0.3


def test_without_steel_a_cell_has_no_distance_and_a_lone_cell_its_own(textures):
    cells = draw_cells()
    steel = np.zeros_like(cells.steel)
    steel[7, 9] = steel[20:22, 31] = True
    alone = replace(cells, steel=steel)

    refined = compute_refined_map(textures, alone)

    assert np.allclose(refined, compare_every_cell(textures, alone), rtol=1e-5, atol=0)
    assert (refined > 0).sum() == 3
    assert not compute_refined_map(textures, replace(cells, steel=steel & False)).any()
