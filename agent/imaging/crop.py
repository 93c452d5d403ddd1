"""Cut a micrograph down to steel alone, by a versioned recipe.

In:  a `Micrograph` with its micron bar, band and specimen area. Out: one `Crop`. Next: the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Box = tuple[int, int, int, int]
"""(x0, y0, x1, y1) in pixels of the file, origin top left, x1 and y1 exclusive."""


@dataclass(frozen=True, slots=True)
class Scale:
    """What one witness says about the physical size of a pixel.

    Args:
        source: "metadata", "micron_bar", "sidecar" or "settings".
        um_per_px: µm per pixel.
    """

    source: str
    um_per_px: float


@dataclass(frozen=True, slots=True)
class MicronBar:
    """A micron bar that was found.

    Args:
        bbox: Encloses line and label. line_px: the length that stands for the label, in pixels.
        label: As read, such as "20 µm"; "" if it could not be read. um: its length in µm, or None.
    """

    bbox: Box
    line_px: float
    label: str
    um: float | None


@dataclass(frozen=True, slots=True)
class SpecimenArea:
    """Where in the image the specimen is.

    Args:
        whole_frame: No border was found: the image is steel throughout.
        outside_fraction: Share of the image that is outside the specimen, bleeding included.
        polygon: The specimen's outline, (x, y) in pixels of the file.
    """

    whole_frame: bool
    outside_fraction: float
    polygon: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Crop:
    """One micrograph cut down to steel: exactly one per page of a content.

    Args:
        sha256: Of the file's bytes, lower-case hex. page: index of the page or scene.
        pages: How many the file has.
        width, height: Of the page, in pixels. format: such as "TIFF", "JPEG", "CZI".
        um_per_px: What the witnesses agree on, or None. um_per_px_source: who said it first.
        scales: All that the witnesses say.
        micron_bar, band: What was burned into the image, or None. specimen_area: see there.
        box: The kept rectangle. recipe: version of the recipe that cut it.
        warnings: Stable words, such as "scale_conflict".
        pixels: (h, w, 3) uint8 RGB, the kept rectangle.
        valid: (h, w) bool, False where the rectangle still holds no steel.
        preview: (h, w, 3) uint8 RGB, the whole field at 2000 px at most, for people.
        metadata: What the file says of itself as text: "microscope", "objective",
            "magnification", "acquired_at", … where known.
    """

    sha256: str
    page: int
    pages: int
    width: int
    height: int
    format: str
    um_per_px: float | None
    um_per_px_source: str | None
    scales: tuple[Scale, ...]
    micron_bar: MicronBar | None
    band: Box | None
    specimen_area: SpecimenArea
    box: Box
    recipe: str
    warnings: tuple[str, ...]
    pixels: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    preview: NDArray[np.uint8]
    metadata: dict[str, str]

    @property
    def id(self) -> str:
        """The public id: 16 hex digits, and the page's number from the second on."""
        return public_id(self.sha256, self.page)


def public_id(sha256: str, page: int) -> str:
    """Say a micrograph's public id; the second page of a file ends in `-p2`."""
    return sha256[:16] if page == 0 else f"{sha256[:16]}-p{page + 1}"
