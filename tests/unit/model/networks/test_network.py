"""Every architecture gives four maps of known strides; weights that do not fit are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from model import WeightsError
from model.networks.backbones import (
    ARCHITECTURES,
    build_backbone,
    cell_weights,
    frozen_lite0,
    hash_state_dict,
    load_backbone,
    normalize,
    pool_features,
)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_four_maps_have_the_promised_shapes(arch):
    network = build_backbone(arch)

    with torch.inference_mode():
        maps = network.stages(torch.zeros(1, 3, 64, 96))

    shapes = [(c, 64 // s, 96 // s) for c, s in zip(network.channels, network.strides, strict=True)]
    assert [tuple(m.shape[1:]) for m in maps] == shapes


def test_the_packaged_imagenet_weights_are_loaded_and_frozen():
    network = frozen_lite0()

    first = float(next(iter(network.parameters())).abs().sum())
    assert first == pytest.approx(387.12, abs=0.01)
    assert not any(p.requires_grad for p in network.parameters())
    assert not network.training


def test_weights_come_back_from_both_kinds_of_file(tmp_path):
    torch.manual_seed(0)
    state = build_backbone("tiny").state_dict()
    torch.save({"state_dict": state}, tmp_path / "w.pth")
    save_file(state, tmp_path / "w.safetensors")

    for name in ("w.pth", "w.safetensors"):
        network, sentence = load_backbone("tiny", tmp_path / name)
        assert hash_state_dict(network.state_dict()) == hash_state_dict(state)
        assert name in sentence


def test_weights_of_another_network_are_refused_in_one_sentence(tmp_path):
    torch.save(build_backbone("tiny").state_dict(), tmp_path / "tiny.pth")
    (tmp_path / "text.pth").write_text("not weights", encoding="utf-8")

    with pytest.raises(WeightsError, match="does not fit resnet18"):
        load_backbone("resnet18", tmp_path / "tiny.pth")
    with pytest.raises(WeightsError, match="no plain state dict"):
        load_backbone("tiny", tmp_path / "text.pth")
    with pytest.raises(WeightsError, match="no weights file"):
        load_backbone("tiny", tmp_path / "missing.pth")
    with pytest.raises(WeightsError, match="known are resnet18"):
        load_backbone("vgg")


def test_pixels_become_normalised_images():
    grey = np.full((1, 32, 32, 3), 255, np.uint8)

    images = normalize(grey)

    assert images.shape == (1, 3, 32, 32)
    assert float(images[0, 0, 0, 0]) == pytest.approx((1 - 0.485) / 0.229, abs=1e-5)


def test_only_valid_cells_are_pooled():
    features = torch.tensor([[[[1.0, 100.0], [3.0, 100.0]]]])
    valid = torch.zeros(1, 8, 8)
    valid[:, :, :4] = 1

    weights = cell_weights(valid, 4)

    assert weights.tolist() == [[[1.0, 0.0], [1.0, 0.0]]]
    assert float(pool_features(features, weights)) == 2.0


def test_a_field_with_hardly_any_steel_is_still_pooled():
    valid = torch.zeros(1, 8, 8)
    valid[0, 0, 0] = 1

    assert torch.isfinite(pool_features(torch.ones(1, 1, 2, 2), cell_weights(valid, 4))).all()
