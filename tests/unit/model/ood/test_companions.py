"""What other methods would say is logged beside the score that decides, and is what they define."""

import numpy as np
import pytest

from model.ood.mahalanobis import normalize_rows
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
