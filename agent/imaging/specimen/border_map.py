# ruff: noqa: PLR2004 - shares and cells, chosen on composites held out from the training
"""Combine the tables' outside and the zones along its edge with the map of the border network.

The network sees strips, fillers and coatings that the tables miss, and tells bleeding from a rim;
the tables decide where it is not sure. It never keeps a whole region that they cut: bright beads on
black resin are steel to it in places.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from agent.imaging.specimen.border_network import CLASSES
from agent.imaging.specimen.masks import count_cells, label_parts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.imaging.specimen.bleeding import EdgeZones
    from agent.imaging.specimen.grid import Cells, Mask

STEEL, MOUNT, BLEEDING, RIM, COATING = range(len(CLASSES))
SURE = 0.84
"""Mean probability of a mount from which a region is outside though the tables miss it."""
SMALLEST, CONTACT = 0.002, 15
"""Share of the field and cells at the frame that such a region has at least."""
CONFIRMED, SURELY_STEEL, RETURNED = 0.3, 0.95, 0.02
"""Mean probability of mount and coating from which the network confirms a region of the tables;
probability of steel and share of the field from which a part of it returns to the steel."""
UNCLEAN = 0.73
"""Probability of mount, bleeding and coating from which a cell next to the outside is cut."""
NAMED, BLED = 0.17, 0.3
"""Mean probabilities that rename a zone: of a rim if above 0.7 times that of bleeding, of bleeding
if twice that of a rim, since a rim must not be called bleeding."""


def return_steel(outside: Mask, shares: NDArray[np.float32]) -> Mask:
    """Return the tables' outside without large parts that the network sees as steel.

    Only a region that it takes for a mount on the whole loses such parts, and never all of it: one
    that it takes for steel altogether may be a mount with a texture of its own.

    Args:
        outside: (gh, gw) bool.
        shares: (gh, gw, 5), of `map_border`.
    """
    mount = shares[:, :, MOUNT] + shares[:, :, COATING]
    steel = (1 - mount > SURELY_STEEL).astype(np.uint8)
    kept = outside.copy()
    marks, areas = label_parts(outside)
    for mark in range(1, len(areas)):
        part = marks == mark
        if float(mount[part].mean()) >= CONFIRMED:
            kept &= ~_find_large(steel * part)
    return kept


def _find_large(steel: NDArray[np.uint8]) -> Mask:
    """Return the parts that are large and not thin."""
    opened = cv2.morphologyEx(steel, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    marks, areas = label_parts(opened > 0)
    large: Mask = np.isin(marks, np.flatnonzero(areas[1:] >= RETURNED * steel.size) + 1)
    return large


def add_regions(cells: Cells, outside: Mask | None, shares: NDArray[np.float32]) -> Mask | None:
    """Return the outside with the regions that the network alone is sure of.

    Args:
        cells: Usable cells and frame.
        outside: (gh, gw) bool, or None where the tables found none.
        shares: (gh, gw, 5), of `map_border`.
    """
    mount = shares[:, :, MOUNT]
    joined = np.zeros(mount.shape, bool) if outside is None else outside.copy()
    marks, areas = label_parts((mount > 0.5) & cells.usable)
    contacts = np.bincount(marks[cells.frame], minlength=len(areas))
    likely = (areas >= SMALLEST * mount.size) & (contacts >= CONTACT)
    for mark in np.flatnonzero(likely[1:]) + 1:
        part = marks == mark
        known = count_cells(part & joined) > 0.5 * areas[mark]
        if not known and float(mount[part].mean()) >= SURE:
            joined |= part
    if not 0 < count_cells(joined) <= 0.95 * count_cells(cells.usable):
        return outside
    return joined


def name_zones(zones: EdgeZones, shares: NDArray[np.float32]) -> EdgeZones:
    """Return zones whose steel is a rim or bleeding where the network tells them apart.

    Args:
        zones: Along the edge.
        shares: (gh, gw, 5), of `map_border`.
    """
    zone = zones.bleeding | zones.surface
    if not zone.any():
        return zones
    nothing = np.zeros_like(zone)
    rim, bleeding = (float(shares[:, :, index][zone].mean()) for index in (RIM, BLEEDING))
    if rim > NAMED and rim > 0.7 * bleeding:
        return replace(zones, surface=zone, bleeding=nothing)
    if bleeding > BLED and bleeding > 2 * rim:
        return replace(zones, surface=nothing, bleeding=zone)
    return zones


def find_unclean(
    shares: NDArray[np.float32], beyond: Mask, steel: Mask, *, keep_surface: bool
) -> Mask:
    """Return the cells next to the outside that the network sees as mount, bleeding or coating.

    Args:
        shares: (gh, gw, 5), of `map_border`.
        beyond: (gh, gw) bool, one side of the edge, bleeding included.
        steel: (gh, gw) bool, the other side.
        keep_surface: A coating counts as steel.
    """
    kept = [STEEL, RIM, COATING] if keep_surface else [STEEL, RIM]
    odd = steel & (1 - shares[:, :, kept].sum(axis=-1) > UNCLEAN)
    marks, _ = label_parts(odd | beyond)
    joined: Mask = odd & np.isin(marks, np.unique(marks[beyond]))
    return joined
