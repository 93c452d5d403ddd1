"""Images of many scales keep their pixels, and the training says so before it starts."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from model import Classifier, Example, Field, quick_config, read_manifest, taxonomy_from, train
from model.data.dataset import Split
from model.framing import Framing
from model.ood.feature_arrays import FeatureBatch
from model.ood.frozen_pass import build_frozen_pass
from model.training.plan import DatasetSummary

CONSTITUENTS = taxonomy_from(
    {
        "name": "constituents",
        "size": [{"name": "1"}],
        "subtype": [{"name": name, "sizes": ["1"]} for name in "GB"],
    }
)
SIZES = taxonomy_from(
    {
        "name": "sizes",
        "size": [{"name": "7"}, {"name": "8"}],
        "subtype": [{"name": "G", "sizes": ["7", "8"]}],
    }
)
MANY = (0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.0, 4.0)
ALPHA = 0.1
SENTENCE = (
    "Pixel sizes from 0.03 to 4 µm: at one common size of 0.25 µm, 6 of 8 micrographs to train "
    "would change more than twofold. All are used with their own pixels."
)


def field(code: str, seed: int, um_per_px: float | None) -> Field:
    """G has stripes, B is a chequerboard, of one pitch in pixels."""
    rng = np.random.default_rng([seed, ord(code[0])])
    y, x = np.mgrid[:96, :96]
    wave = np.sin(2 * np.pi * (x + rng.integers(20)) / 8)
    grey = 150 + 60 * wave * (1 if code[0] == "G" else np.sin(2 * np.pi * y / 8))
    pixels = np.clip(grey[..., None] + rng.normal(0, 8, (96, 96, 3)), 0, 255).astype(np.uint8)
    return Field(pixels, np.ones((96, 96), bool), um_per_px)


def examples(scales, codes=("G1", "B1"), each: int = 8) -> list[Example]:
    return [
        Example(
            f"{code}-{i}",
            code,
            f"{code}-s{i}",
            lambda code=code, i=i: field(code, i, scales[i % len(scales)]),
        )
        for code in codes
        for i in range(each)
    ]


def summarize(given) -> DatasetSummary:
    summary = DatasetSummary(Split(tuple(given), (), ()))
    assert list(summary.scan()) == list(range(1, len(given) + 1))
    return summary


def test_the_sentence_counts_what_one_pixel_size_would_change():
    summary = summarize(examples(MANY, ("G1",)))
    config = quick_config(taxonomy=CONSTITUENTS)

    assert summary.describe_pixels(config) == SENTENCE
    assert summary.build_framing(config).kind == "native"


@pytest.mark.parametrize(
    ("scales", "taxonomy"),
    [
        ((0.2,), CONSTITUENTS),
        ((0.1, 0.2), CONSTITUENTS),  # 1000 and 500 times
        ((*((0.2,) * 39), 4.0), CONSTITUENTS),  # one overview among many
        ((None,), CONSTITUENTS),
        (MANY, SIZES),  # a size is a length
    ],
)
def test_one_pixel_size_stays_where_it_makes_sense(scales, taxonomy):
    summary = summarize(examples(scales, ("G7",), each=len(scales)))
    config = quick_config(taxonomy=taxonomy)

    framing = summary.build_framing(config)

    known = [scale for scale in scales if scale]
    assert framing == Framing("scale", 1994, 0.25, float(np.median(known)) if known else 0.25)
    assert summary.describe_pixels(config) == ""
    assert not summary.keeps_pixels(config)


def test_a_network_with_another_framing_keeps_it_and_its_unusual_check_keeps_the_pixels():
    summary = summarize(examples(MANY, ("G1",)))
    config = replace(quick_config(taxonomy=CONSTITUENTS), framing="mirror")

    assert summary.build_framing(config).kind == "mirror"
    assert summary.keeps_pixels(config)
    assert summary.describe_pixels(config).endswith(
        "twofold. The unusual check uses all with their own pixels."
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    plan = quick_config(taxonomy=CONSTITUENTS, shares=(0.6, 0.2, 0.2), alpha=ALPHA, views=1)
    now = datetime(2026, 11, 28, tzinfo=UTC)
    folder = tmp_path_factory.mktemp("bundles")
    return list(train(examples(MANY, each=10), plan, folder, recipe="1", now=now))


def test_the_training_says_so_before_it_starts_and_the_bundle_records_it(trained):
    bundle = trained[-1].result
    manifest = read_manifest(bundle)

    stages = [step.stage for step in trained]
    (at,) = [i for i, step in enumerate(trained) if "own pixels" in step.note]
    assert stages[at] == "labels"
    assert "images" not in stages[:at]
    assert trained[at].note in manifest.facts["notes"]
    assert manifest.framing.kind == "native"
    assert manifest.field_embedding == "stages-3-4-unit-parts"
    assert json.loads((bundle / "bundle.json").read_bytes())["format"] == 3
    facts = json.loads((bundle / "strangeness.json").read_bytes())
    assert facts["framing"] == "native"
    assert facts["field"]["weights"] == [1.0, 0.0, 1.0]  # of so small fields no windows


def test_the_answer_of_a_bundle_with_own_pixels_does_not_depend_on_the_scale(trained):
    classifier = Classifier.load(trained[-1].result, alpha=ALPHA)

    answers = classifier.classify([field("G1", 40, um) for um in (0.01, 0.25, 9.0, None)])

    assert [answer.structure_code for answer in answers] == ["G1"] * 4
    assert len({answer.probability for answer in answers}) == 1
    assert len({answer.strangeness.p_value for answer in answers}) == 1
    assert all(answer.features.made_by.startswith("pass") for answer in answers)
    assert "native" in classifier.feature_form.made_by
    batch = FeatureBatch.stack([answer.features for answer in answers])
    scored = classifier.build_feature_scorer().score(batch)
    assert [scored.find_code(row) for row in range(4)] == ["G1"] * 4


def test_a_foreign_texture_is_flagged_and_its_place_is_measured_in_its_own_scale(trained):
    classifier = Classifier.load(trained[-1].result, alpha=ALPHA)
    noise = np.random.default_rng(5).integers(0, 255, (96, 96, 3)).astype(np.uint8)

    small, large = classifier.classify(
        [Field(noise, np.ones((96, 96), bool), um) for um in (0.5, 1.0)]
    )

    assert small.strangeness.flagged
    assert large.strangeness.area_um2 == 4 * small.strangeness.area_um2


@pytest.fixture
def without_openvino(monkeypatch):
    """Compute networks in PyTorch, as where OpenVINO is not installed."""
    monkeypatch.setitem(sys.modules, "openvino", None)
    build_frozen_pass.cache_clear()
    yield
    build_frozen_pass.cache_clear()


def classify_four(bundle, engine):
    classifier = Classifier.load(bundle, alpha=ALPHA)
    assert classifier.engine.name == engine
    return classifier.classify([field(code, 70, um) for code in ("G1", "B1") for um in (0.1, 3.0)])


@pytest.fixture(scope="module")
def in_openvino(trained):
    pytest.importorskip("openvino")
    return classify_four(trained[-1].result, "openvino")


@pytest.mark.usefixtures("without_openvino")
def test_pytorch_answers_as_openvino_does(trained, in_openvino):
    in_pytorch = classify_four(trained[-1].result, "pytorch")

    for own, other in zip(in_pytorch, in_openvino, strict=True):
        assert own.structure_code == other.structure_code
        assert own.probability == pytest.approx(other.probability, abs=1e-4)
        assert own.strangeness.score == pytest.approx(other.strangeness.score, abs=1e-3)
        assert own.strangeness.flagged == other.strangeness.flagged
