"""What is labelled next is doubted and unlike what is known; a curve says whether it pays."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from labs.small import PIXELS, encode, past

from agent.retrain.label_suggestions import POOL, list_candidates
from model import default_taxonomy, fit_learning_curve, select_diverse
from model.evaluation.labels import LearningCurve

STANDARD = default_taxonomy()


def test_copies_come_last_and_what_is_known_is_not_asked_again():
    pool = np.array([[0.0, 0.0], [0.1, 0.0], [5.0, 0.0], [0.0, 5.0], [5.1, 0.0]])

    chosen = select_diverse(pool, 3, known=np.array([[0.0, 0.0]]))

    assert chosen[:2] == [4, 3]
    assert chosen[2] not in (4, 3)


def test_of_two_equally_far_the_more_doubted_is_chosen():
    pool = np.array([[1.0, 0.0], [-1.0, 0.0]])

    assert select_diverse(pool, 1, known=np.zeros((1, 2)), weights=np.array([0.2, 0.9])) == [1]


def test_nobody_is_chosen_twice_and_no_more_than_there_are():
    pool = np.zeros((3, 2))

    assert sorted(select_diverse(pool, 9)) == [0, 1, 2]


def power_law(n: int, sizes=(30, 45, 65, 100)) -> LearningCurve:
    repeats = [tuple((size, 3.0 * size**-0.5) for size in sizes) for _ in range(8)]
    return LearningCurve(n, tuple(repeats))


def test_a_power_law_is_carried_on_and_solved():
    curve = power_law(100)

    assert curve.error(400).value == pytest.approx(0.15)
    more, low, high = curve.until(0.10)
    assert more == pytest.approx(3**2 / 0.2**2 - 100, abs=1)
    assert low <= more <= high


def test_what_more_labels_can_never_give_is_not_promised():
    flat = LearningCurve(100, tuple(tuple((n, 0.2) for n in (30, 45, 65, 100)) for _ in range(8)))

    assert power_law(100).until(0.5) == (None, None, None)
    assert flat.until(0.02) == (None, None, None)


def clouds(per_code: int, spread: float):
    rng = np.random.default_rng(3)
    codes = [code for code in ("G7", "G8", "G9-10") for _ in range(per_code)]
    middle = {"G7": 0, "G8": 1, "G9-10": 2}
    embeddings = rng.normal(0, spread, (len(codes), 20))
    for row, code in enumerate(codes):
        embeddings[row, middle[code]] += 2.0
    return embeddings, codes, [f"s{i // 2}" for i in range(len(codes))]


def test_a_curve_of_images_that_overlap_falls():
    embeddings, codes, groups = clouds(24, 1.2)

    curve = fit_learning_curve(embeddings, codes, groups, STANDARD)

    assert curve is not None
    assert curve.n == 72
    assert curve.error(288).value < curve.error(36).value


def test_of_a_few_specimens_nobody_draws_a_curve():
    embeddings, codes, groups = clouds(6, 1.0)

    assert fit_learning_curve(embeddings, codes, groups, STANDARD) is None


def test_the_newest_of_what_waits_are_looked_at_whatever_their_place_in_the_queue(lab):
    lab.take("G8", reasons=("uncertain",))
    (one,) = lab.store.review_queue.list_micrographs()
    at = one.result.done_at
    newest_first = [
        replace(one, id=str(age), result=replace(one.result, done_at=at - timedelta(hours=age)))
        for age in range(POOL + 50)
    ]

    pool = list_candidates(newest_first, lambda _: True)

    assert {view.id for view in pool} == {str(age) for age in range(POOL)}


def test_what_could_not_be_learned_from_is_not_suggested(lab):
    wanted = lab.take("G8", reasons=("uncertain",))
    lab.take("G8", reasons=("strange",))
    lab.take("G8", reasons=("uncertain", "control_sample"))

    pool = list_candidates(lab.store.review_queue.list_micrographs(), lambda _: True)

    assert [view.id for view in pool] == [wanted]
    assert list_candidates(lab.store.review_queue.list_micrographs(), lambda _: False) == []


def test_the_shell_suggests_what_waits_without_saying_what_the_model_thinks(own_lab, capsys):
    for one in past(1, first_order=4000, seed=9):
        drawn = one.drawn(PIXELS, border=False)
        name = one.name.rpartition(".")[0]
        (own_lab.folder / "export" / f"{name}.png").write_bytes(encode(drawn, "png"))
    with (own_lab.folder / "agent.toml").open("a", encoding="utf-8") as settings:
        settings.write("\n[triage]\nmin_probability = 1.0\n")
    assert own_lab.agent("run", "--once") == 0
    capsys.readouterr()

    assert own_lab.agent("review", "list", "--suggest", "4", "--json") == 0

    said = json.loads(capsys.readouterr().out)
    assert len({one["id"] for one in said["micrographs"]}) == 4
    assert said["micrographs"][0].keys() == {"id", "path"}
    assert said["labelled"].keys() == {"G7", "G9-10", "M9-10"}
    assert said["more_labels"].keys() == {"value", "low", "high"}
