"""Pages that are decoded on demand, limits of a file, and the guard around foreign decoders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent.errors import FileCode, FileError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    Stored = NDArray[Any]
    """Pixels as a file stores them: (h, w) or (h, w, channels), of any integer type."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may need before it is refused as too large.

    Args:
        max_megapixels: Of one page, in millions; checked before anything is decoded.
        max_pages: Pages of one file; more is a recording, not a micrograph.
        sidecars: Whether text and XML files of the same name are read for the scale.
        standstill_s: Seconds without a byte after which its share hangs.
        roots: Folders of the sources; a folder below one is not followed where it is a link.
    """

    max_megapixels: float = 200.0
    max_pages: int = 64
    sidecars: bool = True
    standstill_s: float = 60.0
    roots: tuple[Path, ...] = ()

    def find_root(self, path: Path) -> Path | None:
        """Return the source's folder that a file is below, None where it is below no one's."""
        return next((root for root in self.roots if path.is_relative_to(root)), None)

    @property
    def max_bytes(self) -> int:
        """Largest file size that is read: 16-bit RGBA at `max_megapixels`, and 64 MB."""
        return round(self.max_megapixels * 1e6 * 8) + 64_000_000


@dataclass(frozen=True, slots=True)
class Page:
    """One page as its reader decoded it.

    Args:
        pixels: (h, w, 3) uint8 RGB, upright.
        um_per_px: From the file's metadata, µm per pixel, most trusted first.
        metadata: Text from the file.
        warnings: Stable words.
    """

    pixels: NDArray[np.uint8]
    um_per_px: tuple[float, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


Loader = Callable[[], Page]
"""Decodes one page; the number of pages is known before any is decoded."""


def check_size(width: int, height: int, limits: Limits) -> None:
    """Check the size of a page by its header, before it is decoded.

    Raises:
        FileError: No image, or above the limit.
    """
    if width < 1 or height < 1:
        raise FileError(
            FileCode.UNREADABLE, f"its header says {width} × {height} px, which is no image."
        )
    if width * height > limits.max_megapixels * 1e6:
        raise FileError(
            FileCode.TOO_LARGE,
            f"its header says {width} × {height} px, above the limit of "
            f"{limits.max_megapixels:g} megapixels ([imaging] max_megapixels).",
        )


MOST_SCANS = 200
"""Scans of one JPEG. Encoders write 1 or about 10; each costs a decoder a pass over the picture."""
START_OF_SCAN = b"\xff\xda"
"""A marker that no compressed data holds: there a zero follows 0xFF (ITU-T T.81, B.1.1.5)."""


def check_scans(content: bytes, start: int, end: int) -> None:
    """Check into how many scans a JPEG is divided, before it is decoded.

    Args:
        content: The file.
        start: Its byte at which the JPEG begins, or its first scan ends.
        end: Its byte after the JPEG.

    Raises:
        FileError: Above the limit.
    """
    scans = content.count(START_OF_SCAN, start, end)
    if scans > MOST_SCANS:
        raise FileError(
            FileCode.TOO_LARGE,
            f"its JPEG picture is in {scans} scans, above the limit of {MOST_SCANS}; export it as "
            "TIFF or as a baseline JPEG.",
        )


def check_pages(count: int, limits: Limits) -> None:
    """Check the number of pages.

    Raises:
        FileError: The file is a recording rather than a micrograph.
    """
    if count > limits.max_pages:
        raise FileError(
            FileCode.TOO_LARGE,
            f"it holds {count} pages, at most {limits.max_pages} are taken; "
            "export the fields one by one.",
        )


@contextmanager
def decoding(what: str) -> Iterator[None]:
    """Convert any exception raised while foreign bytes are decoded to a `FileError`.

    Decoders raise anything from `struct.error` to `RecursionError` on damaged bytes, some only when
    a tag is read, so this is the one place besides the pipeline's edge that catches `Exception`. An
    `OSError` with an error number comes from share or disk and is raised unchanged.
    """
    try:
        yield
    except FileError:
        raise
    except MemoryError as error:
        raise FileError(
            FileCode.TOO_LARGE, f"decoding it as {what} took more memory than there is."
        ) from error
    except Exception as error:
        if isinstance(error, OSError) and isinstance(error.errno, int):
            raise
        raise FileError(
            FileCode.UNREADABLE, f"it cannot be decoded as {what}: {_shorten(error)}."
        ) from error


def _shorten(error: Exception) -> str:
    text = " ".join(str(error).split())[:160].rstrip(".")
    return text or type(error).__name__
