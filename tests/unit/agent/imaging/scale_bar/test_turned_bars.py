"""A bar that stands upright is read, whether its words stand too or are next to it."""

from __future__ import annotations

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
    long = 156 if has_ticks else 160

    [bar] = find_graphics(write(pixels, "20 µm", (88, 320), BLACK)).bars

    assert (bar.um, bar.line_px) == (20.0, pytest.approx(long, abs=1))


def test_an_upright_line_without_words_is_no_bar():
    pixels = draw_steel()
    pixels[240:400, 44:48] = BLACK

    assert [bar.um for bar in find_graphics(pixels).bars if bar.um is not None] == []
