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
_STRIP_PX, _HALVED_STRIP_PX = 400_000, 1_600_000


class MapJoiner:
    """Joins two maps in strips of rows, to the bits of the whole maps.

    Args:
        backbone: The network of the maps.
        engine: Their engine.
        is_halved: Whether cells of the joined map are those of the third map, each the mean of four
            of the second one, in place of those of the second: a quarter of them.
    """

    def __init__(self, backbone: FrozenBackbone, engine: Engine, *, is_halved: bool) -> None:
        self._run = build_borrowing_runner(backbone, "halved join" if is_halved else "join", engine)
        self._strip_px = _HALVED_STRIP_PX if is_halved else _STRIP_PX

    def join(self, maps: Sequence[NDArray[np.float32]]) -> NDArray[np.float16]:
        """Join the maps of a frame.

        Args:
            maps: Per layer (c, rows, columns) float32.

        Returns:
            (rows, columns, c) float16.
        """
        rows, columns = (side * STRIDES[JOINED] for side in maps[JOINED].shape[1:])
        strips = Strips(self._run, (rows, columns), _HALO_PX, self._strip_px, _GRAIN_PX)
        (joined,) = strips.compute((maps[JOINED], maps[JOINED + 1]), axis=0)
        return joined.astype(np.float16, copy=False)
