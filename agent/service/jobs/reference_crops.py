"""Read and crop reference images in a child: what reads labels would stay in memory here."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING

from agent.errors import OutOfResources
from agent.imaging import is_worker_killed
from agent.service.composition import make_pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from agent.imaging import Crop, CropPool
    from agent.settings import Settings


@contextmanager
def cropping_apart(settings: Settings) -> Iterator[Callable[[Path], list[Crop] | Exception]]:
    """Yield a function that reads and crops one file in a child, or returns why it cannot.

    The child starts with the first file and ends with the block. MEASURED: reading one label leaves
    62 MB in its process.

    A child that the system kills, most often for want of memory, is no fault of the image: what it
    read is `OutOfResources`.

    Args:
        settings: Of the lab.
    """
    with ExitStack() as stack:

        @cache
        def start() -> CropPool:
            return stack.enter_context(make_pool(settings, workers=1, has_landmarks=False))

        def read_and_crop(path: Path) -> list[Crop] | Exception:
            try:
                ((_path, outcome),) = start().crop_all([(path, None)])
            except OSError as error:  # no file or memory left to start it with
                return error
            if isinstance(outcome, Exception) and is_worker_killed(outcome):
                return OutOfResources(str(outcome))
            return outcome

        yield read_and_crop
