"""Statistics in bf16 are used where a PC is set to bf16 and computes their bits, nowhere else."""

import json

import numpy as np
import pytest
import torch

from model.data.dataset import Example
from model.framing import Field
from model.networks.backbones import build_backbone
from model.ood.detector import collect_facts, iter_fit_reduced, list_tensors, load_detector
from model.ood.features import rebuild_ood_extractor
from model.ood.fit import fit_detector
from model.ood.frozen_pass import FrozenPass
from model.ood.mahalanobis import Moments, Textures
from model.runtime.engines import has_bf16_convolutions

ALPHA = 0.1
needs_bf16 = pytest.mark.skipif(not has_bf16_convolutions(), reason="this processor has no bf16")


def draw(seed: int) -> Field:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:128, :128]
    wave = 130 + 40 * np.sin(2 * np.pi * (x + 0.3 * y) / (6 + seed % 3))
    grey = np.clip(wave + rng.normal(0, 12, wave.shape), 0, 255).astype(np.uint8)
    return Field(np.stack([grey] * 3, axis=-1), np.ones(grey.shape, bool), 0.25)


EXAMPLES = [Example(f"key{i:02d}", "G8", f"specimen{i}", lambda i=i: draw(i)) for i in range(12)]
FRESH = [draw(100 + i) for i in range(4)]


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(3)
    return build_backbone("tiny")


@pytest.fixture(scope="module")
def exact(backbone):
    return fit_detector(EXAMPLES, backbone, subtype_of=lambda code: code[0])


@pytest.fixture(scope="module")
def reduced(exact):
    steps = list(iter_fit_reduced(EXAMPLES, exact.extractor, subtype_of=lambda code: code[0]))
    return steps[-1].result if steps else exact  # a PC without bf16 fits nothing


def score(detector, fields=FRESH):
    return [result.score for result in detector.score(fields, ALPHA)]


@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_a_pc_that_is_not_set_to_bf16_answers_as_without_its_statistics(
    exact, reduced, backbone, precision
):
    tensors, facts = list_tensors(exact, reduced), collect_facts(exact, reduced)

    loaded = load_detector(tensors, json.loads(json.dumps(facts)), backbone, precision=precision)

    assert loaded.extractor.frozen_pass.engine.precision == "fp32"
    assert score(loaded) == score(exact)


@needs_bf16
def test_a_pc_that_is_set_to_bf16_uses_its_statistics(exact, reduced, backbone):
    tensors, facts = list_tensors(exact, reduced), collect_facts(exact, reduced)

    loaded = load_detector(tensors, json.loads(json.dumps(facts)), backbone, precision="bf16")

    assert loaded.extractor.frozen_pass.engine.precision == "bf16"
    assert score(loaded) == score(reduced)
    assert score(loaded) != score(exact)
    p_values = [[r.p_value for r in one.score(FRESH, ALPHA)] for one in (loaded, exact)]
    assert np.abs(np.subtract(*p_values)).max() <= 2 / 13  # two reference fields of twelve


def test_bf16_of_other_bits_is_not_used(exact, reduced, backbone):
    tensors, facts = list_tensors(exact, reduced), collect_facts(exact, reduced)
    facts["bf16"] = facts["bf16"] | {"fingerprint": "of another processor"}

    loaded = load_detector(tensors, facts, backbone, precision="bf16")

    assert loaded.extractor.frozen_pass.engine.precision == "fp32"
    assert score(loaded) == score(exact)


def test_a_bundle_without_statistics_for_bf16_is_computed_in_fp32(exact, backbone):
    loaded = load_detector(
        list_tensors(exact, None), collect_facts(exact, None), backbone, precision="bf16"
    )

    assert loaded.extractor.frozen_pass.engine.precision == "fp32"
    assert score(loaded) == score(exact)


@needs_bf16
def test_a_fingerprint_is_that_of_a_precision(backbone):
    exact, low = (FrozenPass(backbone, precision) for precision in ("fp32", "bf16"))

    assert exact.fingerprint() == FrozenPass(backbone, "fp32").fingerprint()
    assert exact.fingerprint() != low.fingerprint()


def test_what_is_too_close_in_bf16_is_computed_by_the_same_network_in_fp32(exact, reduced):
    again = rebuild_ood_extractor(reduced.extractor, "fp32")

    seen, known = (one.frozen_pass.run(FRESH[0]) for one in (again, exact.extractor))

    assert all((a == b).all() for a, b in zip(seen.maps, known.maps, strict=True))


@pytest.mark.parametrize("length", [96, 152, 320])
def test_compiled_distances_are_those_of_pytorch_within_rounding(length):
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(length, length)) / length**0.5 + 0.3  # what is common to all numbers
    cells = {
        name: (rng.normal(size=(900, length)) @ mixed).astype(np.float32) for name in ("B", "G")
    }
    plain = Textures.from_moments({n: Moments.from_vectors(own) for n, own in cells.items()})
    fresh = (rng.normal(size=(5000, length)) @ mixed).astype(np.float16)

    compiled = plain.compiled()

    assert compiled.compute_distances(fresh) == pytest.approx(
        plain.compute_distances(fresh), rel=1e-4
    )
