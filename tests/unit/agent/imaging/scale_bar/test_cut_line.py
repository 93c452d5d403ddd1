"""A line that a stroke or a stain cuts states no length: its first part alone is too short."""

from dataclasses import replace

import numpy as np
import pytest

from agent.imaging.scale_bar.bars.line import FoundBar
from agent.imaging.scale_bar.doubts import continues_beyond_gap, has_hidden_end

WORDS = (60, 20, 120, 40)


def picture(*parts: tuple[int, int]) -> np.ndarray:
    """A dark field with white parts of one line in rows 50 to 52."""
    pixels = np.full((80, 260, 3), 60, np.uint8)
    for start, end in parts:
        pixels[50:53, start:end] = 255
    return pixels


def bar(start: int, end: int) -> FoundBar:
    return FoundBar((start, 50, end, 53), WORDS, float(end - start), "100 µm", 100.0, 195.0,
                    (255.0, 255.0, 255.0))  # fmt: skip


@pytest.mark.parametrize(("start", "end"), [(20, 105), (110, 174)])
def test_a_part_of_a_cut_line_is_recognised_from_either_side(start, end):
    pixels = picture((20, 105), (110, 174))

    assert continues_beyond_gap(pixels, bar(start, end))


def test_a_line_that_goes_on_beyond_the_words_next_to_it_is_one_half():
    half = replace(bar(20, 80), label_box=(86, 40, 150, 62))

    assert continues_beyond_gap(picture((20, 80), (156, 216)), half)
    assert not continues_beyond_gap(picture((20, 80)), half)


def test_a_whole_line_ends_where_it_ends():
    assert not continues_beyond_gap(picture((20, 174)), bar(20, 174))


def test_a_bright_place_beyond_the_end_is_no_line():
    pixels = picture((20, 105))
    pixels[40:70, 112:170] = 255

    assert not continues_beyond_gap(pixels, bar(20, 105))


def test_a_line_that_ends_in_a_bright_grain_has_a_hidden_end():
    pixels = picture((20, 105))
    pixels[40:62, 99:112] = 240

    assert has_hidden_end(pixels, bar(20, 105))
    assert not has_hidden_end(picture((20, 105)), bar(20, 105))
