"""A label is read as the length it states, or not at all."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from drawn.graphics import NICE, font, fonts
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from agent.imaging.scale_bar.labels.lengths import parse_half_read, parse_length, parse_lengths
from agent.imaging.scale_bar.labels.letters import extend_to_lost_digits
from agent.imaging.scale_bar.labels.ocr import detect_texts, read_lengths, read_words

WRITINGS = [
    ("20 µm", 20.0),
    ("20 μm", 20.0),
    ("2,5um", 2.5),
    ("2.5 um", 2.5),
    ("500 nm", 0.5),
    ("0.1 mm", 100.0),
    ("1mm", 1000.0),
    ("0.01 in", 254.0),
    ("100 pm", 100.0),
    ("100 jm", 100.0),
    ("|10 µm|", 10.0),
    ("→8 µm", 8.0),
    ("l0 µm", 10.0),
    ("O.5 µm", 0.5),
    ("20 мкм", 20.0),
    ("2,5 MKM", 2.5),
    ("200.µm", 200.0),
    ("50 - µm", 50.0),
    ("5U μm", 50.0),
    ("1UUµm", 100.0),
    ("500 Hm", 500.0),
    ("1wm", 1.0),
    ("5 UM", 5.0),
    ("500UM", 500.0),
    ("10 Micron", 10.0),
    ("5,00 MICRONS", 5.0),
    ("2.5 Microns", 2.5),
    ("2000 µm", 2000.0),
    ("5000 Microns", 5000.0),
    ("120 nm", 0.12),
    ("7 µm", 7.0),
    ("70,0 µm", 70.0),
    ("= 10 µm", 10.0),
    ("12,5 µm", 12.5),
]


def test_a_label_is_read_in_every_writing():
    for words, um in WRITINGS:
        length = parse_length(words)

        assert length is not None, words
        assert length.um == pytest.approx(um), words


TWO_NUMBERS = [
    "1/2 mm",
    "1 / 2 mm",
    "½ mm",
    "1½ mm",
    "1⁄2 mm",
    "2/5 µm",
    "x500 1/2 mm",
    "1|2 mm",
    "1\\2 mm",
    "1 1/2 mm",
    "2 x 5 µm",
    "2x5 µm",
    "2 × 50 µm",
    "2*5 µm",
    "2x 5 µm",
    "5 µm x 2",
    "10 / 20 µm",
    "10 µm / 20 µm",
    "10-20 µm",
    "10 – 20 µm",
    "10...20 µm",
    "10±1 µm",
    "10 +- 1 µm",
    "1 mm = 10 µm",
    "10 20 µm",
    "0 5 mm",
    "2_5 µm",
    "2'5 µm",
    "1 5 µm",
    "1 000 µm",
    "1,000 µm",
    "2.000 µm",
]


def test_two_numbers_state_no_length_and_contradict_other_readings():
    for words in TWO_NUMBERS:
        half = parse_half_read(words)

        assert parse_length(words) is None, words
        assert parse_lengths(words) == [], words
        assert half is not None, words
        assert (half.um, half.number) == (None, 0.0), words


@pytest.mark.parametrize(
    "words",
    ["11/05/2019 50 µm", "16:13:06 50 µm", "SEI X10,000 50µm", "50 µm X1,500", "|1-50 µm-|"],
)
def test_a_date_a_magnification_or_a_tick_next_to_a_label_is_no_second_number(words):
    [length] = parse_lengths(words)

    assert length.um == 50.0


@pytest.mark.parametrize(("words", "number"), [("2:5 µm", 2.5), (".5 µm", 0.5), (",5 mm", 0.5)])
def test_a_point_that_may_be_none_needs_another_reading(words, number):
    half = parse_half_read(words)

    assert parse_lengths(words) == []
    assert half is not None
    assert (half.um, half.number) == (None, number)


@pytest.mark.parametrize("words", ["Y2 mm", "V2 mm", "Y4 mm"])
def test_a_letter_that_may_be_half_of_a_fraction_is_no_texture(words):
    assert parse_length(words) is None


NO_LABELS = [
    "WD = 8.5 mm",
    "WD 8 mm",
    "Aperture Size = 30.00 µm",
    "HFW 2.5 mm",
    "Pa 1 = 2.680 µm",
    "13.47 µm",
    "9 µm",
    "5000 um",
    "5000 UM",
    "50000 µm",
    "125 µm",
    "02 mm",
    "x500",
    "5.00 kV",
    "10 Jul 2017",
    "50",
    "µm",
    "0 µm",
    "20 cm",
    "5U m",
    "5 Mm",
    "",
]


def test_what_is_no_label_states_no_length():
    for words in NO_LABELS:
        assert parse_length(words) is None, words


def test_lengths_in_a_line_of_words_say_where_they_stand():
    working_distance, bar = parse_lengths("15.0kV 8.0mm x1.00k SE 50.0um")

    assert (working_distance.um, bar.um, bar.words) == (8000.0, 50.0, "50 µm")
    assert (bar.start, bar.end) == (pytest.approx(0.79, abs=0.01), 1.0)


@pytest.mark.parametrize("words", ["Bar = 20 µm", "Scale: 20 µm", "Maßstab: 20 µm"])
def test_a_length_that_says_it_is_the_bar_is_a_label(words):
    [length] = parse_lengths(words)

    assert length.um == 20.0


def test_a_length_with_a_name_before_it_is_no_label():
    assert parse_lengths("Aperture Size = 30.00 µm  WD = 5 mm Spot 3.0 HFW 2 mm") == []


@given(st.text(max_size=30))
def test_any_text_is_a_length_people_use_or_none(words):
    length = parse_length(words)

    assert length is None or 0 < length.um < 1e9


@given(
    st.sampled_from(NICE),
    st.integers(-1, 2),
    st.sampled_from(["µm", "μm", "um", "nm", "mm"]),
    st.booleans(),
    st.booleans(),
)
def test_every_usual_label_is_understood(mantissa, power, unit, comma, space):
    number = f"{mantissa * 10.0**power:g}"
    words = number.replace(".", ",") if comma else number
    factor = {"nm": 1e-3, "mm": 1e3}.get(unit, 1.0)

    length = parse_length(words + (" " if space else "") + unit)

    assert length is not None
    assert length.um == pytest.approx(mantissa * 10.0**power * factor)


def test_drawn_labels_are_read():
    read = []
    for words in ("20 µm", "2.5 µm", "500 nm"):
        image = Image.new("RGB", (200, 60), "white")
        ImageDraw.Draw(image).text((30, 15), words, fill="black", font=font(fonts()[0], 26))
        picture = np.asarray(image)

        [box] = detect_texts(picture)
        text = read_words(picture, box)
        read.append(parse_length(text.words).words)

    assert read == ["20 µm", "2.5 µm", "500 nm"]


def test_an_empty_picture_has_no_words():
    assert detect_texts(cv2.merge([np.full((60, 200), 128, np.uint8)] * 3)) == []


def test_a_box_that_lost_a_digit_gets_it_back():
    image = Image.new("RGB", (240, 60), "white")
    pen = ImageDraw.Draw(image)
    pen.text((60, 15), "150 µm", fill="black", font=font(fonts()[0], 26))
    left, top, right, foot = pen.textbbox((60, 15), "150 µm", font=font(fonts()[0], 26))

    box = extend_to_lost_digits(np.asarray(image), (left + 17, top, right, foot))

    assert abs(box[0] - left) <= 4
    assert box[1:] == (top, right, foot)


def test_a_box_ends_with_the_plate_of_its_words_whatever_bright_texture_follows():
    image = Image.new("RGB", (240, 60), (70, 70, 70))
    pen = ImageDraw.Draw(image)
    pen.rectangle((105, 10, 200, 50), fill="black")
    pen.text((108, 15), "50 µm", fill="white", font=font(fonts()[0], 24))
    left, top, right, foot = pen.textbbox((108, 15), "50 µm", font=font(fonts()[0], 24))
    for x in (94, 100):  # lamellae at the distance of letters
        pen.rectangle((x, 0, x + 2, 60), fill=(235, 235, 235))

    box = extend_to_lost_digits(np.asarray(image), (left, top, right, foot))

    assert box[0] >= 103


@pytest.mark.parametrize("words", [".500 µm", "R10 µm", "d5 µm", "x20 µm"])
def test_a_number_that_may_be_another_states_nothing(words):
    assert parse_length(words) is None


def test_words_that_name_a_bar_belong_to_its_label():
    [length] = parse_lengths("EHT 5 kV Scale bar = 20 µm")

    assert (length.um, length.start) == (20.0, 9 / 26)


def test_two_readings_that_differ_state_a_length_that_is_not_known():
    one, other = (_written(words) for words in ("20 µm", "50 µm"))

    assert [length.um for length in read_lengths([one, one], (25, 10, 125, 48))] == [20.0]
    assert [length.um for length in read_lengths([one, other], (25, 10, 125, 48))] == [None]


def _written(words):
    image = Image.new("RGB", (160, 60), "white")
    ImageDraw.Draw(image).text((30, 15), words, fill="black", font=font(fonts()[0], 26))
    return np.array(image)
