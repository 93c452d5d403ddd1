"""Set up structured logging: JSON lines in service, colours in a terminal.

An event is `noun.past_participle`; facts are keys with units, never in the sentence.
Logs go to stderr or the log file, never to stdout: that belongs to `--json`.
"""

from __future__ import annotations

import logging
import logging.handlers
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

from agent.errors import hide_passwords
from agent.terminal import visible

CHATTY = (
    "alembic",
    "watchdog",
    "PIL",
    "matplotlib",
    "RapidOCR",
    "httpx",
    "fontTools",
    "fpdf",
    "pyhanko",
    "pyhanko_certvalidator",
)
"""Libraries of which only warnings are logged."""
FILE_BYTES, OLDER_FILES = 20_000_000, 5
AGAIN_S = 60.0
"""How soon a file that could not be rotated is tried again."""

SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


_how: dict[str, Any] = {"level": "info"}


def for_child() -> dict[str, Any]:
    """Return what the page process gives to `set_up`, to log as this one into its own file."""
    file = _how.get("file")
    return _how | ({"file": file.with_name(file.name.replace("agent", "page", 1))} if file else {})


def set_up(*, level: str = "info", file: Path | None = None, journal: bool = False) -> None:
    """Write every event to the log file if there is one, else to stderr.

    Args:
        level: The least level that is written: debug, info, warning or error.
        file: JSON lines are appended here; each process needs a separate file.
        journal: Stderr goes to systemd's journal, so each line starts with its priority.
    """
    _how.clear()
    _how.update(level=level, file=file, journal=journal)
    handler = _to_file(file) if file else logging.StreamHandler(sys.stderr)
    coloured = file is None and sys.stderr.isatty()
    last: Processor = (
        structlog.dev.ConsoleRenderer() if coloured else structlog.processors.JSONRenderer()
    )
    kind = _JournalFormatter if journal else _Formatter
    exceptions: list[Processor] = (
        [_make_visible] if coloured else [structlog.processors.format_exc_info]
    )
    handler.setFormatter(
        kind(
            foreign_pre_chain=SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *exceptions,
                last,
            ],
        )
    )
    root = logging.getLogger()
    for earlier in root.handlers:
        if isinstance(earlier, _PatientFile):  # an open file cannot be rotated on Windows
            earlier.close()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for chatty in CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)
    for flooded in ("uvicorn.error", "asyncio"):
        logging.getLogger(flooded).addFilter(_SELDOM)
    structlog.configure(
        processors=[*SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _make_visible(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Write out what would steer a terminal, such as in the name of a file."""
    return {
        key: visible(value) if isinstance(value, str) else value for key, value in event.items()
    }


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Removes the passwords of addresses from every line."""

    def format(self, record: logging.LogRecord) -> str:
        return hide_passwords(super().format(record))


class _JournalFormatter(_Formatter):
    """Writes a line's priority for the journal, so that `journalctl -p err` finds it."""

    def format(self, record: logging.LogRecord) -> str:
        priority = next((p for least, p in PRIORITIES if record.levelno >= least), 7)
        return f"<{priority}>" + super().format(record).replace("\n", f"\n<{priority}>")


PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


class Seldom(logging.Filter):
    """Passes one of many alike lines, and adds to the next how many were left out.

    Anyone who can reach the page can make it log: a line for each bad request would fill the disk.

    Args:
        now_s: Steady clock, in seconds.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now_s = now_s
        self._seen: dict[tuple[str, ...], tuple[float, int]] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is written."""
        if record.levelno < logging.WARNING:
            return True
        key, now_s = _kind_of(record), self._now_s()
        with self._lock:
            let_through_s, left_out = self._seen.get(key, (float("-inf"), 0))
            if now_s - let_through_s < EVERY_S:
                self._seen[key] = let_through_s, left_out + 1
                return False
            if len(self._seen) >= MOST_KINDS:
                self._seen.clear()
            self._seen[key] = now_s, 0
        if left_out:
            record.msg = f"{record.msg} (and {left_out} more like it)"
        return True


def _kind_of(record: logging.LogRecord) -> tuple[str, ...]:
    first = str(record.msg).partition("\n")[0]  # asyncio names each socket in the lines below
    error = record.exc_info[1] if record.exc_info else None
    place = error.__traceback__ if error else None
    while place and place.tb_next:
        place = place.tb_next
    where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else ""
    return record.name, first, type(error).__name__, where


EVERY_S = 60.0  # how soon a line like an earlier one is passed again
MOST_KINDS = 200
_SELDOM = Seldom()


class _PatientFile(logging.handlers.RotatingFileHandler):
    """A log file that continues where Windows forbids to rename it, and is rotated later.

    A reader that has the file open prevents its rotation: rotating would fail with every line, and
    each of those lines would be lost.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(
            file, maxBytes=FILE_BYTES, backupCount=OLDER_FILES, encoding="utf-8", delay=True
        )
        self._not_before_s = self._reported_before_s = 0.0

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802 - logging's name
        return time.monotonic() >= self._not_before_s and bool(super().shouldRollover(record))

    def doRollover(self) -> None:  # noqa: N802
        try:
            super().doRollover()
        except OSError:
            self._not_before_s = time.monotonic() + AGAIN_S
            if self.stream is None:
                self.stream = self._open()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Write the line to stderr where the file cannot be written, in place of a traceback."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError) or sys.stderr is None:
            super().handleError(record)
            return
        now_s, line = time.monotonic(), self.format(record)
        if now_s >= self._reported_before_s:
            self._reported_before_s = now_s + AGAIN_S
            reason = error.strerror or error
            line = f"{self.baseFilename}: cannot be written ({reason}); its lines come here\n{line}"
        with suppress(OSError):
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


def _to_file(file: Path) -> logging.Handler:
    file.parent.mkdir(parents=True, exist_ok=True)
    return _PatientFile(file)
