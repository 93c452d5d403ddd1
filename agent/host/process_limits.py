"""Limits of this process: the processor cores that it uses, and its open files."""

from __future__ import annotations

import os
import sys

import structlog

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


# --- raise this process's limit of open files to what the system allows ---------------------------
# systemd and most shells start a process with a soft limit of 1024, which a process may raise
# itself.


log = structlog.get_logger()

AT_MOST = 65_536
"""More is of no use to the agent, and some libraries close every number up to the limit."""


def raise_limit() -> int:
    """Raise the soft limit of open files to the hard one and return it, 0: no limit.

    Children inherit it.
    """
    if sys.platform == "win32":
        return 0  # there is none for sockets and files opened by Python
    import resource  # noqa: PLC0415 - not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = AT_MOST if hard == resource.RLIM_INFINITY else min(hard, AT_MOST)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        log.warning("limit.kept", files=soft, reason=str(error))
        return soft
    return wanted
