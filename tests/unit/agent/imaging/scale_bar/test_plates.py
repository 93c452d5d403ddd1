"""Words on a plate are found wherever it is, and texture has no plates."""

from __future__ import annotations

import numpy as np
import pytest
from drawn.words import draw_arrow, draw_steel, write

from agent.imaging.scale_bar.bars.planes import compute_planes
from agent.imaging.scale_bar.bars.plates import iter_plate_rows
from agent.imaging.scale_bar.detect import find_graphics

WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def draw_grains(seed: int = 3) -> np.ndarray:
    """Return coarse grains of black and white, (480, 640, 3) uint8."""
    grey = draw_steel(seed, 0, 255)[:, :, 0].astype(int)
    tone = np.clip((grey - 128) * 4 + 128, 0, 255)
    noise = np.random.default_rng(seed).integers(-20, 20, tone.shape)
    return np.repeat(np.clip(tone + noise, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


@pytest.mark.parametrize("paper", [WHITE, BLACK, (255, 235, 60), (205, 205, 205)])
def test_a_row_of_letters_on_a_plate_in_the_middle_of_the_picture_is_found(paper):
    pixels = draw_grains()
    pixels[200:250, 250:390] = paper
    ink = WHITE if paper == BLACK else BLACK
    pixels = write(pixels, "50 µm", (320, 225), ink)

    [(x0, y0, x1, y1)] = iter_plate_rows(compute_planes(pixels))

    assert 250 < x0 < 300
    assert 340 < x1 < 390
    assert 200 < y0 < 225 < y1 < 250


def test_texture_has_no_rows_of_letters_on_plates():
    for pixels in (draw_steel(), draw_grains(), np.full((480, 640, 3), 90, np.uint8)):
        assert list(iter_plate_rows(compute_planes(pixels))) == []


def test_an_upright_bar_on_a_plate_in_the_middle_is_read():
    pixels = draw_grains()
    pixels[170:330, 240:400] = WHITE
    pixels[190:310, 370:378] = BLACK

    [bar] = find_graphics(write(pixels, "100 µm", (305, 250), BLACK)).bars

    assert (bar.um, bar.line_px) == (100.0, pytest.approx(120, abs=1))


def test_an_arrow_on_a_plate_in_the_middle_is_read():
    pixels = draw_grains()
    pixels[190:300, 220:420] = BLACK
    pixels = draw_arrow(pixels, 250, 390, 275, 8)

    [bar] = find_graphics(write(pixels, "7 µm", (320, 230), WHITE, size=30)).bars

    assert (bar.um, bar.line_px) == (7.0, pytest.approx(140, abs=2))
