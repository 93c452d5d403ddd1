"""The map of the border network adds to the outside only what it is sure of."""

from __future__ import annotations

import numpy as np

from agent.imaging.specimen.bleeding import EdgeZones
from agent.imaging.specimen.border_network import (
    BLEEDING,
    COATING,
    MOUNT,
    RIM,
    STEEL,
    add_regions,
    find_unclean,
    name_zones,
)
from agent.imaging.specimen.grid import compute_cells, grid_shape

GRID = (144, 192)


def cells():
    pixels = np.random.default_rng(1).integers(0, 255, (576, 768, 3)).astype(np.uint8)
    return compute_cells(pixels, np.ones(grid_shape(576, 768), bool))


def shares(**places):
    """Return a map that is sure of a class in each place, and of steel elsewhere."""
    classes = {"mount": MOUNT, "bleeding": BLEEDING, "rim": RIM, "coating": COATING}
    values = np.zeros((*GRID, 5), np.float32)
    values[:, :, STEEL] = 1
    for name, place in places.items():
        values[place] = 0
        values[(*place, classes[name])] = 1
    return values


def mask(place):
    cells = np.zeros(GRID, bool)
    cells[place] = True
    return cells


LEFT = np.s_[:, :6]
BESIDE = np.s_[:, 6:12]


def test_a_strip_that_only_the_network_sees_is_outside():
    outside = add_regions(cells(), mask(np.s_[:0]), shares(mount=LEFT))

    assert (outside == mask(LEFT)).all()


def test_a_strip_of_which_the_network_is_unsure_stays_in():
    unsure = shares(mount=LEFT)
    unsure[(*LEFT, MOUNT)], unsure[(*LEFT, STEEL)] = 0.7, 0.3

    assert not add_regions(cells(), mask(np.s_[:0]), unsure).any()


def test_a_region_away_from_the_frame_stays_in():
    inner = shares(mount=np.s_[40:90, 40:90])

    assert not add_regions(cells(), mask(np.s_[:0]), inner).any()


def test_what_a_straight_edge_parts_stays_outside_where_the_network_sees_steel():
    outside = add_regions(cells(), mask(np.s_[:, :8]), shares(mount=LEFT))

    assert (outside == mask(np.s_[:, :8])).all()


def test_a_zone_is_named_as_the_network_sees_it():
    nothing, zone = mask(np.s_[:0]), mask(BESIDE)
    bled = EdgeZones(bleeding=zone, layer=nothing, surface=nothing, coated=False)
    rim = EdgeZones(bleeding=nothing, layer=nothing, surface=zone, coated=False)

    as_rim, as_bled = name_zones(bled, shares(rim=BESIDE)), name_zones(rim, shares(bleeding=BESIDE))

    assert ((as_rim.surface == zone).all(), as_rim.bleeding.any()) == (True, False)
    assert ((as_bled.bleeding == zone).all(), as_bled.surface.any()) == (True, False)
    assert name_zones(bled, shares()) is bled


def test_bleeding_and_coating_next_to_the_outside_are_unclean():
    beyond, seen = mask(LEFT), shares(mount=LEFT, bleeding=BESIDE)
    apart = shares(mount=LEFT, bleeding=np.s_[:, 60:70])

    unclean = find_unclean(seen, beyond, ~beyond, keep_surface=False)

    assert (unclean == mask(BESIDE)).all()
    assert not find_unclean(apart, beyond, ~beyond, keep_surface=False).any()


def test_a_cell_of_doubt_at_the_edge_costs_the_crop_no_row():
    beyond, seen = mask(LEFT), shares(mount=LEFT, bleeding=np.s_[70:72, 6:9])

    assert not find_unclean(seen, beyond, ~beyond, keep_surface=False).any()


def test_a_coating_is_kept_where_the_lab_keeps_the_surface():
    beyond, seen = mask(LEFT), shares(mount=LEFT, coating=BESIDE)

    cut, kept = (find_unclean(seen, beyond, ~beyond, keep_surface=keep) for keep in (False, True))

    assert (cut.sum(), kept.sum()) == (144 * 6, 0)
