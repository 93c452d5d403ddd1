"""Probabilities are honest, and a prediction set is a run of neighbours that holds the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import taxonomy_from
from model.calibration import (
    SetLevels,
    fit_set_levels,
    fit_temperature,
    order_by_inclusion,
    prediction_set,
)
from model.networks.schemes import FieldPrediction, softmax

shares = st.lists(st.floats(0.001, 1.0), min_size=1, max_size=5).map(
    lambda raw: {str(i): value / sum(raw) for i, value in enumerate(raw)}
)

SIZES = taxonomy_from({"size": [{"name": str(i)} for i in range(5)],
                       "subtype": [{"name": "A", "sizes": list("01234")}]})  # fmt: skip
SUBTYPES = taxonomy_from({"subtype": [{"name": "P"}, {"name": "Q"}]})


def answer_of(sizes):
    codes = {f"A{size}": share for size, share in sizes.items()}
    return FieldPrediction({"A": 1.0}, sizes, codes, ("subtype", 0), None)


def subtype_answer(share):
    subtype = {"P": share, "Q": 1.0 - share}
    return FieldPrediction(subtype, {"": 1.0}, subtype, ("subtype", 0), None)


def of_two(n):
    return ["one" if row % 2 else "other" for row in range(n)]


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
def test_the_sizes_of_a_set_are_neighbours_around_the_best(sizes, level):
    members = prediction_set(answer_of(sizes), SIZES, SetLevels(0.0, level))

    places = [SIZES.codes.index(code) for code in members]
    assert places == list(range(places[0], places[-1] + 1))
    assert f"A{max(sizes, key=sizes.__getitem__)}" in members


@given(shares)
def test_a_set_grows_with_its_level(sizes):
    assert len(prediction_set(answer_of(sizes), SIZES, SetLevels(0.0, 0.0))) >= 1
    everything = prediction_set(answer_of(sizes), SIZES, SetLevels(0.0, 1.0))
    assert set(everything) == {f"A{size}" for size in sizes}
    assert next(size for size, _ in order_by_inclusion(sizes)) == max(sizes, key=sizes.__getitem__)


def test_the_promised_share_of_fields_has_its_true_size_in_the_set():
    logits, true = drawn(3000, 1.0, 2)
    answers = [answer_of(dict(zip("012", row, strict=True))) for row in softmax(logits)]
    pairs = [("A", "012"[t]) for t in true]

    levels = fit_set_levels(answers[:1000], pairs[:1000], of_two(1000), SIZES)

    held = [f"A{size}" in prediction_set(one, SIZES, levels)
            for one, (_, size) in zip(answers[1000:], pairs[1000:], strict=True)]  # fmt: skip
    assert np.mean(held) > 0.88


def test_a_class_that_heads_confuse_is_in_the_sets_of_what_it_is_confused_with():
    rng = np.random.default_rng(3)
    true = np.repeat([0, 1], [3000, 300])  # of the rare class half look like the common one
    share = np.where(true == 0, rng.beta(1, 30, 3300), rng.beta(1, 1, 3300))
    answers = [subtype_answer(1.0 - p) for p in share]
    pairs = [(("P", "Q")[t], "") for t in true]
    is_fit = rng.permutation(3300) < 1650

    levels = fit_set_levels(
        [a for a, fit in zip(answers, is_fit, strict=True) if fit],
        [pair for pair, fit in zip(pairs, is_fit, strict=True) if fit],
        of_two(int(is_fit.sum())),
        SUBTYPES,
    )

    sets = [prediction_set(one, SUBTYPES, levels) for one in answers]
    of_rare = [row for row in np.flatnonzero(~is_fit) if true[row] == 1]
    of_common = [row for row in np.flatnonzero(~is_fit) if true[row] == 0]
    assert np.mean([answers[row].best[0] == "Q" for row in of_rare]) < 0.65
    assert np.mean(["Q" in sets[row] for row in of_rare]) > 0.85
    assert np.mean(["P" in sets[row] for row in of_common]) > 0.88
    assert {("P", "Q"), ("P",)} <= set(sets)


def test_a_class_of_one_group_gets_no_level_of_its_own():
    answers = [subtype_answer(0.9)] * 40 + [subtype_answer(0.8)] * 12
    pairs = [("P", "")] * 40 + [("Q", "")] * 12

    levels = fit_set_levels(answers, pairs, [*of_two(40), *["one"] * 12], SUBTYPES)

    assert set(levels.subtypes) == {"P"}
    assert prediction_set(subtype_answer(0.99), SUBTYPES, levels) == ("P",)


def test_with_too_few_images_every_class_is_named():
    levels = fit_set_levels([subtype_answer(0.9)] * 5, [("P", "")] * 5, of_two(5), SUBTYPES)

    assert prediction_set(subtype_answer(0.999), SUBTYPES, levels) == ("P", "Q")


def test_levels_are_read_back_as_they_were_written():
    levels = SetLevels(0.1, 0.8, {"P": 0.2}, {"A1": 0.9})

    assert SetLevels.from_json(levels.as_json()) == levels
