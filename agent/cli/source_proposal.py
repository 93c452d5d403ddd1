"""Propose settings for a folder of micrographs: a source, its pattern and objectives, its classes.

All of it is a guess from names and scales, for an operator to check.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from agent.cli.init_taxonomy import propose_taxonomy
from agent.cli.settings_reference import format_toml
from agent.errors import WrongUse
from agent.orders.taxonomy_writing import TAXONOMY_FILE
from agent.settings import objective_key
from agent.watch.file_types import to_text
from agent.watch.path_metadata import Provenance, propose_pattern
from model import TaxonomyError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agent.imaging import Crop

EXAMPLES: Final = 3
AGREEMENT: Final = 1.02
"""Largest ratio of the pixel sizes of one objective."""
LEAST_OF_SCALE: Final = 3
"""Micrographs of a magnification that must agree on its pixel size."""
MOST_CLASSES: Final = 60
LEAST_OF_CLASS: Final = 2
_ORDER_FOLDER = re.compile(r"\d{3,}")


def propose_source(
    folder: Path, paths: Sequence[str], crops: Sequence[tuple[str, Crop]]
) -> dict[str, Any]:
    """Return settings for a folder as TOML, and what they would read.

    Args:
        folder: Absolute.
        paths: Of its pictures, relative.
        crops: Relative path and crop of each micrograph that was read.

    Returns:
        toml: Text for agent.toml. pattern: In it, or "". examples: Names with the process data
        read. matched: How many names it reads. classes: Folder, code and number of images of each.
        class_fault: Why the subfolders make no classes.
    """
    classes, class_fault = _propose_classes(folder, paths)
    names = paths if _has_order_folders(paths) else [path.rpartition("/")[2] for path in paths]
    pattern = propose_pattern(names)
    provenance = Provenance(pattern=pattern)
    read = [(path, provenance.process_data(path)) for path in sorted(paths)]
    lines = [f"[model]\ntaxonomy = {format_toml(TAXONOMY_FILE)}\n"] if classes else []
    lines += [
        "[[sources]]",
        f"name = {format_toml(to_text(folder.name) or 'micrographs')}",
        f"folder = {format_toml(to_text(folder.as_posix()))}",
    ]
    microscopes = {crop.metadata.get("microscope", "") for _path, crop in crops}
    if len(microscopes) == 1 and (microscope := microscopes.pop()):
        lines.append(f"microscope = {format_toml(to_text(microscope))}")
    if pattern:
        lines.append(f"pattern = {format_toml(pattern)}")
    lines += _propose_objectives(provenance, crops)
    matched = [row for row in read if row[1]]
    return {
        "toml": "\n".join(lines) + "\n",
        "pattern": pattern,
        "examples": matched[:: max(1, len(matched) // EXAMPLES)][:EXAMPLES],
        "matched": len(matched),
        "classes": classes,
        "class_fault": class_fault,
    }


def _has_order_folders(paths: Sequence[str]) -> bool:
    """Return whether files are in folders whose names are numbers, such as orders."""
    tops = {path.partition("/")[0] for path in paths if "/" in path}
    return bool(tops) and all(map(_ORDER_FOLDER.search, tops))


def _propose_classes(folder: Path, paths: Sequence[str]) -> tuple[list[tuple[str, str, int]], str]:
    """Return folder, code and number of images of each class; and why there is none, "" for no."""
    tops = Counter(path.partition("/")[0] for path in paths if "/" in path)
    if (
        not 1 < len(tops) <= MOST_CLASSES
        or sum(tops.values()) < max(len(paths), LEAST_OF_CLASS * len(tops))
        or _has_order_folders(paths)
    ):
        return [], ""
    try:
        taxonomy, found = propose_taxonomy(folder)
        return [
            (row.name, taxonomy.code(*taxonomy.parse(row.name)), row.images) for row in found
        ], ""
    except (WrongUse, TaxonomyError) as error:
        return [], str(error)


def _propose_objectives(provenance: Provenance, crops: Sequence[tuple[str, Crop]]) -> list[str]:
    """Return a table per magnification whose micrographs agree on the pixel size."""
    scales: dict[str, dict[tuple[int, int], list[float]]] = defaultdict(lambda: defaultdict(list))
    for path, crop in crops:
        name = provenance.process_data(path).get("magnification", "")
        if name and crop.um_per_px is not None:
            scales[objective_key(name)][crop.width, crop.height].append(crop.um_per_px)
    lines: list[str] = []
    for name, by_size in sorted(scales.items(), key=lambda row: (len(row[0]), row[0])):
        agreed = {
            size: median(values)
            for size, values in by_size.items()
            if len(values) >= LEAST_OF_SCALE and max(values) <= AGREEMENT * min(values)
        }
        is_one = agreed and max(agreed.values()) <= AGREEMENT * min(agreed.values())
        if is_one and len(agreed) == len(by_size):
            lines += _write_objective(name, median(agreed.values()))
            continue
        for (width, height), um_per_px in sorted(agreed.items()):
            lines += [*_write_objective(name, um_per_px), f"width = {width}", f"height = {height}"]
    return lines


def _write_objective(name: str, um_per_px: float) -> list[str]:
    return [
        "",
        "[[sources.objectives]]",
        f"name = {format_toml(name)}",
        f"um_per_px = {float(f'{um_per_px:.4g}')!r}",
    ]
