"""Restrict the agent to a part of the PC's processor cores."""

from __future__ import annotations

import os
import sys

AT_LEAST = 2
"""With fewer, a micrograph that is read would wait for one that is judged."""


def count_cores(wished: int, there: int) -> int:
    """Return how many cores the agent uses.

    Args:
        wished: The setting; 0 means half of them.
        there: How many this PC has, or allows.
    """
    return min(there, wished or max(AT_LEAST, there // 2))


def keep_to_share(wished: int) -> int:
    """Restrict this process to its share of the cores and return their number.

    Processes it starts inherit it, and libraries that count cores count these. Where the system
    cannot do that, nothing is done.
    """
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        ours = allowed[-count_cores(wished, len(allowed)) :]  # the first ones serve the devices
        os.sched_setaffinity(0, ours)
        return len(ours)
    if sys.platform == "win32":
        return _keep_on_windows(wished)
    return os.cpu_count() or 1


def _keep_on_windows(wished: int) -> int:
    import psutil  # noqa: PLC0415 - only there

    process = psutil.Process()
    allowed = process.cpu_affinity()
    ours = allowed[-count_cores(wished, len(allowed)) :]
    process.cpu_affinity(ours)
    process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
    return len(ours)
