"""The border network's map is PyTorch's, has a probability per class, and ignores graphics."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from drawn.micrographs import draw
from safetensors.torch import load_file
from torch.nn import functional

from agent.imaging.specimen.border_network import (
    CELL_PX,
    CLASSES,
    STRIDE,
    WEIGHTS,
    map_border,
    shrink,
)
from agent.imaging.specimen.grid import grid_shape


def field(seed=5, size=(450, 600)):
    drawn = draw(seed, size=size, bar=False, band=False, distractors=False, border="straight")
    return drawn.pixels, np.ones(grid_shape(*drawn.pixels.shape[:2]), bool)


def run_pytorch(pixels, usable):
    """Compute the map by PyTorch from the same weights."""
    weights = {name: value.float() for name, value in load_file(WEIGHTS).items()}
    rows, columns = usable.shape
    covered = ~usable.repeat(CELL_PX, 0).repeat(CELL_PX, 1)
    small = cv2.cvtColor(shrink(pixels, usable.shape), cv2.COLOR_RGB2GRAY)
    grey = (torch.from_numpy(small).float() - 128) / 64
    grey[torch.from_numpy(covered)] = 0
    right, down = -columns % STRIDE, -rows % STRIDE
    padded = functional.pad(grey, (0, right * CELL_PX, 0, down * CELL_PX))[None, None]
    mask = functional.pad(torch.from_numpy(usable).float(), (0, right, 0, down))[None, None]
    image = torch.cat([functional.pixel_unshuffle(padded, CELL_PX), mask], 1)

    def convolve(name, values, *, stride=1, dilation=1):
        places, inputs, outputs = weights[name].shape
        side = round(places**0.5)
        kernel = weights[name].reshape(side, side, inputs, outputs).permute(3, 2, 0, 1)
        padding = dilation * (side // 2)
        bias = weights[f"{name}.bias"]
        return functional.conv2d(values, kernel, bias, stride, padding, dilation)

    def step(name, values, **chosen):
        return functional.relu(convolve(name, values, **chosen))

    def block(name, values, *, dilation=1):
        inner = step(f"{name}.a", values)
        return functional.relu(values + convolve(f"{name}.b", inner, dilation=dilation))

    def join(name, coarse, fine):
        larger = functional.interpolate(coarse, scale_factor=2.0)
        return step(name, torch.cat([larger, fine], 1))

    half = block("b2", step("stem", step("patch", image), stride=2))
    quarter = block("b4", step("d4", half, stride=2))
    eighth = block("b8", step("d8", quarter, stride=2), dilation=2)
    deepest = block("b16", step("d16", eighth, stride=2), dilation=2)
    deepest = block("c16", deepest, dilation=4)
    overall = convolve("glob", deepest.mean((2, 3), keepdim=True))
    deepest = functional.relu(deepest + overall)
    eighth = block("u8", join("m8", deepest, eighth))
    quarter = block("u4", join("m4", eighth, quarter))
    half = block("u2", join("m2", quarter, half))
    logits = functional.pixel_shuffle(convolve("head", half), 2)[0, :, :rows, :columns]
    return logits.softmax(0).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("size", [(450, 600), (333, 900)])
def test_the_map_is_that_of_pytorch(size):
    pixels, usable = field(size=size)
    usable[5:20, 30:60] = False

    shares = map_border(shrink(pixels, usable.shape), usable)

    assert shares.shape == (*usable.shape, len(CLASSES))
    assert np.abs(shares - run_pytorch(pixels, usable)).max() < 1e-3
    assert shares.sum(axis=-1) == pytest.approx(1.0, abs=1e-5)


def test_pixels_under_graphics_do_not_change_the_map():
    pixels, usable = field()
    usable[: usable.shape[0] // 4] = False
    written = pixels.copy()
    written[: pixels.shape[0] // 4 - 4, 50:300] = 255

    maps = [map_border(shrink(each, usable.shape), usable) for each in (written, pixels)]
    assert (maps[0] == maps[1]).all()


def test_the_weights_are_at_most_three_megabytes():
    assert WEIGHTS.stat().st_size <= 3_000_000
