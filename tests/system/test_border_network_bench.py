"""The bench that trains the border network writes the weights that the product reads."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

TESTS = Path(__file__).resolve().parents[1]
# Modules of a bench import each other so.
sys.path.append(str(TESTS / "bench"))

from border_fields import compose_hard, label_cells  # noqa: E402 - after its folder
from border_network import BorderNetwork, pack  # noqa: E402
from drawn.micrographs import draw  # noqa: E402

from agent.imaging.specimen.grid import grid_shape  # noqa: E402


def test_a_file_has_the_kernels_of_the_network_in_the_order_of_the_product(tmp_path):
    torch.manual_seed(1)
    network = BorderNetwork().to(memory_format=torch.channels_last).eval()
    (kernel, norm), head = network.d4, network.head.weight.detach()

    save_file(pack(network), tmp_path / "border.safetensors")
    read = load_file(tmp_path / "border.safetensors")

    scale = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach()
    expected = (kernel.weight.detach() * scale[:, None, None, None]).permute(2, 3, 1, 0)
    assert np.abs(read["d4"] - expected.reshape(9, -1, len(scale)).numpy()).max() < 1e-3
    assert np.abs(read["head"][0] - head[:, :, 0, 0].T.numpy()).max() < 1e-3


@pytest.mark.parametrize(("kind", "mounted"), [("filled", True), ("plain", True), ("whole", False)])
def test_a_hard_field_has_a_mount_in_its_labels_or_none_as_it_was_wanted(tmp_path, kind, mounted):
    texture = tmp_path / "steel.png"
    steel = draw(4, size=(450, 600), bar=False, band=False, border=False).pixels
    texture.write_bytes(cv2.imencode(".png", steel)[1].tobytes())

    for seed in range(6):
        field = compose_hard(np.random.default_rng(seed), [(texture, None)], kind)
        labels = label_cells(field, grid_shape(*field.pixels.shape[:2]))

        assert field.pixels.dtype == np.uint8
        assert bool((labels == 1).any()) == mounted
        assert mounted or not labels.any()
