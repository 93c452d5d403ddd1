"""Two measurements or two readings that differ leave a bar without a length, or mend it."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from drawn.words import draw_arrow, draw_steel, write

from agent.imaging.scale_bar.bars.figures import find_figure
from agent.imaging.scale_bar.bars.filled_bars import find_blocks
from agent.imaging.scale_bar.bars.line import FoundBar, Line
from agent.imaging.scale_bar.bars.planes import compute_planes
from agent.imaging.scale_bar.bars.surroundings import is_row_of_texture
from agent.imaging.scale_bar.bars.tick_rulers import find_combs
from agent.imaging.scale_bar.detect import _is_better, find_graphics
from agent.imaging.scale_bar.doubts import (
    ends_in_texture,
    has_hidden_end,
    is_next_to_cell,
    is_off_its_words,
    is_outline,
    is_side_of_frame,
    reads_otherwise,
)
from agent.imaging.scale_bar.labels.bar_label import BarLabel, LabelledLine, choose_labelled
from agent.imaging.scale_bar.labels.lengths import Length
from agent.imaging.scale_bar.labels.ocr import adds_digit
from agent.imaging.scale_bar.matching import is_rim

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
NM_500 = Length(0.5, "500 nm", 0.0, 1.0, 500.0)


def build_bar(line, ink, *, kind="plain"):
    """Build a bar of 5 µm that is not a short one."""
    return FoundBar(
        line=line,
        label_box=(line[0], line[1] - 60, line[0] + 80, line[1] - 30),
        line_px=float(line[2] - line[0]),
        label="5 µm",
        um=5.0,
        contrast=180.0,
        ink=ink,
        kind=kind,
    )


def build_ruler(core):
    """Build a line with a tick 40 pixels high at both ends."""
    x0, _, x1, y1 = core
    ticks = ((x0, x0 + 1, y1 - 40, y1), (x1 - 1, x1 - 2, y1 - 40, y1))
    box = (x0, y1 - 40, x1, y1)
    return Line(
        box, float(x1 - x0), exact=True, contrast=200.0, kind="ruler", core=core, ticks=ticks
    )


def list_stated(pixels):
    """Return lengths in µm and in pixels of the bars that state one."""
    return [
        (bar.um, round(bar.line_px)) for bar in find_graphics(pixels).bars if bar.um is not None
    ]


@pytest.mark.parametrize(("words", "differs"), [("1.0 mm", True), ("10 mm", False)])
def test_a_point_that_is_lost_in_a_box_far_taller_than_its_words_is_read_in_their_rows(
    words, differs
):
    pixels = write(draw_steel(), words, (300, 420), WHITE)
    box = (250, 395, 360, 465)

    other = reads_otherwise(pixels, box, np.array(WHITE), um=10_000.0, number=10.0)

    assert other is differs


@pytest.mark.parametrize(("words", "more"), [("12 µm", True), (" 2 µm", False), ("92 µm", False)])
def test_a_usual_number_with_one_more_digit_is_clearly_read(words, more):
    pixels = write(np.full((60, 220, 3), 255, np.uint8), words, (100, 30), BLACK, size=26)
    columns = np.flatnonzero((pixels < 128).any(axis=(0, 2)))
    begins = columns[np.flatnonzero(np.diff(columns, prepend=-9) > 1)]
    left = int(begins[1 if words[0] != " " else 0])

    box = (left - 1, 18, int(columns[-1]) + 1, 46)

    assert adds_digit(pixels, box, number=2.0, left=0) is more


@pytest.mark.parametrize(("words", "differs"), [("5.0 mm", True), ("50 mm", False)])
def test_a_gap_between_digits_with_room_for_a_point_is_read_again(words, differs):
    pixels = write(draw_steel(), words, (300, 420), WHITE)
    box = (256, 409, 344, 431)

    other = reads_otherwise(pixels, box, np.array(WHITE), um=50_000.0, number=50.0)

    assert other is differs


def test_the_outline_of_a_bar_filled_with_the_ink_of_its_words_is_not_its_length():
    pixels = draw_steel(low=150, high=185)
    pixels[440:458, 270:350] = BLACK
    pixels[444:454, 274:346] = WHITE
    bar = build_bar((270, 440, 350, 458), BLACK, kind="hollow")

    assert is_outline(pixels, bar, np.array(WHITE))
    assert not is_outline(pixels, bar, np.array((20, 20, 20)))
    stated = list_stated(write(pixels, "0.5 µm", (310, 420), WHITE))
    assert [line_px for _, line_px in stated if line_px > 75] == []


def test_a_grain_across_one_end_hides_it_though_its_outermost_columns_are_narrow():
    pixels = draw_steel()
    pixels[400:420, 200:400] = WHITE
    assert not has_hidden_end(pixels, build_bar((200, 400, 400, 420), WHITE))

    cv2.ellipse(pixels, (202, 410), (14, 26), 0, 0, 360, WHITE, -1)

    assert has_hidden_end(pixels, build_bar((188, 400, 400, 420), WHITE))


def test_a_grain_across_a_line_that_goes_on_behind_it_hides_no_end():
    pixels = draw_steel()
    pixels[400:403, 200:400] = WHITE
    pixels[390:412, [200, 201, 398, 399]] = WHITE
    pixels[390:412, 208:216] = WHITE

    assert not has_hidden_end(pixels, build_bar((200, 400, 400, 403), WHITE))


def test_both_heads_of_an_arrow_hide_no_end():
    pixels = draw_steel()
    pixels[409:412, 200:400] = WHITE
    for tip, back in ((200, 216), (399, 383)):
        cv2.fillPoly(pixels, [np.array([(tip, 410), (back, 400), (back, 420)])], WHITE)

    assert not has_hidden_end(pixels, build_bar((200, 409, 400, 412), WHITE))


def test_three_columns_of_texture_at_an_end_of_a_thick_bar_are_not_its_ink():
    pixels = draw_steel(low=180, high=230)
    pixels[400:420, 300:380] = BLACK
    assert not ends_in_texture(pixels, build_bar((300, 400, 380, 420), BLACK))

    pixels[400:420, 297:300] = 90

    assert ends_in_texture(pixels, build_bar((297, 400, 380, 420), BLACK))


def test_the_part_of_a_plate_below_its_line_is_no_block_with_words():
    pixels = draw_steel()
    pixels[384:440, 200:440] = WHITE
    pixels = write(pixels, "5 µm", (320, 417), BLACK, size=24)
    [(block, _, length)] = find_blocks(pixels, compute_planes(pixels))
    assert (block, length.um) == ((200, 384, 440, 440), 5.0)

    pixels[390:396, 212:428] = BLACK

    assert list(find_blocks(pixels, compute_planes(pixels))) == []


def test_a_block_as_light_as_steel_is_nearly_ends_where_it_is_full():
    pixels = draw_steel(low=150, high=185)
    pixels[400:446, 240:440] = WHITE

    stated = list_stated(write(pixels, "20 µm", (340, 423), BLACK, size=28))

    assert stated == [(20.0, 200)]


def test_words_that_fill_most_of_a_block_do_not_end_it():
    pixels = draw_steel()
    pixels[380:470, 180:500] = BLACK
    pixels[396:448, 220:460] = WHITE

    stated = list_stated(write(pixels, "500 µm", (340, 422), BLACK, size=36, outline=BLACK))

    assert stated == [(500.0, 240)]


def test_a_side_of_a_plate_with_ticks_is_its_rim_and_a_ruler_on_it_is_not():
    pixels = draw_steel()
    pixels[360:440, 200:440] = BLACK
    pixels[400:440, [200, 201, 438, 439]] = pixels[438:440, 200:440] = WHITE
    words, paper = (290, 380, 350, 400), np.zeros(3)

    assert is_rim(pixels, build_ruler((200, 438, 440, 440)), words, paper)
    pixels[428:430, 220:420] = WHITE
    assert not is_rim(pixels, build_ruler((220, 428, 420, 430)), words, paper)


def test_texture_that_touches_a_blunt_end_does_not_lengthen_a_figure():
    pixels = np.full((480, 640, 3), 180, np.uint8)
    pixels[430:454, 270:362] = BLACK
    pixels[440:443, 362:366] = BLACK
    pixels[427:430, 300:303] = pixels[454:457, 330:333] = BLACK
    label = BarLabel((260, 390, 372, 412), NM_500, np.zeros(3), np.full(3, 180.0))

    figure = find_figure(pixels, label)

    assert figure is not None
    assert figure.length_px == pytest.approx(92, abs=1)


@pytest.mark.parametrize(("wide", "sure"), [(3, True), (6, False)])
def test_a_figure_is_measured_between_the_middles_of_its_ticks_unless_they_are_wide(wide, sure):
    pixels = np.full((480, 640, 3), 180, np.uint8)
    pixels[440:444, 270:400] = BLACK
    pixels[432:452, 270 : 270 + wide] = pixels[432:452, 400 - wide : 400] = BLACK
    label = BarLabel((270, 390, 390, 412), NM_500, np.zeros(3), np.full(3, 180.0))

    figure = find_figure(pixels, label)

    assert figure is not None
    assert (figure.length_px, figure.sure) == (pytest.approx(130 - wide, abs=0.5), sure)


@pytest.mark.parametrize("spur", [0, 3])
def test_texture_above_and_below_the_ends_of_a_line_is_no_figure_with_it(spur):
    pixels = np.full((480, 640, 3), 120, np.uint8)
    pixels[440:446, 270:350] = WHITE
    for y in (439, 446):  # between paper and ink
        pixels[y, 270 - spur : 290] = pixels[y, 330 : 350 + spur] = 200
    label = BarLabel((250, 400, 370, 425), NM_500, np.full(3, 255.0), np.full(3, 120.0))

    figure = find_figure(pixels, label)

    assert figure is not None
    assert figure.length_px == pytest.approx(80, abs=0.5)


def test_a_tick_of_a_figure_may_have_a_paled_outer_column():
    pixels = np.full((480, 640, 3), 180, np.uint8)
    pixels[441:443, 270:400] = BLACK
    pixels[432:452, [270, 399]] = BLACK
    pixels[438:446, [269, 400]] = BLACK
    label = BarLabel((270, 390, 390, 412), NM_500, np.zeros(3), np.full(3, 180.0))

    figure = find_figure(pixels, label)

    assert figure is not None
    assert figure.length_px == pytest.approx(130, abs=0.5)


def test_the_shaft_of_an_arrow_that_its_label_found_is_not_its_length():
    pixels = draw_steel()
    pixels[330:470, 60:440] = BLACK
    pixels = draw_arrow(pixels, 100, 400, 360, 16)

    stated = list_stated(write(pixels, "100 µm", (250, 430), WHITE, size=40))

    assert stated == [(100.0, 300)]


@pytest.mark.parametrize("rounded", [True, False])
def test_a_side_of_a_frame_around_words_is_no_bar_though_its_corners_are_rounded(rounded):
    pixels = draw_steel()
    pixels[380:440, 200:400] = WHITE
    cv2.rectangle(pixels, (208, 380), (391, 381), BLACK, -1)
    if rounded:
        for x, way in ((208, -1), (391, 1)):
            cv2.ellipse(pixels, (x, 394), (8, 14), 0, 270, 270 + 90 * way, BLACK, 2)
    cv2.rectangle(pixels, (208, 438), (391, 439), BLACK, -1)
    bar = replace(build_bar((208, 380, 392, 382), BLACK), label_box=(280, 400, 340, 420))

    assert is_side_of_frame(pixels, bar) is rounded


def test_the_outermost_tick_of_a_ruler_on_a_bright_needle_is_counted():
    pixels = draw_steel(low=40, high=80)
    cv2.line(pixels, (372, 460), (388, 428), (170, 170, 170), 7)
    for number in range(11):
        x = 280 + 10 * number
        pixels[438:450, x : x + 1] = 215

    lengths = {round(comb.line_px) for comb in find_combs(compute_planes(pixels)[0])}

    assert lengths <= {100}


def test_a_frame_around_a_bar_does_not_contradict_it():
    pixels = draw_steel()
    pixels[390:460, 230:390] = WHITE
    cv2.rectangle(pixels, (230, 390), (389, 459), BLACK, 2)
    pixels[448:450, 250:370] = BLACK
    pixels[410:450, [250, 251, 368, 369]] = BLACK

    bars = find_graphics(write(pixels, "10 µm", (310, 428), BLACK)).bars

    assert [(bar.um, round(bar.line_px / 120, 1)) for bar in bars] == [(10.0, 1.0)]


def test_an_outline_is_measured_from_its_outer_sides():
    pixels = np.full((480, 640, 3), 255, np.uint8)
    pixels[:400] = draw_steel()[:400]
    pixels[450:462, 30:100] = BLACK
    pixels[452:460, 32:98] = WHITE

    assert list_stated(write(pixels, "70 µm", (65, 430), BLACK)) == [(70.0, 70)]


def build_labelled(x1, *, sure):
    """Build a line from x = 200 to `x1`."""
    line = Line((200, 400, x1, 404), float(x1 - 200), exact=True, contrast=200.0)
    return LabelledLine(line, float(x1 - 200), sure=sure)


def test_one_of_several_readings_of_a_label_makes_its_line_sure_unless_another_is_shorter():
    sure, longer, shorter = (
        build_labelled(300, sure=True),
        build_labelled(310, sure=False),
        build_labelled(280, sure=False),
    )

    assert choose_labelled([longer, sure, None]) == sure
    assert choose_labelled([sure, shorter]) == replace(sure, sure=False)
    assert choose_labelled([sure, build_labelled(310, sure=True)]) == replace(sure, sure=False)
    assert choose_labelled([None, longer]) == longer
    assert choose_labelled([None]) is None


def test_the_shaft_between_two_heads_is_not_measured_in_place_of_the_walls_around_them():
    box = (239, 450, 401, 451)
    shaft = Line(box, 162.0, exact=False, contrast=90.0, core=box)
    traced = LabelledLine(shaft, 162.0, sure=True, traced=True)

    between_walls = build_bar((220, 440, 420, 461), WHITE, kind="caps")
    plain = build_bar((220, 450, 420, 451), WHITE)

    assert not _is_better(draw_steel(), traced, between_walls)
    assert _is_better(draw_steel(), traced, plain)


@pytest.mark.parametrize("rim", [BLACK, (70, 70, 70)])
def test_an_outline_with_a_paler_rim_is_no_ruler(rim):
    pixels = np.full((480, 640, 3), 255, np.uint8)
    pixels[:400] = draw_steel()[:400]
    pixels[450:459, 30:130] = BLACK
    pixels[451:458, 31:129] = WHITE
    pixels[450, 31:129] = rim

    assert list_stated(write(pixels, "20 µm", (80, 430), BLACK)) in ([(20.0, 100)], [])


@pytest.mark.parametrize(("x1", "better"), [(500, False), (596, True)])
def test_a_chequered_bar_without_its_last_cell_is_not_measured_better(x1, better):
    box = (200, 400, x1, 420)
    cells = Line(box, float(x1 - 200), exact=True, contrast=200.0, kind="checker", core=box)
    labelled = LabelledLine(cells, float(x1 - 200), sure=True)

    bar = build_bar((200, 400, 600, 420), BLACK, kind="checker")

    assert _is_better(draw_steel(), labelled, bar) is better


@pytest.mark.parametrize(("first", "second"), [(BLACK, WHITE), (WHITE, BLACK)])
def test_a_cell_of_a_divided_bar_is_not_its_length(first, second):
    pixels = draw_steel()
    pixels[400:408, 150:250], pixels[400:408, 250:350] = first, second

    stated = list_stated(write(pixels, "20 µm", (250, 378), first))

    assert {length for _, length in stated} <= {200}


@pytest.mark.parametrize(("ends", "is_cell"), [(350, True), (500, True), (260, False)])
def test_a_cell_is_at_least_as_long_as_the_bar_and_of_another_even_ink(ends, is_cell):
    pixels = draw_steel()
    pixels[400:408, 150:250], pixels[400:408, 250:ends] = BLACK, WHITE

    assert is_next_to_cell(pixels, build_bar((150, 400, 250, 408), BLACK)) is is_cell


@pytest.mark.parametrize(("words_x", "is_off"), [(100, False), (150, False), (190, True)])
def test_a_bar_shorter_than_its_words_begins_ends_or_is_centred_with_them(words_x, is_off):
    cell = replace(
        build_bar((150, 400, 210, 412), WHITE), label_box=(words_x, 350, words_x + 110, 390)
    )

    assert is_off_its_words(cell) is is_off


def test_a_pattern_that_goes_on_above_and_below_is_no_ruler_of_ticks():
    pixels = draw_steel()
    pixels[300:306, 100:400:10] = WHITE
    ruler = replace(build_bar((100, 300, 392, 306), WHITE, kind="comb"), label_box=None)
    assert not is_row_of_texture(pixels, ruler)

    for y in range(260, 340, 8):
        pixels[y : y + 6, 100:400:10] = WHITE

    assert is_row_of_texture(pixels, ruler)


@pytest.mark.parametrize(("grey", "is_texture"), [(235, False), (252, True)])
def test_texture_that_has_the_ink_of_ticks_nearly_is_no_pattern_of_them(grey, is_texture):
    pixels = draw_steel()
    pixels[280:326:2, 100:400] = grey
    pixels[298:308, 100:400] = draw_steel()[298:308, 100:400]
    pixels[300:306, 100:400:10] = WHITE
    ruler = replace(build_bar((100, 300, 392, 306), WHITE, kind="comb"), label_box=None)

    assert is_row_of_texture(pixels, ruler) is is_texture


@pytest.mark.parametrize(("words", "lengths"), [("1 div = 10 µm", []), ("40 µm", [(40.0, 200)])])
def test_the_length_of_one_division_is_not_that_of_the_ruler(words, lengths):
    pixels = draw_steel()
    pixels[400:403, 150:353] = WHITE
    for x in range(150, 351, 50):
        pixels[392:411, x : x + 3] = WHITE

    assert list_stated(write(pixels, words, (250, 372), WHITE)) == lengths
