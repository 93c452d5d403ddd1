"""Raise this process's limit of open files to what the system allows.

systemd and most shells start a process with a soft limit of 1024, which a process may raise itself.
"""

from __future__ import annotations

import sys

import structlog

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
