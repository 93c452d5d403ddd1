"""One pass of the frozen network per field gives code, evidence, strangeness and kept features."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
import torch

from model import (
    Classifier,
    Example,
    Field,
    ModelError,
    convert,
    quick_config,
    read_manifest,
    train,
)
from model.calibration import SetLevels
from model.framing import Framing
from model.inference.feature_extractor import SharedPassExtractor
from model.networks.backbones import Encoder, build_backbone
from model.networks.field_embedding import (
    STAGE_3_MEAN,
    EmbeddingPart,
    FieldEmbedding,
    get_embedding,
)
from model.networks.schemes import Head, HeadLayer, Scheme
from model.ood.feature_arrays import FeatureBatch, FeatureForm
from model.ood.features import OodFeatureExtractor
from model.ood.fit import ReferenceFeatures, iter_fit_detector
from model.ood.frozen_pass import FrozenPass
from model.runtime.engines import has_bf16_convolutions
from model.taxonomy import taxonomy_from

TAXONOMY = taxonomy_from(
    {
        "name": "stripes",
        "size": [{"name": "7"}, {"name": "8"}],
        "subtype": [{"name": "G", "sizes": ["7", "8"]}, {"name": "B", "sizes": ["8"]}],
    }
)
CODES = ("G7", "G8", "B8")
ALPHA = 0.1


def field(code: str, seed: int, side: int = 96) -> Field:
    """G7 has broad stripes, G8 narrow ones, B8 is a dark chequerboard."""
    rng = np.random.default_rng([seed, len(code), ord(code[0])])
    y, x = np.mgrid[:side, :side]
    pitch = 20 if code == "G7" else 7
    wave = np.sin(2 * np.pi * (x + rng.integers(20)) / pitch)
    grey = 150 + 60 * wave if code[0] == "G" else 70 + 50 * wave * np.sin(2 * np.pi * y / pitch)
    pixels = np.clip(grey[..., None] + rng.normal(0, 8, (side, side, 3)), 0, 255).astype(np.uint8)
    valid = np.ones((side, side), bool)
    valid[:9, : 4 * (seed % 5)] = False
    return Field(pixels, valid, 0.2)


def examples(per_code: int) -> list[Example]:
    return [
        Example(f"{code}-{i:02d}", code, f"{code}-s{i}", lambda code=code, i=i: field(code, i))
        for code in CODES
        for i in range(per_code)
    ]


class CountingPass(FrozenPass):
    """Counts the frames that the network sees."""

    count = 0

    def run_frame(self, frame):
        self.count += 1
        return super().run_frame(frame)


@pytest.fixture(scope="module")
def counting():
    torch.manual_seed(4)
    return CountingPass(build_backbone("tiny"))


@pytest.fixture(scope="module")
def heads():
    """Random heads: what is added up does not depend on what was learned."""
    rng = np.random.default_rng(2)
    return {
        name: Head(
            name,
            "frozen",
            classes,
            rng.normal(0, 3, (len(classes), 16)).astype(np.float32),
            rng.normal(0, 0.1, len(classes)).astype(np.float32),
            rng.normal(0, 0.1, 16).astype(np.float32),
        )
        for name, classes in Scheme("two-stage", TAXONOMY).heads().items()
    }


@pytest.fixture(scope="module")
def judge(counting, heads):
    reference = ReferenceFeatures(examples(8), OodFeatureExtractor(counting))
    *_, last = iter_fit_detector(examples(8), subtype_of=lambda code: code[0], features=reference)
    return Classifier(
        name="20261128-00000000",
        scheme=Scheme("two-stage", TAXONOMY),
        framing=counting.framing,
        set_levels=SetLevels(0.1, 0.7),
        encoders={"frozen": Encoder(counting.backbone, (2,))},
        heads=heads,
        detector=last.result,
        engine=counting.engine,
        alpha=ALPHA,
        shares_pass=True,
    )


def test_the_network_sees_a_field_once(judge, counting):
    before = counting.count

    judge.classify([field("G7", 70), field("B8", 71), field("G8", 72)])

    assert counting.count - before == 3


def test_predictions_do_not_depend_on_which_fields_come_along(judge):
    fields = [field(code, 50 + i, 80 + 9 * i) for i, code in enumerate((*CODES, *CODES))]

    together = judge.classify(fields)

    for one, alone in zip(together, (judge.classify([f])[0] for f in fields), strict=True):
        assert one.probabilities == alone.probabilities
        assert one.strangeness.score == alone.strangeness.score
        assert np.array_equal(one.subtype_map, alone.subtype_map)


def test_the_evidence_of_the_cells_adds_up_to_the_logits(heads, counting):
    extractor = SharedPassExtractor(OodFeatureExtractor(counting), "frozen", heads.values())
    shown = field("G8", 33, 100)

    (features,) = extractor.extract("frozen", extractor.frames([shown]))

    for head in heads.values():
        (by_cell,), (weights,) = features.by_cell[head.name], features.weights
        pooled = (by_cell * weights).sum(axis=(1, 2)) / weights.sum()
        assert pooled == pytest.approx(head.logits(features.embedding[None])[0], abs=1e-4)


@pytest.mark.parametrize("part_length", [0.0, 10.0])
@pytest.mark.parametrize("statistics", [("mean", "mean", "std"), ("std", "std", "mean")])
def test_the_evidence_of_any_embedding_adds_up(statistics, part_length):
    rng = np.random.default_rng(8)
    maps = [
        rng.normal(2, 1, (c, *[32 >> s] * 2)).astype(np.float32) for s, c in enumerate((3, 4, 5, 6))
    ]
    fine = rng.random((32, 32)).astype(np.float32)
    weights = [fine.reshape(32 >> s, 1 << s, 32 >> s, 1 << s).mean(axis=(1, 3)) for s in range(4)]
    parts = tuple(map(EmbeddingPart, (2, 3, 2), statistics))
    embedding = FieldEmbedding("tried", parts, part_length)
    classes = ("a", "b")
    head = Head(
        "h", "e", classes, *(rng.normal(size=s).astype(np.float32) for s in ((2, 16), 2, 16))
    )

    vector = embedding.compute(maps, weights)
    by_cell = embedding.compute_logits_by_cell(
        maps, embedding.measure(maps, weights), HeadLayer.from_heads([head], 16)
    )

    assert embedding.count_channels((3, 4, 5, 6)) == 16
    assert by_cell.shape == (2, 8, 8)
    pooled = (by_cell * weights[2]).sum(axis=(1, 2)) / weights[2].sum()
    assert pooled == pytest.approx(head.logits(vector[None])[0], abs=1e-3)
    if part_length:
        lengths = [np.linalg.norm(vector[a:b]) for a, b in ((0, 5), (5, 11), (11, 16))]
        assert lengths == pytest.approx([10.0] * 3)


def test_an_embedding_of_a_newer_version_is_refused():
    assert get_embedding("stage-3-mean") is STAGE_3_MEAN
    with pytest.raises(ModelError, match="no field embedding 'of-tomorrow'"):
        get_embedding("of-tomorrow")


def test_kept_features_give_the_same_answer_without_the_image(judge):
    predictions = judge.classify([field(code, 40 + i) for i, code in enumerate(CODES)])

    scored = judge.build_feature_scorer().score(
        FeatureBatch.stack([prediction.features for prediction in predictions])
    )

    for row, prediction in enumerate(predictions):
        assert scored.find_code(row) == prediction.structure_code
        assert scored.list_set(row) == prediction.prediction_set
        assert scored.probability[row] == pytest.approx(prediction.probability, abs=1e-12)
        assert 0 < scored.p_whole[row] <= 1


def test_features_of_another_network_are_not_scored(judge):
    (prediction,) = judge.classify([field("G7", 70)])
    other = replace(prediction.features, made_by="pass 1 tiny of-another-lab")

    scorer = judge.build_feature_scorer()

    assert scorer.form == FeatureForm.describe(prediction.features)
    assert scorer.form != FeatureForm.describe(other)


def taught(folder, **changes):
    plan = quick_config(taxonomy=TAXONOMY, shares=(0.6, 0.2, 0.2), alpha=ALPHA, **changes)
    now = datetime(2026, 11, 28, tzinfo=UTC)
    *_, last = train(examples(8), plan, folder, recipe="1", now=now)
    return last.result


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return taught(tmp_path_factory.mktemp("bundles"), bf16=True)


def test_the_default_plan_gives_a_bundle_of_one_pass_that_loads_and_answers(bundle):
    manifest = read_manifest(bundle)
    classifier = Classifier.load(bundle, alpha=ALPHA)

    predictions = classifier.classify([field(code, 60) for code in CODES])

    assert json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))["format"] == 2
    assert manifest.field_embedding == "stages-3-4-mean-std"
    assert manifest.framing == Framing("scale", 4096, 0.25, 0.2)
    assert [one.structure_code for one in predictions] == list(CODES)
    assert {FeatureForm.describe(one.features) for one in predictions} == {classifier.feature_form}
    assert predictions[0].precision == "fp32"


def test_kept_features_of_a_foreign_texture_are_flagged(bundle):
    classifier = Classifier.load(bundle, alpha=ALPHA)
    noise = np.random.default_rng(5).integers(0, 255, (96, 96, 3)).astype(np.uint8)
    foreign = Field(noise, np.ones((96, 96), bool), 0.2)

    known, strange = classifier.classify([field("G7", 90), foreign])

    batch = FeatureBatch.stack([known.features, strange.features])
    known_p, strange_p = classifier.build_feature_scorer().score(batch).p_whole
    assert strange_p <= ALPHA < known_p


def test_a_bundle_with_statistics_for_bf16_answers_so_only_where_that_is_set(bundle):
    fields = [field(code, 60 + i) for i, code in enumerate(CODES * 2)]
    by_default, exact = (
        Classifier.load(bundle, alpha=ALPHA, precision=p) for p in ("auto", "fp32")
    )
    low = Classifier.load(bundle, alpha=ALPHA, precision="bf16")

    answers, known = low.classify(fields), exact.classify(fields)

    assert by_default.engine.precision == exact.engine.precision == "fp32"
    assert low.engine.precision == ("bf16" if has_bf16_convolutions() else "fp32")
    assert {one.precision for one in answers} == {low.engine.precision}
    assert [a.structure_code for a in answers] == [b.structure_code for b in known]
    assert [a.strangeness.flagged for a in answers] == [b.strangeness.flagged for b in known]
    assert {FeatureForm.describe(one.features) for one in answers} == {low.feature_form}


def test_a_bundle_of_one_pass_has_no_int8(bundle):
    with pytest.raises(ModelError, match="has no int8"):
        Classifier.load(bundle, device="cpu", precision="int8")
    with pytest.raises(ModelError, match="nothing to convert"):
        next(convert(bundle, examples(8)))


@pytest.mark.slow
def test_heads_at_another_scale_keep_their_own_pass(tmp_path):
    bundle = taught(tmp_path, um_per_px=0.2)

    classifier = Classifier.load(bundle, alpha=ALPHA)
    (prediction,) = classifier.classify([field("G7", 60)])

    assert read_manifest(bundle).field_embedding == ""
    assert prediction.structure_code == "G7"
    assert not classifier.build_feature_scorer().scores_codes
