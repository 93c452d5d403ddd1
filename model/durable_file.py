"""Write a file so that it is on the disk before anything names it.

In:  a path and bytes. Out: the file. Next: `bundle` and `aside` give it its name.
Without it a power cut can leave a name over an empty file, hours of training behind it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def write_through(file: Path, data: bytes) -> None:
    """Write a file, and return when the disk has it. Raises `OSError`."""
    with file.open("wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())
