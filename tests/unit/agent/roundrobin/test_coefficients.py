"""Agreement beyond chance is what the published tables say, also where ratings are missing."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agent.roundrobin.agreement_coefficients import (
    agreed_share,
    cohen,
    count_classes,
    fleiss,
    fleiss_chance,
    gwet,
    gwet_chance,
    no_chance,
    over_images,
    quadratic,
)

TEN_BY_FOURTEEN = np.array(
    [
        (0, 0, 0, 0, 14),
        (0, 2, 6, 4, 2),
        (0, 0, 3, 5, 6),
        (0, 3, 9, 2, 0),
        (2, 2, 8, 1, 1),
        (7, 7, 0, 0, 0),
        (3, 2, 6, 3, 0),
        (2, 5, 3, 2, 2),
        (6, 5, 2, 1, 0),
        (0, 2, 2, 3, 7),
    ]
)
"""Ten subjects, fourteen raters, five classes: the worked example of Fleiss' kappa, 0.210."""

PATIENTS = np.array(
    [
        (0, 0, 0, 6, 0), (0, 3, 0, 0, 3), (0, 1, 4, 0, 1), (0, 0, 0, 0, 6), (0, 3, 0, 3, 0),
        (2, 0, 4, 0, 0), (0, 0, 4, 0, 2), (2, 0, 3, 1, 0), (2, 0, 0, 4, 0), (0, 0, 0, 0, 6),
        (1, 0, 0, 5, 0), (1, 1, 0, 4, 0), (0, 3, 3, 0, 0), (1, 0, 0, 5, 0), (0, 2, 0, 3, 1),
        (0, 0, 5, 0, 1), (3, 0, 0, 1, 2), (5, 1, 0, 0, 0), (0, 2, 0, 4, 0), (1, 0, 2, 0, 3),
        (0, 0, 0, 0, 6), (0, 1, 0, 5, 0), (0, 2, 0, 1, 3), (2, 0, 0, 4, 0), (1, 0, 0, 4, 1),
        (0, 5, 0, 1, 0), (4, 0, 0, 0, 2), (0, 2, 0, 4, 0), (1, 0, 5, 0, 0), (0, 0, 0, 0, 6),
    ]
)  # fmt: skip
"""Thirty patients, six psychiatrists, five diagnoses: Fleiss 1971, Psychol. Bull. 76:378."""

NA = 0
UNITS = (
    np.array(
        [
            (1, 2, 3, 3, 2, 1, 4, 1, 2, NA, NA, NA),
            (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NA, 3),
            (NA, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NA),
            (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NA),
        ]
    ).T
    - 1
)
"""Twelve units, four raters, gaps: Krippendorff's data as Gwet 2014 takes them."""

DIAGNOSES_OF_TWO = ((88, 14, 18), (10, 40, 10), (2, 6, 12))
"""Two psychiatrists, two hundred patients: Cohen 1968, Psychological Bulletin 70:213."""


def test_fleiss_worked_example_is_0_210():
    assert round(fleiss(TEN_BY_FOURTEEN), 3) == 0.210


def test_the_diagnoses_of_fleiss_1971_are_0_430():
    assert round(fleiss(PATIENTS), 3) == 0.430


def test_a_table_with_gaps_has_the_coefficients_that_gwet_publishes():
    counts = count_classes(UNITS, 5)

    assert round(fleiss(counts), 3) == 0.761
    assert round(gwet(counts), 3) == 0.775
    assert round(agreed_share(counts), 3) == 0.818


def test_the_two_psychiatrists_of_cohen():
    """Kappa 0.492; with the weights of his example 0.348."""
    one, other = _pairs(DIAGNOSES_OF_TWO)
    disagreement = np.array([(0, 1, 3), (1, 0, 6), (3, 6, 0)])

    assert round(cohen(one, other, 3), 3) == 0.492
    assert round(cohen(one, other, 3, 1 - disagreement / 6), 3) == 0.348


def _pairs(table):
    cells = [(i, j) for i, row in enumerate(table) for j, n in enumerate(row) for _ in range(n)]
    return np.array([i for i, _ in cells]), np.array([j for _, j in cells])


@given(st.integers(2, 5), st.integers(2, 9), st.integers(1, 12), st.randoms())
def test_a_table_without_gaps_is_what_statsmodels_says(k, raters, n, random):
    from statsmodels.stats.inter_rater import fleiss_kappa  # noqa: PLC0415 - seconds

    table = np.array([[random.randrange(k) for _ in range(raters)] for _ in range(n)])
    counts = count_classes(table, k)
    if len(np.unique(table)) == 1:
        assert math.isnan(fleiss(counts))
        return

    assert fleiss(counts) == pytest.approx(fleiss_kappa(counts), abs=1e-12)


@given(st.integers(2, 5), st.integers(3, 30), st.randoms())
def test_weighted_kappa_of_two_is_what_statsmodels_says(k, n, random):
    from statsmodels.stats.inter_rater import cohens_kappa  # noqa: PLC0415 - seconds

    one, other = (np.array([random.randrange(k) for _ in range(n)]) for _ in range(2))
    seen = np.zeros((k, k))
    np.add.at(seen, (one, other), 1)
    ours = cohen(one, other, k, quadratic(k))
    assume(not math.isnan(ours))

    with np.errstate(all="ignore"):  # its own variance of so few
        theirs = cohens_kappa(seen, wt="quadratic").kappa
    assert ours == pytest.approx(theirs, abs=1e-12)


@given(st.integers(2, 5), st.integers(2, 6), st.integers(2, 12), st.randoms())
@settings(max_examples=50)
def test_who_said_nothing_changes_nothing(k, raters, n, random):
    table = np.array([[random.randrange(k) for _ in range(raters)] for _ in range(n)])
    silent = np.hstack([table, np.full((n, 2), -1)])

    for coefficient in (fleiss, gwet, partial(gwet, weights=quadratic(k))):
        ours = coefficient(count_classes(table, k))
        assert ours == pytest.approx(coefficient(count_classes(silent, k)), nan_ok=True)


@pytest.mark.parametrize("coefficient", [fleiss, gwet, partial(fleiss, weights=quadratic(3))])
def test_all_of_one_mind_is_1(coefficient):
    table = np.repeat([[0], [1], [2], [1]], 6, axis=1)

    assert coefficient(count_classes(table, 3)) == 1.0


def test_a_prevailing_class_moves_kappa_and_hardly_ac1():
    """The paradox: 9 of 10 pairs agree, and kappa calls it no better than chance."""
    counts = np.array([(2, 0)] * 18 + [(1, 1)] * 2)

    assert agreed_share(counts) == 0.9
    assert fleiss(counts) < 0
    assert gwet(counts) > 0.85


def test_a_neighbouring_size_counts_in_part():
    near, far = np.array([[0, 1]] * 3 + [[2, 2]] * 3), np.array([[0, 2]] * 3 + [[2, 2]] * 3)
    weights = quadratic(3)

    assert fleiss(count_classes(near, 3), weights) > fleiss(count_classes(far, 3), weights)
    assert gwet(count_classes(near, 3), weights) > gwet(count_classes(far, 3), weights)


@pytest.mark.parametrize("counts", [np.zeros((0, 3), int), np.array([(1, 0)]), np.array([(3, 0)])])
def test_where_nothing_can_be_compared_nothing_is_said(counts):
    assert over_images(counts, fleiss_chance).value is None


def test_an_interval_holds_its_value_and_is_the_same_each_time():
    found = over_images(TEN_BY_FOURTEEN, fleiss_chance)

    assert found.low < found.value < found.high
    assert found == over_images(TEN_BY_FOURTEEN, fleiss_chance)


@pytest.mark.parametrize("chance", [fleiss_chance, gwet_chance, no_chance])
def test_twelve_unanimous_images_are_twelve_successes_and_no_certainty(chance):
    counts = count_classes(np.repeat([[0], [1], [2]] * 4, 3, axis=1), 3)

    found = over_images(counts, chance)

    # Clopper and Pearson: of 12 images none, at most 1 - 0.025 ** (1 / 12) = 26.5 % disagree.
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(1 - 0.2646 / (1 - chance(counts)), abs=1e-3)


def test_more_images_narrow_the_interval_and_more_raters_do_too():
    few, many = (over_images(np.repeat(PATIENTS, n, axis=0), fleiss_chance) for n in (1, 4))
    two = np.array([(1, 1), (2, 0), (0, 2), (2, 0), (1, 1), (0, 2)] * 3)

    assert few.value == pytest.approx(many.value)
    assert many.high - many.low < few.high - few.low
    assert few.low == pytest.approx(0.430 - 0.15, abs=0.05)
    narrow, wide = over_images(7 * two, fleiss_chance), over_images(two, fleiss_chance)
    assert narrow.high - narrow.low < wide.high - wide.low


@pytest.mark.parametrize(("coefficient", "chance"), [(fleiss, fleiss_chance), (gwet, gwet_chance)])
@pytest.mark.parametrize("n", [5, 10, 20])
def test_few_images_hold_the_truth_as_often_as_promised(n, coefficient, chance):
    """Two raters, three classes, one of which prevails; nine of ten images are easy."""
    rng = np.random.default_rng(5)
    kinds = np.array([0.8, 0.1, 0.1])
    easy = np.eye(3)[rng.choice(3, 4000, p=kinds)] * 0.94 + 0.02
    everybody = np.where((rng.random(4000) < 0.9)[:, None], easy, kinds)
    truth = coefficient(rng.multinomial(200, everybody))

    held, defined = 0, 0
    for _ in range(150):
        found = over_images(rng.multinomial(2, everybody[rng.integers(0, 4000, n)]), chance)
        if found.value is not None:
            defined += 1
            held += found.low <= truth <= found.high

    assert defined > 60
    assert held / defined >= 0.93


@pytest.mark.slow
def test_the_interval_over_images_holds_the_truth_at_least_as_often_as_it_promises():
    """Twenty images, fourteen raters, drawn from a known population: 95 % or more."""
    rng = np.random.default_rng(12)
    kinds = rng.dirichlet([0.6] * 4, 4000)
    everybody = np.array([rng.multinomial(14, kind) for kind in kinds])
    truth = fleiss(everybody)

    held, width = 0, []
    for _ in range(300):
        found = over_images(everybody[rng.integers(0, 4000, 20)], fleiss_chance)
        held += found.low <= truth <= found.high
        width.append(found.high - found.low)

    assert held / 300 >= 0.93
    assert np.median(width) < 0.5
