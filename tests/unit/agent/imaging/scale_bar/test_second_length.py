"""A bar whose length a second measurement does not confirm states none."""

from __future__ import annotations

import cv2
import pytest
from drawn.words import draw_steel, write

from agent.imaging.scale_bar.bars.line import FoundBar
from agent.imaging.scale_bar.bars.second_length import has_other_length, measure_by_convention
from agent.imaging.scale_bar.detect import find_graphics

WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def bar(x0, x1, line_px, *, y0=430, y1=436, kind="plain"):
    return FoundBar((x0, y0, x1, y1), None, line_px, "20 µm", 20.0, 150.0, WHITE, kind)


@pytest.fixture
def steel():
    """Draw a line from 200 to 400 on steel."""
    pixels = draw_steel()
    pixels[430:436, 200:400] = WHITE
    return pixels


def test_a_line_is_as_long_as_its_ink(steel):
    assert not has_other_length(steel, bar(200, 400, 200.0))


@pytest.mark.parametrize(("x0", "x1"), [(200, 350), (250, 400), (204, 400), (200, 406)])
def test_a_part_of_a_line_and_a_line_with_something_at_its_end_are_no_bar(steel, x0, x1):
    assert has_other_length(steel, bar(x0, x1, float(x1 - x0)))


def test_a_grain_as_light_as_the_line_at_its_end_leaves_no_end(steel):
    cv2.circle(steel, (408, 433), 12, WHITE, -1)

    assert has_other_length(steel, bar(200, 400, 200.0))


def test_a_grain_that_is_nearly_as_light_as_the_line_and_thicker_is_not_it(steel):
    steel[420:446, 400:420] = 235

    assert not has_other_length(steel, bar(200, 400, 200.0))


@pytest.mark.parametrize(("line_px", "differs"), [(198.0, False), (189.0, True)])
def test_ticks_are_measured_between_their_middles(line_px, differs):
    pixels = draw_steel()
    pixels[430:432, 200:400] = WHITE
    pixels[420:442, 200:202] = pixels[420:442, 398:400] = WHITE
    ticked = bar(200, 400, line_px, y0=420, y1=442, kind="caps")

    assert has_other_length(pixels, ticked) is differs


def test_the_paper_of_a_bar_with_ticks_is_that_between_them():
    pixels = draw_steel()
    pixels[415:447, 190:410] = WHITE
    pixels[430:432, 200:400] = BLACK
    pixels[418:444, 200:202] = pixels[418:444, 398:400] = BLACK

    assert not has_other_length(pixels, bar(200, 400, 198.0, y0=418, y1=444, kind="caps"))


@pytest.mark.parametrize(("line_px", "differs"), [(198.0, False), (194.0, True)])
def test_ticks_of_whole_ink_end_a_line_that_is_half_paper(line_px, differs):
    pixels = draw_steel()
    pixels[410:452, 180:420] = WHITE
    pixels[430, 200:400] = (128, 128, 128)
    pixels[424:437, 200:202] = pixels[424:437, 398:400] = BLACK
    ticked = bar(200, 400, line_px, y0=424, y1=437, kind="caps")

    assert has_other_length(pixels, ticked) is differs


def test_carbides_as_light_as_a_line_shorten_it_nowhere():
    """Grains along all of a line hide its sides, so that less of it stands out."""
    pixels = draw_steel(low=60, high=110)
    pixels[430:436, 200:400] = WHITE
    for x, y in ((330, 426), (352, 440), (371, 427), (395, 441)):
        cv2.ellipse(pixels, (x, y), (14, 7), 0, 0, 360, (246, 246, 246), -1)

    bars = find_graphics(write(pixels, "20 µm", (270, 408), WHITE)).bars

    assert [round(bar.line_px) for bar in bars if bar.um is not None] in ([], [200])


def test_a_glow_that_differs_more_from_steel_than_its_line_is_not_the_line():
    pixels = draw_steel()
    pixels[416:450, 190:410] = cv2.GaussianBlur(pixels, (0, 0), 1)[416:450, 190:410] // 2 + 100
    pixels[425:441, 195:405] = WHITE
    pixels[430:436, 200:400] = pixels[427:439, 200:206] = pixels[427:439, 394:400] = BLACK
    ruled = FoundBar((200, 427, 400, 439), None, 194.0, "20 µm", 20.0, 200.0, BLACK, "caps")

    assert not has_other_length(pixels, ruled)


@pytest.mark.parametrize(
    ("long", "thick", "line_px"), [(200, 2, 198.0), (134, 4, 132.0), (100, 4, None)]
)
def test_a_length_is_within_two_per_cent_of_both_conventions_for_ticks_or_not_known(
    long, thick, line_px
):
    pixels = draw_steel()
    pixels[430:432, 200 : 200 + long] = WHITE
    for x in (200, 200 + long - thick):
        pixels[420:442, x : x + thick] = WHITE
    ticked = bar(200, 200 + long, float(long - thick), y0=420, y1=442, kind="caps")

    assert measure_by_convention(pixels, ticked) == line_px


@pytest.mark.parametrize(("words_x", "line_px"), [(201, 60.0), (190, 61.0)])
def test_the_middles_of_ticks_count_where_the_words_begin_at_one_as_those_of_zeiss(
    words_x, line_px
):
    pixels = draw_steel()
    pixels[390:450, 180:400] = WHITE
    pixels[430:432, 200:262] = BLACK
    pixels[418:444, 200:202] = pixels[418:444, 260:262] = BLACK
    for x in range(words_x, words_x + 70, 7):
        pixels[398:412, x : x + 5] = BLACK
    ticked = bar(200, 262, 60.0, y0=418, y1=444, kind="caps")

    assert measure_by_convention(pixels, ticked) == line_px
