# ruff: noqa: PLR2004 - shares and cells, chosen on composites held out from the training
"""Combine the tables' outside and the zones along its edge with the map of the border network.

The network sees strips and coatings that the tables miss, and tells bleeding from a rim; the
tables decide whether there is an outside where the network is not sure. It never keeps what they
cut: it takes mounts with a texture of their own for steel.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from agent.imaging.specimen.border_network import CLASSES
from agent.imaging.specimen.masks import count_cells, label_parts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.imaging.specimen.bleeding import EdgeZones
    from agent.imaging.specimen.grid import Cells, Mask

STEEL, MOUNT, BLEEDING, RIM, COATING = range(len(CLASSES))
SURE = 0.8
"""Mean probability of a mount from which a region is outside though the tables miss it."""
SMALLEST, CONTACT = 0.002, 15
"""Share of the field and cells at the frame that such a region has at least."""
UNCLEAN = 0.65
"""Probability of mount, bleeding and coating from which a cell next to the outside is cut."""
NAMED, BLED = 0.1, 0.3
"""Mean probabilities that rename a zone: of a rim if above that of bleeding, of bleeding if twice
that of a rim, since a rim must not be called bleeding."""


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
    if rim > NAMED and rim > bleeding:
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
