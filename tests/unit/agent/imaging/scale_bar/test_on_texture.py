"""Bars without a plate, with an outline or with cells are read on texture, or state nothing."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from drawn.graphics import font, fonts
from drawn.micrographs import draw
from drawn.words import draw_steel, write
from PIL import Image, ImageDraw

from agent.imaging.scale_bar.bars.chequered import measure_chequered
from agent.imaging.scale_bar.bars.line import Line, compute_distance
from agent.imaging.scale_bar.detect import find_graphics
from agent.imaging.scale_bar.labels.lengths import parse_length
from agent.imaging.scale_bar.labels.letters import find_plate_start
from agent.imaging.scale_bar.labels.ocr import confirms_length, contradicts_length, read_lengths

WHITE, BLACK, YELLOW, BLUE = (255, 255, 255), (0, 0, 0), (255, 255, 0), (0, 0, 200)


def grains(seed: int, low: int = 60, high: int = 150) -> np.ndarray:
    """Return bright grains on a darker ground, (480, 640, 3) uint8."""
    noise = np.random.default_rng(seed).normal(size=(480, 640)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return cv2.merge([np.where(smooth > 0.05, high, low).astype(np.uint8)] * 3)


def cells(pixels, ink, count, *, full_first=True):
    """Draw cells 40 pixels wide and 10 high from column 60 of row 430, every other one empty."""
    for number in range(count):
        box = (60 + 40 * number, 430, 99 + 40 * number, 439)
        if (number % 2 == 0) == full_first:
            cv2.rectangle(pixels, box[:2], box[2:], ink, -1)
        else:
            cv2.rectangle(pixels, box[:2], box[2:], ink, 1)
    return pixels


@pytest.mark.parametrize("ink", [WHITE, YELLOW])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_cells_on_texture_are_one_bar(ink, count):
    pixels = cells(grains(1), ink, count)

    [bar] = find_graphics(write(pixels, "20 µm", (60 + 20 * count, 462), ink)).bars

    assert bar.um == 20.0
    assert bar.line_px == pytest.approx(40 * count, abs=1)


def test_cells_may_begin_with_an_empty_one():
    plane = cells(np.full((480, 640, 3), 80, np.uint8), WHITE, 4, full_first=False)[:, :, 0]

    line = measure_chequered(plane, (60, 430, 220, 440), 0)

    assert line is not None
    assert (line.kind, line.box) == ("checker", (60, 430, 220, 440))


@pytest.mark.parametrize("rows", [(3, 9), (471, 477)])
def test_cells_at_the_edge_of_the_image_are_no_crash(rows):
    plane = np.full((480, 640), 80, np.uint8)
    plane[max(0, rows[0] - 2) : rows[1] + 2, 100:140] = 255

    assert measure_chequered(plane, (100, rows[0], 180, rows[1]), 0) is None


@pytest.mark.parametrize(("ink", "edge"), [(YELLOW, BLACK), (BLUE, BLACK), (BLUE, WHITE)])
def test_an_outline_as_dark_or_light_as_the_ink_does_not_lengthen_a_bar(ink, edge):
    pixels = grains(2)
    pixels[428:442, 58:202] = edge
    pixels[430:440, 60:200] = ink

    [bar] = find_graphics(write(pixels, "5 µm", (130, 462), ink, outline=edge)).bars

    assert bar.um == 5.0
    assert bar.line_px == pytest.approx(140, abs=1)


def _written(words):
    image = Image.new("RGB", (220, 60), "white")
    ImageDraw.Draw(image).text((40, 15), words, fill="black", font=font(fonts()[0], 26))
    return np.array(image)


def _find_box(picture, digits):
    """Return the box of the words without their first digits."""
    columns = np.flatnonzero((picture < 128).any(axis=(0, 2)))
    starts = columns[np.flatnonzero(np.diff(columns, prepend=-9) > 1)]
    rows = np.flatnonzero((picture < 128).any(axis=(1, 2)))
    return (int(starts[digits]) - 1, int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def test_a_lost_digit_is_noticed_by_reading_what_precedes_the_words():
    whole = _written("150 µm")

    assert confirms_length(whole, _find_box(whole, 0), 150.0, left=0)
    assert not confirms_length(whole, _find_box(whole, 1), 50.0, left=0)


def test_a_lost_decimal_point_is_noticed_by_reading_what_precedes_the_words():
    whole = _written("2.5 µm")

    assert not contradicts_length(whole, _find_box(whole, 0), 2.5, number=2.5, left=0)
    assert contradicts_length(whole, _find_box(whole, 2), 5.0, number=5.0, left=0)


def test_no_digit_can_stand_beyond_the_plate_of_words():
    pixels = grains(4)
    pixels[100:140, 200:320] = 0
    pixels = write(pixels, "50 µm", (260, 120), WHITE)

    assert 198 <= find_plate_start(pixels, (226, 110, 296, 130), np.array(WHITE)) <= 202
    assert find_plate_start(grains(4), (226, 110, 296, 130), np.array(WHITE)) == 0


def test_words_on_a_plate_at_the_edge_of_the_image_have_nothing_before_them():
    pixels = write(np.zeros((60, 300, 3), np.uint8), "5 µm", (30, 14), WHITE)

    assert find_plate_start(pixels, (0, 4, 56, 24), np.array(WHITE)) == 0


def test_a_unit_read_as_pm_states_a_length_only_with_another_reading():
    clear, unclear = parse_length("500 µm"), parse_length("500 pm")

    assert clear is not None
    assert unclear is not None
    assert (clear.clear, unclear.clear) == (True, False)
    assert clear.um == unclear.um


def test_words_before_a_comma_of_texture_are_read():
    length = parse_length("1,micron")

    assert length is not None
    assert length.um == 1.0


def test_letters_next_to_a_line_far_from_the_sides_are_read():
    pixels = grains(5)
    pixels[430:436, 240:400] = WHITE

    [bar] = find_graphics(write(pixels, "20 µm", (320, 462), WHITE)).bars

    assert bar.um == 20.0
    assert bar.line_px == pytest.approx(160, abs=1)


def test_a_coloured_bar_without_ticks_states_its_length_after_compression():
    pixels = np.full((480, 640, 3), 90, np.uint8)
    pixels[430:434, 60:220] = (255, 0, 0)
    pixels = write(pixels, "20 µm", (140, 462), (255, 0, 0))
    _, packed = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    pixels = cv2.imdecode(packed, cv2.IMREAD_COLOR)[:, :, ::-1].copy()

    [bar] = find_graphics(pixels).bars

    assert bar.um == 20.0
    assert bar.line_px == pytest.approx(160, abs=2)


def test_steel_without_a_bar_has_none_whatever_its_grains():
    found = [find_graphics(grains(seed, 40, 255)).bars for seed in range(8)]
    found += [
        find_graphics(draw(seed, size=(480, 640), bar=False, border=False, band=False).pixels).bars
        for seed in range(300, 306)
    ]

    assert found == [()] * 14


def test_a_reading_in_two_views_needs_one_clear_unit():
    picture = _written("20 µm")

    [length] = read_lengths([picture, picture], _find_box(picture, 0))

    assert (length.um, length.clear) == (20.0, True)


def test_a_wide_outline_does_not_lengthen_a_bar():
    pixels = draw_steel(7) + 70
    pixels[437:451, 97:223] = BLACK
    pixels[440:448, 100:220] = WHITE

    [bar] = find_graphics(write(pixels, "20 µm", (160, 412), WHITE, size=30, outline=BLACK)).bars

    assert (bar.um, bar.line_px) == (20.0, pytest.approx(120, abs=1))


def test_a_line_through_the_feet_of_letters_is_not_broken_by_them():
    box = (54, 1089, 163, 1092)
    line = Line(box, 109.0, exact=True, contrast=200.0, kind="broken", gap=(73, 1089, 145, 1092))

    assert compute_distance(line, (73, 1055, 145, 1101)) is None
    assert compute_distance(line, (73, 1068, 145, 1114)) is not None


@pytest.mark.parametrize("frame_px", [0, 8])
def test_the_full_half_of_a_bar_is_not_its_length(frame_px):
    pixels = draw_steel()
    pixels[380:460, 60:360] = WHITE
    pixels[430:436, 100:340] = BLACK
    pixels[431:435, 101:220] = WHITE
    if frame_px:
        cv2.rectangle(pixels, (100 - frame_px - 1, 385), (340 + frame_px, 444), BLACK, 1)

    bars = find_graphics(write(pixels, "20 µm", (220, 405), BLACK)).bars

    assert all(abs(bar.line_px - 240) <= 1 for bar in bars if bar.um)


def test_an_arrow_with_open_heads_is_read_from_tip_to_tip():
    pixels = draw_steel()
    pixels[380:460, 60:360] = WHITE
    for tip, way in ((100, 12), (339, -12)):
        for side in (-7, 7):
            cv2.line(pixels, (tip, 435), (tip + way, 435 + side), BLACK, 2)
    cv2.line(pixels, (100, 435), (339, 435), BLACK, 2)

    [bar] = find_graphics(write(pixels, "20 µm", (220, 405), BLACK)).bars

    assert (bar.um, bar.line_px) == (20.0, pytest.approx(240, abs=4))


def test_grains_at_both_ends_of_a_bar_are_no_heads_of_an_arrow():
    pixels = draw_steel()
    pixels[434:437, 100:340] = WHITE
    for x, wide in ((97, 5), (343, 7)):
        cv2.ellipse(pixels, (x, 435), (wide, 5), 0, 0, 360, (236, 236, 236), -1)

    bars = find_graphics(write(pixels, "20 µm", (220, 405), WHITE)).bars

    assert all(abs(bar.line_px - 240) <= 2 for bar in bars if bar.um)
