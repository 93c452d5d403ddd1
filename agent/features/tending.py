"""Write buffers of kept features into shards and compare shards with their hashes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from agent.features.feature_folder import FeatureFolder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from agent.features.feature_folder import ShardFault


def tend_folder(
    _settings: object,
    *,
    folder: Path,
    writer: str,
    compared: Mapping[Path, tuple[int, int]],
    check_s: float,
) -> Iterator[str | ShardFault | dict[Path, tuple[int, int]]]:
    """Compact a folder, then compare its shards and delete those that are damaged.

    Args:
        folder: Of the kept features.
        writer: Name of this agent.
        compared: Shards that were compared before, from an earlier call.
        check_s: After so many seconds no further shard is compared.

    Yields:
        Why the folder cannot be written, and nothing more; else a fault of each damaged shard, last
        the shards that were compared.
    """
    features = FeatureFolder(folder, writer)
    features.skip_compared(compared)
    try:
        features.compact()
    except OSError as error:
        yield error.strerror or str(error)
        return
    ends_s = time.monotonic() + check_s
    for fault in features.iter_faults(is_enough=lambda: time.monotonic() > ends_s):
        features.discard(fault)
        yield fault
    yield features.compared
