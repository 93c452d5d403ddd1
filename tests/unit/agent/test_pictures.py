"""A picture for people shows what is there: no evidence stays bare, and every scale is the same."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from agent.files.pictures import (
    Palette,
    colour_bar,
    cut_window,
    decode,
    decode_mask,
    decode_within,
    draw_box,
    draw_outline,
    encode_jpeg,
    encode_png,
    fit_within,
    has_evidence,
    heat_layer,
    heat_overlay,
    thumbnail,
)

GREY = np.full((60, 80, 3), 120, np.uint8)
pictures = arrays(
    np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=20).map(lambda s: (*s, 3))
)


@given(pictures)
@settings(max_examples=30, deadline=None)
def test_a_png_gives_every_bit_back(pixels):
    assert np.array_equal(decode(encode_png(pixels)), pixels)


def test_other_readers_find_the_same_pixels():
    for channels in (1, 3, 4):
        for level in (1, 3, 9):
            pixels = np.random.default_rng(channels).integers(0, 255, (37, 53, channels), np.uint8)

            with Image.open(io.BytesIO(encode_png(pixels.squeeze(), level=level))) as image:
                image.load()  # a wrong checksum is an error

                assert np.array_equal(np.asarray(image), pixels.squeeze()), (channels, level)


def test_a_grey_micrograph_is_a_grey_png_and_comes_back_as_rgb():
    grey = np.random.default_rng(0).integers(0, 255, (60, 80), np.uint8)
    pixels = np.repeat(grey[..., None], 3, axis=2)

    encoded = encode_png(pixels)

    assert Image.open(io.BytesIO(encoded)).mode == "L"
    assert np.array_equal(decode(encoded), pixels)


def test_an_empty_picture_is_no_png():
    with pytest.raises(ValueError, match="cannot be encoded"):
        encode_png(np.zeros((0, 5, 3), np.uint8))


def test_a_mask_comes_back_as_it_was():
    valid = np.zeros((5, 7), bool)
    valid[1:3, 2:6] = True

    assert np.array_equal(decode_mask(encode_png(valid)), valid)


def test_a_jpeg_keeps_red_red():
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200

    assert decode(encode_jpeg(red))[8, 8].tolist() == pytest.approx([200, 0, 0], abs=6)


@pytest.mark.parametrize("held", [b"", b"not a picture", encode_png(GREY)[:40]])
def test_bytes_that_are_no_picture_are_refused(held):
    with pytest.raises(ValueError, match="no picture"):
        decode(held)


def test_a_thumbnail_has_320_px_at_most_and_never_grows():
    wide = np.zeros((400, 1000, 3), np.uint8)

    assert thumbnail(wide).shape == (128, 320, 3)
    assert fit_within(GREY, 500) is GREY


def test_a_flat_map_leaves_the_micrograph_bare():
    overlay = heat_overlay(GREY, np.zeros((6, 8), np.float16), limit=3.0)

    assert np.array_equal(overlay, GREY)


def test_a_weak_map_is_not_stretched_to_look_strong():
    weak = np.zeros((6, 8), np.float32)
    weak[3, 4] = 0.02

    shown = heat_layer(weak, (60, 80), limit=3.0)

    assert shown[..., 3].max() <= 2


def test_evidence_for_is_orange_and_evidence_against_is_violet():
    heat = np.array([[3.0, -3.0]], np.float32)

    layer = heat_layer(heat, (10, 40), limit=3.0)

    assert layer[5, 2].tolist() == [232, 97, 0, 199]
    assert layer[5, 37].tolist() == [93, 58, 155, 199]


def test_a_map_with_holes_is_drawn_and_the_holes_stay_bare():
    heat = np.array([[np.nan, np.inf], [-np.inf, np.nan]], np.float32)

    assert np.array_equal(heat_overlay(GREY, heat, limit=1.0), GREY)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_without_a_limit_is_refused(limit):
    with pytest.raises(ValueError, match="limit above 0"):
        heat_layer(np.ones((2, 2), np.float32), (4, 4), limit=limit)


@given(
    arrays(np.float32, (3, 4), elements=st.floats(-9, 9, width=32)), st.floats(0.125, 9, width=32)
)
@settings(max_examples=40, deadline=None)
def test_more_evidence_is_never_drawn_weaker(heat, limit):
    once = heat_layer(heat, (3, 4), limit=limit)
    twice = heat_layer(heat * 2, (3, 4), limit=limit)
    edge = (once[..., :3] == 255).all(-1) | (twice[..., :3] == 255).all(-1)

    assert (twice[..., 3].astype(int) >= once[..., 3])[~edge].all()


def test_strangeness_gets_a_contour_at_the_alarm_level():
    heat = np.zeros((4, 8), np.float32)
    heat[:, 5:] = 1.6

    layer = heat_layer(heat, (40, 80), limit=2.0, palette=Palette.ALARM)

    white = (layer[..., :3] == 255).all(-1)
    assert white[20].any()
    assert not white[:, :40].any()
    assert layer[20, :30, 3].max() == 0


def test_no_evidence_is_told_from_evidence():
    assert not has_evidence(np.full((3, 3), -2.0), limit=4.0)
    assert not has_evidence(np.full((3, 3), np.nan), limit=4.0)
    assert has_evidence(np.full((3, 3), 0.5), limit=4.0)


def test_what_was_cut_away_is_darker_and_the_kept_rectangle_is_outlined():
    drawn = draw_outline(GREY, (160, 100, 640, 500), field_width=800, marks=[(700, 550, 780, 580)])

    assert drawn[5, 5].tolist() == [66, 66, 66]
    assert drawn[30, 40].tolist() == [120, 120, 120]
    assert drawn[30, 16].tolist() == [255, 176, 0]


def test_a_place_is_drawn_where_it_lies():
    drawn = draw_box(GREY, (20, 20, 40, 40), field_width=80)

    assert drawn[20, 30].tolist() == [255, 255, 255]
    assert drawn[30, 30].tolist() == [120, 120, 120]


@pytest.mark.parametrize("palette", list(Palette))
def test_every_palette_has_a_scale_to_read_it_by(palette):
    assert colour_bar(palette).shape == (12, 256, 3)


def test_a_window_shows_the_same_micrometres_whatever_the_pixels():
    fine = np.zeros((400, 400, 3), np.uint8)
    fine[:, 190:210] = 255  # 20 px of 0.1 µm
    coarse = np.zeros((200, 200, 3), np.uint8)
    coarse[:, 95:105] = 255  # 10 px of 0.2 µm

    one = cut_window(fine, (200, 200), 10 / 0.1, 160)
    other = cut_window(coarse, (100, 100), 10 / 0.2, 160)

    assert one.shape == other.shape == (160, 160, 3)
    assert (one[80, :, 0] > 127).sum() == pytest.approx(32, abs=2)
    assert (other[80, :, 0] > 127).sum() == pytest.approx(32, abs=2)


def test_a_window_stays_inside_and_is_grey_beyond_a_small_picture():
    pixels = np.full((100, 100, 3), 255, np.uint8)

    corner = cut_window(pixels, (0, 0), 50, 50)
    small = cut_window(pixels, (50, 50), 200, 100)

    assert corner.min() == 255
    assert (small[0, 0] == 128).all()
    assert (small[50, 50] == 255).all()


@pytest.mark.parametrize("side", [30_000, 100_000, 2**31 - 1])
@pytest.mark.parametrize("read", [decode, decode_mask, lambda held: decode_within(held, 80)])
def test_a_header_of_gigabytes_is_no_picture(read, side) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        checked = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checked

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    held = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b"")

    with pytest.raises(ValueError, match="no picture"):
        read(held)
