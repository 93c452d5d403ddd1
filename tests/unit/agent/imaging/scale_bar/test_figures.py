"""The bar of a label is found by its figure where it is no line: arrows, dashes, upright lines."""

from __future__ import annotations

from dataclasses import replace

import pytest
from drawn.words import draw_arrow, draw_steel, write

from agent.imaging.scale_bar.bars.line import FoundBar, Line, join_dashes
from agent.imaging.scale_bar.detect import _remeasure, find_graphics
from agent.imaging.scale_bar.doubts import ends_in_texture

WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def build_bar(line, label_box, um, *, ink):
    """Build a plain bar as it is before it is measured again."""
    return FoundBar(
        line=line,
        label_box=label_box,
        line_px=float(line[2] - line[0]),
        label=f"{um:g} µm",
        um=um,
        contrast=150.0,
        ink=ink,
        kind="plain",
    )


@pytest.mark.parametrize(("x0", "x1"), [(250, 390), (100, 330), (421, 525)])
def test_an_arrow_is_measured_from_tip_to_tip(x0, x1):
    pixels = draw_steel()
    pixels[390:470, x0 - 20 : x1 + 20] = BLACK
    pixels = draw_arrow(pixels, x0, x1, 450, 8)

    [bar] = find_graphics(write(pixels, "20 µm", ((x0 + x1) // 2, 418), WHITE, size=36)).bars

    assert bar.um == 20.0
    assert bar.line_px == pytest.approx(x1 - x0, rel=0.02)


@pytest.mark.parametrize("side", [6, 9])
def test_squares_in_a_row_are_the_dashes_of_one_bar(side):
    pixels = draw_steel()
    pixels[385:475, 180:460] = (30, 30, 30)
    starts_x = range(260, 260 + 10 * side, 2 * side)
    for x in starts_x:
        pixels[455 : 455 + side, x : x + side] = WHITE

    [bar] = find_graphics(write(pixels, "5 µm", (320, 420), WHITE, size=36)).bars

    assert bar.um == 5.0
    assert bar.line_px == pytest.approx(9 * side, abs=1)


@pytest.mark.parametrize(("drawn", "count"), [(4, 1), (5, 4)])
def test_dashes_are_not_joined_where_one_more_was_not_found(drawn, count):
    pixels = draw_steel()
    cores = [(100 + 50 * place, 200, 125 + 50 * place, 214) for place in range(drawn)]
    for x0, y0, x1, y1 in cores:
        pixels[y0:y1, x0:x1] = BLACK
    lines = [Line(core, 25.0, exact=True, contrast=110.0, core=core) for core in cores[:4]]

    assert len(join_dashes(lines, pixels)) == count


@pytest.mark.parametrize(("x", "words_x"), [(230, 320), (410, 320)])
def test_an_upright_line_is_measured_from_top_to_foot(x, words_x):
    pixels = draw_steel()
    pixels[280:470, 200:450] = BLACK
    pixels[300:450, x : x + 6] = WHITE

    [bar] = find_graphics(write(pixels, "25 µm", (words_x, 375), WHITE, size=36)).bars

    assert (bar.um, bar.line_px) == (25.0, pytest.approx(150, abs=1))


def test_two_uprights_of_different_lengths_state_nothing():
    pixels = draw_steel()
    pixels[280:470, 200:450] = BLACK
    pixels[300:450, 230:236] = pixels[330:430, 410:416] = WHITE

    bars = find_graphics(write(pixels, "25 µm", (320, 375), WHITE, size=36)).bars

    assert [bar.um for bar in bars if bar.um is not None] == []


def test_words_in_the_middle_of_the_picture_are_read():
    pixels = draw_steel()
    pixels[190:280, 180:460] = BLACK
    pixels = draw_arrow(pixels, 250, 390, 260, 8)

    [bar] = find_graphics(write(pixels, "20 µm", (320, 225), WHITE, size=36)).bars

    assert (bar.um, bar.line_px) == (20.0, pytest.approx(140, abs=2))


def test_a_grain_at_an_end_of_a_figure_leaves_it_unread():
    pixels = draw_steel()
    pixels[440:456, 270:360] = WHITE
    pixels[442:452, 360:369] = WHITE

    bars = find_graphics(write(pixels, "200 nm", (318, 418), WHITE)).bars

    assert [bar.line_px for bar in bars if bar.um is not None and bar.line_px > 92] == []


def test_a_figure_in_another_ink_than_its_shaft_is_no_arrow():
    pixels = draw_steel()
    pixels[436:443, 255:385] = BLACK
    pixels[438:441, 261:379] = (255, 255, 0)
    pixels = write(pixels, "500 µm", (320, 410), BLACK, size=28)
    bar = build_bar((261, 438, 379, 441), (272, 397, 369, 424), 500.0, ink=(255.0, 255.0, 0.0))

    measured = _remeasure(pixels, bar)

    assert (measured.um, measured.in_doubt) == (None, True)


def test_a_grain_that_goes_on_from_a_thick_bar_leaves_it_without_a_length():
    pixels = draw_steel()
    pixels[400:418, 200:450] = 230
    bar = build_bar((200, 400, 450, 418), (270, 430, 380, 460), 15.0, ink=(230.0, 230.0, 230.0))
    assert not ends_in_texture(pixels, bar)

    pixels[396:414, 450:457] = 196
    longer = replace(bar, line=(200, 400, 457, 418), line_px=257.0)

    assert ends_in_texture(pixels, longer)


def test_an_arrow_that_texture_half_as_bright_touches_is_measured_from_tip_to_tip():
    pixels = draw_steel(low=60, high=100)
    pixels[436:449, 262:282] = pixels[452:474, 370:384] = 180
    pixels = draw_arrow(pixels, 250, 390, 450, 9)

    [bar] = find_graphics(write(pixels, "20 µm", (320, 412), WHITE, size=30)).bars

    assert (bar.um, bar.line_px) == (20.0, pytest.approx(140, abs=2))


def test_an_upright_line_that_a_dark_grain_touches_is_measured_from_top_to_foot():
    pixels = draw_steel(low=130, high=170)
    pixels[340:380, 236:250] = 50
    pixels[300:450, 230:236] = BLACK

    [bar] = find_graphics(write(pixels, "25 µm", (320, 375), BLACK, size=30)).bars

    assert (bar.um, bar.line_px) == (25.0, pytest.approx(150, abs=1))
