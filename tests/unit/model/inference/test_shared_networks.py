"""What tests compile once for equal networks answers as what is compiled anew."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sharing.networks import THEIR_OWN, content_of

from model.networks.backbones import Encoder, build_backbone
from model.runtime.engines import Engine, choose_engine, release_memory
from model.runtime.torch_runner import build_runner


def encoder(seed: int, taps: tuple[int, ...] = (3,)) -> Encoder:
    torch.manual_seed(seed)
    return Encoder(build_backbone("tiny"), taps).eval().requires_grad_(requires_grad=False)


@pytest.mark.parametrize("engine", [Engine("pytorch", "cpu", "fp32"), choose_engine("cpu", "fp32")])
def test_equal_networks_share_and_others_do_not(engine, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 255, (1, 64, 64, 3), dtype=np.uint8)

    runners = [build_runner(encoder(seed), engine) for seed in (0, 0, 1)]
    first = runners[0].features(pixels)
    release_memory()
    shared = [runner.features(pixels) for runner in runners]
    monkeypatch.setenv("PYTEST_CURRENT_TEST", THEIR_OWN)
    anew = [build_runner(encoder(seed), engine).features(pixels) for seed in (0, 1)]

    assert (first == shared[0]).all()
    assert (shared[1] == shared[0]).all()
    assert (shared[0] == anew[0]).all()
    assert (shared[2] == anew[1]).all()
    assert (shared[2] != shared[0]).any()


def test_a_weight_or_a_tap_makes_another_network():
    first, same, other, tapped = encoder(0), encoder(0), encoder(0), encoder(0, (2,))
    with torch.no_grad():
        next(other.parameters()).view(-1)[0] += 1e-3

    assert content_of(first) == content_of(same)
    assert len({content_of(network) for network in (first, other, tapped)}) == 3


class Scaled(torch.nn.Module):
    """A layer with a constant, as the fake quantisation of int8 has one."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self._scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self._scale


def test_a_private_constant_makes_another_network():
    assert content_of(Scaled(0.5)) == content_of(Scaled(0.5))
    assert content_of(Scaled(0.5)) != content_of(Scaled(0.25))


def test_networks_with_what_cannot_be_compared_are_not_shared():
    first, second = Scaled(0.5), Scaled(0.5)
    first.choose, second.choose = lambda x: x, lambda x: -x

    assert content_of(first) is None
    assert content_of(second) is None
