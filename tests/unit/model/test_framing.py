"""A frame shows the steel of a field, at one scale, and counts nothing that is no steel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from model.framing import FRAMINGS, Field, Framing, fill_invalid, resample_mask, resample_pixels
from model.training.batches import _rotate, augment


def field(height: int, width: int, um_per_px: float | None = 0.2) -> Field:
    rng = np.random.default_rng([height, width])
    pixels = rng.integers(0, 255, (height, width, 3)).astype(np.uint8)
    return Field(pixels, np.ones((height, width), bool), um_per_px)


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(FRAMINGS),
    height=st.integers(20, 200),
    width=st.integers(20, 200),
    frame_px=st.integers(40, 130),
    um_per_px=st.one_of(st.none(), st.floats(0.05, 0.8)),
)
def test_every_frame_can_be_halved_five_times_and_counts_some_steel(
    kind, height, width, frame_px, um_per_px
):
    framing = Framing(kind, frame_px, 0.2, 0.2)

    frames = framing.frames(field(height, width, um_per_px))

    for frame in frames:
        rows, columns = frame.valid.shape
        assert frame.pixels.shape == (rows, columns, 3)
        assert rows % 32 == 0
        assert columns % 32 == 0
        assert frame.valid.any()
        assert frame.extent[0] <= rows
        assert frame.extent[1] <= columns


def test_mirror_cuts_the_middle_of_a_large_field():
    large = field(100, 160)

    (frame,) = Framing("mirror", 64).frames(large)

    assert frame.box == (48, 18, 112, 82)
    assert np.array_equal(frame.pixels[:64, :64], large.pixels[18:82, 48:112])


def test_mirror_fills_a_small_field_up_with_its_own_steel_and_counts_it():
    small = field(40, 64)

    (frame,) = Framing("mirror", 64).frames(small)

    assert np.array_equal(frame.pixels[40:64], small.pixels[16:40][::-1])
    assert frame.valid.all()
    assert frame.extent == (40, 64)


def test_tiles_cover_every_pixel_once():
    tiles = Framing("tile", 64).frames(field(100, 130))

    covered = np.zeros((100, 130), int)
    for tile in tiles:
        x0, y0, x1, y1 = map(int, tile.box)
        covered[y0:y1, x0:x1] += 1
        assert int(tile.valid.sum()) == (x1 - x0) * (y1 - y0)
    assert covered.max() == 1
    assert covered.mean() > 0.95  # a tile with hardly any steel is left out


@pytest.mark.parametrize(("um_per_px", "side"), [(0.1, 40), (0.2, 80), (0.4, 160), (None, 80)])
def test_scale_brings_every_field_to_one_size_of_pixel(um_per_px, side):
    framing = Framing("scale", 400, um_per_px=0.2, usual_um_per_px=0.2)

    (frame,) = framing.frames(field(80, 80, um_per_px))

    assert frame.extent == (side, side)
    assert int(frame.valid.sum()) == side * side


def test_what_is_no_steel_gets_the_colour_of_the_steel():
    pixels = np.full((40, 40, 3), 200, np.uint8)
    pixels[:10] = 0
    valid = np.ones((40, 40), bool)
    valid[:10] = False

    shown = fill_invalid(Field(pixels, valid, 0.2))

    assert (shown.pixels == 200).all()
    assert not shown.valid[:10].any()


def test_augmentation_keeps_shape_and_is_the_same_for_the_same_chance():
    (frame,) = Framing("scale", 400, 0.2, 0.2).frames(field(96, 64))

    first = augment(frame, np.random.default_rng(3))
    again = augment(frame, np.random.default_rng(3))
    other = augment(frame, np.random.default_rng(4))

    assert np.array_equal(first.pixels, again.pixels)
    assert not np.array_equal(first.pixels, other.pixels)
    assert first.pixels.shape == frame.pixels.shape
    assert first.pixels.dtype == np.uint8


def test_a_turned_picture_is_turned_about_its_middle_with_steel_in_its_corners():
    pixels = torch.from_numpy(field(64, 96).pixels).permute(2, 0, 1)
    square, steel = pixels[..., :64], torch.ones((1, 64, 64), dtype=torch.bool)
    hole = steel.clone()
    hole[:, 10:30, 10:30] = False

    quarter, everywhere = _rotate(square, steel, 90.0)
    half, _ = _rotate(pixels, torch.ones((1, 64, 96), dtype=torch.bool), 180.0)
    grey, _ = _rotate(torch.full((3, 64, 96), 200, dtype=torch.uint8), steel, 33.0)

    assert torch.equal(quarter, torch.rot90(square, 1, (1, 2)))
    assert torch.equal(half, pixels.flip(1, 2))
    assert everywhere.all()
    assert torch.equal(_rotate(square, hole, 90.0)[1], torch.rot90(hole, 1, (1, 2)))
    assert (grey == 200).all()


def test_augmentation_does_not_change_the_scale():
    stripes = np.zeros((128, 128, 3), np.uint8)
    stripes[:, ::8] = 255  # one line every 8 pixels
    stripes[:, 1::8] = 255
    (frame,) = Framing("resize", 128).frames(Field(stripes, np.ones((128, 128), bool), 0.2))

    for seed in range(5):
        turned = augment(frame, np.random.default_rng(seed), rotate=False).pixels[..., 1]
        lines = turned.astype(float) if turned[0].std() > 5 else turned.T.astype(float)
        spectrum = np.abs(np.fft.rfft(lines[64] - lines[64].mean()))
        assert int(spectrum[:20].argmax()) == 16


def test_an_overview_is_not_blown_up_to_the_pixel_size_of_a_micrograph() -> None:
    overview = field(40, 60, um_per_px=3.4)

    (frame,) = Framing("scale", frame_px=8192, um_per_px=0.2).frames(overview)

    assert frame.extent == (80, 120)


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
