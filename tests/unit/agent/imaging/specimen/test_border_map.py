"""The map of the border network adds to the tables' outside, or drops, only what it is sure of."""

from __future__ import annotations

import numpy as np
import pytest

from agent.imaging.specimen.bleeding import EdgeZones
from agent.imaging.specimen.border_map import (
    BLEEDING,
    COATING,
    MOUNT,
    RIM,
    STEEL,
    add_regions,
    find_unclean,
    name_zones,
    return_steel,
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
    outside = add_regions(cells(), None, shares(mount=LEFT))

    assert outside is not None
    assert (outside == mask(LEFT)).all()


def test_a_strip_of_which_the_network_is_unsure_stays_in():
    unsure = shares(mount=LEFT)
    unsure[(*LEFT, MOUNT)], unsure[(*LEFT, STEEL)] = 0.7, 0.3

    assert add_regions(cells(), None, unsure) is None


def test_a_region_away_from_the_frame_stays_in():
    assert add_regions(cells(), None, shares(mount=np.s_[40:90, 40:90])) is None


def test_the_tables_outside_keeps_its_edge():
    outside = add_regions(cells(), mask(np.s_[:, :8]), shares(mount=LEFT))

    assert outside is not None
    assert (outside == mask(np.s_[:, :8])).all()


@pytest.mark.parametrize("wide", [4, 18, 60])
def test_a_region_of_the_tables_in_which_the_network_sees_no_mount_stays_outside(wide):
    outside = mask(np.s_[:, :wide])  # a filler may look like steel

    assert (return_steel(outside, shares()) == outside).all()


def test_the_smallest_region_of_the_tables_stays_outside():
    outside = mask(np.s_[:3, :3])

    assert (return_steel(outside, shares()) == outside).all()


def test_what_the_tables_cut_stays_outside_where_the_network_is_not_sure():
    unsure = shares(mount=LEFT)
    unsure[(*LEFT, MOUNT)], unsure[(*LEFT, STEEL)] = 0.4, 0.6

    kept = return_steel(mask(LEFT), unsure)

    assert (kept == mask(LEFT)).all()


def test_a_large_part_of_the_tables_outside_that_is_surely_steel_returns_to_it():
    kept = return_steel(mask(np.s_[:, :40]), shares(mount=np.s_[:, :30]))

    assert (kept == mask(np.s_[:, :30])).all()


def test_a_coating_that_the_tables_cut_stays_outside():
    kept = return_steel(mask(LEFT), shares(coating=LEFT))

    assert (kept == mask(LEFT)).all()


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


def test_a_coating_is_kept_where_the_lab_keeps_the_surface():
    beyond, seen = mask(LEFT), shares(mount=LEFT, coating=BESIDE)

    cut, kept = (find_unclean(seen, beyond, ~beyond, keep_surface=keep) for keep in (False, True))

    assert (cut.sum(), kept.sum()) == (144 * 6, 0)
