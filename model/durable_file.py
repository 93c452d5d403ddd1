"""Durable file writing with fsync.

A file that is renamed without fsync can be empty after a power failure, with hours of training
lost.
"""

from __future__ import annotations

import os
from pathlib import Path


def write_durably(file: Path, data: bytes) -> None:
    """Write a file, and return after the data has reached the disk.

    Raises:
        OSError: Writing failed.
    """
    with file.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
