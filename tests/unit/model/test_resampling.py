"""Pixels and masks are resampled to the bits of PyTorch, which a serving agent does without."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from model.framing import resample_mask, resample_pixels

SIZES = [
    ((150, 200), (120, 160)),
    ((97, 131), (40, 61)),
    ((80, 70), (160, 140)),
    ((300, 200), (9, 11)),
    ((64, 96), (64, 31)),
    ((31, 1), (62, 2)),
    ((5, 5), (1, 1)),
]


def test_pixels_are_those_of_pytorch_bit_for_bit():
    for own, size in SIZES:
        pixels = np.random.default_rng(1).integers(0, 256, (*own, 3)).astype(np.uint8)
        pixels[: own[0] // 2, : own[1] // 3] = 255

        resampled = resample_pixels(pixels, size)

        image = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        image = image.as_strided(image.shape, (image.numel(), *image.stride()[1:]))
        theirs = functional.interpolate(image, size=size, mode="bilinear", antialias=True)
        assert np.array_equal(resampled, theirs[0].permute(1, 2, 0).numpy()), own


def test_a_mask_is_that_of_pytorch_where_half_of_a_pixel_decides():
    for own, size in SIZES:
        for kind in ("noise", "corner"):
            valid = np.random.default_rng(2).random(own) > 0.5
            if kind == "corner":
                valid[:] = True
                valid[-own[0] // 4 :, -own[1] // 3 :] = False

            resampled = resample_mask(valid, size)

            mask = torch.from_numpy(valid).float()[None, None]
            share = functional.interpolate(mask, size=size, mode="bilinear", antialias=True)[0, 0]
            assert np.array_equal(resampled, share.numpy() >= 0.5), (own, size, kind)


def test_a_view_that_is_turned_gives_what_a_copy_of_it_gives():
    pixels = np.random.default_rng(3).integers(0, 256, (60, 90, 3)).astype(np.uint8)
    turned = pixels[::-1, ::-1]

    assert np.array_equal(
        resample_pixels(turned, (41, 77)), resample_pixels(np.ascontiguousarray(turned), (41, 77))
    )
