"""A bar is found to the pixel and read right, or not at all; an image without one gives none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from drawn.graphics import font, fonts
from drawn.micrographs import draw
from PIL import Image, ImageDraw

from agent.imaging.scale_bar.bars.line import Line, compute_evenness
from agent.imaging.scale_bar.bars.planes import find_parts
from agent.imaging.scale_bar.detect import find_graphics
from agent.imaging.scale_bar.labels.letters import has_digit_before

SIZE = (480, 640)


def _steel(seed):
    return draw(seed, size=SIZE, bar=False, border=False, band=False, distractors=False).pixels


def _written(pixels, words, at, ink):
    image = Image.fromarray(pixels)
    ImageDraw.Draw(image).text(at, words, fill=ink, font=font(fonts()[0], 20), anchor="mm")
    return np.array(image)


@pytest.mark.parametrize(
    ("style", "seed"),
    [("solid", 1), ("caps", 3), ("ruler", 5), ("comb", 8), ("broken", 10), ("arrows", 6)],
)
def test_a_bar_of_each_style_is_found_and_read(style, seed):
    drawn = draw(seed, size=SIZE, bar=style, border=False, band=True, distractors=False)
    [true] = drawn.bars

    [found] = find_graphics(drawn.pixels).bars

    assert found.line_px == pytest.approx(true.line_px, abs=2)
    assert found.um == pytest.approx(true.um)


@pytest.mark.parametrize(("paper", "ink"), [(None, (255, 255, 0)), (255, (0, 0, 160))])
@pytest.mark.parametrize("thin", [1, 3])
def test_a_hollow_bar_is_measured_from_outside_to_outside(paper, ink, thin):
    pixels = _steel(3).copy()
    if paper is not None:
        pixels[395:470, 20:260] = paper
    image = Image.fromarray(pixels)
    ImageDraw.Draw(image).rectangle([40, 440, 239, 451], outline=ink, width=thin)

    [bar] = find_graphics(_written(np.array(image), "20 µm", (140, 418), ink)).bars

    assert (bar.line, bar.line_px, bar.um) == ((40, 440, 240, 452), 200.0, 20.0)


@pytest.mark.parametrize("digit", ["1", "2", "7"])
def test_a_digit_before_words_is_noticed_and_a_grain_that_goes_on_is_not_one(digit):
    paper = np.full((80, 200, 3), 20, np.uint8)
    whole = _written(paper, f"{digit}5 µm", (90, 40), "white")
    alone = _written(paper, "5 µm", (90, 40), "white")
    letters = np.flatnonzero((whole > 128).any(axis=(0, 2)))
    first = letters[np.flatnonzero(np.diff(letters) > 1)[0] + 1]
    rows = np.flatnonzero((alone > 128).any(axis=(1, 2)))
    box = (int(first), int(rows[0]), int(letters[-1]) + 1, int(rows[-1]) + 1)
    grain = alone.copy()
    grain[:, box[0] - 9 : box[0] - 4] = 255

    ink = np.array([255.0, 255.0, 255.0])

    assert has_digit_before(whole, box, ink, 0)
    assert not has_digit_before(grain, box, ink, 0)


def test_a_frame_around_words_is_no_hollow_bar():
    image = Image.fromarray(_steel(4))
    ImageDraw.Draw(image).rectangle([40, 430, 239, 459], fill="black", outline="white", width=2)

    bars = find_graphics(_written(np.array(image), "20 µm", (140, 445), "white")).bars

    assert [bar.um for bar in bars if bar.kind == "hollow"] == []


def test_a_ruler_with_thick_ticks_is_measured_half_way_from_their_centres_to_its_outer_ends():
    pixels = _steel(5).copy()
    pixels[380:475, 15:235] = 255
    pixels[412:418, 30:216] = 0
    for x in range(30, 211, 18):
        pixels[395:412, x : x + 6] = 0

    [bar] = find_graphics(_written(pixels, "20 nm", (122, 450), "black")).bars

    assert (bar.line_px, bar.um) == (183.0, 0.02)


def test_steel_without_a_bar_has_none():
    found = [
        find_graphics(draw(seed, size=SIZE, bar=False, border=False, band=False).pixels).bars
        for seed in range(100, 112)
    ]

    assert found == [()] * 12


def test_the_band_is_found_where_it_does_not_reach_the_edge():
    pixels = draw(0, size=SIZE, bar=False, border=False, band=False, distractors=False).pixels
    pixels[420:460] = 255
    for x in range(30, 500, 60):
        cv2.putText(pixels, "EHT 5", (x, 445), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1)

    assert find_graphics(pixels).band == (0, 420, 640, 460)


def test_smooth_steel_is_no_band():
    pixels = np.full((400, 600, 3), 120, np.uint8)
    noise = np.random.default_rng(0).normal(0, 2, pixels.shape)

    assert find_graphics((pixels + noise).astype(np.uint8)).band is None


def test_an_aperture_in_the_band_is_not_taken_for_the_label():
    pixels = np.full((400, 700, 3), 255, np.uint8)
    rng = np.random.default_rng(1)
    pixels[:340] = rng.integers(60, 200, (340, 700, 1), dtype=np.uint8)
    pixels[370:373, 40:190] = 0
    pixels[360:383, 40:42] = 0
    pixels[360:383, 188:190] = 0
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(pixels, "Aperture Size = 30.00 um", (250, 365), font, 0.5, (0, 0, 0), 1)
    cv2.putText(pixels, "WD = 5 mm", (250, 388), font, 0.5, (0, 0, 0), 1)

    bars = find_graphics(pixels).bars

    assert [bar.um for bar in bars] in ([], [None])


def test_a_bar_without_label_is_found_and_states_nothing():
    pixels = draw(3, size=SIZE, bar=False, border=False, band=False, distractors=False).pixels
    pixels[440:468, 480:632] = 255
    pixels[450:456, 490:620] = 0

    [found] = find_graphics(pixels).bars

    assert (found.line_px, found.um, found.label) == (130, None, "")


def test_two_panels_have_two_bars():
    one = draw(21, size=SIZE, bar="solid", border=False, band=False, distractors=False)
    other = draw(23, size=SIZE, bar="caps", border=False, band=False, distractors=False)

    found = find_graphics(np.hstack([one.pixels, other.pixels])).bars

    assert {bar.um for bar in found} == {one.bars[0].um, other.bars[0].um}


def test_a_block_with_its_length_written_in_is_a_bar():
    pixels = _steel(3)
    pixels[430:462, 430:600] = 0

    [found] = find_graphics(_written(pixels, "50 µm", (515, 446), (255, 255, 255))).bars

    assert (found.line_px, found.um, found.label) == (170, 50.0, "50 µm")


def test_the_paper_of_a_label_is_no_bar():
    pixels = _steel(3)
    pixels[430:462, 480:550] = 0

    bars = find_graphics(_written(pixels, "50 µm", (515, 446), (255, 255, 255))).bars

    assert [bar.um for bar in bars] in ([], [None])


def test_a_ruler_that_reaches_the_edge_of_the_image_is_no_crash():
    pixels = _steel(3)
    pixels[440:460, 560:640:16] = 255
    pixels[440:460, 561:640:16] = 255

    assert all(bar.um is None for bar in find_graphics(pixels).bars)


@pytest.mark.parametrize(("height", "width"), [(1, 40), (10, 13), (40, 3)])
def test_an_image_of_a_few_pixels_has_no_bar_and_is_no_crash(height, width):
    assert find_graphics(_steel(3)[:height, :width].copy()).bars == ()


def _labelled(draw_line):
    """Put a white box into steel, a line into that, and "20 µm" under it in red."""
    pixels = _steel(3)
    pixels[390:460, 400:580] = 255
    draw_line(pixels)
    return _written(pixels, "20 µm", (490, 435), (200, 0, 0))


def test_cells_full_and_empty_by_turns_are_one_bar():
    def chequered(pixels):
        pixels[405:414, 420:560] = (200, 0, 0)
        for left in (455, 525):
            pixels[406:413, left + 1 : left + 34] = 255

    [found] = find_graphics(_labelled(chequered)).bars

    assert found.line_px == pytest.approx(140, abs=1)
    assert found.um == pytest.approx(20.0)


def test_an_outline_does_not_lengthen_a_bar():
    def outlined(pixels):
        pixels[403:412, 419:481] = 0
        pixels[404:411, 420:480] = (200, 0, 0)

    [found] = find_graphics(_labelled(outlined)).bars

    assert found.line_px == pytest.approx(60, abs=1)


def test_steel_as_pale_as_the_paper_hides_no_band():
    noise = np.random.default_rng(0).normal(246, 4, (480, 640, 1))
    pixels = np.repeat(np.clip(noise, 0, 255).astype(np.uint8), 3, axis=2)
    pixels[420:460] = 255
    for x in range(30, 500, 60):
        cv2.putText(pixels, "EHT 5", (x, 445), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1)

    assert find_graphics(pixels).band == (0, 420, 640, 460)


def test_a_double_arrow_in_a_corner_is_a_bar_also_without_label():
    pixels = _steel(3)
    pixels[455:457, 482:618] = 255
    for tip, back in ((480, 486), (619, 613)):
        cv2.fillPoly(pixels, [np.array([[tip, 455], [back, 452], [back, 458]])], (255, 255, 255))

    [found] = find_graphics(pixels).bars

    assert found.line_px == pytest.approx(140, abs=2)
    assert (found.um, found.label) == (None, "")


def test_a_bar_stands_beside_words_that_name_it():
    pixels = _steel(3)
    pixels[440:444, 330:420] = 255

    [found] = find_graphics(_written(pixels, "Scale: 80 µm", (490, 442), (255, 255, 255))).bars

    assert (found.line_px, found.um) == (90, 80.0)


def test_a_bar_whose_label_lost_its_point_is_found_and_states_nothing():
    pixels = _steel(3)
    pixels[430:434, 420:560] = 255

    [found] = find_graphics(_written(pixels, "02 mm", (490, 455), (255, 255, 255))).bars

    assert (found.line_px, found.um, found.label) == (140, None, "")


def _ruler(pixels, x0=400, step=16):
    for i in range(11):
        top = 420 if i in (0, 10) else 428
        pixels[top:440, x0 + i * step : x0 + i * step + 2] = 255
    return pixels


def test_a_digit_beside_a_ruler_of_ticks_is_no_tick_of_it():
    pixels = _ruler(_steel(3))

    [found] = find_graphics(_written(pixels, "10 µm", (595, 430), (255, 255, 255))).bars

    assert (found.line_px, found.um) == (160, 10.0)


def test_a_ruler_of_ticks_is_measured_whole_where_a_grain_lies_across_a_tick():
    pixels = _steel(3)
    pixels[410:470, 380:590] //= 2
    cv2.circle(pixels, (400 + 3 * 16, 432), 7, (230, 230, 230), -1)

    ruler = _written(_ruler(pixels), "10 µm", (480, 455), (255, 255, 255))
    [found] = find_graphics(ruler).bars

    assert (found.line_px, found.um) == (160, 10.0)


def test_a_drawn_line_is_even_and_a_needle_is_not():
    pixels = np.full((60, 200, 3), 90, np.uint8)
    pixels[30:33, 40:160] = 250
    cv2.line(pixels, (90, 5), (110, 55), (230, 230, 230), 6)  # a needle across it
    askew = np.full((60, 200, 3), 90, np.uint8)
    cv2.fillPoly(askew, [np.array([[40, 31], [100, 27], [160, 32], [100, 35]])], (250, 250, 250))

    line = Line((40, 30, 160, 33), 120.0, exact=False, contrast=160.0, core=(40, 30, 160, 33))

    assert compute_evenness(pixels, line) > 0.8
    assert compute_evenness(askew, line) < 0.6


def test_a_thick_line_that_its_label_leaves_short_halves_of_is_one_bar():
    pixels = np.full((*SIZE, 3), 255, np.uint8)
    pixels[:380] = _steel(3)[:380]
    for left, right in ((420, 450), (540, 570)):
        pixels[428:433, left:right] = 0
    for tick in (420, 567):
        pixels[420:441, tick : tick + 3] = 0

    [found] = find_graphics(_written(pixels, "40 µm", (495, 430), (0, 0, 0))).bars

    assert (found.line_px, found.um) == (148.5, 40.0)


def test_a_bar_that_runs_into_a_needle_of_its_colour_is_found_and_states_nothing():
    pixels = np.full((*SIZE, 3), 70, np.uint8)
    pixels[430:434, 420:540] = 255
    pixels[430:434, 540:560] = 205

    bars = find_graphics(_written(pixels, "50 µm", (490, 455), (255, 255, 255))).bars

    assert [bar.um for bar in bars] == [None]


def test_a_ruler_is_measured_between_its_outer_ticks_where_they_are_paler_than_its_line():
    pixels = np.full((*SIZE, 3), 40, np.uint8)
    pixels[430:438, 420:481] = 255
    for x in range(420, 481, 10):
        pixels[438:450, x] = 130

    [found] = find_graphics(_written(pixels, "30 µm", (450, 415), (255, 255, 255))).bars

    assert (found.line_px, found.um) == (pytest.approx(60, abs=0.2), 30.0)


def test_a_bar_ends_where_its_tone_does_though_a_needle_beyond_is_nearly_as_light():
    pixels = np.full((*SIZE, 3), 70, np.uint8)
    pixels[430:434, 420:560] = 225
    for i, tone in enumerate((200, 190, 175, 150, 110)):
        pixels[430:434, 560 + i] = tone

    [found] = find_graphics(_written(pixels, "50 µm", (490, 455), (225, 225, 225))).bars

    assert (found.line_px, found.um) == (pytest.approx(140, abs=1), 50.0)


def test_a_label_that_no_micrograph_can_have_states_nothing():
    pixels = _steel(3)
    pixels[430:434, 420:560] = 255

    bars = find_graphics(_written(pixels, "15 mm", (490, 455), (255, 255, 255))).bars

    assert [bar.um for bar in bars] in ([], [None])


def test_the_outline_of_a_ruler_is_not_measured_in_its_place():
    pixels = np.full((*SIZE, 3), 110, np.uint8)
    drawn = np.zeros(SIZE, np.uint8)
    drawn[430:436, 420:501] = 1
    for x in range(420, 501, 20):
        drawn[418:430, x] = 1
    pixels[cv2.dilate(drawn, np.ones((3, 3), np.uint8)) > 0] = 0
    pixels[drawn > 0] = (255, 255, 0)

    [found] = find_graphics(_written(pixels, "6 µm", (460, 452), (255, 255, 0))).bars

    assert (found.line_px, found.um) == (80, 6.0)


@pytest.mark.parametrize("seed", [94695, 94778, 94203])
def test_a_bar_that_is_hard_to_see_on_its_ground_is_found_by_its_label(seed):
    drawn = draw(seed)
    [true] = drawn.bars

    [found] = find_graphics(drawn.pixels).bars

    assert (found.line_px, found.um) == (pytest.approx(true.line_px, rel=0.01), true.um)


def test_a_line_that_its_label_breaks_is_measured_whole_though_a_letter_touches_one_half():
    pixels = np.full((*SIZE, 3), 90, np.uint8)
    for left, right in ((400, 470), (530, 600)):
        pixels[439:442, left:right] = 225
    for tick in (400, 598):
        pixels[430:451, tick : tick + 2] = 225
    pixels[434:447, 468:474] = 225

    [found] = find_graphics(_written(pixels, "5 µm", (500, 440), (225, 225, 225))).bars

    assert (found.line_px, found.um) == (pytest.approx(198, abs=2), 5.0)


def test_a_grain_boundary_that_lies_level_is_no_bar():
    pixels = np.full((*SIZE, 3), 180, np.uint8)
    network = [[(20, 20), (90, 40)], [(90, 40), (170, 40)], [(170, 40), (230, 15)]]
    for start, end in [*network, [(90, 40), (80, 200)], [(170, 40), (180, 220)]]:
        cv2.line(pixels, start, end, (40, 40, 40), 3)

    assert find_graphics(pixels).bars == ()


def test_a_needle_that_goes_on_beyond_the_image_is_no_bar():
    pixels = np.full((*SIZE, 3), 80, np.uint8)
    pixels[40:44, :95] = 240

    assert find_graphics(pixels).bars == ()


def test_a_bar_with_ticks_and_no_label_is_found_in_the_middle_of_the_foot():
    pixels = _steel(3)
    pixels[430:470, 240:400] = 255
    pixels[449:451, 255:385] = 0
    for tick in (255, 383):
        pixels[440:460, tick : tick + 2] = 0

    [found] = find_graphics(pixels).bars

    assert (found.line_px, found.um) == (128, None)


def test_where_a_label_was_read_and_no_bar_found_its_surroundings_are_not_kept():
    pixels = _written(_steel(3), "50 µm", (560, 450), (255, 255, 0))

    graphics = find_graphics(pixels)

    assert graphics.bars == ()
    assert any(x0 < 560 < x1 and y0 < 450 < y1 for x0, y0, x1, y1 in graphics.boxes)


def test_a_ruler_whose_halves_are_rulers_too_states_its_length():
    pixels = _steel(3)
    pixels[425:470, 380:600] = 255
    for i in range(11):
        pixels[430 + 4 * (i % 5 > 0) : 446, 400 + 18 * i : 402 + 18 * i] = 0

    [found] = find_graphics(_written(pixels, "15 µm", (490, 458), (0, 0, 0))).bars

    assert (found.line_px, found.um) == (180, 15.0)


def test_a_line_that_jpeg_paled_is_traced_under_its_label():
    drawn = draw(94460)  # a red line of one pixel on needles, saved twice
    [true] = drawn.bars

    [found] = find_graphics(drawn.pixels).bars

    assert (found.line_px, found.um) == (pytest.approx(true.line_px, rel=0.01), true.um)


def test_the_paper_around_a_bar_is_left_out_to_its_edge():
    pixels = np.array(_steel(21))
    pixels[330:460, 380:600] = 255
    pixels[430:434, 400:580] = 0
    pixels = _written(pixels, "50 µm", (490, 395), (0, 0, 0))

    [box] = find_graphics(pixels).boxes

    assert np.abs(np.array(box) - (380, 330, 600, 460)).max() <= 1


def test_even_steel_around_a_bar_is_not_taken_for_its_paper():
    noise = np.random.default_rng(0).normal(0, 3, (*SIZE, 1))
    pixels = np.repeat(np.full((*SIZE, 1), 170) + noise, 3, axis=2).astype(np.uint8)
    pixels[430:434, 400:580] = 0
    pixels = _written(pixels, "50 µm", (490, 410), (0, 0, 0))

    [box] = find_graphics(pixels).boxes

    assert box[0] >= 395
    assert box[1] >= 395


def test_particles_that_lie_at_even_distances_are_no_ruler():
    assert find_graphics(draw(96222).pixels).bars == ()


def test_a_ruler_of_ticks_alone_is_a_bar_without_a_length():
    pixels = np.full((*SIZE, 3), 60, np.uint8)
    for x in range(40, 300, 20):
        pixels[30:40, x] = 220

    [bar] = find_graphics(pixels).bars

    assert bar.um is None
    assert bar.line_px == 240


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 1.0])
def test_parts_of_a_mask_are_those_that_opencv_counts(share):
    rng = np.random.default_rng(int(100 * share))
    mask = (rng.random((80, 120)) < share).astype(np.uint8) * 255
    mask[20:30] = 0

    _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)

    assert sorted(find_parts(mask).tolist()) == sorted(stats[1:].tolist())
