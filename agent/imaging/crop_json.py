"""Convert a crop to the JSON that `agent look` prints and result rows store.

The keys are those of `agent look --json` in DESIGN.md without "file"; they are persisted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
        },
        "crop": list(crop.box),
        "recipe": crop.recipe,
        "warnings": list(crop.warnings),
    }


def error_to_json(error: FileError) -> dict[str, dict[str, str]]:
    """Return the JSON of a file that cannot be used."""
    return {"error": {"code": error.code.value, "message": error.message}}
