"""Set the number of threads of a network on a processor, apart from PyTorch's own.

MEASURED, training heads on 191 images of 800 x 600 px on two cores: two threads of PyTorch cost a
fifth more processor time, since most of its steps are small; a network's are not.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

_COUNT: ContextVar[int] = ContextVar("network_threads", default=0)


def get_network_threads() -> int:
    """Return the number of threads that compute one image: PyTorch's, unless another is set.

    Where nothing has loaded PyTorch: what it would choose, one per core or `OMP_NUM_THREADS`.
    """
    if chosen := _COUNT.get():
        return chosen
    if "torch" in sys.modules:
        return int(sys.modules["torch"].get_num_threads())
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if wanted.isdecimal() and int(wanted):
        return int(wanted)
    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else cores
    return max(1, min(cores, usable))


@contextmanager
def use_network_threads(count: int) -> Iterator[None]:
    """Compute images with so many threads, by networks that are compiled in this context.

    The results are the same to the bit.

    Args:
        count: At least 1.
    """
    before = _COUNT.set(count)
    try:
        yield
    finally:
        _COUNT.reset(before)
