"""A bundle counts in eight bits only after it was measured that this costs next to nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from labs.training import PLAN, examples, trained

from model import Classifier, Field, ModelError, convert
from model.framing import Framing
from model.networks.backbones import Encoder, build_backbone
from model.networks.schemes import FieldPrediction
from model.runtime.engines import choose_engine
from model.runtime.quantization import (
    Int8Calibration,
    calibration_path,
    load_int8_calibration,
    measure_int8,
    observe_ranges,
    quantize,
)

pytestmark = pytest.mark.skipif(
    choose_engine("cpu").name != "openvino", reason="openvino is not installed"
)

GIVEN = examples(52)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("bundles"), PLAN, GIVEN)[-1].result


@pytest.fixture(scope="module")
def converted(bundle):
    *_, last = convert(bundle, GIVEN)
    return last.result


def answer(code: str, sure: float = 0.9) -> FieldPrediction:
    sizes = {"7": 1 - sure, "8": 1 - sure, code[1:]: sure}
    return FieldPrediction({"G": 1.0}, sizes, {code: sure}, ("subtype", 0), ("size:G", 0))


def picture() -> Field:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    return Field(pixels, np.ones((64, 64), bool), 0.2)


@pytest.mark.parametrize("arch", ["tiny", "resnet18", "efficientnet-lite0"])
def test_eight_bits_see_nearly_what_fp32_sees(arch):
    torch.manual_seed(0)
    eye = Encoder(build_backbone(arch)).eval().requires_grad_(requires_grad=False)
    (ranges,) = observe_ranges(eye, Framing("resize", 64), [picture()])
    pixels = torch.from_numpy(picture().pixels[None])

    low, exact = quantize(eye, ranges)(pixels).ravel(), eye(pixels).ravel()

    assert not torch.equal(low, exact)
    assert torch.cosine_similarity(low, exact, dim=0) > 0.95


def test_a_converted_bundle_answers_in_int8(bundle, converted):
    classifier = Classifier.load(bundle, precision="int8")

    said = classifier.classify([GIVEN[0].load()])[0]

    assert converted.n >= 30
    assert classifier.engine.precision == "int8"
    assert said.engine == "openvino cpu"
    assert said.precision in ("int8", "fp32")
    assert load_int8_calibration(bundle) == converted


def test_an_answer_closer_than_the_measured_difference_is_given_again_in_fp32(bundle, converted):
    doubting = Int8Calibration(bundle.name, converted.ranges, difference=1.0)

    said = Classifier.load(bundle, precision="int8", int8=doubting).classify([GIVEN[0].load()])[0]

    assert said.precision == "fp32"


def test_a_bundle_that_would_lose_too_much_is_not_converted(bundle, converted):
    kept = calibration_path(bundle).read_bytes()

    with pytest.raises(ModelError, match="it would lose more than"):
        list(convert(bundle, GIVEN, may_lose=-1.0))

    assert calibration_path(bundle).read_bytes() == kept


def test_what_is_lost_is_counted_on_balance():
    exact = [answer("G8", 0.52)] * 4 + [answer("G8")] * 996
    low = [answer("G7", 0.98)] * 4 + [answer("G8")] * 996
    codes = ["G8"] * 3 + ["G7"] + ["G8"] * 996

    found = measure_int8(Int8Calibration("b", {}), exact, low, codes)

    assert found.lost == pytest.approx(2 / 1000)
    assert found.same == pytest.approx(996 / 1000)
    assert found.most_lost > found.lost
    assert found.again == 0
    grouped = measure_int8(
        Int8Calibration("b", {}), exact, low, codes, [str(at // 10) for at in range(1000)]
    )
    assert grouped.most_lost > found.most_lost  # four images of one specimen are one piece of it
    assert grouped.lost == found.lost


def test_an_answer_that_is_asked_again_is_not_lost():
    exact = [answer("G8", 0.52)] * 40
    low = [answer("G7", 0.52)] * 40

    found = measure_int8(Int8Calibration("b", {}), exact, low, ["G8"] * 40)

    assert (found.again, found.same, found.lost) == (1.0, 1.0, 0.0)


def test_too_few_images_say_nothing_of_a_loss(bundle):
    with pytest.raises(ModelError, match="at least 30"):
        list(convert(bundle, GIVEN[:20]))


def test_a_bundle_that_was_not_converted_says_how(tmp_path):
    with pytest.raises(ModelError, match="agent models int8 20261124-00000000"):
        load_int8_calibration(tmp_path / "20261124-00000000")


def test_a_file_that_is_of_another_bundle_is_refused(bundle, converted, tmp_path):
    other = tmp_path / "20261124-00000000"
    calibration_path(other).parent.mkdir()
    calibration_path(other).write_bytes(calibration_path(bundle).read_bytes())

    with pytest.raises(ModelError, match="is of another bundle"):
        load_int8_calibration(other)

    calibration_path(other).write_text(json.dumps({"bundle": other.name}), encoding="utf-8")
    with pytest.raises(ModelError, match="convert 20261124-00000000 again"):
        load_int8_calibration(other)


def test_without_openvino_int8_is_refused():
    with pytest.raises(ModelError, match="int8 needs OpenVINO"):
        choose_engine("pytorch", "int8")
