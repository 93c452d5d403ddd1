"""Every number carries how sure it is, and agrees with what others publish."""

from __future__ import annotations

import numpy as np
import pytest
from labs import lab

from model import Evaluation, Example, default_taxonomy
from model.evaluation.evaluation import Case, OodFlag, build_case, group_untrained
from model.evaluation.metrics import auroc, auroc_interval, fpr95, size_kappa
from model.statistics import bootstrap, mcnemar, upper_bound, wilson

STANDARD = default_taxonomy()


def case(key: int, true: str, predicted: str, probability: float = 0.9, p_value: float = 0.5):
    return Case(
        key=str(key),
        group=str(key),
        true=true,
        predicted=predicted,
        probability=probability,
        true_probability=probability if true == predicted else (1 - probability) / 2,
        prediction_set=(predicted,),
        p_value=p_value,
        flagged=p_value < 0.02,
        slices={"microscope": "LOM-07" if key % 2 else "LOM-03"},
    )


def example(code: str) -> Example:
    return Example(key=code, code=code, group=code, load=lambda: None)  # type: ignore[arg-type, return-value]  # never loaded


def evaluation(cases, name="20261124-00000000", strange=None) -> Evaluation:
    return Evaluation(name, STANDARD, tuple(cases), 0, 0.02, strange or {})


def test_a_subtype_whose_sizes_nobody_asked_for_shares_its_probability_evenly():
    said = lab.prediction_of("G8", probability=0.9)  # B and M: 0.03 each, their sizes not asked for

    given = {
        code: build_case(example(code), said, STANDARD).true_probability
        for code in ("G8", "G7", "G5", "B8", "M8", "M7")
    }

    wanted = {"G8": 0.846, "G7": 0.047, "G5": 0.0, "B8": 0.01, "M8": 0.015, "M7": 0.0}
    assert given == pytest.approx(wanted)


def test_a_limit_in_use_is_held_against_every_field():
    cases = [
        case(0, "G7", "G8"),  # keeps it and is called so
        case(1, "G8", "G9-10"),  # keeps it and is called finer
        case(2, "G9-10", "G8"),  # breaks it and is called conforming
        case(3, "G9-10", "G9-10"),
        case(4, "B8", "G8"),  # another subtype breaks it
        case(5, "B8", "B8"),
    ]

    found = evaluation(cases).limits({"G 8 or coarser": {"G7", "G8"}.__contains__})

    first, both = next(iter(found.items()))
    assert first == "in use: G 8 or coarser"
    assert (both["false_conform"]["wrong"], both["false_conform"]["n"]) == (2, 4)
    assert (both["false_nonconform"]["wrong"], both["false_nonconform"]["n"]) == (1, 2)
    assert both["false_conform"]["upper95"] == pytest.approx(upper_bound(2, 4))


def test_where_all_are_right_few_images_still_leave_doubt():
    few, many = (
        evaluation([case(i, code, code) for i, code in enumerate(("G7", "G8", "B8") * n)])
        for n in (6, 200)
    )

    assert (few.macro_f1.value, few.kappa.value) == (1.0, 1.0)
    assert few.macro_f1.low == pytest.approx(0.824, abs=0.001)  # Wilson, 18 of 18
    # 0.176 of them a size apart, where chance gives 2 * 1/3 * 2/3 = 0.444
    assert few.kappa.low == pytest.approx(1 - 0.1759 / 0.4444, abs=0.001)
    assert many.kappa.low > 0.98


def test_the_kappa_of_few_micrographs_is_no_certainty_where_all_but_one_agree():
    pairs = [("G7", "G7"), ("G8", "G8"), ("B7", "B7"), ("B8", "B8")] * 3

    found = size_kappa([*pairs, ("G7", "G8")], STANDARD)

    assert found.low < 0.5 < found.value < found.high < 1.0


def test_where_all_have_one_size_kappa_has_no_interval():
    found = size_kappa([("G8", "G8")] * 12, STANDARD)

    assert (found.value, found.low, found.high) == (1.0, None, None)


def test_the_papers_interval_is_found():
    estimate = wilson(295, 326)

    assert estimate.low == pytest.approx(0.868, abs=0.001)
    assert estimate.high == pytest.approx(0.932, abs=0.001)


@pytest.mark.parametrize(
    ("wrong", "n", "bound"), [(0, 59, 0.0495), (1, 20, 0.2161), (5, 5, 1.0), (0, 1, 0.95)]
)
def test_the_exact_one_sided_bounds_are_the_published_ones(wrong, n, bound):
    assert upper_bound(wrong, n) == pytest.approx(bound, abs=2e-4)


@pytest.mark.parametrize(("first", "second", "p"), [(0, 1, 1.0), (1, 9, 0.0215), (0, 0, 1.0)])
def test_mcnemar_is_exact(first, second, p):
    assert mcnemar(first, second) == pytest.approx(p, abs=1e-3)


def test_a_bootstrap_interval_holds_the_number():
    values = np.arange(100.0)

    found = bootstrap(100, lambda i: float(values[i].mean()))

    assert found.low < found.value == 49.5 < found.high


def test_the_confusion_matrix_has_the_papers_orientation():
    codes, counts = evaluation([case(1, "G7", "G8"), case(2, "G8", "G8")]).confusion()

    row, column = codes.index("G8"), codes.index("G7")
    assert counts[row, column] == 1  # predicted G8, truly G7
    assert counts.sum() == 2


def test_each_stage_has_its_own_confusion_matrix():
    cases = [case(1, "G7", "G8"), case(2, "G8", "G8"), case(3, "B8", "G8"), case(4, "B8", "B7")]

    stages = evaluation(cases).stage_confusions()

    names = stages["subtype"]["classes"]
    rows = stages["subtype"]["rows_predicted"]
    assert rows[names.index("G")][names.index("B")] == 1  # predicted G, truly B
    assert stages["size:G"] == {
        "classes": ["7", "8", "9-10"],
        "rows_predicted": [[0, 0, 0], [1, 1, 0], [0, 0, 0]],
    }
    assert sum(map(sum, stages["size:B"]["rows_predicted"])) == 1  # where the subtype was right


def test_every_number_is_also_said_per_microscope():
    cases = [case(1, "G7", "G9-10"), case(2, "G8", "G8"), case(4, "B8", "B8")]

    slices = evaluation(cases).as_json()["slices"]["microscope"]

    assert slices["LOM-07"]["within_one_size"]["value"] == 0.0
    assert slices["LOM-03"]["macro_f1"]["value"] == 1.0
    assert {"value", "low", "high", "n", "kappa", "nll", "ece"} <= slices["LOM-03"].keys()


def test_what_a_metallographer_asks_first_comes_from_counts():
    cases = [case(1, "G7", "G8"), case(2, "G7", "G7"), case(3, "G8", "G7"), case(4, "G8", "G8")]

    limit = evaluation(cases).limits()["G8 or finer"]

    assert limit["false_conform"] == {
        "n": 2,
        "wrong": 1,
        "value": 0.5,
        "upper95": pytest.approx(0.9747, abs=1e-4),
    }
    assert limit["false_nonconform"]["wrong"] == 1


def test_a_neighbouring_size_is_within_one_and_another_subtype_is_not():
    cases = [case(1, "G7", "G8"), case(2, "G7", "G9-10"), case(3, "G8", "B8"), case(4, "G8", "G8")]

    assert evaluation(cases).within_one_size.value == 0.5


def test_perfect_answers_have_perfect_numbers():
    cases = [case(i, code, code, 1.0) for i, code in enumerate(STANDARD.trained_codes * 3)]

    document = evaluation(cases).as_json()

    assert document["macro_f1"]["value"] == 1.0
    assert document["kappa"]["value"] == 1.0
    assert document["nll"] == pytest.approx(0.0, abs=1e-9)
    assert document["ece"] == pytest.approx(0.0, abs=1e-9)
    assert document["per_stage"]["subtype"]["value"] == 1.0
    assert document["slices"]["microscope"]["LOM-07"]["n"] == 12


def test_kappa_agrees_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    true = rng.choice(["7", "8", "9-10"], 200)
    said = np.where(rng.random(200) < 0.7, true, rng.choice(["7", "8", "9-10"], 200))

    ours = evaluation(
        [case(i, f"G{t}", f"G{s}") for i, (t, s) in enumerate(zip(true, said, strict=True))]
    )

    order = {"7": 0, "8": 1, "9-10": 2}
    theirs = metrics.cohen_kappa_score(
        [order[t] for t in true], [order[s] for s in said], weights="quadratic"
    )
    assert ours.kappa.value == pytest.approx(theirs, abs=1e-9)
    assert ours.macro_f1.value == pytest.approx(
        metrics.f1_score(true, said, average="macro"), abs=1e-9
    )


def test_strange_images_are_told_apart_by_small_p_values():
    assert auroc([0.01, 0.02], np.array([0.5, 0.9])) == 1.0
    assert auroc([0.5], np.array([0.5])) == 0.5
    assert auroc([], np.array([0.5])) is None
    assert fpr95([0.1] * 20, np.array([0.05, 0.5])) == 0.5


def test_the_json_says_how_each_strange_kind_fared():
    seen = (OodFlag(0.01, flagged=True), OodFlag(0.6, flagged=False))

    found = evaluation([case(1, "G8", "G8")], strange={"pearlite": seen})

    document = found.as_json()["strange"]["pearlite"]
    assert document["n"] == 2
    assert document["tpr_at_alpha"] == 0.5
    assert document["tpr_interval"] == pytest.approx([0.0945, 0.9055], abs=1e-3)  # Wilson, 1 of 2


def test_images_stranger_than_all_known_ones_are_told_apart_by_their_score():
    mild, strong = (
        OodFlag(1 / 161, flagged=True, score=4.0),
        OodFlag(1 / 161, flagged=True, score=9.0),
    )

    assert strong.order < mild.order < OodFlag(2 / 161, flagged=True, score=99.0).order


def test_an_auroc_of_few_images_is_said_to_be_vague():
    low, high = auroc_interval(0.9, 12, 30)

    assert (low, high) == pytest.approx((0.7165, 0.9698), abs=1e-3)
    assert auroc_interval(0.9, 1200, 3000)[0] > 0.88
    assert auroc_interval(None, 0, 3) == [None, None]


def test_a_few_images_that_all_stand_out_are_no_proof_that_all_would():
    assert auroc_interval(1.0, 4, 40) == pytest.approx([0.701, 1.0], abs=1e-3)
    assert auroc_interval(0.0, 4, 40) == pytest.approx([0.0, 0.154], abs=1e-3)
    assert auroc_interval(1.0, 400, 4000)[0] > 0.99


def test_images_of_codes_that_are_not_taught_are_the_labs_own_must_be_flagged_set():
    coarse = [example("G6"), example("B5")]

    assert {
        kind: len(some)
        for kind, some in group_untrained([*coarse, example("G8")], STANDARD).items()
    } == {
        "not taught: G6": 1,
        "not taught: B5": 1,
    }
