"""A claim about a limit rests on the non-conforming specimens it was tried on, and says so."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from agent.orders.judge.limit import read_limit
from agent.roundrobin.capability import (
    REST,
    Measured,
    StudyRun,
    at_limit,
    components,
    plan_runs,
    run_from_json,
    scatter,
    still_needed,
)
from model import default_taxonomy

TAXONOMY = default_taxonomy()
FINE = read_limit("8 or finer")


def measured(rows):
    """Make runs of (specimen, true, said …)."""
    found = []
    for specimen, true, *answers in rows:
        for image, said in enumerate(answers, start=1):
            run = StudyRun(len(found) + 1, 1, specimen, "A", "LOM", image)
            found.append(Measured(run, true, None if said == "?" else said))
    return found


def test_misses_alarms_and_effectiveness_are_counted():
    some = measured(
        [
            ("S1", "G8", "G8", "G8", "G9-10"),  # right each time
            ("S2", "G8", "G7", "G8", "G8"),  # one false alarm
            ("S3", "G7", "G7", "G7", "G7"),  # right each time
            ("S4", "G7", "G8", "G8", "G7"),  # two misses
        ]
    )

    found = at_limit(some, "G", FINE, TAXONOMY)

    assert (found.effectiveness.count, found.effectiveness.n) == (2, 4)
    assert (found.miss.count, found.miss.n) == (2, 6)
    assert (found.false_alarm.count, found.false_alarm.n) == (1, 6)
    assert (found.missed.count, found.missed.n) == (1, 2)
    assert (found.alarmed.count, found.alarmed.n) == (1, 2)


def test_the_bounds_are_exact_and_one_sided():
    some = measured([(f"S{n}", "G7", "G7", "G7") for n in range(59)] + [("T", "G8", "G8")])

    found = at_limit(some, "G", FINE, TAXONOMY)

    assert found.missed.bound == pytest.approx(0.0495, abs=1e-4)  # 0 of 59
    assert found.miss.bound == found.missed.bound  # 118 runs are 59 specimens
    assert (found.miss.n, found.miss.specimens) == (118, 59)
    assert found.effectiveness.bound == pytest.approx(1 - 0.0487, abs=1e-3)


def test_the_bound_of_a_miss_rate_counts_specimens_and_not_runs():
    few = measured([(f"S{n}", "G7", *["G7"] * 30) for n in range(2)])
    some = measured([(f"S{n}", "G7", *(["G8"] if n < 4 else ["G7"]), "G7") for n in range(20)])

    none_of_two = at_limit(few, "G", FINE, TAXONOMY).miss
    half_of_four = at_limit(some, "G", FINE, TAXONOMY).miss

    assert (none_of_two.count, none_of_two.n) == (0, 60)
    assert none_of_two.bound == pytest.approx(0.7764, abs=1e-4)  # 0 of 2, not 4.9 % as of 60
    assert (half_of_four.count, half_of_four.n) == (4, 40)
    assert half_of_four.bound == pytest.approx(0.2826, abs=1e-4)  # 2 of 20: four halves


def test_another_subtype_or_no_answer_is_never_conforming():
    some = measured([("S1", "G7", "B8", "?"), ("S2", "G8", "B8", "?")])

    found = at_limit(some, "G", FINE, TAXONOMY)

    assert (found.miss.count, found.false_alarm.count) == (0, 2)


def test_without_a_non_conforming_specimen_nothing_is_claimed():
    found = at_limit(measured([("S1", "G8", "G8")]), "G", FINE, TAXONOMY)

    assert (found.missed.n, found.missed.value, found.missed.bound) == (0, None, None)


@pytest.mark.parametrize(("most", "n"), [(0.05, 59), (0.02, 149), (0.10, 29)])
def test_so_many_specimens_without_a_miss_show_a_rate(most, n):
    assert still_needed(most) == n


# --- the plan -----------------------------------------------------------------------------------


def plan(**more):
    told = {"images": 2, "preparations": 2, "seed": 3} | more
    return plan_runs(["S1", "S2", "S3"], ["Ann", "Bob"], ["L1", "L2"], **told)


def test_a_plan_crosses_everything_once():
    runs = plan()

    assert [run.number for run in runs] == list(range(1, 49))
    keys = {(r.preparation, r.specimen, r.operator, r.microscope, r.image) for r in runs}
    assert len(keys) == 48


def test_a_second_preparation_comes_after_all_runs_of_the_first():
    preparations = [one.preparation for one in plan()]

    assert preparations == sorted(preparations)


def test_the_order_is_drawn_and_the_seed_brings_it_back():
    assert plan() == plan()
    assert plan() != plan(seed=4)
    assert [one.specimen for one in plan()] != sorted(one.specimen for one in plan())


def test_a_run_comes_back_from_its_record():
    assert [run_from_json(one.as_json()) for one in plan()] == plan()


# --- scatter ------------------------------------------------------------------------------------


def test_scatter_says_which_source_it_comes_from():
    """Bob reads one size finer than Ann, whatever the specimen: nothing else scatters."""
    sizes = {"S1": ("G6", "G7"), "S2": ("G7", "G8"), "S3": ("G6", "G7")}
    some = [
        Measured(run, "G7", sizes[run.specimen][run.operator == "Bob"])
        for run in plan(preparations=1)
    ]

    found = scatter(some, TAXONOMY)

    variance = {source.name: source.variance for source in found.sources}
    assert variance["operator"] == pytest.approx(0.5)
    assert variance["specimen"] == pytest.approx(1 / 3)
    assert sum(variance.values()) - variance["operator"] - variance["specimen"] < 1e-9
    assert str(found.inseparable["preparation"]) == "cannot be separated from specimen in this plan"
    assert found.study_share == pytest.approx((0.5 / (0.5 + 1 / 3)) ** 0.5)
    assert found.categories == 1


def test_what_has_no_size_on_the_scale_is_left_out_and_counted():
    some = measured([("S1", "G8", "G8", "B8", "?"), ("S2", "G7", "G7", "G7", "G7")])

    found = scatter(some, TAXONOMY)

    assert (found.n, found.left_out) == (4, 2)
    assert found.sources[-1].name == REST


def test_a_size_that_stands_for_two_counts_as_their_mean():
    some = measured([("S1", "G9-10", "G9-10", "G9-10"), ("S2", "G8", "G8", "G8")])

    found = scatter(some, TAXONOMY)

    assert found.sources[0].variance == pytest.approx(1.5**2 / 2)


def test_nothing_said_is_no_scatter():
    found = scatter(measured([("S1", "G8", "?")]), TAXONOMY)

    assert (found.n, found.total, found.study_share) == (0, 0.0, None)


GAUGE = {
    "A": (
        (0.29, -0.56, 1.34, 0.47, -0.80, 0.02, 0.59, -0.31, 2.26, -1.36),
        (0.41, -0.68, 1.17, 0.50, -0.92, -0.11, 0.75, -0.20, 1.99, -1.25),
        (0.64, -0.58, 1.27, 0.64, -0.84, -0.21, 0.66, -0.17, 2.01, -1.31),
    ),
    "B": (
        (0.08, -0.47, 1.19, 0.01, -0.56, -0.20, 0.47, -0.63, 1.80, -1.68),
        (0.25, -1.22, 0.94, 1.03, -1.20, 0.22, 0.55, 0.08, 2.12, -1.62),
        (0.07, -0.68, 1.34, 0.20, -1.28, 0.06, 0.83, -0.34, 2.19, -1.50),
    ),
    "C": (
        (0.04, -1.38, 0.88, 0.14, -1.46, -0.29, 0.02, -0.46, 1.77, -1.49),
        (-0.11, -1.13, 1.09, 0.20, -1.07, -0.67, 0.01, -0.56, 1.45, -1.77),
        (-0.15, -0.96, 0.67, 0.11, -1.45, -0.49, 0.21, -0.49, 1.87, -2.16),
    ),
}
"""Ten parts, three appraisers, three trials: the gauge study of the AIAG manual, 4th ed."""


def gauge():
    rows = [
        (value, part, who)
        for who, trials in GAUGE.items()
        for trial in trials
        for part, value in enumerate(trial)
    ]
    numbers, parts, people = zip(*rows, strict=True)
    return numbers, {
        "part": parts,
        "appraiser": people,
        "part × appraiser": list(zip(parts, people, strict=True)),
    }


def test_the_gauge_study_of_the_manual():
    """Its mean squares: part 9.818, appraiser 1.584, interaction 0.01994, trials 0.04598."""
    numbers, sources = gauge()

    found = components(numbers, sources).variance

    assert found["part"] == pytest.approx((9.81799 - 0.01994) / 9, rel=1e-4)
    assert found["appraiser"] == pytest.approx((1.58363 - 0.01994) / 30, rel=1e-4)
    assert found[REST] == pytest.approx(0.04598, rel=1e-3)
    assert found["part × appraiser"] == 0.0  # below zero


def test_without_the_interaction_it_is_what_the_manual_says():
    """EV 0.19993 and AV 0.22684 as standard deviations, PV 1.04233."""
    numbers, sources = gauge()

    found = components(numbers, {key: sources[key] for key in ("part", "appraiser")}).variance

    assert np.sqrt(found[REST]) == pytest.approx(0.199933, rel=1e-4)
    assert np.sqrt(found["appraiser"]) == pytest.approx(0.226838, rel=1e-4)
    assert np.sqrt(found["part"]) == pytest.approx(1.042327, rel=1e-4)


def drawn(rng, *, specimens=40, operators=6, repeats=3):
    """Draw numbers whose variances are known: specimens 1, operators 0.25, the rest 0.09."""
    of_specimen, of_operator = rng.normal(0, 1, specimens), rng.normal(0, 0.5, operators)
    return [
        (8 + of_specimen[s] + of_operator[o] + rng.normal(0, 0.3), s, o)
        for s in range(specimens)
        for o in range(operators)
        for _ in range(repeats)
    ]


def test_variances_that_were_put_in_come_out_on_average():
    rng = np.random.default_rng(5)
    found = []
    for _ in range(60):
        numbers, specimens, operators = zip(*drawn(rng, specimens=20), strict=True)
        split = components(numbers, {"specimen": specimens, "operator": operators}).variance
        found.append([split["specimen"], split["operator"], split[REST]])

    assert np.mean(found, axis=0) == pytest.approx([1.0, 0.25, 0.09], rel=0.15)


def test_with_missing_runs_it_says_about_what_reml_says():
    import statsmodels.formula.api as smf  # noqa: PLC0415 - seconds
    from pandas import DataFrame  # noqa: PLC0415

    rng = np.random.default_rng(7)
    rows = [row for row in drawn(rng, specimens=25, operators=4) if rng.random() > 0.2]
    numbers, specimens, operators = zip(*rows, strict=True)
    frame = DataFrame({"y": numbers, "s": specimens, "o": operators, "all": 1})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = smf.mixedlm(
            "y ~ 1", frame, groups="all", vc_formula={"o": "0 + C(o)", "s": "0 + C(s)"},
            re_formula="0",
        ).fit()  # fmt: skip

    found = components(numbers, {"specimen": specimens, "operator": operators}).variance

    reml = dict(zip(fitted.model.exog_vc.names, fitted.vcomp, strict=True))
    assert found["specimen"] == pytest.approx(reml["s"], rel=0.15)
    assert found["operator"] == pytest.approx(reml["o"], rel=0.15)
    assert found[REST] == pytest.approx(fitted.scale, rel=0.25)


def test_sources_that_a_plan_cannot_tell_apart_are_named():
    numbers = [7.0, 8.0, 7.0, 8.0, 9.5, 9.5]
    sources = {
        "operator": list("AABBCC"),
        "microscope": list("xxyyzz"),
        "site": list("111111"),
        "run": list(range(6)),
    }

    found = components(numbers, sources)

    assert {name: str(why) for name, why in found.inseparable.items()} == {
        "microscope": "cannot be separated from operator in this plan",
        "site": "there is only one",
        "run": "cannot be separated from rest in this plan",
    }
    assert list(found.variance) == ["operator", REST]


def test_equal_numbers_have_no_variance():
    found = components([8.0] * 6, {"operator": list("AABBCC")})

    assert sum(found.variance.values()) == 0.0
