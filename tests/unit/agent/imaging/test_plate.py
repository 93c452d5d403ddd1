"""The plate that a scale bar is printed on is cut away whole, however large its text was read."""

from __future__ import annotations

import numpy as np
import pytest

from agent.demo.exporter import encode, plan_night
from agent.imaging import crop
from agent.imaging.readers.read import read
from agent.imaging.scale_bar.bars.plates import extend_to_plate

RANGE = (0.01, 5.0)
NIGHT = {picture.name: picture for picture in plan_night(0, specimens=1)}
WHITE = 245
"""Least value of a channel of the plate; steel of the demonstration stays below it."""


def longest_run(mask) -> int:
    """Return the longest run of True in the rows of a mask."""
    best = 0
    for row in mask:
        edges = np.flatnonzero(np.diff([0, *row.astype(int), 0]))
        best = max(best, *(edges[1::2] - edges[::2]), 0)
    return int(best)


@pytest.mark.parametrize("name", ["50050_03_01", "50050_07_01", "50050_11_01"])
def test_no_part_of_the_plate_is_left_in_the_last_rows(tmp_path, name):
    picture = NIGHT[f"{name}_500x.png"]
    path = tmp_path / picture.name
    path.write_bytes(encode(picture.drawn((800, 600)), "png"))

    (micrograph,) = read(path)
    cut = crop(micrograph, um_per_px_range=RANGE)

    assert longest_run(cut.pixels[-6:].min(axis=2) >= WHITE) <= 20
    assert cut.box[3] >= 540  # and no steel is given away for it
    assert cut.um_per_px == pytest.approx(0.2, rel=0.02)


def on_steel(plate, *, paper=255, seed=4):
    """Draw steel of 240 × 320 px with a plain plate on it."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(60, 180, (240, 320, 3), dtype=np.uint8)
    x0, y0, x1, y1 = plate
    pixels[y0:y1, x0:x1] = paper
    return pixels


PLATE = (120, 180, 300, 226)


def test_a_box_is_widened_to_its_plate_also_where_it_ends_beyond_it():
    for paper in (255, 0, 200):
        for box in (
            (130, 190, 290, 216),
            (130, 190, 320, 240),
            (130, 190, 320, 216),
            (110, 190, 290, 240),
        ):
            x0, y0, x1, y1 = extend_to_plate(on_steel(PLATE, paper=paper), box)

            assert (x0, y0) == (min(box[0], PLATE[0]), PLATE[1]), (paper, box)
            assert (x1, y1) == (max(box[2], PLATE[2]), max(box[3], PLATE[3])), (paper, box)


def test_a_bar_without_a_plate_keeps_its_box():
    pixels = on_steel((0, 0, 0, 0))
    pixels[200:206, 140:280] = 255

    assert extend_to_plate(pixels, (140, 190, 280, 210)) == (140, 190, 280, 210)
