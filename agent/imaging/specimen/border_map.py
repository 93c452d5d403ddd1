# ruff: noqa: PLR2004 - shares and cells, chosen on composites held out from the training
"""Read the map of the border network: regions of a mount, and the names of zones along its edge.

It sees what is curved or at a corner, fillers and coatings, and tells bleeding from a rim. It never
keeps what a straight edge parts from the specimen.
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
"""Mean probability of a mount from which a region is outside."""
SMALLEST, CONTACT = 0.002, 15
"""Share of the field and cells at the frame that such a region has at least."""
UNCLEAN = 0.73
"""Probability of mount, bleeding and coating from which a cell next to the outside is cut."""
NAMED, BLED = 0.17, 0.3
"""Mean probabilities that rename a zone: of a rim if above 0.7 times that of bleeding, of bleeding
if twice that of a rim, since a rim must not be called bleeding."""


def add_regions(cells: Cells, outside: Mask, shares: NDArray[np.float32]) -> Mask:
    """Return the outside with the regions of a mount that the network is sure of.

    Args:
        cells: Usable cells and frame.
        outside: (gh, gw) bool, what straight edges part from the specimen.
        shares: (gh, gw, 5), of `map_border`.
    """
    mount = shares[:, :, MOUNT]
    joined = outside.copy()
    marks, areas = label_parts((mount > 0.5) & cells.usable)
    contacts = np.bincount(marks[cells.frame], minlength=len(areas))
    likely = (areas >= SMALLEST * mount.size) & (contacts >= CONTACT)
    for mark in np.flatnonzero(likely[1:]) + 1:
        part = marks == mark
        if float(mount[part].mean()) >= SURE:
            joined |= part
    return joined if count_cells(joined) <= 0.95 * count_cells(cells.usable) else outside


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
    odd = (steel | beyond) & (1 - shares[:, :, kept].sum(axis=-1) > UNCLEAN)
    opened = cv2.morphologyEx(odd.astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    odd = steel & (opened > 0)  # one cell of doubt would cost a row of the crop
    marks, _ = label_parts(odd | beyond)
    joined: Mask = odd & np.isin(marks, np.unique(marks[beyond]))
    return joined
