"""The `agent` command. One module per group of commands; the only place that prints.

Heavy imports (torch, OpenCV, the web server) stand inside the commands, so that
`agent --help` and `agent files` answer at once.
"""

from __future__ import annotations

from agent.cli.app import app, main

__all__ = ["app", "main"]
