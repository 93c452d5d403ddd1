"""The strangest place is named where it lies in the field, in µm², or not at all."""

import numpy as np

from model.framing import Field
from model.ood.detector import compute_heat_map, expand_to_field, find_region
from model.ood.feature_arrays import CellFeatures


def cells(rows, columns, *, origin=(0.0, 0.0), um2=4.0):
    steel = np.ones((rows, columns), bool)
    return CellFeatures(np.zeros((rows, columns, 1), np.float16), steel, 10.0, um2, origin)


def field(height, width):
    return Field(np.zeros((height, width, 3), np.uint8), np.ones((height, width), bool), 0.2)


def test_connected_cells_above_the_alarm_level_are_one_place():
    heat = np.zeros((8, 9), np.float32)
    heat[2:4, 5] = 1.5, 2.0
    heat[7, 0] = 1.2

    box, area_um2 = find_region(heat, cells(8, 9), field(80, 90))

    assert box == (50, 20, 60, 40)
    assert area_um2 == 8.0


def test_below_the_alarm_level_there_is_no_place():
    low = np.full((4, 4), 0.99, np.float32)

    assert find_region(low, cells(4, 4), field(40, 40)) == (None, None)


def test_inside_a_broad_cell_the_finer_looks_say_where():
    fine, broad = np.zeros((8, 8), np.float32), np.zeros((2, 2), np.float32)
    broad[1, 0], fine[6, 3] = 3.0, 0.5

    heat = compute_heat_map((fine, broad, fine * 0), (8, 8), np.ones(3))

    assert np.unravel_index(heat.argmax(), heat.shape) == (6, 3)


def test_looks_with_coarser_cells_are_repeated_on_the_grid_of_brightness():
    fine, tone = np.zeros((4, 4), np.float32), np.zeros((8, 8), np.float32)
    fine[3, 1], tone[7, 2] = 3.0, 1.0

    heat = compute_heat_map((fine, fine, tone), (8, 8), np.ones(3))

    assert heat.shape == (8, 8)
    assert np.unravel_index(heat.argmax(), heat.shape) == (7, 2)
    assert (heat > 2.5).sum() == 4


def test_in_a_field_of_which_only_the_middle_was_seen_the_place_is_where_it_lies():
    heat = np.zeros((4, 4), np.float32)
    heat[1, 2] = 2.0
    part = cells(4, 4, origin=(100.0, 50.0))
    shown = field(140, 240)

    whole = expand_to_field(heat, part, shown)

    assert find_region(heat, part, shown)[0] == (120, 60, 130, 70)
    assert whole.shape == (14, 24)
    assert whole[6, 12] == 2.0
    assert whole.sum() == 2.0
