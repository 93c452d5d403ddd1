"""The network that maps a micrograph to steel, mount, bleeding, rim and coating.

A U-Net with four levels on 4 × 4 pixels per cell. It runs in NumPy: the workers that crop load
neither PyTorch nor OpenVINO, and every engine gets the same map. It is trained by
`tests/bench/border_network.py`.

Pictures that it was trained on: UHCSDB, DeCost et al. 2017, doi:10.1007/s40192-017-0097-0
(CC BY 3.0 US); InstantScale, J. Ribas, pretrained-microscopy-models, NASA, and
python_for_microscopists, S. Bhattiprolu (MIT); NIST.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from agent.imaging.specimen.bleeding import EdgeZones
from agent.imaging.specimen.grid import Cells, Mask, count_cells, label_parts

Plane = NDArray[np.float32]


WEIGHTS = Path(__file__).with_name("border.safetensors")
CLASSES = ("steel", "mount", "bleeding", "rim", "coating")
CELL_PX = 4
"""Pixels of the network's input per cell, in each direction."""
STRIDE = 16
"""Cells by which the sides of the input are multiples."""
_MIDDLE, _UNIT = 128.0, 64.0  # grey values at 0 and per 1 of the input
_ONE_THREAD = 262_144  # multiplications up to which OpenBLAS starts no thread
_DILATED = 2  # of the second convolution of the two lowest levels
_WIDE = 4  # of the second convolution of the block with the widest context


def map_border(small: NDArray[np.uint8], usable: Mask) -> Plane:
    """Compute the probability of each class.

    Args:
        small: (4 gh, 4 gw, 3) uint8, RGB, of `shrink`.
        usable: (gh, gw) bool; False where graphics are.

    Returns:
        (gh, gw, 5), in the order of `CLASSES`.
    """
    rows, columns = usable.shape
    image = _build_input(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), usable)
    logits = _run(_load(), image)[:rows, :columns]
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: Plane = odds / odds.sum(axis=-1, keepdims=True)
    return shares


def shrink(pixels: NDArray[np.uint8], grid: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a micrograph with `CELL_PX` pixels per cell in each direction, RGB.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        grid: Rows and columns of the cells.
    """
    rows, columns = grid
    size = (columns * CELL_PX, rows * CELL_PX)
    smaller = pixels.shape[1] > size[0]
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, size, interpolation=method), np.uint8)


def _build_input(grey: NDArray[np.generic], usable: Mask) -> Plane:
    """Return the 16 grey values of each cell and whether it is usable, (h, w, 17).

    The sides are padded to multiples of `STRIDE`.
    """
    rows, columns = usable.shape
    high, wide = -(-rows // STRIDE) * STRIDE, -(-columns // STRIDE) * STRIDE
    image = np.zeros((high, wide, CELL_PX * CELL_PX + 1), np.float32)
    patches = grey.reshape(rows, CELL_PX, columns, CELL_PX).transpose(0, 2, 1, 3)
    values = (patches.reshape(rows, columns, -1).astype(np.float32) - _MIDDLE) / _UNIT
    image[:rows, :columns, :-1] = values * usable[:, :, None]
    image[:rows, :columns, -1] = usable
    return image


@cache
def _load() -> dict[str, Plane]:
    """Return the weights of the package, (k * k, c, o) per convolution."""
    return {name: value.astype(np.float32) for name, value in load_file(WEIGHTS).items()}


def _run(weights: dict[str, Plane], image: Plane) -> Plane:
    """Return logits, (h, w, 5), of an input, (h, w, 17); sides are multiples of `STRIDE`."""

    def convolve(name: str, values: Plane, *, dilation: int = 1) -> Plane:
        return _convolve(values, weights[name], weights[f"{name}.bias"], dilation)

    def step(name: str, values: Plane) -> Plane:
        return _relu(_halve(values, weights[name], weights[f"{name}.bias"]))

    def merge(name: str, coarse: Plane, fine: Plane) -> Plane:
        larger = coarse.repeat(2, axis=0).repeat(2, axis=1)
        return _relu(convolve(name, np.concatenate([larger, fine], axis=-1)))

    def block(name: str, values: Plane, *, dilation: int = 1) -> Plane:
        inner = _relu(convolve(f"{name}.a", values))
        return _relu(values + convolve(f"{name}.b", inner, dilation=dilation))

    half = block("b2", step("stem", _relu(convolve("patch", image))))
    quarter = block("b4", step("d4", half))
    eighth = block("b8", step("d8", quarter), dilation=_DILATED)
    deepest = block("b16", step("d16", eighth), dilation=_DILATED)
    deepest = block("c16", deepest, dilation=_WIDE)
    overall = deepest.mean(axis=(0, 1), keepdims=True)
    deepest = _relu(deepest + convolve("glob", overall))
    eighth = block("u8", merge("m8", deepest, eighth))
    quarter = block("u4", merge("m4", eighth, quarter))
    half = block("u2", merge("m2", quarter, half))
    logits = convolve("head", half)  # (h / 2, w / 2, 5 * 2 * 2)
    rows, columns, _ = logits.shape
    parts = logits.reshape(rows, columns, len(CLASSES), 2, 2).transpose(0, 3, 1, 4, 2)
    return np.ascontiguousarray(parts.reshape(2 * rows, 2 * columns, len(CLASSES)))


def _relu(values: Plane) -> Plane:
    return np.maximum(values, 0, out=values)


def _convolve(values: Plane, kernel: Plane, bias: Plane, dilation: int) -> Plane:
    """Convolve (h, w, c) by (k * k, c, o), zeros around it.

    Rows of the padded plane follow each other in memory, so that a shifted plane is a slice.
    """
    height, width, _ = values.shape
    if len(kernel) == 1:
        plain = np.empty((height * width, kernel.shape[-1]), np.float32)
        _multiply(values.reshape(height * width, -1), kernel[0], plain)
        plain += bias
        return plain.reshape(height, width, -1)
    wide = width + 2 * dilation
    padded = np.pad(values, ((dilation, dilation), (dilation, dilation), (0, 0)))
    flat = padded.reshape(-1, padded.shape[-1])
    count = height * wide - 2 * dilation
    total = np.empty((height * wide, kernel.shape[-1]), np.float32)
    total[:] = bias
    product = np.empty((count, kernel.shape[-1]), np.float32)
    for place, part in enumerate(kernel):
        down, across = divmod(place, 3)
        first = (down * wide + across) * dilation
        _multiply(flat[first : first + count], part, product)
        total[:count] += product
    return total.reshape(height, wide, -1)[:, :width]


def _halve(values: Plane, kernel: Plane, bias: Plane) -> Plane:
    """Convolve (h, w, c) by (9, c, o) at every second place."""
    height, width, channels = values.shape
    padded = np.pad(values, ((1, 1), (1, 1), (0, 0)))
    windows = np.empty((height // 2, width // 2, 9, channels), np.float32)
    for place in range(9):
        down, across = divmod(place, 3)
        windows[:, :, place] = padded[down : down + height : 2, across : across + width : 2]
    halved = np.empty((height * width // 4, kernel.shape[-1]), np.float32)
    _multiply(windows.reshape(-1, 9 * channels), kernel.reshape(9 * channels, -1), halved)
    halved += bias
    return halved.reshape(height // 2, width // 2, -1)


def _multiply(values: Plane, kernel: Plane, out: Plane) -> None:
    """Multiply (n, c) by (c, o) into (n, o), so few rows at a time that one thread does it.

    With more rows OpenBLAS starts all threads of the PC; next to other work they wait for each
    other for up to 50 times the processor time of the product.
    """
    (count, channels), outputs = values.shape, kernel.shape[1]
    rows = max(1, _ONE_THREAD // kernel.size)
    whole = count // rows * rows
    parts = values[:whole].reshape(-1, rows, channels)
    np.matmul(parts, kernel, out=out[:whole].reshape(-1, rows, outputs))
    if whole < count:
        np.matmul(values[whole:], kernel, out=out[whole:])


# --- read the map of the border network: regions of a mount, and the names of zones along its edge
# It sees what is curved or at a corner, fillers and coatings, and tells bleeding from a rim. It
# never keeps what a straight edge parts from the specimen.


# ruff: noqa: PLR2004 - shares and cells, chosen on composites held out from the training


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
