"""Files of one batch, and whether they still are what was listed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.watch import find_facts

if TYPE_CHECKING:
    from pathlib import Path

    from agent.imaging import Crop
    from agent.store import Claim, ClaimedPlace


@dataclass(slots=True)
class BatchOutcome:
    """Counts of the files of a batch, by what became of them."""

    stored: int = 0
    duplicates: int = 0
    set_aside: int = 0
    failed: int = 0
    given_back: int = 0

    @property
    def files(self) -> int:
        """Number of files in the batch."""
        return self.stored + self.duplicates + self.set_aside + self.failed + self.given_back


@dataclass(slots=True)
class InFlightFile:
    """A claimed file between the queue and its result.

    Args:
        claim: The lease on it.
        path: Where it is.
        process_data: What the source, its path and its notes say of it.
        um_per_px: Scale from the table of objectives, µm per pixel, or None.
        conflict: Why its specimen is not known, "" where it is.
        claims: The specimens that path, notes and sender name, where they differ.
        is_second_read: Whether it is cropped again with the scale of its own metadata.
        began_s: When its reading began, on the clock of `time.perf_counter`.
        crops: One per page, once it is read.
    """

    claim: Claim
    path: Path
    process_data: dict[str, str]
    um_per_px: float | None
    conflict: str = ""
    claims: tuple[ClaimedPlace, ...] = ()
    is_second_read: bool = False
    began_s: float = 0.0
    crops: list[Crop] = field(default_factory=list)


def has_changed(claim: Claim, *, if_unknown: bool) -> bool:
    """Return whether the bytes that were read may be another content than the one listed.

    Args:
        claim: What was read.
        if_unknown: Returned where the file is gone, or its share is unavailable. What was read
            whole is what was listed; what could not be used may have been cut short.
    """
    try:
        facts = find_facts(claim.folder, claim.relative)
    except OSError:
        return if_unknown
    if facts is None:
        return if_unknown
    return facts != (claim.size_bytes, claim.mtime_ns, claim.ctime_ns)


def is_as_listed(claim: Claim) -> bool:
    """Return whether the file is there and as it was listed; True while its share is silent."""
    try:
        facts = find_facts(claim.folder, claim.relative)
    except OSError:
        return True
    return facts == (claim.size_bytes, claim.mtime_ns, claim.ctime_ns)


def is_gone(claim: Claim) -> bool:
    """Return whether the file is gone while its folder is there and not empty.

    Where a link, a folder or a pipe has its name, it is gone too. An empty or absent folder is
    most often a share that is not mounted.
    """
    try:
        is_there = find_facts(claim.folder, claim.relative) is not None
        return not is_there and any(True for _ in claim.folder.iterdir())
    except OSError:
        return False
