"""Outlines, shadows and grains next to a bar do not change its length, and cost no reading."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from drawn.graphics import font, fonts
from drawn.words import draw_steel, write
from PIL import Image, ImageDraw

from agent.imaging.scale_bar.bars.candidates import find_candidates, is_convincing
from agent.imaging.scale_bar.bars.chequered import measure_chequered
from agent.imaging.scale_bar.bars.line import FoundBar, Line
from agent.imaging.scale_bar.bars.lines import find_lines
from agent.imaging.scale_bar.bars.planes import compute_planes
from agent.imaging.scale_bar.detect import find_graphics
from agent.imaging.scale_bar.doubts import has_hidden_end
from agent.imaging.scale_bar.labels.bar_label import is_aligned
from agent.imaging.scale_bar.labels.lengths import has_more_digits, may_lack_digit
from agent.imaging.scale_bar.labels.letters import has_ink_before
from agent.imaging.scale_bar.labels.ocr import contradicts_length, read_lengths

WHITE, BLACK, YELLOW = (255, 255, 255), (0, 0, 0), (255, 255, 0)


def outline(pixels, shape, ink, edge):
    """Draw a mask of a shape with an outline of one pixel."""
    wide = cv2.dilate(shape, np.ones((3, 3), np.uint8))
    pixels[wide > 0] = edge
    pixels[shape > 0] = ink
    return pixels


def only_lines(pixels, least_px=80):
    lines = find_candidates(pixels, compute_planes(pixels), None)
    return [line for line in lines if line.width >= least_px]


@pytest.mark.parametrize(("ink", "shadow"), [(YELLOW, BLACK), (WHITE, BLACK), (BLACK, WHITE)])
def test_a_shadow_is_not_measured_in_place_of_its_line(ink, shadow):
    pixels = draw_steel(1)
    pixels[432:434, 63:220] = shadow
    pixels[430:432, 60:220] = ink

    [line] = only_lines(pixels)

    assert line.box[:3] == (60, 430, 220)


def test_paler_rows_in_a_bar_end_no_reading():
    pixels = np.full((300, 400, 3), 255, np.uint8)
    pixels[200:209, 100:220] = 0
    pixels[204, 100:220] = 75
    pixels[208, 100:220] = 56

    bars = find_graphics(write(pixels, "20 µm", (160, 240), BLACK)).bars

    assert [(bar.um, round(bar.line_px)) for bar in bars] in ([], [(20.0, 120)])


def test_a_line_with_a_shadow_states_its_length():
    pixels = draw_steel(2)
    pixels[432:434, 63:220] = BLACK
    pixels[430:432, 60:220] = YELLOW

    [bar] = find_graphics(write(pixels, "20 µm", (140, 458), YELLOW, shadow=BLACK)).bars

    assert (bar.um, round(bar.line_px)) == (20.0, 160)


def test_the_inner_side_of_an_outline_is_not_measured_in_place_of_its_ruler():
    shape = np.zeros((480, 640), np.uint8)
    shape[430:433, 60:220] = shape[430:440, 60:63] = shape[430:440, 217:220] = 1

    lines = only_lines(outline(draw_steel(3), shape, BLACK, WHITE))

    assert {round(line.line_px) for line in lines} == {157}


def test_a_bar_with_rounded_ends_and_an_outline_states_its_whole_length():
    shape = np.zeros((480, 640), np.uint8)
    shape[430:438, 60:160] = 1
    for step, out in enumerate((3, 1, 1)):
        for rows in ((430 + step, 431 + step), (437 - step, 438 - step)):
            shape[slice(*rows), 60 : 60 + out] = shape[slice(*rows), 160 - out : 160] = 0
    pixels = outline(draw_steel(4), shape, WHITE, BLACK)

    [bar] = find_graphics(write(pixels, "20 µm", (110, 462), WHITE, shadow=BLACK)).bars

    assert (bar.um, round(bar.line_px)) == (20.0, 100)


def test_ink_is_found_among_grains_that_are_nearly_as_dark():
    plane = np.full((480, 640), 120, np.uint8)
    plane[424:436, 70:110] = plane[426:440, 150:170] = 230
    plane[430:433, 60:220] = 255

    assert any(line.box == (60, 430, 220, 433) for line in find_lines([plane], 0))


def test_a_row_that_lost_half_of_the_ink_does_not_make_a_line_thicker():
    """Such a row next to an outline hides the outline, and one of two rows pales its ink."""
    plane = np.full((480, 640), 90, np.uint8)
    plane[430:433, 60:220] = 255
    plane[429, 60:220] = plane[433, 60:220] = 150

    lines = [line for line in find_lines([plane], 0) if line.width > 100]

    assert {line.box for line in lines} == {(60, 430, 220, 433)}


def test_a_grain_at_a_tick_does_not_make_a_bar_the_side_of_a_box():
    plane = np.full((480, 640), 90, np.uint8)
    plane[440:452, 215:222] = 215
    plane[430:433, 60:220] = plane[430:440, 60:62] = plane[430:440, 218:220] = 255

    lines = [line for line in find_lines([plane], 0) if line.width > 100]

    assert [line.kind for line in lines if not line.framed] == ["ruler"] * len(lines) != []


def test_ink_that_is_exact_does_not_end_in_a_grain_that_is_only_nearly_as_dark():
    pixels = np.full((200, 400, 3), 150, np.uint8)
    pixels[80:120, 280:320] = 50
    pixels[100:106, 50:300] = 0
    bar = FoundBar((50, 100, 300, 106), (150, 120, 200, 140), 250.0, "50 µm", 50.0, 150.0, BLACK)

    assert not has_hidden_end(pixels, bar)
    pixels[80:120, 280:320] = 10
    assert has_hidden_end(pixels, bar)


def test_cells_that_are_not_equal_are_no_measured_bar():
    plane = np.full((480, 640), 80, np.uint8)
    cv2.rectangle(plane, (60, 430), (159, 439), 255, -1)
    cv2.rectangle(plane, (160, 430), (259, 439), 255, 1)

    whole = measure_chequered(plane, (60, 430, 240, 440), 0)
    plane[425:445, 246:] = 80
    plane[430:440, 245] = 255  # the side of a cell that texture hides and a grain replaces
    part = measure_chequered(plane, (60, 430, 240, 440), 0)

    assert whole is not None
    assert whole.line_px == pytest.approx(200, abs=1)
    assert part is None


def test_a_coloured_line_convinces_though_compression_makes_it_uneven():
    line = Line((20, 590, 240, 593), 220.0, exact=False, contrast=134.0, crisp=0.97, rank=4.7,
                even=0.3, plane=2)  # fmt: skip

    assert is_convincing(line)


@pytest.mark.parametrize(
    ("words", "aligned"),
    [((100, 0, 200, 20), True), ((50, 0, 120, 20), True), ((180, 0, 250, 20), True),
     ((70, 0, 150, 20), False)],
)  # fmt: skip
def test_words_are_aligned_in_the_middle_or_at_an_end(words, aligned):
    assert is_aligned((50, 30, 250, 34), words) is aligned


def test_only_some_usual_numbers_may_have_lost_a_digit():
    assert [may_lack_digit(number) for number in (5, 50, 500, 1, 2, 20, 400)] == [
        True, True, True, False, True, True, False,
    ]  # fmt: skip
    assert has_more_digits("1400 nm", 400)
    assert not has_more_digits("400.0 nm", 400)


def test_a_digit_before_words_is_read_twice_also_where_the_number_is_no_usual_one():
    image = Image.new("RGB", (160, 60), "white")
    ImageDraw.Draw(image).text((30, 15), "120 µm", fill="black", font=font(fonts()[0], 26))
    picture = np.array(image)
    columns = np.flatnonzero((picture < 128).any(axis=(0, 2)))
    second = int(columns[np.flatnonzero(np.diff(columns) > 1)[0] + 1])
    box = (second - 1, 17, int(columns[-1]) + 1, 45)

    assert contradicts_length(picture, box, 20.0, number=20, left=0)


def test_words_with_nothing_of_their_ink_before_them_need_no_other_reading():
    pixels = write(np.full((60, 300, 3), 90, np.uint8), "20 µm", (150, 30), WHITE)

    assert not has_ink_before(pixels, (112, 18, 190, 42), np.array(WHITE), 0)
    assert has_ink_before(pixels, (130, 18, 190, 42), np.array(WHITE), 0)


def test_a_reading_without_its_unit_keeps_the_number_it_states():
    image = Image.new("RGB", (160, 60), "white")
    ImageDraw.Draw(image).text((30, 15), "20 m", fill="black", font=font(fonts()[0], 26))

    [length] = read_lengths([np.array(image)], (25, 10, 125, 48))

    assert (length.um, length.number) == (None, 20.0)
