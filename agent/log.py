"""Set up structured logging: JSON lines in service, colours in a terminal.

An event is `noun.past_participle`; facts are keys with units, never in the sentence.
Logs go to stderr or the log file, never to stdout: that belongs to `--json`.
"""

from __future__ import annotations

import logging
import logging.handlers
import sys
import time
from typing import TYPE_CHECKING

import structlog

from agent.errors import without_passwords

if TYPE_CHECKING:
    from pathlib import Path

    from structlog.typing import Processor

CHATTY = (
    "alembic",
    "apscheduler",
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


def set_up(*, level: str = "info", file: Path | None = None, journal: bool = False) -> None:
    """Send every event to the log file if there is one, else to stderr.

    Args:
        level: The least level that is written: debug, info, warning or error.
        file: JSON lines are appended here; each process needs a file of its own.
        journal: Stderr goes to systemd's journal, which is told each line's priority.
    """
    handler = _to_file(file) if file else logging.StreamHandler(sys.stderr)
    coloured = file is None and sys.stderr.isatty()
    last: Processor = (
        structlog.dev.ConsoleRenderer() if coloured else structlog.processors.JSONRenderer()
    )
    kind = _JournalFormatter if journal else _Formatter
    exceptions: list[Processor] = [] if coloured else [structlog.processors.format_exc_info]
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
    root.handlers = [handler]
    root.setLevel(level.upper())
    for chatty in CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Lets no password of an address into a log, whoever wrote the line."""

    def format(self, record: logging.LogRecord) -> str:
        return without_passwords(super().format(record))


class _JournalFormatter(_Formatter):
    """Says a line's priority as the journal asks for it, so that `journalctl -p err` finds it."""

    def format(self, record: logging.LogRecord) -> str:
        priority = next((p for least, p in PRIORITIES if record.levelno >= least), 7)
        return f"<{priority}>" + super().format(record).replace("\n", f"\n<{priority}>")


PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


class _PatientFile(logging.handlers.RotatingFileHandler):
    """A log file that goes on where Windows forbids to rename it, and is rotated later.

    Somebody who reads the file holds it there: rotating would fail with every line, and each of
    those lines would be lost.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(
            file, maxBytes=FILE_BYTES, backupCount=OLDER_FILES, encoding="utf-8", delay=True
        )
        self._not_before_s = 0.0

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802 - logging's name
        return time.monotonic() >= self._not_before_s and bool(super().shouldRollover(record))

    def doRollover(self) -> None:  # noqa: N802
        try:
            super().doRollover()
        except OSError:
            self._not_before_s = time.monotonic() + AGAIN_S
            if self.stream is None:
                self.stream = self._open()


def _to_file(file: Path) -> logging.Handler:
    file.parent.mkdir(parents=True, exist_ok=True)
    return _PatientFile(file)
