"""The same picture gets the same feature map, alone or in company, on every engine."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from model import ModelError, use_network_threads
from model.networks.backbones import Encoder, build_backbone, cell_weights, frozen_lite0
from model.ood.frozen_pass import FrozenPass
from model.runtime.engines import Engine, choose_engine, get_network_threads, has_gpu
from model.runtime.torch_runner import build_runner

PYTORCH = Engine("pytorch", "cpu", "fp32")

with_openvino = pytest.mark.skipif(
    choose_engine("cpu").name != "openvino", reason="openvino is not installed"
)


@pytest.fixture(scope="module")
def eye() -> Encoder:
    torch.manual_seed(0)
    return Encoder(build_backbone("tiny"), (1, 3)).eval().requires_grad_(requires_grad=False)


def pictures(n: int, height: int = 64, width: int = 96) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 255, (n, height, width, 3)).astype(np.uint8)


def test_a_batch_equals_its_pictures_one_by_one(eye):
    pixels = pictures(5)
    run = build_runner(eye, PYTORCH)

    together = run.features(pixels)

    for at in range(5):
        assert np.array_equal(together[at], run.features(pixels[at : at + 1])[0])


def test_pytorch_gives_the_same_bits_again_and_the_plain_networks_answer(eye):
    run = build_runner(eye, PYTORCH)
    pixels = pictures(1)

    first = run.features(pixels)

    assert all(np.array_equal(first, run.features(pixels)) for _ in range(3))
    with torch.inference_mode():
        plain = eye(torch.from_numpy(pixels)).numpy()
    assert np.abs(first - plain).max() < 1e-4


def test_bf16_on_a_cpu_stays_near_fp32(eye):
    pixels = pictures(2)

    low = build_runner(eye, Engine("pytorch", "cpu", "bf16")).features(pixels)

    exact = build_runner(eye, PYTORCH).features(pixels)
    assert np.abs(low - exact).max() < 0.02 * np.abs(exact).max()


@with_openvino
def test_openvino_and_pytorch_agree(eye, tmp_path):
    pixels = pictures(3)

    openvino = build_runner(eye, Engine("openvino", "cpu", "fp32"), tmp_path / "compiled")
    theirs, ours = openvino.features(pixels), build_runner(eye, PYTORCH).features(pixels)

    assert theirs.shape == ours.shape
    assert np.abs(theirs - ours).max() < 1e-4
    assert np.array_equal(theirs, openvino.features(pixels))
    assert any((tmp_path / "compiled").iterdir())


@with_openvino
def test_openvino_comes_without_its_telemetry():
    script = (
        "import sys; from model.runtime.engines import choose_engine; choose_engine('cpu'); "
        "assert 'openvino' in sys.modules and sys.modules['openvino_telemetry'] is None"
    )

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@with_openvino
@pytest.mark.skipif(has_gpu(), reason="there is a GPU")
def test_a_pc_without_a_gpu_chooses_openvino_and_loads_no_pytorch():
    script = (
        "import sys; from model.runtime.engines import choose_engine; "
        "print(choose_engine('auto'), 'torch' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip().endswith("precision='fp32') False")


def test_frames_of_several_shapes_come_from_one_network(eye):
    run = build_runner(eye, choose_engine("cpu", "fp32"))

    assert run.features(pictures(1, 32, 64)).shape[2:] == (1, 2)
    assert run.features(pictures(1, 96, 64)).shape[2:] == (3, 2)


def test_padding_that_does_not_count_changes_no_mean_far_from_it(eye):
    pixels = pictures(1, 64, 64)
    padded = np.concatenate([pixels, np.zeros_like(pixels)], axis=2)
    valid = torch.zeros(1, 64, 128)
    valid[..., :64] = 1
    run = build_runner(eye, PYTORCH)

    alone, beside = run.features(pixels), run.features(padded)

    weights = cell_weights(valid, 32).numpy()
    assert weights[0, :, 2:].sum() == 0
    assert np.allclose(alone[..., 0], beside[..., 0])


def test_an_engine_that_is_not_there_is_named():
    with pytest.raises(ModelError, match="no device 'tpu'"):
        choose_engine("tpu")
    with pytest.raises(ModelError, match="no precision 'int3'"):
        choose_engine("cpu", "int3")
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="There is no GPU"):
            choose_engine("cuda")


@pytest.fixture
def two_old_cards(monkeypatch):
    """What PyTorch says where two cards of the generation before Ampere are."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))


def test_a_gpu_is_asked_by_its_number(two_old_cards):
    assert choose_engine("cuda:1", "bf16") == Engine("pytorch", "cuda:1", "bf16")
    with pytest.raises(ModelError, match=r"no device 'cuda:2' here: .* from cuda:0 to cuda:1"):
        choose_engine("cuda:2")
    with pytest.raises(ModelError, match="no device 'cuda1'; known are"):
        choose_engine("cuda1")


def test_a_gpu_counts_in_bf16_only_where_that_is_in_hardware(two_old_cards, monkeypatch):
    assert choose_engine("auto").precision == "fp32"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 6))
    assert choose_engine("auto") == Engine("pytorch", "cuda", "bf16")


def test_the_precision_is_always_explicit():
    assert choose_engine("cpu").precision in ("fp32", "bf16")
    assert choose_engine("cpu", "bf16").precision == "bf16"
    assert choose_engine("pytorch").label == "pytorch cpu"


def test_an_encoder_is_compiled_again_only_if_its_weights_or_its_engine_change():
    torch.manual_seed(1)
    encoder = Encoder(build_backbone("tiny"), (1, 3)).eval().requires_grad_(requires_grad=False)
    first = build_runner(encoder, PYTORCH)
    before = first.features(pictures(1))

    assert build_runner(encoder, PYTORCH) is first
    assert build_runner(encoder, Engine("pytorch", "cpu", "bf16")) is not first

    encoder.backbone.layers[0][0].weight += 1
    after = build_runner(encoder, PYTORCH).features(pictures(1))
    assert not np.array_equal(before, after)


def test_two_threads_compute_the_same_bits_as_one():
    prints = []
    for count in (1, 2):
        with use_network_threads(count):
            prints.append(FrozenPass(frozen_lite0()).fingerprint())

    assert prints[0] == prints[1]


def test_threads_are_set_within_the_context_only():
    before = torch.get_num_threads()

    with use_network_threads(before + 1):
        inside = get_network_threads()
        assert torch.get_num_threads() == before

    assert (inside, get_network_threads()) == (before + 1, before)


def test_a_process_without_pytorch_uses_as_many_threads_as_are_set_for_it():
    script = (
        "import sys; from model.runtime.engines import get_network_threads; "
        "print(get_network_threads(), 'torch' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"OMP_NUM_THREADS": "3"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split() == ["3", "False"]
