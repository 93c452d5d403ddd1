"""Consoles of rich, for tables, bars and styles; importing it takes a moment."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console

from agent.terminal import visible

WIDTH_OF_A_PIPE = 160
"""Columns if stdout is no terminal; 80 would wrap file names."""


class TerminalConsole(Console):
    """A console that shows control characters in file names instead of obeying them."""

    def print(self, *objects: object, **options: Any) -> None:
        """Print strings with control characters made visible, and renderables unchanged."""
        texts = (visible(part) if isinstance(part, str) else part for part in objects)
        super().print(*texts, **options)


out = TerminalConsole(
    highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH_OF_A_PIPE
)
"""Standard output for readers; `--json` never uses it."""
err = TerminalConsole(stderr=True, highlight=False, soft_wrap=True)
"""Standard error: progress, warnings, errors."""
