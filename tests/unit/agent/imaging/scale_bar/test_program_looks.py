"""Bars as programs draw them: dashed, framed, thick, with words inside or right of the ticks."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from drawn.words import draw_steel, write

from agent.imaging.scale_bar.bars.line import Line, find_frame
from agent.imaging.scale_bar.detect import find_graphics
from agent.imaging.scale_bar.labels.ocr import confirms_length

WHITE, BLACK = (255, 255, 255), (0, 0, 0)


@pytest.mark.parametrize(("words", "um"), [("10 Micron", 10.0), ("5 UM", 5.0), ("2000 µm", 2000.0)])
def test_a_unit_in_capitals_and_a_length_of_millimetres_in_micrometres_are_read(words, um):
    pixels = draw_steel()
    pixels[430:436, 240:400] = WHITE

    [bar] = find_graphics(write(pixels, words, (320, 462), WHITE)).bars

    assert bar.um == um


def test_words_between_the_ticks_of_a_line_are_its_label():
    pixels = draw_steel()
    pixels[450:453, 240:400] = WHITE
    pixels[420:453, 240:243] = pixels[420:453, 397:400] = WHITE

    [bar] = find_graphics(write(pixels, "20 µm", (320, 432), WHITE)).bars

    assert bar.um == 20.0
    assert bar.line_px == pytest.approx(158.5, abs=0.5)


def test_words_that_are_higher_than_the_ticks_between_which_they_stand_are_read():
    pixels = draw_steel()
    pixels[450:456, 200:440] = WHITE
    pixels[430:456, 200:206] = pixels[430:456, 434:440] = WHITE

    [bar] = find_graphics(write(pixels, "20 µm", (320, 422), WHITE, size=40)).bars

    assert (bar.um, bar.line_px) == (20.0, pytest.approx(237, abs=0.5))


def test_a_ruler_of_thick_ticks_is_read_between_its_outer_ones():
    pixels = draw_steel()
    pixels[360:480] = BLACK
    for number, x in enumerate(range(200, 441, 24)):
        pixels[380 if number % 5 == 0 else 395 : 420, x : x + 8] = WHITE

    [bar] = find_graphics(write(pixels, "100 µm", (324, 446), WHITE, size=28)).bars

    assert (bar.um, bar.line_px) == (100.0, pytest.approx(244, abs=0.5))


def test_squares_between_taller_ticks_are_steps_of_a_ruler():
    pixels = draw_steel()
    pixels[420:480] = BLACK
    for number, x in enumerate(range(300, 521, 22)):
        pixels[436 : 445 if number % 5 == 0 else 441, x : x + 5] = WHITE

    [bar] = find_graphics(write(pixels, "5 µm", (500, 464), WHITE, size=18)).bars

    assert (bar.um, bar.line_px) == (5.0, pytest.approx(222.5, abs=0.5))


def draw_dots(starts_x, words, at, *, wide=4):
    """Draw a band with a row of dots and words around a point."""
    pixels = draw_steel()
    pixels[420:480] = BLACK
    for x in starts_x:
        pixels[436 : 436 + wide, x : x + wide] = WHITE
    return write(pixels, words, at, WHITE, size=18)


@pytest.mark.parametrize(
    ("words", "at", "um"), [("5.00um", (430, 462), 5.0), ("20 um", (555, 438), 20.0)]
)
def test_eleven_dots_are_ten_steps_from_middle_to_middle(words, at, um):
    [bar] = find_graphics(draw_dots(range(300, 521, 22), words, at)).bars

    assert (bar.um, bar.line_px) == (um, pytest.approx(220, abs=0.1))


@pytest.mark.parametrize(
    "starts_x",
    [
        pytest.param(range(300, 499, 22), id="the last dot is lost"),
        pytest.param([*range(300, 411, 22), *range(434, 523, 22)], id="two halves"),
        pytest.param([*range(300, 521, 22), 311], id="a dot between two"),
    ],
)
@pytest.mark.parametrize("wide", [4, 5])
def test_dots_that_are_not_ten_equal_steps_state_no_length(starts_x, wide):
    bars = find_graphics(draw_dots(starts_x, "5.00um", (430, 462), wide=wide)).bars

    assert [bar.um for bar in bars if bar.um is not None] == []


@pytest.mark.parametrize("starts_x", [range(140, 421, 70), range(100, 461, 60)])
def test_dashes_of_one_length_are_one_bar(starts_x):
    long = (starts_x[1] - starts_x[0]) // 2
    pixels = draw_steel()
    for x in starts_x:
        pixels[440:446, x : x + long] = BLACK
    middle = (starts_x[0] + starts_x[-1] + long) // 2

    [bar] = find_graphics(write(pixels, "1 mm", (middle, 464), BLACK)).bars

    assert bar.um == 1000.0
    assert bar.line_px == pytest.approx(starts_x[-1] + long - starts_x[0], abs=1)


@pytest.mark.parametrize("has_sides", [True, False])
def test_the_frame_of_a_plate_is_not_measured_in_place_of_the_bar(has_sides):
    pixels = draw_steel()
    pixels[396:472, 30:190] = BLACK
    for y in (398, 468):
        pixels[y : y + 2, 34:186] = WHITE
    if has_sides:
        pixels[398:470, 34:36] = pixels[398:470, 184:186] = WHITE
    pixels[414:417, 60:150] = WHITE

    [bar] = find_graphics(write(pixels, "20 µm", (110, 442), WHITE)).bars

    assert (bar.um, bar.line_px) == (20.0, pytest.approx(90, abs=1))


def test_the_sides_of_a_frame_are_alike_and_as_long_as_its_words():
    def line(y: int, x1: int) -> Line:
        box = (40, y, x1, y + 2)
        return Line(box, float(x1 - 40), exact=True, contrast=200.0, core=box)

    top, foot, bar = line(100, 240), line(180, 240), line(110, 140)

    assert find_frame([top, bar, foot], (90, 130, 190, 150)) == [top, foot]
    assert find_frame([top, bar], (90, 130, 190, 150)) == []


def test_a_line_as_thick_as_its_letters_is_a_bar():
    pixels = draw_steel()
    pixels[400:424, 240:400] = BLACK

    [bar] = find_graphics(write(pixels, "20 µm", (320, 450), BLACK, size=28)).bars

    assert (bar.um, bar.line_px) == (20.0, pytest.approx(160, abs=1))


def test_a_grain_as_bright_as_the_line_at_one_end_puts_its_length_in_doubt():
    pixels = draw_steel()
    pixels[430:439, 240:364] = WHITE
    cv2.circle(pixels, (371, 434), 9, WHITE, -1)

    bars = find_graphics(write(pixels, "20 µm", (300, 410), WHITE)).bars

    assert [bar.um for bar in bars if bar.um is not None] == []


def test_a_block_with_its_length_written_in_is_a_bar_also_where_a_grain_touches_it():
    pixels = draw_steel()
    pixels[400:440, 240:440] = WHITE
    cv2.circle(pixels, (440, 432), 14, WHITE, -1)
    cv2.circle(pixels, (300, 444), 9, WHITE, -1)

    [bar] = find_graphics(write(pixels, "20 µm", (340, 420), BLACK, size=26)).bars

    assert (bar.um, bar.line_px) == (20.0, pytest.approx(200, abs=1))


def test_two_rows_of_cells_are_one_bar():
    pixels = draw_steel()
    pixels[380:480, 200:440] = BLACK
    pixels[410:430, 240:400] = WHITE
    for x, y in ((240, 410), (280, 420), (320, 410), (360, 420)):
        pixels[y + 3 : y + 7, x + 3 : x + 37] = BLACK

    [bar] = find_graphics(write(pixels, "20 µm", (320, 452), WHITE)).bars

    assert (bar.um, bar.line_px) == (20.0, pytest.approx(160, abs=1))


def test_a_tick_before_the_words_is_no_digit_of_theirs():
    pixels = write(np.full((60, 200, 3), 40, np.uint8), "0.2mm", (110, 30), WHITE, size=30)
    pixels[18:42, 55:58] = WHITE
    box = (65, 18, 156, 44)

    assert confirms_length(pixels, box, 200.0, left=60)
    assert not confirms_length(pixels, box, 200.0, left=0)


def test_words_that_name_a_bar_are_read_with_their_length_once_more():
    pixels = write(np.full((60, 300, 3), 40, np.uint8), "Bar = 500 µm", (150, 30), WHITE, size=30)
    drawn = np.flatnonzero((pixels.max(axis=2) > 120).any(axis=0))

    assert confirms_length(pixels, (int(drawn[0]), 15, int(drawn[-1]) + 1, 48), 500.0, left=0)


GREEN, RED = (0, 220, 0), (190, 20, 20)


def draw_corner_box(words, ink, *, top, frame=None):
    """Draw a green line with ticks in a white box at the corner, with words above it."""
    pixels = draw_steel()
    pixels[top:480, 0:140] = WHITE
    if frame is not None:
        pixels[top, 0:140] = pixels[479, 0:140] = pixels[top:480, 0] = pixels[top:480, 139] = frame
    pixels[462:464, 8:120] = GREEN
    pixels[452:474, 8:10] = pixels[452:474, 118:120] = GREEN
    return write(pixels, words, (46, 438), ink)


@pytest.mark.parametrize("ink", [RED, BLACK, GREEN])
def test_a_green_line_in_a_white_box_at_the_corner_is_the_bar_of_words_of_any_ink(ink):
    [bar] = find_graphics(draw_corner_box("20 µm", ink, top=420)).bars

    assert (bar.um, bar.line_px) == (20.0, pytest.approx(110, abs=1))


@pytest.mark.parametrize("frame", [None, BLACK])
@pytest.mark.parametrize("ink", [RED, BLACK])
def test_words_that_are_larger_than_the_box_of_their_bar_are_read(ink, frame):
    [bar] = find_graphics(draw_corner_box("200 nm", ink, top=440, frame=frame)).bars

    assert (bar.um, bar.line_px) == (0.2, pytest.approx(110, abs=1))


def test_a_side_of_the_box_around_a_bar_is_not_measured_in_its_place():
    pixels = draw_corner_box("20 µm", GREEN, top=440, frame=BLACK)
    pixels[455:470, 60:64] = WHITE  # the bar itself is in two parts

    bars = find_graphics(pixels).bars

    assert [bar.line_px for bar in bars if bar.um is not None] == []
