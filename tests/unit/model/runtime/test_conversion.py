"""A network that a child process converts is the same network, and leaves nothing behind here."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from model.runtime.conversion import converting_apart
from model.runtime.engines import OpenVinoRunner, choose_engine

pytest.importorskip("openvino")

EXAMPLE = (torch.zeros(1, 3, 32, 32),)
SCRIPT = """
import sys
import numpy as np
from model import Field, converting_apart
from model.networks.backbones import frozen_lite0
from model.ood.frozen_pass import FrozenPass

def main():
    with converting_apart():
        frozen_pass = FrozenPass(frozen_lite0())
    frozen_pass.run(Field(np.full((96, 128, 3), 90, np.uint8), np.ones((96, 128), bool), 0.3))
    print([name for name in ("sympy", "torchvision", "torch._dynamo") if name in sys.modules])

if __name__ == "__main__":
    main()
"""


def build_network() -> torch.nn.Module:
    torch.manual_seed(4)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, stride=2, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU6()
    ).eval()


def compute_maps(network: torch.nn.Module) -> list[np.ndarray]:
    image = np.random.default_rng(5).random((3, 64, 96), np.float32)
    return OpenVinoRunner(network, choose_engine("cpu", "fp32"), None, EXAMPLE).maps(image)


def test_a_child_converts_to_the_same_bits() -> None:
    (here,) = compute_maps(build_network())

    with converting_apart():
        (apart,) = compute_maps(build_network())

    assert np.array_equal(here, apart)


def test_a_network_that_cannot_be_sent_is_converted_here() -> None:
    class Local(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image * 2

    with converting_apart():
        (doubled,) = compute_maps(Local().eval())

    assert doubled.shape == (3, 64, 96)


@pytest.mark.slow
def test_the_frozen_pass_needs_neither_sympy_nor_torchvision(tmp_path) -> None:
    script = tmp_path / "run.py"
    script.write_text(SCRIPT, encoding="utf-8")

    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
