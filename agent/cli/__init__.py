"""The `agent` command: a module is a group of commands, or what several share; only it prints.

Heavy imports (torch, OpenCV, the web server) are inside the commands, so that `agent --help` and
`agent files` answer at once.
"""

from __future__ import annotations

from agent.cli.app import app, main

__all__ = ["app", "main"]
