"""Detect whether other PCs can reach the page; refuse this as long as there are no accounts."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from agent.errors import BadSettings

if TYPE_CHECKING:
    from agent.settings import WebSection
    from agent.store import Accounts


def refuse_strangers(web: WebSection, known: Accounts) -> None:
    """Refuse an address that other PCs reach, as long as there are no accounts.

    Args:
        web: Section `[web]` of the settings.
        known: The accounts.

    Raises:
        BadSettings: Other PCs reach the address and there are no accounts.
    """
    if not is_this_pc_alone(web.host) and not known.are_there():
        raise BadSettings(
            f"[web] host: {web.host} can be reached from other PCs, and there are no accounts; "
            'make one with agent users add NAME --role admin, or write host = "127.0.0.1".'
        )


def is_this_pc_alone(host: str) -> bool:
    """Return whether an address can only be reached from this PC."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
