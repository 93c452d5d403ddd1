"""The evidence map is Grad-CAM itself, and adds up to the answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from model.inference.feature_extractor import (
    compute_coarser_margin,
    compute_contrast,
    compute_evidence,
    compute_evidence_limit,
    crop_to_field,
)
from model.networks.backbones import IMAGENET_MEAN, IMAGENET_STD, Encoder, build_backbone
from model.networks.schemes import Head, HeadLayer, logits_by_cell

CLASSES = ("7", "8", "9-10")


def head_of(layer: nn.Linear, centre: np.ndarray) -> Head:
    weight = layer.weight.detach().numpy()
    bias = layer.bias.detach().numpy() + weight @ centre
    return Head("size:G", "eye", CLASSES, weight, bias.astype(np.float32), centre)


def by_cell_of(features: np.ndarray, head: Head) -> np.ndarray:
    return logits_by_cell(features, HeadLayer.from_heads((head,), len(features)))


@pytest.fixture(scope="module")
def seen():
    torch.manual_seed(1)
    eye = Encoder(build_backbone("resnet18")).eval()
    layer = nn.Linear(512, 3)
    pixels = torch.randint(0, 255, (1, 96, 128, 3), dtype=torch.uint8)
    with torch.no_grad():
        features = eye(pixels)
    centre = np.random.default_rng(0).normal(size=512).astype(np.float32)
    return eye, layer, pixels, features, head_of(layer, centre)


def test_the_mean_of_the_map_plus_the_bias_is_the_logit(seen):
    _, layer, _, features, head = seen

    with torch.no_grad():
        logits = layer(features.mean((2, 3)))[0].numpy()

    for index in range(3):
        by_cell = by_cell_of(features[0].numpy(), head)
        total = compute_evidence(by_cell, head, index).mean() + head.bias[index]
        assert total == pytest.approx(logits[index], abs=1e-4)


def test_it_equals_the_grad_cam_package(seen):
    from pytorch_grad_cam import GradCAM  # noqa: PLC0415 - slow to import
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget  # noqa: PLC0415

    eye, layer, pixels, features, head = seen
    whole = nn.Sequential(eye.backbone, nn.AdaptiveAvgPool2d(1), nn.Flatten(), layer)
    mean, std = (torch.tensor(of).view(1, 3, 1, 1) for of in (IMAGENET_MEAN, IMAGENET_STD))
    images = (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std
    layers = [eye.backbone.layer4[-1]]
    with GradCAM(model=whole, target_layers=layers) as package:
        for index in range(3):
            targets = [ClassifierOutputTarget(index)]
            package(images, targets)
            kept = package.activations_and_grads
            theirs = package.get_cam_image(
                images,
                layers[0],
                targets,
                kept.activations[0].cpu().data.numpy(),
                kept.gradients[0].cpu().data.numpy(),
            )[0]
            array = by_cell_of(features[0].numpy(), head)
            offset = float(head.weight[index] @ head.centre)
            signed = (compute_evidence(array, head, index) + offset) / theirs.size
            scale = np.abs(theirs).max()
            assert np.abs(signed - theirs).max() / scale < 1e-5


def test_the_contrast_of_two_sizes_adds_up_to_the_difference_of_their_logits(seen):
    _, _, _, features, head = seen
    array = features[0].numpy()

    difference = (
        compute_contrast(by_cell_of(array, head), head, 1, 0).mean() + head.bias[1] - head.bias[0]
    )

    logits = head.logits(array.mean((1, 2))[None])[0]
    assert difference == pytest.approx(logits[1] - logits[0], abs=1e-4)


def test_a_random_head_shows_another_map(seen):
    _, _, _, features, head = seen
    torch.manual_seed(7)
    random_head = head_of(nn.Linear(512, 3), head.centre)

    array = features[0].numpy()
    true, other = (
        compute_evidence(by_cell_of(array, h), h, 0).ravel() for h in (head, random_head)
    )

    assert abs(np.corrcoef(true.argsort().argsort(), other.argsort().argsort())[0, 1]) < 0.7


def test_a_random_network_shows_another_map(seen):
    _, _, pixels, features, head = seen
    torch.manual_seed(8)
    with torch.no_grad():
        others = Encoder(build_backbone("resnet18")).eval()(pixels)

    true, other = (
        compute_evidence(by_cell_of(f[0].numpy(), head), head, 0).ravel()
        for f in (features, others)
    )

    assert abs(np.corrcoef(true.argsort().argsort(), other.argsort().argsort())[0, 1]) < 0.7


def test_the_map_finds_the_coarse_band():
    rng = np.random.default_rng(0)
    features = rng.normal(0, 0.1, (4, 8, 8)).astype(np.float32)
    features[0, 2:4] += 1.0  # channel 0 speaks for coarse, and only here
    weight = np.array([[1, 0, 0, 0], [0, 0, 0, 0]], np.float32)
    head = Head(
        "h", "e", ("coarse", "fine"), weight, np.zeros(2, np.float32), features.mean((1, 2))
    )

    speaks = compute_contrast(by_cell_of(features, head), head, 0, 1)

    assert set(speaks.ravel().argsort()[-16:] // 8) == {2, 3}


def test_a_cell_looks_coarser_exactly_where_a_coarser_size_has_the_largest_logit(seen):
    _, _, _, features, head = seen

    by_cell = by_cell_of(features[0].numpy(), head)

    assert np.allclose(by_cell.mean((1, 2)), head.logits(features[0].numpy().mean((1, 2))[None])[0])
    assert np.array_equal(compute_coarser_margin(by_cell, 1) > 0, by_cell.argmax(0) == 0)
    assert np.array_equal(compute_coarser_margin(by_cell, 2) > 0, by_cell.argmax(0) < 2)


def test_one_image_in_a_hundred_cells_leaves_the_scale_of_the_maps():
    values = [np.linspace(-1, 1, 1001, dtype=np.float32), np.linspace(-3, 3, 1001)]

    assert 2.9 < compute_evidence_limit(values) < 3.0
    assert compute_evidence_limit([]) == 0.0


def test_a_map_covers_the_field_and_nothing_else():
    whole = np.arange(12, dtype=np.float32).reshape(3, 4)

    assert crop_to_field(whole, (64, 96), 32).shape == (2, 3)
    fine = crop_to_field(whole, (80, 100), 32)  # 2.5 and 3.125 cells
    assert fine.shape == (10, 12)
    assert fine[0, 0] == fine[3, 3] == 0.0
    assert fine[4, 4] == 5.0


def test_evidence_beyond_half_precision_stays_finite_and_keeps_its_sign():
    noise = np.array([[-1e6, 0.0], [7e4, 12.0]], np.float32)  # a network's answer to pure noise

    cut = crop_to_field(noise, (64, 64), 32)

    assert cut.dtype == np.float16
    assert np.isfinite(cut).all()
    assert np.sign(cut).tolist() == [[-1, 0], [1, 1]]
    assert cut[1, 1] == 12
