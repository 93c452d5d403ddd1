"""A line is as long as its even ink, whatever nearly as bright follows it."""

from __future__ import annotations

import numpy as np
import pytest
from drawn.words import draw_steel, write

from agent.imaging.scale_bar.bars.even_ink import find_line_ends
from agent.imaging.scale_bar.bars.line import Line
from agent.imaging.scale_bar.bars.line_length import measure_length
from agent.imaging.scale_bar.detect import find_graphics

WHITE, BLACK, YELLOW = (255, 255, 255), (0, 0, 0), (255, 255, 0)


def build_line(core, *, ticks=(None, None)):
    """Build a plain line of full contrast."""
    long = float(core[2] - core[0])
    return Line(core, long, exact=False, contrast=150.0, core=core, ticks=ticks)


def put_grains(pixels, x0: int, rows: slice, tone: int, wide: int):
    """Put uneven grains of about a tone next to the right end of a line."""
    noise = np.random.default_rng(5).integers(-9, 10, (rows.stop - rows.start, wide))
    pixels[rows, x0 : x0 + wide] = (tone + noise)[:, :, None]
    return pixels


@pytest.mark.parametrize(("ink", "grain"), [(WHITE, 190), (BLACK, 60), (YELLOW, 235)])
def test_a_grain_nearly_of_the_ink_does_not_lengthen_a_line(ink, grain):
    pixels = put_grains(draw_steel(), 300, slice(396, 410), grain, 9)
    pixels[400:406, 200:300] = ink

    ends = find_line_ends(pixels, build_line((200, 400, 306, 406)))

    assert ends == pytest.approx((200, 300), abs=0.5)


def test_a_coloured_bar_on_a_white_grain_states_the_length_of_its_colour():
    pixels = put_grains(draw_steel(low=60, high=90), 380, slice(430, 452), 240, 7)
    pixels[438:445, 220:380] = YELLOW

    [bar] = find_graphics(write(pixels, "15 µm", (300, 418), YELLOW)).bars

    assert (bar.um, bar.line_px) == (15.0, pytest.approx(160, abs=1))


def test_a_grain_of_just_the_ink_leaves_an_end_open():
    pixels = draw_steel()
    pixels[400:416, 200:300] = WHITE
    pixels[403:414, 300:308] = WHITE

    assert find_line_ends(pixels, build_line((200, 400, 308, 416))) is None


def test_ink_that_is_uneven_is_not_measured():
    pixels = draw_steel()
    noise = np.random.default_rng(2).integers(-60, 60, (6, 100, 1))
    pixels[400:406, 200:300] = np.clip(195 + noise, 0, 255)

    assert find_line_ends(pixels, build_line((200, 400, 300, 406))) is None


def test_ticks_at_the_ends_of_even_ink_are_ticks_and_a_stroke_beyond_it_is_none():
    pixels = draw_steel()
    pixels[400:402, 200:300] = WHITE
    tick, stroke = (299, 299, 392, 410), (303, 303, 392, 410)

    with_tick = build_line((200, 400, 300, 402), ticks=(None, tick))
    with_stroke = build_line((200, 400, 304, 402), ticks=(None, stroke))

    assert find_line_ends(pixels, with_tick) is None
    assert find_line_ends(pixels, with_stroke) == pytest.approx((200, 300), abs=0.5)


def test_a_line_of_which_one_tick_was_seen_is_as_long_as_with_one_or_with_two_within_half_a_tick():
    line = build_line((200, 400, 300, 402), ticks=(None, (299, 298, 392, 410)))

    assert measure_length(draw_steel(), line) == 99.0


def test_a_colour_that_compression_pales_near_an_end_is_the_line_still():
    pixels = draw_steel(low=10, high=40)
    pixels[400:402, 200:300] = YELLOW
    pixels[400:402, 200:204] = (240, 235, 90)

    assert find_line_ends(pixels, build_line((200, 400, 300, 402))) is None
