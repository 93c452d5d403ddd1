"""A bar that stands upright is read, whether its words stand too or are next to it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from drawn.words import draw_steel, write

from agent.imaging.scale_bar.detect import find_graphics

WHITE, BLACK = (255, 255, 255), (0, 0, 0)


@pytest.mark.parametrize("turns", [1, -1])
def test_a_bar_that_is_turned_with_its_words_is_read(turns):
    level = draw_steel()
    level[430:436, 240:400] = WHITE
    turned = np.ascontiguousarray(np.rot90(write(level, "20 µm", (320, 460), WHITE), turns))

    [bar] = find_graphics(turned).bars

    x0, y0, x1, y1 = bar.line
    assert (bar.um, bar.line_px, bar.kind) == (20.0, pytest.approx(160, abs=1), "upright")
    assert (x1 - x0, y1 - y0) == (6, pytest.approx(160, abs=2))
    assert (turned[y0:y1, x0:x1] == WHITE).mean() > 0.95


@pytest.mark.parametrize("has_ticks", [False, True])
def test_a_bar_that_stands_next_to_level_words_is_read(has_ticks):
    pixels = draw_steel()
    pixels[200:420, 30:130] = WHITE
    pixels[240:400, 44:48] = BLACK
    if has_ticks:
        pixels[240:244, 38:54] = pixels[396:400, 38:54] = BLACK
    long = 158 if has_ticks else 160  # half-way to their outer ends

    [bar] = find_graphics(write(pixels, "20 µm", (88, 320), BLACK)).bars

    assert (bar.um, bar.line_px) == (20.0, pytest.approx(long, abs=1))


def test_an_upright_line_without_words_is_no_bar():
    pixels = draw_steel()
    pixels[240:400, 44:48] = BLACK

    assert [bar.um for bar in find_graphics(pixels).bars if bar.um is not None] == []


def test_a_bar_with_thick_ticks_is_read():
    pixels = draw_steel()
    pixels[140:420, 130:250] = WHITE
    pixels[168:390, 152:160] = pixels[160:168, 136:176] = pixels[390:398, 136:176] = BLACK

    [bar] = find_graphics(write(pixels, "20 µm", (212, 279), BLACK)).bars

    assert (bar.um, bar.line_px) == (20.0, pytest.approx(234, abs=1))


def test_a_bar_thinner_than_two_pixels_of_a_reduced_picture_is_read():
    pixels = cv2.resize(draw_steel(), None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    pixels[400:840, 60:260] = WHITE
    pixels[480:800, 88:91] = pixels[480:483, 76:103] = pixels[797:800, 76:103] = BLACK
    pixels = write(pixels, "20 µm", (176, 640), BLACK, size=44)

    [bar] = find_graphics(
        cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    ).bars

    assert (bar.um, bar.line_px) == (20.0, pytest.approx(158.5, abs=1))


def test_an_outline_does_not_lengthen_an_upright_bar():
    pixels = draw_steel() + 70
    pixels[196:364, 146:164] = BLACK
    pixels[200:360, 150:160] = WHITE

    [bar] = find_graphics(write(pixels, "20 µm", (88, 280), WHITE, size=30, outline=BLACK)).bars

    assert (bar.um, bar.line_px) == (20.0, pytest.approx(160, abs=1))


def test_an_upright_ruler_is_read_between_its_outer_ticks():
    pixels = draw_steel()
    pixels[200:420, 130:250] = WHITE
    pixels[229:392, 150:154] = BLACK
    for number, y in enumerate(range(230, 391, 16)):
        pixels[y - 1 : y + 2, 154 : 174 if number % 5 == 0 else 164] = BLACK

    [bar] = find_graphics(write(pixels, "20 µm", (212, 310), BLACK)).bars

    assert (bar.um, bar.line_px) == (20.0, pytest.approx(161.5, abs=1))


def test_an_upright_bar_that_ends_in_a_grain_of_its_ink_states_nothing():
    pixels = draw_steel()
    pixels[200:360, 150:160] = WHITE
    cv2.circle(pixels, (155, 194), 9, WHITE, -1)

    bars = find_graphics(write(pixels, "20 µm", (218, 280), WHITE, size=30)).bars

    assert [bar.um for bar in bars if bar.um is not None] == []


def test_an_upright_bar_of_a_scale_that_no_micrograph_has_states_nothing():
    pixels = draw_steel()
    pixels[200:420, 30:130] = WHITE
    pixels[240:400, 44:48] = BLACK

    bars = find_graphics(write(pixels, "250 mm", (88, 320), BLACK, size=22)).bars

    assert [bar.um for bar in bars if bar.um is not None] == []


def test_a_tick_of_an_upright_bar_is_not_the_bar_of_the_words_above_it():
    pixels = draw_steel()
    pixels[150:420, 130:270] = WHITE
    pixels[220:400, 198:202] = pixels[220:224, 184:216] = pixels[396:400, 184:216] = BLACK

    [bar] = find_graphics(write(pixels, "20 µm", (200, 190), BLACK, size=28)).bars

    assert (bar.um, bar.line_px) == (20.0, pytest.approx(178, abs=1))


def test_a_standing_ruler_without_a_line_is_read_between_its_outer_ticks():
    pixels = draw_steel()
    pixels[200:420, 130:290] = WHITE
    for number, y in enumerate(range(230, 391, 16)):
        pixels[y - 2 : y + 2, 150 : 176 if number % 5 == 0 else 164] = BLACK

    [bar] = find_graphics(write(pixels, "20 µm", (232, 310), BLACK, size=28)).bars

    assert (bar.um, bar.line_px) == (20.0, pytest.approx(162, abs=1))


def test_an_arrow_that_stands_is_read_from_tip_to_tip():
    pixels = draw_steel()
    pixels[200:420, 130:290] = WHITE
    pixels[236:385, 159:162] = BLACK
    for tip, back in ((230, 244), (390, 376)):
        cv2.fillPoly(pixels, [np.array([(160, tip), (151, back), (169, back)])], BLACK)

    [bar] = find_graphics(write(pixels, "20 µm", (232, 310), BLACK, size=28)).bars

    assert (bar.um, bar.line_px) == (20.0, pytest.approx(160, abs=2))


def test_the_shadow_of_an_upright_bar_is_not_the_bar():
    pixels = draw_steel()
    pixels[202:362, 163:165] = BLACK
    pixels[200:360, 148:163] = WHITE

    bars = find_graphics(write(pixels, "20 µm", (232, 280), WHITE, size=30)).bars

    assert [bar.line_px for bar in bars if bar.um is not None] == [pytest.approx(160, abs=1)]
