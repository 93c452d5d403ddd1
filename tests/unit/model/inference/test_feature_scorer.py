"""Kept features give the codes, sets and whole-field distances that the picture gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from model import default_taxonomy
from model.calibration import SetLevels, prediction_set
from model.inference.predictor import FeatureScorer
from model.networks.schemes import SCHEMES, Head, Scheme
from model.ood.feature_arrays import FeatureBatch, FeatureForm
from model.ood.field_distance import FieldDistance, ReferenceFields

CHANNELS, LENGTH = 12, 34
LEVELS = SetLevels(0.7, 0.8, {"G": 0.9}, {"G8": 0.5, "B7": 0.95})


@dataclass(frozen=True)
class Fields:
    """Made fields: embeddings (n, c), descriptors (n, d), areas."""

    embeddings: np.ndarray
    descriptors: np.ndarray
    areas: np.ndarray


def make_fields(count: int, seed: int) -> Fields:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, LENGTH)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    embeddings = (2 * rng.normal(size=(count, CHANNELS))).astype(np.float32)
    return Fields(embeddings, rows, rng.uniform(2e5, 4e6, count))


def make_distance() -> FieldDistance:
    rows = make_fields(40, 3).descriptors
    fields = ReferenceFields(rows, [row[None] for row in rows], np.arange(40) % 5)
    return FieldDistance.fit(
        fields,
        fields.compare_held_out(),
        quarters={i: fields.compare(rows[i], rows[i : i + 1], i % 5).distance for i in range(6)},
        z_scores=np.random.default_rng(4).normal(size=(40, 5)),
        microscopes={},
        area_px=1e6,
    )


def make_heads(scheme: Scheme) -> dict[str, Head]:
    rng = np.random.default_rng(5)
    return {
        name: Head(
            name,
            "frozen tiny",
            classes,
            rng.normal(size=(len(classes), CHANNELS)).astype(np.float32),
            rng.normal(size=len(classes)).astype(np.float32),
            rng.normal(size=CHANNELS).astype(np.float32),
            1.7,
        )
        for name, classes in scheme.heads().items()
    }


def make_scorer(kind: str, *, is_exact: bool = True) -> tuple[FeatureScorer, Scheme]:
    scheme = Scheme(kind, default_taxonomy())
    scorer = FeatureScorer(
        name="20261128-00000000",
        scheme=scheme,
        heads=make_heads(scheme),
        form=FeatureForm("pass 2 tiny", CHANNELS, (4, 64), LENGTH),
        set_levels=LEVELS,
        field_distance=make_distance(),
        alpha=0.1,
        is_exact=is_exact,
    )
    return scorer, scheme


def to_batch(fields: Fields, *, has_scale: bool = True) -> FeatureBatch:
    return FeatureBatch(
        fields.embeddings,
        fields.descriptors,
        fields.areas.astype(np.float32),
        np.full(len(fields.areas), has_scale),
    )


@pytest.mark.parametrize("kind", SCHEMES)
def test_codes_probabilities_and_sets_are_those_of_the_scheme(kind):
    scorer, scheme = make_scorer(kind)
    heads, fields = make_heads(scheme), make_fields(300, 11)

    scored = scorer.score(to_batch(fields))

    sizes_of_sets = set()
    for row, embedding in enumerate(fields.embeddings):
        answer = scheme.combine(
            {name: head.probabilities(embedding[None])[0] for name, head in heads.items()}
        )
        subtype, size = answer.best
        code = scheme.taxonomy.code(subtype, size)
        members = prediction_set(answer, scheme.taxonomy, LEVELS)
        assert scored.find_code(row) == code
        assert scored.probability[row] == pytest.approx(answer.codes[code], abs=1e-12)
        assert scored.list_set(row) == members
        sizes_of_sets.add(len(members))
    assert len(sizes_of_sets) > 1
    assert not scored.is_close.any()


def test_the_whole_field_is_as_far_as_its_picture_says():
    scorer, _scheme = make_scorer("two-stage")
    distance, fields = make_distance(), make_fields(200, 12)

    scored = scorer.score(to_batch(fields))

    exact = np.array(
        [
            distance.measure(descriptor[None], area[None])[0]
            for descriptor, area in zip(fields.descriptors, fields.areas, strict=True)
        ]
    )
    assert np.abs(scored.whole - exact).max() < 1e-5
    at_least = (distance.distances >= exact[:, None]).sum(axis=1)
    assert np.mean(scored.p_whole == (1 + at_least) / 41) > 0.98


def test_what_the_picture_has_to_decide_is_marked():
    exact, _ = make_scorer("two-stage")
    rough, _ = make_scorer("two-stage", is_exact=False)
    fields = make_fields(400, 13)

    close = rough.score(to_batch(fields)).is_close
    without_scale = exact.score(to_batch(fields, has_scale=False))

    assert 0 < close.sum() < 100
    assert not exact.score(to_batch(fields)).is_close.any()
    assert {without_scale.find_code(row) for row in range(400)} == {None}
    assert without_scale.list_set(0) == ()
    assert np.isnan(without_scale.p_whole).all()
