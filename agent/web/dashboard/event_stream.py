"""Stream of server-sent events that tells an open dashboard when a figure has changed.

An event carries no figure: the page loads them with a request of its own, so that a log-in that has
ended shows nothing more. A stream ends by itself after some minutes, and the browser opens the next
one, which is authenticated again.
"""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from agent.store import StoreFault
from agent.web.dashboard.dashboard_figures import read_figures

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from agent.web.context import Desk

TICK_S = 1.0
BEAT_S = 5.0
"""Without a beat for three times as long a page says that the connection is lost."""
AGAIN_MS = 3000


def stream_events(desk: Desk) -> StreamingResponse:
    """Return the stream of one page."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(iter_events(desk), media_type="text/event-stream", headers=headers)


async def iter_events(desk: Desk) -> AsyncIterator[str]:
    """Yield an event at each change and every `BEAT_S`, until the stream's time is over."""
    loop = asyncio.get_running_loop()
    began_s, beat_s, sent = loop.time(), float("-inf"), ""
    yield f"retry: {AGAIN_MS}\n\n"
    while True:
        is_read = await _refresh(desk)
        version, now_s = desk.figures.version, loop.time()
        if is_read and (version != sent or now_s - beat_s >= BEAT_S):
            sent, beat_s = version, now_s
            yield format_beat(version, desk.now(), desk.zone)
        if now_s - began_s >= desk.stream_s or desk.closing.is_set():
            break
        await asyncio.sleep(TICK_S)
    yield "event: end\ndata: {}\n\n"


async def _refresh(desk: Desk) -> bool:
    """Read the figures where they are due; return False where the database does not answer."""
    now = desk.now()
    if not desk.figures.is_due(now):
        return True
    try:
        await run_in_threadpool(desk.figures.refresh, partial(read_figures, desk), now=now)
    except StoreFault:
        return False
    return True


def format_beat(version: str, at: datetime, zone: str) -> str:
    """Format the event that the figures of a version are right at an instant."""
    told = {"version": version, "at": format_clock(at, zone)}
    return f"event: beat\ndata: {json.dumps(told)}\n\n"


def format_clock(at: datetime, zone: str) -> str:
    """Format an instant as the site's clock shows it, such as "10:02:31"."""
    return f"{at.astimezone(ZoneInfo(zone)):%H:%M:%S}"
