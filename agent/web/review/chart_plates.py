"""The lab's chart: a folder of reference images, one or more per size.

Only files that this module lists are ever read, so that no address leads out of the folder.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.errors import BadSettingsError, FileError
from agent.imaging import Limits, read
from model import Taxonomy

SUFFIXES = frozenset({".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp"})
MOST_PLATES = 400
LABEL = re.compile(r"[^_\s]+")
AGREEMENT = 0.02
"""Largest relative difference of two scales of one file that count as the same."""


@dataclass(frozen=True, slots=True)
class PlateFile:
    """One file of the chart.

    Args:
        key: Identifies this content of the file in an address.
        name: The file's name.
        label: Size or structure code that it shows, as the lab wrote it.
        path: Of the file, inside the folder.
    """

    key: str
    name: str
    label: str
    path: Path


@dataclass(frozen=True, slots=True)
class PlateFacts:
    """Size and scale of one plate.

    Args:
        width, height: In pixels of the file; 0 where it cannot be read.
        um_per_px: From the file or the text file of the same name, None where it is unknown.
        fault: Why it cannot be read, "" for nothing.
    """

    width: int = 0
    height: int = 0
    um_per_px: float | None = None
    fault: str = ""


class Chart:
    """The plates of one folder. Thread-safe.

    Args:
        folder: Images, named by size ("8.png", "9-10_a.tif") or in a subfolder named so.
        um_per_px_range: Smallest and largest plausible µm per pixel.
        max_megapixels: Larger images are not read.
    """

    def __init__(
        self,
        folder: Path,
        *,
        um_per_px_range: tuple[float, float] = (0.0005, 5.0),
        max_megapixels: float = 200.0,
    ) -> None:
        self._folder = folder
        self._range = um_per_px_range
        self._limits = Limits(max_megapixels=max_megapixels, max_pages=1)
        self._lock = threading.Lock()
        self._facts: dict[str, PlateFacts] = {}

    def list_plates(self) -> list[PlateFile]:
        """Return the plates by name, at most `MOST_PLATES`.

        Raises:
            BadSettingsError: The folder is missing or cannot be read.
        """
        try:
            root = self._folder.resolve(strict=True)
            found = [
                _build_plate(path, root) for path in sorted(_iter_files(root)) if path.is_file()
            ]
        except OSError as error:
            raise BadSettingsError(
                f"[review] chart: the folder {self._folder} cannot be read "
                f"({error.strerror or error}). Create it with one image per size, or write "
                'chart = "".'
            ) from error
        return found[:MOST_PLATES]

    def find(self, key: str) -> PlateFile | None:
        """Return the plate with a key, or None."""
        return next((plate for plate in self.list_plates() if plate.key == key), None)

    def read_pixels(self, plate: PlateFile) -> NDArray[np.uint8]:
        """Return a plate's pixels, (h, w, 3) uint8 RGB, and keep its facts.

        Raises:
            FileError: Its content cannot be used.
            OSError: The disk failed.
        """
        first = read(plate.path, limits=self._limits)[0]
        height, width = first.pixels.shape[:2]
        scale = self._resolve([scale.um_per_px for scale in first.scales])
        with self._lock:
            self._facts[plate.key] = PlateFacts(width, height, scale)
        return first.pixels

    def get_facts(self, plate: PlateFile) -> PlateFacts:
        """Return size and scale of a plate; it is read once."""
        with self._lock:
            kept = self._facts.get(plate.key)
        if kept is not None:
            return kept
        try:
            self.read_pixels(plate)
        except (FileError, OSError) as error:
            fault = error.message if isinstance(error, FileError) else str(error.strerror or error)
            with self._lock:
                self._facts[plate.key] = PlateFacts(fault=fault)
        with self._lock:
            return self._facts[plate.key]

    def _resolve(self, scales: list[float]) -> float | None:
        low, high = self._range
        good = [um for um in scales if low <= um <= high]
        if not good or max(good) > (1 + AGREEMENT) * min(good):
            return None
        return good[0]


def open_chart(
    folder: Path, *, um_per_px_range: tuple[float, float], max_megapixels: float
) -> Chart:
    """Return the chart of a folder that was checked.

    Raises:
        BadSettingsError: The folder is missing, is no folder or cannot be read.
    """
    chart = Chart(folder, um_per_px_range=um_per_px_range, max_megapixels=max_megapixels)
    chart.list_plates()
    return chart


def group_plates(
    plates: list[PlateFile], taxonomy: Taxonomy
) -> list[tuple[str, bool, list[PlateFile]]]:
    """Return the plates by label, in the order of the classes, other labels last.

    Args:
        plates: Any.
        taxonomy: The lab's classes.

    Returns:
        Label as the classes write it, whether it is a size, and its plates.
    """
    order = {_fold(size.name): (size.name, True) for size in taxonomy.sizes}
    for subtype in taxonomy.subtypes:
        for size in subtype.sizes:
            code = subtype.code(size.name)
            order.setdefault(_fold(code), (code, False))
    rank = {folded: at for at, folded in enumerate(order)}
    groups: dict[str, list[PlateFile]] = {}
    for plate in plates:
        groups.setdefault(_fold(plate.label), []).append(plate)
    return [
        (*order.get(folded, (groups[folded][0].label, False)), groups[folded])
        for folded in sorted(groups, key=lambda folded: (rank.get(folded, len(rank)), folded))
    ]


def _fold(label: str) -> str:
    return label.replace("\N{EN DASH}", "-").casefold()


def _iter_files(root: Path) -> Iterator[Path]:
    for entry in root.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir() and _is_inside(entry, root):
            yield from (path for path in entry.iterdir() if _is_plate(path, root))
        elif _is_plate(entry, root):
            yield entry


def _is_plate(path: Path, root: Path) -> bool:
    named = path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    return named and _is_inside(path, root)


def _is_inside(path: Path, root: Path) -> bool:
    """Return whether a path is in the folder, also once its links are followed."""
    try:
        return path.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # a link that leads to itself, or to what cannot be read
        return False


def _build_plate(path: Path, root: Path) -> PlateFile:
    inside = path.relative_to(root)
    state = path.stat()
    content = f"{inside.as_posix()}\0{state.st_size}\0{state.st_mtime_ns}"
    key = hashlib.sha256(content.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    label = inside.parts[0] if len(inside.parts) > 1 else _read_label(path.stem)
    return PlateFile(key, path.name, label, path)


def _read_label(stem: str) -> str:
    match = LABEL.match(stem)
    return match.group() if match else stem
