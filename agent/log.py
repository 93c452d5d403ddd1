"""Set up structured logging: JSON lines in service, colours in a terminal.

An event is `noun.past_participle`; facts are keys with units, never in the sentence.
Logs go to stderr or the log file, never to stdout: that belongs to `--json`.
"""

from __future__ import annotations

import logging
import logging.handlers
import sys
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from pathlib import Path

    from structlog.typing import Processor

SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def set_up(*, level: str = "info", file: Path | None = None) -> None:
    """Send every event to the log file if there is one, else to stderr.

    Args:
        level: The least level that is written: debug, info, warning or error.
        file: JSON lines are appended here; each process needs a file of its own.
    """
    handler = _to_file(file) if file else logging.StreamHandler(sys.stderr)
    coloured = file is None and sys.stderr.isatty()
    last: Processor = (
        structlog.dev.ConsoleRenderer() if coloured else structlog.processors.JSONRenderer()
    )
    exceptions: list[Processor] = [] if coloured else [structlog.processors.format_exc_info]
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
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
    for chatty in ("alembic", "apscheduler", "watchdog", "PIL", "matplotlib", "RapidOCR", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _to_file(file: Path) -> logging.Handler:
    file.parent.mkdir(parents=True, exist_ok=True)
    return logging.handlers.RotatingFileHandler(
        file, maxBytes=20_000_000, backupCount=5, encoding="utf-8", delay=True
    )
