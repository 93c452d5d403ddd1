"""Convert a crop to the JSON that `agent look` prints and result rows store.

The keys are those of `agent look --json` in DESIGN.md without "file"; they are persisted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.errors import FileError
    from agent.imaging.crop import Crop


def crop_to_json(crop: Crop) -> dict[str, object]:
    """Return a crop as JSON; boxes and points in pixels of the file."""
    bar = crop.micron_bar
    area = crop.specimen_area
    return {
        "id": crop.id,
        "sha256": crop.sha256,
        "page": crop.page,
        "pages": crop.pages,
        "width": crop.width,
        "height": crop.height,
        "format": crop.format,
        "um_per_px": crop.um_per_px,
        "um_per_px_source": crop.um_per_px_source,
        "scales": [{"source": scale.source, "um_per_px": scale.um_per_px} for scale in crop.scales],
        "micron_bar": bar
        and {"bbox": list(bar.bbox), "line_px": bar.line_px, "label": bar.label, "um": bar.um},
        "band": crop.band and list(crop.band),
        "specimen_area": {
            "whole_frame": area.whole_frame,
            "outside_fraction": area.outside_fraction,
            "polygon": [list(point) for point in area.polygon],
            "others": [[list(point) for point in outline] for outline in area.others],
            "zone": area.evidence and {"depth_px": area.evidence[0], "spreads": area.evidence[1]},
        },
        "crop": list(crop.box),
        "recipe": crop.recipe,
        "warnings": list(crop.warnings),
    }


def error_to_json(error: FileError) -> dict[str, dict[str, str]]:
    """Return the JSON of a file that cannot be used."""
    return {"error": {"code": error.code.value, "message": error.message}}


def locate_specimens(
    outlines: Sequence[Sequence[Sequence[int]]], width: int, height: int
) -> list[tuple[str, float]]:
    """Return the side and the share of the field of each specimen in a field.

    Args:
        outlines: Outlines in pixels of the file, (x, y), that of the graded specimen first.
        width: Of the field, pixels.
        height: Of the field, pixels.

    Returns:
        "left", "right", "top" or "bottom" next to the graded one, of that next to the first other.
    """
    centres, shares = [], []
    for outline in outlines:
        xs, ys = zip(*outline, strict=True)
        centres.append(((min(xs) + max(xs)) / 2 / width, (min(ys) + max(ys)) / 2 / height))
        turned = zip(xs, ys, (*xs[1:], xs[0]), (*ys[1:], ys[0]), strict=True)
        area = abs(sum(x * next_y - next_x * y for x, y, next_x, next_y in turned)) / 2
        shares.append(area / (width * height))
    sides = []
    for number, (x, y) in enumerate(centres):
        base_x, base_y = centres[0 if number else min(1, len(centres) - 1)]
        if abs(x - base_x) > abs(y - base_y):
            sides.append("left" if x < base_x else "right")
        else:
            sides.append("top" if y < base_y else "bottom")
    return list(zip(sides, shares, strict=True))
