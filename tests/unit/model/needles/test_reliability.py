"""Lengths combine prediction and extent; a needle that contradicts itself is unreliable."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.needles.instances import ChainAgreement, combine_lengths, estimate_reliability
from model.needles.lengths import compute_distribution

sys.path.append(str(Path(__file__).resolve().parents[3] / "bench"))
from needle_reliability import fit_logistic

CLEAR = ChainAgreement(
    predicted=np.array([20.0]),
    extent=np.array([20.0]),
    length=np.array([20.0]),
    scatter=np.array([0.4]),
    turn=np.array([0.03]),
    error=np.array([0.2]),
    axis=np.array([0.8]),
    bend=np.array([0.2]),
    offset=np.array([0.3]),
)


def test_the_extent_counts_half_where_it_agrees_and_hardly_where_it_does_not():
    predicted = np.array([10.0, 10.0, 10.0, 10.0])
    extent = np.array([10.0, 11.0, 40.0, 2.5])

    expected = combine_lengths(predicted, extent)

    assert expected[:2] == pytest.approx([10.0, np.sqrt(110.0)], rel=0.002)
    assert expected[2:] == pytest.approx([10.0, 10.0], rel=0.01)


def test_a_needle_is_less_reliable_where_prediction_and_extent_or_its_cells_disagree():
    doubled = replace(CLEAR, extent=np.array([40.0]), length=np.array([40.0]))
    scattered = replace(CLEAR, scatter=np.array([6.0]))

    clear, long, loose = (
        float(estimate_reliability(each.stack())[0]) for each in (CLEAR, doubled, scattered)
    )

    assert clear > 0.7
    assert max(long, loose) < 0.5


def test_the_fit_finds_the_coefficients_that_the_answers_were_drawn_with():
    rng = np.random.default_rng(1)
    features = rng.normal((0.3, 2.0), (0.2, 0.5), (20_000, 2))
    share = 1 / (1 + np.exp(-(features @ np.array([-4.0, 1.5]) - 1.0)))

    coefficients, intercept = fit_logistic(features, rng.random(len(share)) < share)

    assert coefficients == pytest.approx([-4.0, 1.5], abs=0.25)
    assert intercept == pytest.approx(-1.0, abs=0.25)


def test_expected_lengths_with_their_scatter_give_the_distribution_that_was_drawn():
    """True lengths scatter around the expected ones, so expected ones alone are too alike."""
    rng = np.random.default_rng(2)
    expected = 12 * rng.lognormal(0, 0.3, 20_000)
    true = expected * np.exp(rng.laplace(0, 0.2, len(expected)))
    ones = np.ones(len(expected))

    spread = compute_distribution(expected, ones, ones, np.full(len(expected), 0.2))
    drawn = compute_distribution(true, ones, ones)
    alike = compute_distribution(expected, ones, ones)

    for share in (0.1, 0.5, 0.9):
        assert spread.quantile_um(share) == pytest.approx(drawn.quantile_um(share), rel=0.02)
    assert spread.by_area.sum() == pytest.approx(len(expected))
    assert alike.quantile_um(0.9) < 0.93 * drawn.quantile_um(0.9)
