"""Say what every reader gives: pages that are decoded only when asked for.

In:  nothing. Out: `Page`, `Loader`, `Limits`, and the guards around foreign decoders.
Next: `read`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent.errors import FileCode, FileError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Stored = NDArray[Any]
    """Pixels as a file stores them: (h, w) or (h, w, channels), of any integer type."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may ask for before it is set aside as too large.

    Args:
        max_megapixels: Of one page, in millions; checked before anything is decoded.
        max_pages: Pages of one file; more is a recording, not a micrograph.
        sidecars: Whether text and XML files of the same name are asked for the scale.
    """

    max_megapixels: float = 200.0
    max_pages: int = 64
    sidecars: bool = True

    @property
    def max_bytes(self) -> int:
        """How large a file may be before it is read at all: RGBA of 16 bits, and some words."""
        return round(self.max_megapixels * 1e6 * 8) + 64_000_000


@dataclass(frozen=True, slots=True)
class Page:
    """One page as its reader decoded it.

    Args:
        pixels: (h, w, 3) uint8 RGB, upright.
        um_per_px: What the file's metadata say, µm per pixel, most trusted first.
        metadata: What the file says of itself, as text.
        warnings: Stable words.
    """

    pixels: NDArray[np.uint8]
    um_per_px: tuple[float, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


Loader = Callable[[], Page]
"""Decodes one page; a file's loaders are known before any of its pixels are."""


def check_size(width: int, height: int, limits: Limits) -> None:
    """Refuse a page by its header, before a byte of it is decoded. Raises `FileError`."""
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


def check_pages(count: int, limits: Limits) -> None:
    """Refuse a file that is a recording rather than a micrograph. Raises `FileError`."""
    if count > limits.max_pages:
        raise FileError(
            FileCode.TOO_LARGE,
            f"it holds {count} pages, at most {limits.max_pages} are taken; "
            "export the fields one by one.",
        )


@contextmanager
def decoding(what: str) -> Iterator[None]:
    """Turn whatever is raised while foreign bytes are decoded into a `FileError`.

    Decoders raise anything from `struct.error` to `RecursionError` on damaged bytes, some as late
    as when a tag is asked for, so this is the one place besides the pipeline's edge where
    `Exception` is caught. What carries an error number comes from share or disk, and passes.
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
            FileCode.UNREADABLE, f"it cannot be decoded as {what}: {_in_short(error)}."
        ) from error


def _in_short(error: Exception) -> str:
    said = " ".join(str(error).split())[:160].rstrip(".")
    return said or type(error).__name__
