"""Words that may state another length than was read give none."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn.graphics import fonts
from drawn.words import draw_steel, write
from folders import SHARED_DATA
from PIL import Image, ImageDraw, ImageFont

from agent.imaging.scale_bar.bars.line import FoundBar
from agent.imaging.scale_bar.detect import find_graphics
from agent.imaging.scale_bar.doubts import has_speck_for_point, has_unsure_label
from agent.imaging.scale_bar.labels.letters import find_words_on_plate

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
GRAINY, IN_FRONT, ON_PLATE = ((x, 107, 192, 133) for x in (83, 86, 97))


@pytest.fixture(scope="module")
def plated():
    """Draw `50 µm` at the left of a plate, on steel with a grain in front of it."""
    pixels = draw_steel(low=60, high=200)
    pixels[100:160, 97:300] = BLACK
    pixels = write(pixels, "50 µm", (145, 120), WHITE)
    pixels[145:149, 105:185] = WHITE
    return pixels


@pytest.mark.parametrize(("words", "found"), [(ON_PLATE, None), (IN_FRONT, ON_PLATE)])
def test_what_is_in_front_of_a_plate_is_no_part_of_its_words(plated, words, found):
    assert find_words_on_plate(plated, words) == found


def test_words_on_texture_are_on_no_plate():
    pixels = write(draw_steel(low=60, high=200), "50 µm", (145, 120), WHITE)

    assert find_words_on_plate(pixels, IN_FRONT) is None


@pytest.mark.parametrize(("words", "um", "is_unsure"), [(ON_PLATE, 50, False), (GRAINY, 250, True)])
def test_a_grain_in_front_of_a_plate_is_no_digit(plated, words, um, is_unsure):
    pixels = write(plated.copy(), "2", (90, 120), WHITE)  # as near to the plate as a digit
    bar = FoundBar((105, 145, 185, 149), words, 80.0, f"{um} µm", float(um), 255.0, WHITE)

    assert has_unsure_label(pixels, bar) is is_unsure


def test_a_bar_whose_words_are_two_numbers_states_none_of_them():
    for words in ("1/2 mm", "½ mm", "1⁄2 mm", "2 x 25 µm", "4 × 25 µm", "10 / 20 µm", "1 : 2 mm"):
        for plate in (True, False):
            pixels = draw_steel(low=60, high=110)
            if plate:
                pixels[390:470, 200:400] = BLACK
            pixels[446:452, 220:380] = WHITE

            bars = find_graphics(write(pixels, words, (300, 420), WHITE)).bars

            assert [bar.um for bar in bars if bar.um is not None] == [], (words, plate)


@pytest.mark.parametrize(
    ("words", "name", "size"),
    [
        ("¼ mm", "STIXGeneralBol", 18),
        ("¼ mm", "STIXGeneralBol", 24),
        ("¾ mm", "STIXGeneral", 34),
        ("¾ mm", "STIXGeneralBol", 18),
        ("¾ mm", "STIXGeneral", 18),
        ("½ µm", "DejaVuSansMono", 24),
        ("¼ µm", "DejaVuSansMono-Bold", 24),
        ("4 mm", "STIXGeneral", 18),
        ("4 mm", "STIXGeneralBol", 24),
    ],
)
def test_a_fraction_of_one_glyph_is_no_number_in_any_font(words, name, size):
    pixels = draw_steel(low=60, high=110)
    pixels[380:470, 180:420] = BLACK
    pixels[448:452, 200:400] = pixels[442:458, 200:204] = pixels[442:458, 396:400] = WHITE
    image = Image.fromarray(pixels)
    letters = ImageFont.truetype(str(Path(fonts()[0]).with_name(f"{name}.ttf")), size)
    ImageDraw.Draw(image).text((300, 412), words, fill=WHITE, font=letters, anchor="mm")

    bars = find_graphics(np.array(image)).bars

    stated = [bar.um for bar in bars if bar.um is not None]
    assert stated == ([4000.0] if words == "4 mm" else [])


def test_a_bright_carbide_before_a_number_is_no_slash_of_a_fraction():
    path = SHARED_DATA / "drawn_by_others" / "bars" / "b0160_powerpoint.jpg"
    if not path.is_file():
        pytest.skip("the picture is not here")
    pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]

    bars = find_graphics(np.ascontiguousarray(pixels)).bars

    assert [bar.um for bar in bars] == [5.0]


@pytest.mark.parametrize(("foot", "is_speck"), [(131, False), (135, True)])
def test_a_speck_that_ends_below_the_digits_is_no_point(foot, is_speck):
    pixels = np.full((240, 320, 3), 60, np.uint8)
    for x in (100, 130):
        pixels[100:130, x : x + 4] = pixels[100:130, x + 11 : x + 15] = WHITE
        pixels[100:104, x : x + 15] = pixels[126:130, x : x + 15] = WHITE
    pixels[foot - 7 : foot, 119:126] = WHITE
    pixels = write(pixels, "µm", (180, 118), WHITE, size=34)
    words = (98, 98, 216, 140)
    bar = FoundBar((80, 170, 260, 176), words, 180.0, "10 µm", 10.0, 195.0, WHITE)

    assert has_speck_for_point(pixels, bar, words) is is_speck
