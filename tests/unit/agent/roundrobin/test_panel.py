"""A round robin's figures are the paper's where the counts are the paper's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agent.roundrobin.panel import Level, Panel, image_results
from agent.roundrobin.rater_statistics import (
    accuracy,
    agreement,
    individuals,
    model_alone,
    rater_confusion,
    reference_confusion,
    size_agreement,
    sizes_right,
    study,
)
from agent.store import Opinion
from model import default_taxonomy

TAXONOMY = default_taxonomy()
RATERS = tuple(f"R{n:02d}" for n in range(1, 15))


def panel_of(rows, reference=None, **more):
    """Make a panel from images × raters of codes ("" for cannot tell, "." for not rated)."""
    words = [row.split() for row in rows]
    raters = RATERS[: len(words[0])]
    answers = {
        (rater, number): _answer(code)
        for number, row in enumerate(words, start=1)
        for rater, code in zip(raters, row, strict=True)
        if code != "."
    }
    told = dict(enumerate(reference.split(), start=1)) if reference else {}
    return Panel(TAXONOMY, raters, tuple(range(1, len(rows) + 1)), answers, told, **more)


def _answer(code):
    return Opinion(None, None) if code == "?" else Opinion(*TAXONOMY.parse(code), criterion="mean")


def papers_counts() -> Panel:
    """280 ratings of 20 images by 14 people: 179 right subtypes, 56 right sizes among them.

    Who was right where is not published; the counts are spread as evenly as they go.
    """
    rng = np.random.default_rng(20230600)
    kinds = ["G8", "B8", "M8", "G9-10", "B7"] * 4
    cells = [(rater, image) for image in range(1, 21) for rater in RATERS]
    right = rng.permutation(280)
    answers = {}
    for place, (rater, image) in zip(right, cells, strict=True):
        subtype, size = TAXONOMY.parse(kinds[image - 1])
        if place >= 179:
            answers[rater, image] = Opinion({"G": "B", "B": "M", "M": "G"}[subtype], size)
        else:
            answers[rater, image] = Opinion(subtype, size if place < 56 else "6")
    return Panel(TAXONOMY, RATERS, tuple(range(1, 21)), answers, dict(enumerate(kinds, start=1)))


def test_the_papers_counts_give_the_papers_figures():
    panel = papers_counts()

    subtype, code, sizes = (
        accuracy(panel, Level.SUBTYPE),
        accuracy(panel, Level.CODE),
        sizes_right(panel),
    )

    assert (subtype.right, subtype.n, f"{subtype.estimate.value:.1%}") == (179, 280, "63.9%")
    assert (sizes.right, sizes.n, f"{sizes.estimate.value:.1%}") == (56, 179, "31.3%")
    assert (code.right, code.n, f"{code.estimate.value:.1%}") == (56, 280, "20.0%")


def test_the_model_on_the_same_images_is_the_papers_12_of_17():
    """Three of the twenty have a reference that is not taught, and are left out when merged."""
    codes = ["G8"] * 12 + ["B8"] * 5 + ["G6", "B6", "M6"]
    said = ["G8"] * 17 + ["G8", "B8", "M8"]
    reference, model = (dict(enumerate(some, start=1)) for some in (codes, said))
    panel = Panel(TAXONOMY, RATERS, tuple(range(1, 21)), {}, reference, model)

    found = model_alone(panel)

    assert (found.right[Level.MERGED].right, found.right[Level.MERGED].n) == (12, 17)
    assert f"{found.right[Level.MERGED].estimate.value:.2%}" == "70.59%"
    assert (found.right[Level.CODE].right, found.right[Level.CODE].n) == (12, 20)


def test_cannot_tell_is_no_right_answer_and_no_disagreement():
    panel = panel_of(["G8 G8 ?", "B7 B7 B7"], "G8 B7")

    assert (accuracy(panel, Level.CODE).right, accuracy(panel, Level.CODE).n) == (5, 6)
    assert agreement(panel, Level.CODE).raw.value == 1.0
    assert agreement(panel, Level.CODE).kappa.value == 1.0


def test_a_size_that_cannot_be_told_leaves_the_subtype():
    answers = {("R01", 1): Opinion("G", None), ("R02", 1): Opinion("G", "8")}
    panel = Panel(TAXONOMY, RATERS[:2], (1,), answers, {1: "G8"})

    assert accuracy(panel, Level.SUBTYPE).right == 2
    assert accuracy(panel, Level.CODE).right == 1


def test_merged_codes_count_as_one():
    panel = panel_of(["G7 G8 G8", "B7 B7 B8"], "G8 B8", merged={"G7": "G8", "B7": "B8"})

    assert accuracy(panel, Level.CODE).right == 3
    assert accuracy(panel, Level.MERGED).right == 6
    assert agreement(panel, Level.MERGED).kappa.value == 1.0


def test_any_subset_of_raters_can_be_asked():
    panel = panel_of(["G8 G8 B7", "M8 M8 G7", "B7 B7 M9-10"])

    assert agreement(panel.of(("R01", "R02")), Level.CODE).kappa.value == 1.0
    assert agreement(panel, Level.CODE).kappa.value < 0.3


def test_sizes_are_ordered_from_coarse_to_fine_whatever_the_subtype():
    panel = panel_of(["G7 B7 M7", "G8 G9-10 G8", "G5 G5 G5"])

    found = size_agreement(panel)

    assert found.kappa.value > agreement(panel, Level.CODE).kappa.value
    assert found.ac.value > 0.9


def test_the_majority_is_the_most_frequent_code_and_a_tie_is_none():
    first, second, third = image_results(panel_of(["G8 G8 B7", "G8 B7 ?", "? ? ?"], "B7 B7 G8"))

    assert (first.majority, first.majority_differs, first.is_disputed) == ("G8", True, True)
    assert (second.majority, second.is_disputed) == (None, True)
    assert (third.majority, third.untold, third.is_disputed) == (None, 3, False)


def test_an_image_is_disputed_where_no_code_has_more_than_half():
    agreed, split = image_results(panel_of(["G8 G8 G8 B7", "G8 G8 B7 M8"], "G8 G8"))

    assert not agreed.is_disputed
    assert split.is_disputed


def test_confusion_between_raters_counts_pairs():
    classes, counts = rater_confusion(panel_of(["G8 G8 G7"]), Level.CODE)

    assert classes == ("G7", "G8")
    assert counts.tolist() == [[0, 2], [2, 1]]


def test_confusion_with_the_reference_has_said_in_rows_and_true_in_columns():
    classes, counts = reference_confusion(panel_of(["G7 G8 ?", "B7 B7 B7"], "G8 B7"), Level.CODE)

    assert classes == ("B7", "G7", "G8")
    assert counts.tolist() == [[3, 0, 0], [0, 0, 1], [0, 0, 1]]


def test_each_rater_is_held_against_reference_others_and_scale():
    panel = panel_of(["G8 G8 G8", "G7 G7 G8", "B7 B7 G7", "M8 ? M8"], "G8 G7 B7 M8")

    ann, _, eve = individuals(panel)

    assert (ann.right[Level.CODE].right, ann.near.right, ann.untold) == (4, 4, 0)
    assert (eve.right[Level.CODE].right, eve.right[Level.SUBTYPE].right, eve.near.right) == (
        2,
        3,
        3,
    )
    assert ann.kappa.value == ann.size_kappa.value == 1.0
    assert ann.fellows.value > eve.fellows.value
    assert eve.kappa.low < eve.kappa.value < eve.kappa.high
    assert eve.fellows.low < eve.fellows.value < eve.fellows.high
    assert (ann.consensus.right, ann.consensus.n) == (2, 2)  # two ties among the others


def test_who_rated_nothing_breaks_nothing():
    panel = panel_of(["G8 .", "B7 ."], "G8 B7")

    idle = individuals(panel)[1]

    assert (idle.n, idle.right[Level.CODE].n, idle.fellows.value) == (0, 0, None)
    assert agreement(panel, Level.CODE).kappa.value is None


def test_what_the_model_or_the_reference_says_moves_no_agreement_of_raters():
    panel = panel_of(["G8 G8 G7", "G8 G8 G8", "G7 G8 G8", "G8 G7 G8"], "G8 G8 G7 G8")

    answered = replace(panel, model={1: "M9-10", 2: "B8"}, reference={1: "B7"})

    for level in Level:
        assert agreement(answered, level) == agreement(panel, level)


def test_an_empty_campaign_has_no_figures():
    panel = Panel(TAXONOMY, RATERS, (1, 2), {})

    assert accuracy(panel, Level.CODE).estimate.value is None
    assert agreement(panel, Level.SUBTYPE).kappa.value is None
    assert size_agreement(panel).kappa.value is None
    assert model_alone(panel) is None
    assert rater_confusion(panel, Level.CODE)[0] == ()


@pytest.mark.parametrize("level", list(Level))
def test_the_interval_of_an_accuracy_draws_images_not_ratings(level):
    """Fourteen ratings of one image are no fourteen trials: the interval is wider than Wilson's."""
    rows = [" ".join(["G8"] * 14), " ".join(["B7"] * 14)] * 5
    panel = panel_of(rows, " ".join(["G8"] * 10))

    found = accuracy(panel, level).estimate

    assert found.value == 0.5
    assert found.high - found.low > 0.5


def test_a_study_says_how_far_each_team_and_all_with_the_model_agree():
    rows = ["G8 G8 B7 M8", "G7 G7 G8 G8", "B7 B7 B7 B8"]
    teams = {"R01": "daily", "R02": "daily", "R03": "rarely"}
    panel = panel_of(rows, "G8 G7 B7", teams=teams, model={1: "G8", 2: "G7", 3: "B7"})

    found = study(panel)

    assert list(found.agreement) == ["all raters", "team daily", "all raters and the model"]
    daily = found.agreement["team daily"]["code"]
    assert (daily.raters, daily.images, daily.kappa.value) == (2, 3, 1.0)
    assert found.agreement["all raters and the model"]["code"].raters == 5
    assert found.model.right[Level.CODE].right == 3
    assert (found.majority[Level.CODE].right, found.majority[Level.CODE].n) == (2, 3)


def test_an_accuracy_without_a_miss_is_no_certainty():
    panel = panel_of(["G8 G8 G8", "G7 G7 G7", "B7 B7 B7"], "G8 G7 B7")

    share = accuracy(panel, Level.CODE)

    assert (share.right, share.n, share.estimate.value) == (9, 9, 1.0)
    assert share.estimate.low == pytest.approx(0.4385, abs=1e-4)  # Wilson, 3 of 3 images


def test_one_image_alone_has_no_interval():
    found = agreement(panel_of(["G8 G8 G7"], "G8"), Level.CODE)

    assert found.raw.value == pytest.approx(1 / 3)
    assert (found.raw.low, found.raw.high) == (None, None)
