"""A candidate takes the place of a bundle at work only where no check speaks against it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from model import (
    ComparisonOutcome,
    Evaluation,
    GateThresholds,
    PairedEvaluation,
    compare_bundles,
    default_taxonomy,
)
from model.evaluation.comparison import CHECKS
from model.evaluation.evaluation import Case, OodFlag
from model.evaluation.paired import compute_max_loss, loss_p_value
from model.statistics import (
    holm,
    max_loss,
    max_loss_in_clusters,
    upper_bound,
    wilson,
    wilson_in_clusters,
)

STANDARD = default_taxonomy()
SIZES = {"G7": 7, "G8": 8, "G9-10": 9}


def case(key: int, true: str, predicted: str, **changes) -> Case:
    right = true == predicted
    plain = Case(
        key=str(key),
        group=str(key),
        true=true,
        predicted=predicted,
        probability=0.9,
        true_probability=0.9 if right else 0.05,
        prediction_set=(predicted,),
        p_value=0.5,
        flagged=False,
        slices={"microscope": "LOM-07" if key % 2 else "LOM-03"},
    )
    return replace(plain, **changes)


def evaluation(cases, name: str, strange=None) -> Evaluation:
    return Evaluation(name, STANDARD, tuple(cases), 0, 0.02, strange or {})


def answers(n: int, wrong: set[int], *, true: str = "G8", said: str = "G7", **changes):
    return [case(i, true, said if i in wrong else true, **changes) for i in range(n)]


def duel(before, after, **changes) -> PairedEvaluation:
    new = frozenset(one.key for one in after)
    return PairedEvaluation(
        evaluation(before, "old"), evaluation(after, "new"), **{"new": new, **changes}
    )


def asked(name: str, of: PairedEvaluation, rules: GateThresholds | None = None):
    check = next(check for check in CHECKS if check.__name__ == f"check_{name}")
    return check(of, rules or GateThresholds())


# --- what is said in the end --------------------------------------------------------------------


def test_a_candidate_that_wins_beyond_chance_is_better():
    found = compare_bundles(duel(answers(100, set(range(10))), answers(100, {0})))

    assert found.finding is ComparisonOutcome.BETTER
    assert found.sentence == "new is better: 99 of 100 test micrographs right, old 90."


def test_a_candidate_that_is_as_good_is_not_worse_and_may_be_promoted():
    found = compare_bundles(duel(answers(200, {1, 2, 3}), answers(200, {1, 2, 4})))

    assert found.finding is ComparisonOutcome.NOT_WORSE


def test_a_candidate_that_loses_is_worse_and_the_sentence_says_by_how_much():
    found = compare_bundles(duel(answers(100, {1, 2, 3}), answers(100, set(range(15)))))

    assert found.finding is ComparisonOutcome.WORSE
    assert "-12.0 points of accuracy" in found.sentence


def test_five_new_images_and_hardly_a_difference_are_no_evidence():
    five = frozenset("01234")

    found = compare_bundles(duel(answers(100, {7}), answers(100, set()), new=five))

    assert found.finding is ComparisonOutcome.NOT_ENOUGH_EVIDENCE
    assert found.sentence.startswith("Not enough evidence")
    assert "5 of them new" in found.sentence


@pytest.mark.parametrize(("new", "won"), [(20, 0), (0, 6)])
def test_twenty_new_images_or_six_that_are_judged_differently_are_evidence(new, won):
    keys = frozenset(str(i) for i in range(new))

    found = duel(answers(100, set(range(won))), answers(100, set()), new=keys)

    assert asked("evidence", found).passed


def test_sixty_images_that_both_have_right_do_not_show_that_three_points_are_not_lost():
    found = compare_bundles(duel(answers(60, set()), answers(60, set())))

    assert found.finding is ComparisonOutcome.NOT_ENOUGH_EVIDENCE
    assert "it loses at most 4.9 points with 95 % confidence" in found.sentence  # 0 of 60, exact


def test_twenty_new_images_of_two_specimens_are_two_pieces_of_evidence():
    same = [replace(answer, group=str(int(answer.key) // 10)) for answer in answers(20, set())]

    refused = asked("evidence", duel(same, same))

    assert not refused.passed
    assert refused.sentence.startswith("20 test micrographs of 2 specimens, 20 of them new, of 2 ")
    assert (refused.numbers["new"], refused.numbers["new_specimens"]) == (20, 2)


@pytest.mark.parametrize(("specimens", "fields"), [(30, 3), (20, 10), (1, 500)])
def test_many_fields_of_few_specimens_do_not_show_that_three_points_are_not_lost(specimens, fields):
    """Three points lost, whole specimens at a time, leave 20 specimens untouched half the time."""
    same = [
        replace(answer, group=str(int(answer.key) // fields))
        for answer in answers(specimens * fields, set())
    ]

    found = compare_bundles(duel(same, same))

    assert found.finding is ComparisonOutcome.NOT_ENOUGH_EVIDENCE
    assert compute_max_loss(list(zip(same, same, strict=True))) > 0.999 * upper_bound(0, specimens)


def test_ninety_nine_specimens_that_none_is_lost_of_show_it_however_many_fields_they_have():
    for fields in (1, 4):
        assert max_loss_in_clusters([0] * 99, [0] * 99, [fields] * 99) < 0.03
        assert max_loss_in_clusters([0] * 98, [0] * 98, [fields] * 98) > 0.03


@pytest.mark.parametrize(("specimens", "fields"), [(30, 3), (20, 10), (90, 1), (100, 3)])
@pytest.mark.parametrize("correlation", [0.3, 1.0])
@pytest.mark.parametrize("won", [0.0, 0.03])
def test_clustered_losses_at_the_limit_hardly_ever_pass(specimens, fields, correlation, won):
    rng, passed = np.random.default_rng(20), 0
    shares = np.array([won + 0.03, won, 0.97 - 2 * won])
    for _ in range(400):
        if correlation == 1:
            own = rng.multinomial(1, shares, specimens).astype(float)
        else:
            own = rng.dirichlet(np.maximum(shares, 1e-9) * (1 / correlation - 1), specimens)
        lost, gained, _same = rng.multinomial(fields, own).T.tolist()
        passed += max_loss_in_clusters(lost, gained, [fields] * specimens) <= 0.03

    assert passed <= 33  # 5 % of 400 and three standard errors


def test_flips_that_are_scattered_over_specimens_count_for_more_than_those_that_come_together():
    scattered = max_loss_in_clusters([1] * 6 + [0] * 94, [0] * 94 + [1] * 6, [3] * 100)
    together = max_loss_in_clusters([3, 3] + [0] * 98, [0] * 98 + [3, 3], [3] * 100)

    assert scattered < 0.025
    assert together > 0.03


def test_an_interval_over_specimens_is_that_of_so_many():
    apart, together = wilson_in_clusters([1] * 18, [1] * 18), wilson_in_clusters([9, 9], [9, 9])

    assert apart == wilson(18, 18)
    assert together.value == 1.0
    assert together.low < wilson(2, 2).low < apart.low
    assert wilson_in_clusters([], []).value is None


@pytest.mark.parametrize("n", [60, 100, 150])
@pytest.mark.parametrize("loss", [0.01, 0.03, 0.05])
def test_the_limit_of_what_is_lost_is_reached_by_no_more_than_one_loss_in_twenty_or_so(n, loss):
    reached = 0.0
    for lost in range(n + 1):
        limit = max_loss(lost, 0, n)
        assert limit is not None
        if limit < loss:
            reached += math.comb(n, lost) * loss**lost * (1 - loss) ** (n - lost)

    assert reached < 0.07


def test_the_limit_of_what_is_lost_is_a_share():
    assert max_loss(5, 0, 5) == pytest.approx(1.0)
    assert max_loss(0, 0, 100) == pytest.approx(0.02634, abs=1e-5)  # z² / (n + z²)


def test_where_few_images_leave_it_open_nothing_is_said():
    found = compare_bundles(duel(answers(24, {1}), answers(24, {2})))

    assert found.finding is ComparisonOutcome.NOT_ENOUGH_EVIDENCE
    assert "it loses at most" in found.sentence


def test_how_much_a_candidate_may_lose_is_the_labs_to_say():
    of = duel(answers(300, set()), answers(300, set(range(6))))

    assert asked("overall", of, GateThresholds(may_lose=0.05)).passed
    assert not asked("overall", of, GateThresholds(may_lose=0.03)).passed


def test_fields_of_one_specimen_stand_and_fall_together():
    apart = duel(answers(120, set(range(8))), answers(120, set()))
    together = duel(answers(120, set(range(8)), group="one"), answers(120, set(), group="one"))

    assert compare_bundles(apart).finding is ComparisonOutcome.BETTER
    assert compare_bundles(together).finding is ComparisonOutcome.NOT_ENOUGH_EVIDENCE


def test_specimens_that_flip_whole_make_the_interval_wider():
    def of(group_size: int):
        before, after = answers(120, set()), answers(120, {0, 1, 2, 3})
        grouped = [replace(c, group=str(int(c.key) // group_size)) for c in before]
        return list(zip(grouped, after, strict=True))

    alone, whole = compute_max_loss(of(1)), compute_max_loss(of(4))

    assert alone is not None
    assert whole is not None
    assert alone < whole


# --- one check after the other ------------------------------------------------------------------


def test_a_candidate_below_the_floor_is_refused_however_poor_the_other_is():
    of = duel(answers(100, set(range(60))), answers(100, set(range(45))))

    assert not asked("floors", of, GateThresholds(min_accuracy=0.6)).passed
    assert compare_bundles(of).finding is ComparisonOutcome.WORSE


def test_a_code_of_few_images_gets_the_benefit_of_the_doubt_at_the_floor():
    lost = [case(100, "M8", "M9-10"), case(101, "M8", "M9-10")]

    of = duel([*answers(100, set()), *lost], [*answers(100, set()), *lost])

    assert asked("floors", of).passed


def test_a_code_vetoes_only_on_a_loss_beyond_chance():
    def of(lost: int):
        rare = answers(20, set(), true="G7", said="G8")
        now = answers(20, set(range(lost)), true="G7", said="G8")
        common = [case(i, "G8", "G8") for i in range(100, 300)]
        return duel([*rare, *common], [*now, *common])

    assert asked("codes", of(5)).passed
    refused = asked("codes", of(12))
    assert not refused.passed
    assert "G7: 8 of 20 right, 20 before" in refused.sentence


def test_a_microscope_vetoes_too():
    odd = {i for i in range(40) if i % 2}

    refused = asked("slices", duel(answers(40, set()), answers(40, odd)))

    assert not refused.passed
    assert refused.sentence.startswith("microscope LOM-07")


def test_one_more_false_conform_at_a_limit_in_use_is_one_too_many_though_accuracy_gains():
    coarse = [case(i, "G7", "G7") for i in range(40)]
    slips = [case(i, "G7", "G8" if i == 0 else "G7") for i in range(40)]
    fine = [case(i, "G8", "G7" if i < 52 else "G8") for i in range(40, 200)]
    better = [case(i, "G8", "G8") for i in range(40, 200)]
    limits = {"G 8 or finer": lambda code: SIZES[code] >= 8}

    found = compare_bundles(duel([*coarse, *fine], [*slips, *better], limits=limits))

    assert found.finding is ComparisonOutcome.WORSE
    assert "at 'G 8 or finer' 1 of 40 fields that break it" in found.sentence
    assert (
        compare_bundles(duel([*coarse, *fine], [*slips, *better])).finding
        is ComparisonOutcome.BETTER
    )


def test_the_bound_at_a_limit_counts_specimens_and_not_their_fields():
    limits = {"G 8 or finer": lambda code: SIZES[code] >= 8}
    coarse = [case(i, "G7", "G7", group=str(i // 10)) for i in range(40)]
    slips = [case(i, "G7", "G8" if i == 0 else "G7", group=str(i // 10)) for i in range(40)]

    refused = asked("limits", duel(coarse, slips, limits=limits))

    numbers = refused.numbers["G 8 or finer"]
    assert (numbers["n"], numbers["candidate"], numbers["specimens"]) == (40, 1, 4)
    assert numbers["candidate_upper95"] == upper_bound(1, 4)
    assert "of 4 specimens 1 (at most 75.1 %)" in refused.sentence


def test_what_is_called_strange_or_doubted_at_a_limit_is_no_false_conform():
    limits = {"G 8 or finer": lambda code: SIZES[code] >= 8}
    coarse = [case(i, "G7", "G7") for i in range(40)]
    flagged = [case(i, "G7", "G8", flagged=True) for i in range(40)]
    doubted = [case(i, "G7", "G8", prediction_set=("G7", "G8")) for i in range(40)]

    assert asked("limits", duel(coarse, flagged, limits=limits)).passed
    assert asked("limits", duel(coarse, doubted, limits=limits)).passed


def test_probabilities_that_promise_too_much_are_refused():
    honest = answers(200, set(range(40)), probability=0.8, true_probability=0.8)
    boasting = answers(200, set(range(40)), probability=0.99, true_probability=0.8)

    refused = asked("calibration", duel(honest, boasting))

    assert not refused.passed
    assert refused.numbers["ece_change"]["value"] == pytest.approx(0.19, abs=0.01)


def test_a_candidate_that_is_right_more_often_than_it_promises_is_not_refused_for_it():
    modest = answers(200, {0}, probability=0.8)

    assert asked("calibration", duel(answers(200, set(range(40)), probability=0.8), modest)).passed


def test_too_many_false_alarms_are_refused_unless_the_images_have_changed():
    def flagged(n):
        return [case(i, "G8", "G8", flagged=i < n) for i in range(200)]

    assert asked("false_alarms", duel(flagged(3), flagged(7), known=200)).passed
    assert not asked("false_alarms", duel(flagged(3), flagged(30), known=200)).passed
    assert asked("false_alarms", duel(flagged(40), flagged(30), known=200)).passed


def test_what_people_know_to_be_strange_must_stay_strange():
    seen, missed = OodFlag(0.01, flagged=True), OodFlag(0.5, flagged=False)
    cases = answers(40, set())

    def of(kept: int):
        now = (seen,) * kept + (missed,) * (20 - kept)
        return PairedEvaluation(
            evaluation(cases, "old", {"crack": (seen,) * 20}),
            evaluation(cases, "new", {"crack": now}),
        )

    assert asked("unusual", of(16)).passed
    refused = asked("unusual", of(10))
    assert not refused.passed
    assert "calls 10 of 20 known strange micrographs strange, the other 20" in refused.sentence


def test_a_foreign_material_under_a_known_code_is_refused_though_the_candidate_has_it_right():
    known = answers(100, set())
    foreign = [case(i, "G8", "B7", flagged=True) for i in range(100, 112)]
    learned = [case(i, "G8", "G8") for i in range(100, 112)]
    of = duel([*known, *foreign], [*known, *learned], new=frozenset(c.key for c in foreign))

    found = compare_bundles(of)

    assert found.finding is not ComparisonOutcome.BETTER
    assert "12 of 12 new test micrographs labelled G8 are not comparable" in found.sentence


def test_two_people_who_say_the_same_of_what_looks_foreign_are_believed():
    foreign = [case(i, "G8", "B7", flagged=True) for i in range(30)]
    keys = frozenset(c.key for c in foreign)

    assert asked("new_images", duel(foreign, answers(30, set()), vouched=keys)).passed


def test_what_people_once_corrected_must_not_flip_back():
    right, wrong = answers(40, set()), answers(40, {0, 1, 39})
    pairs = tuple(zip(right, wrong, strict=True))
    cases = answers(40, set())

    refused = asked("corrected", duel(cases, cases, corrected=pairs))

    assert not refused.passed
    assert refused.numbers["back"] == 3
    assert refused.numbers["allowed"] == 2
    assert asked("corrected", duel(cases, cases, corrected=(*pairs[1:], pairs[5]))).passed


@pytest.mark.parametrize(("slowdown", "passed"), [(1.4, True), (1.6, False), (None, True)])
def test_a_candidate_may_not_take_much_longer(slowdown, passed):
    cases = answers(40, set())

    assert asked("latency", duel(cases, cases, slowdown=slowdown)).passed is passed


def test_every_check_can_be_asked_of_nothing():
    assert compare_bundles(duel([], [])).finding is ComparisonOutcome.NOT_ENOUGH_EVIDENCE


def test_every_check_stands_in_the_numbers_with_its_sentence():
    told = compare_bundles(duel(answers(40, set()), answers(40, set()))).numbers["checks"]

    assert [one["name"] for one in told] == [
        "evidence",
        "overall",
        "limits",
        "strangers",
        "corrected",
        "codes",
        "slices",
        "floors",
        "calibration",
        "false_alarms",
        "strange",
        "latency",
    ]
    assert all(one["sentence"] for one in told)


# --- against published values -------------------------------------------------------------------


def test_holm_is_the_published_one():
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})

    assert adjusted == pytest.approx({"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06})


def test_alarms_of_an_even_rate_are_beta_binomial():
    def chance(flagged: int) -> float:
        cases = [case(i, "G8", "G8", flagged=i < flagged) for i in range(4)]
        return asked("false_alarms", duel(answers(4, set()), cases, known=1)).numbers["p"]

    assert chance(3) == pytest.approx(2 / 5)  # Beta(1, 1): each count from 0 to 4 is as likely
    assert chance(0) == pytest.approx(1.0)


def test_six_specimens_lost_and_none_won_happens_once_in_sixty_four_times():
    before, after = answers(40, set()), answers(40, set(range(6)))

    assert loss_p_value(list(zip(before, after, strict=True))) == pytest.approx(1 / 64)
