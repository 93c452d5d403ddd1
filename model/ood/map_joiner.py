"""Join the second and the third map of the frozen pass, whose cells are the finest scored ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from model.networks.architecture import STRIDES
from model.ood.early_stages import Strips
from model.ood.part_runners import build_borrowing_runner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from model.ood.part_runners import FrozenBackbone
    from model.runtime.engines import Engine

JOINED: Final = 1
"""Layer that is joined with the next one."""

_HALO_PX, _GRAIN_PX = (16, 16), 16
_STRIP_PX = 1_600_000


class MapJoiner:
    """Joins two maps on the grid of the coarser one, in strips of rows.

    Args:
        backbone: The network of the maps.
        engine: Their engine.
    """

    def __init__(self, backbone: FrozenBackbone, engine: Engine) -> None:
        self._run = build_borrowing_runner(backbone, "join", engine)

    def join(self, maps: Sequence[NDArray[np.float32]]) -> NDArray[np.float16]:
        """Join the maps of a frame.

        Args:
            maps: Per layer (c, rows, columns) float32.

        Returns:
            (rows, columns, c) float16.
        """
        rows, columns = (side * STRIDES[JOINED] for side in maps[JOINED].shape[1:])
        strips = Strips(self._run, (rows, columns), _HALO_PX, _STRIP_PX, _GRAIN_PX)
        (joined,) = strips.compute((maps[JOINED], maps[JOINED + 1]), axis=0)
        return joined.astype(np.float16, copy=False)
