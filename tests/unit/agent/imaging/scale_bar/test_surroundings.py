"""A bar of an inset, a part of a bar, and one that its plate covers in part state no length."""

from __future__ import annotations

import cv2
import pytest
from drawn.words import draw_steel, write

from agent.imaging.scale_bar.bars.line import FoundBar
from agent.imaging.scale_bar.bars.surroundings import (
    is_in_inset,
    is_part_of_figure,
    is_partly_covered,
)
from agent.imaging.scale_bar.detect import find_graphics

WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def list_stated(pixels):
    """Return lengths in µm and in pixels of the bars that state one."""
    return [
        (bar.um, round(bar.line_px)) for bar in find_graphics(pixels).bars if bar.um is not None
    ]


def draw_labelled(pixels, x0, x1, y, ink):
    """Draw a bar 5 pixels thick with `20 µm` above its middle."""
    pixels[y : y + 5, x0:x1] = ink
    return write(pixels, "20 µm", ((x0 + x1) // 2, y - 18), ink)


def compress(pixels, quality):
    """Return a picture as a JPEG file keeps it."""
    _, packed = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(packed, cv2.IMREAD_COLOR)[:, :, ::-1].copy()


@pytest.mark.parametrize("thick", [1, 3])
def test_the_bar_of_a_framed_inset_is_not_that_of_the_micrograph(thick):
    pixels = draw_labelled(draw_steel(), 50, 150, 200, WHITE)
    assert list_stated(pixels) == [(20.0, 100)]

    cv2.rectangle(pixels, (20, 20), (300, 220), WHITE, thick)

    assert list_stated(pixels) == []
    assert list_stated(compress(pixels, 85)) == []


def test_a_frame_around_the_plate_of_a_bar_or_around_the_picture_is_no_inset():
    pixels = draw_steel()
    pixels[400:470, 440:620] = BLACK
    cv2.rectangle(pixels, (440, 400), (619, 469), WHITE, 1)
    cv2.rectangle(pixels, (1, 1), (638, 478), WHITE, 2)

    assert list_stated(draw_labelled(pixels, 460, 600, 450, WHITE)) == [(20.0, 140)]


def test_a_framed_band_with_a_low_bar_is_no_inset():
    pixels = draw_steel()
    pixels[450:480] = WHITE
    cv2.rectangle(pixels, (0, 450), (639, 479), BLACK, 1)
    pixels[462:464, 80:180] = BLACK
    pixels[458:468, [80, 179]] = BLACK

    assert list_stated(write(pixels, "20 µm", (210, 463), BLACK, size=12)) == [(20.0, 99)]


def test_the_bar_of_the_micrograph_is_read_though_an_inset_has_one_too():
    pixels = draw_labelled(draw_steel(), 50, 150, 200, WHITE)
    cv2.rectangle(pixels, (20, 20), (300, 220), WHITE, 2)

    assert list_stated(draw_labelled(pixels, 400, 600, 450, WHITE)) == [(20.0, 200)]


@pytest.mark.parametrize("covered", ["left", "right"])
def test_a_bar_of_which_its_plates_colour_covers_a_part_states_nothing(covered):
    pixels = draw_steel()
    pixels[380:470, 380:620] = WHITE
    pixels = draw_labelled(pixels, 400, 600, 450, BLACK)
    assert list_stated(pixels) == [(20.0, 200)]

    columns = slice(400, 440) if covered == "left" else slice(560, 600)
    pixels[445:460, columns] = WHITE

    assert list_stated(pixels) == []
    assert list_stated(compress(pixels, 85)) == []


@pytest.mark.parametrize(
    ("words", "right", "is_covered"),
    [
        pytest.param((460, 420, 540, 440), 620, False, id="equal margins"),
        pytest.param((460, 420, 540, 440), 700, False, id="words over the bar, a wide plate"),
        pytest.param((400, 420, 480, 440), 700, False, id="words begin with the bar"),
        pytest.param((388, 440, 396, 460), 700, False, id="words next to the bar"),
        pytest.param((500, 420, 580, 440), 700, True, id="words in the middle of the plate"),
    ],
)
def test_only_words_in_the_middle_of_a_plate_show_that_it_covers_a_part_of_a_bar(
    words, right, is_covered
):
    pixels = cv2.resize(draw_steel(), (800, 480))
    pixels[380:470, 380:right] = WHITE
    pixels[450:455, 400:600] = BLACK
    bar = FoundBar((400, 450, 600, 455), words, 200.0, "20 µm", 20.0, 255.0, BLACK)

    assert is_partly_covered(pixels, bar) is is_covered
    assert not is_in_inset(pixels, bar)


@pytest.mark.parametrize("width", [60, 110, 190])
def test_a_bar_beside_or_under_its_words_on_a_plate_of_one_width_is_read(width):
    pixels = draw_steel()
    pixels[400:450, 330:620] = BLACK
    pixels = write(pixels, "20 µm", (375, 425), WHITE)
    pixels[422:427, 420 : 420 + width] = WHITE

    assert list_stated(pixels) == [(20.0, width)]


def test_a_cell_of_an_info_band_is_no_inset():
    pixels = cv2.resize(draw_steel(), (1024, 768))
    pixels[640:768] = BLACK
    for x0, x1 in ((0, 340), (340, 680), (680, 1023)):
        cv2.rectangle(pixels, (x0, 640), (x1, 767), WHITE, 2)
    pixels = write(pixels, "15.0 kV", (140, 710), WHITE)

    assert list_stated(draw_labelled(pixels, 760, 900, 718, WHITE)) == [(20.0, 140)]


@pytest.mark.parametrize(("cells", "is_part"), [(1, False), (2, True)])
def test_a_cell_whose_ink_goes_on_beyond_its_ticks_is_a_part_of_a_figure(cells, is_part):
    pixels = draw_steel()
    pixels[380:470, 200:500] = WHITE
    cv2.rectangle(pixels, (220, 400), (220 + 100 * cells, 430), BLACK, 2)
    pixels[415:430, 320 : 220 + 100 * cells] = BLACK
    line = (219, 399, 322, 432)
    bar = FoundBar(line, (230, 440, 310, 460), 101.0, "20 µm", 20.0, 255.0, BLACK, "caps")

    assert is_part_of_figure(pixels, bar) is is_part


def test_dark_steel_next_to_a_band_does_not_go_on_from_a_ruler_at_its_edge():
    pixels = draw_steel(low=10, high=60)
    pixels[400:480] = WHITE
    pixels[405:412, 200:500] = BLACK
    pixels[394:405, 200:500] = 120
    bar = FoundBar((200, 392, 500, 412), (440, 420, 499, 440), 298.0, "20 µm", 20.0, 255.0, BLACK,
                   "ruler")  # fmt: skip

    assert not is_part_of_figure(pixels, bar)


def test_a_band_with_other_words_covers_no_bar():
    pixels = draw_steel()
    pixels[400:480] = WHITE
    pixels = write(pixels, "15.0 kV  x500  SE", (120, 450), BLACK)

    assert list_stated(draw_labelled(pixels, 420, 600, 460, BLACK)) == [(20.0, 180)]
