"""A field gets one answer, whoever comes along; probabilities and maps add up to it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model import Field, OodResult, default_taxonomy
from model.calibration import SetLevels
from model.framing import Framing
from model.inference.classifier import Classifier
from model.networks.backbones import Encoder, build_backbone, cell_weights
from model.networks.schemes import Head, Scheme, soft_targets
from model.runtime.engines import Engine

TAXONOMY = default_taxonomy().restricted_to(frozenset({"G7", "G8", "G9-10", "B7", "B8", "M8"}))


class NeverStrange:
    """Stands in for what is known as ordinary, which has tests of its own."""

    def inspect(self, _field, alpha, _seen=None):
        one = OodResult(
            p_value=max(0.5, alpha),
            flagged=False,
            whole=0.0,
            local=0.0,
            where=None,
            heat=np.zeros((1, 1), np.float16),
            nearest={},
        )
        return one, None

    def defects(self, _field, _seen=None):
        return ()


def classifier(kind: str = "two-stage", framing: Framing | None = None) -> Classifier:
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    scheme = Scheme(kind, TAXONOMY)
    eyes, heads = {}, {}
    for eye, names in scheme.encoders().items():
        eyes[eye] = Encoder(build_backbone("tiny"), (1, 2)).eval()
        for name in names:
            classes = scheme.heads()[name]
            heads[name] = Head(
                name,
                eye,
                classes,
                rng.normal(0, 3, (len(classes), 24)).astype(np.float32),
                rng.normal(0, 0.1, len(classes)).astype(np.float32),
                rng.normal(0, 0.1, 24).astype(np.float32),
            )
    return Classifier(
        name="20261124-00000000",
        scheme=scheme,
        framing=framing or Framing("scale", 1994, 0.2, 0.2),
        set_levels=SetLevels(0.1, 0.7),
        encoders=eyes,
        heads=heads,
        detector=NeverStrange(),
        engine=Engine("pytorch", "cpu", "fp32"),
    )


def fields(n: int = 6) -> list[Field]:
    rng = np.random.default_rng(0)
    some = []
    for at in range(n):
        height, width = 40 + 9 * at, 72 - 3 * at
        pixels = (rng.normal(40 * at, 50, (height, width, 3)).clip(0, 255)).astype(np.uint8)
        valid = np.ones((height, width), bool)
        valid[:10, : 4 * at] = False
        some.append(Field(pixels, valid, 0.2))
    return some


@pytest.mark.parametrize("kind", ["two-stage", "global", "multi-head"])
def test_probabilities_add_up(kind):
    for prediction in classifier(kind).classify(fields()):
        assert sum(prediction.subtype_probabilities.values()) == pytest.approx(1.0)
        assert sum(prediction.size_probabilities.values()) == pytest.approx(1.0)
        assert prediction.structure_code == prediction.subtype + prediction.size
        assert prediction.structure_code in prediction.prediction_set
        assert all(code.startswith(prediction.subtype) for code in prediction.prediction_set)
        expected = (
            1.0 if kind != "two-stage" else prediction.subtype_probabilities[prediction.subtype]
        )
        assert sum(prediction.probabilities.values()) == pytest.approx(expected)


def test_in_two_stages_the_code_is_as_probable_as_both_stages_together():
    for prediction in classifier().classify(fields()):
        product = (
            prediction.subtype_probabilities[prediction.subtype]
            * prediction.size_probabilities[prediction.size]
        )
        assert prediction.probability == pytest.approx(product)


@pytest.mark.parametrize("kind", ["two-stage", "multi-head"])
def test_who_comes_along_changes_no_answer(kind):
    judge = classifier(kind)
    together = judge.classify(fields())

    for field, expected in zip(fields(), together, strict=True):
        (alone,) = judge.classify([field])
        assert alone.probabilities == expected.probabilities
        assert np.array_equal(alone.subtype_map, expected.subtype_map)


def test_the_map_adds_up_to_the_logit():
    judge = classifier()
    field = Field(fields()[0].pixels[:32, :64], np.ones((32, 64), bool), 0.2)

    (prediction,) = judge.classify([field])

    head = judge._heads["subtype"]
    index = head.classes.index(prediction.subtype)
    logits = prediction.subtype_map.astype(float).mean() + head.bias[index]
    others = np.log(prediction.subtype_probabilities[prediction.subtype])
    sight = judge._predictor._extractor.extract(
        "subtype", judge._predictor._extractor.frames([field])
    )[0]
    assert logits == pytest.approx(head.logits(sight.embedding[None])[0][index], abs=2e-2)
    assert others <= 0


def test_fields_of_several_groups_get_the_answers_they_get_alone():
    judge, many = classifier(), [*fields(), *fields(), *fields()]

    together = judge.classify(many)

    assert len(together) == 18
    for one, field in zip(together[::5], many[::5], strict=True):
        (alone,) = judge.classify([field])
        assert one.probabilities == alone.probabilities
        assert np.array_equal(one.subtype_map, alone.subtype_map)


def test_the_map_covers_the_whole_field():
    large = Field(np.zeros((100, 150, 3), np.uint8), np.ones((100, 150), bool), 0.2)

    for framing in (Framing("mirror", 64), Framing("tile", 64), Framing("scale", 1994, 0.2, 0.2)):
        (prediction,) = classifier(framing=framing).classify([large])

        rows, columns = prediction.subtype_map.shape
        assert rows / columns == pytest.approx(100 / 150, rel=0.12)
        assert prediction.subtype_map.dtype == np.float16


def test_what_is_no_steel_has_no_say():
    field = fields()[0]
    valid = field.valid.copy()
    valid[:, 40:] = False
    white, black = field.pixels.copy(), field.pixels.copy()
    white[:, 40:], black[:, 40:] = 255, 0

    first, second = classifier().classify([Field(white, valid, 0.2), Field(black, valid, 0.2)])

    assert first.probabilities == second.probabilities


def test_the_share_that_looks_coarser_grows_from_coarse_to_fine():
    for prediction in classifier("multi-head").classify(fields()):
        shares = list(prediction.coarser_share.values())
        assert shares == sorted(shares)
        assert all(0 <= share <= 1 for share in shares)
        if shares:
            assert shares[0] == 0


def test_a_field_without_a_scale_is_answered_as_if_it_had_the_usual_one():
    field = fields()[2]

    known, unknown = classifier().classify([field, Field(field.pixels, field.valid, None)])

    assert known.probabilities == unknown.probabilities


def test_a_field_of_hardly_any_steel_still_gets_an_answer():
    valid = np.zeros((40, 40), bool)
    none = Field(np.zeros((40, 40, 3), np.uint8), valid, 0.2)

    (prediction,) = classifier().classify([none])

    assert np.isfinite(prediction.probability)
    assert cell_weights(torch.from_numpy(valid)[None, :32, :32], 16).sum() == 4


def test_soft_targets_leave_doubt_only_between_neighbours():
    targets = soft_targets([0, 1, 2], 3, neighbour=0.2)

    assert targets.tolist() == [
        pytest.approx([0.8, 0.2, 0.0]),
        pytest.approx([0.1, 0.8, 0.1]),
        pytest.approx([0.0, 0.2, 0.8]),
    ]
