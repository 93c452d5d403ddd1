"""Send a notice of a night's report by the addresses that the lab has set; off by default.

A failing notice never stops the work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from agent.errors import BadSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

log = structlog.get_logger()


def check(urls: Sequence[str]) -> None:
    """Refuse addresses that cannot be used, at the start and not in the night.

    Raises:
        BadSettings: The extra is not installed, or an address is of no kind that Apprise knows.
    """
    if not urls:
        return
    try:
        from apprise import Apprise  # noqa: PLC0415 - optional
    except ImportError as error:
        raise BadSettings(
            "notify.urls: needs the notify extra: pip install 'martensight[notify]'."
        ) from error
    for number, url in enumerate(urls, start=1):
        if not Apprise().add(url):  # the address itself may hold a password, so it is not shown
            raise BadSettings(f"notify.urls: address {number} is of no kind that Apprise knows.")


def send_notice(
    urls: Sequence[str], *, title: str, text: str, pictures: Sequence[Path] = ()
) -> bool:
    """Send one notice to every address and return whether all of them accepted it.

    Args:
        urls: Apprise addresses.
        title: Of the notice.
        text: Plain text.
        pictures: Files that go with it, where an address can carry any.
    """
    if not urls:
        return True
    from apprise import Apprise  # noqa: PLC0415

    sender = Apprise()
    for url in urls:
        sender.add(url)
    took = bool(
        sender.notify(title=title, body=text, attach=[str(path) for path in pictures] or None)
    )
    if took:
        log.info("notice.sent", addresses=len(urls))
    else:
        log.warning("notice.failed", addresses=len(urls))
    return took
