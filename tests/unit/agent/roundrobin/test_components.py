"""Variance is split by its sources as an analysis of variance does, also with runs missing."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from agent.roundrobin.capability import REST, components

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
