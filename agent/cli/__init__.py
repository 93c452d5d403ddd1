"""The `agent` command: packages are the sections of its help, loose modules what they share.

Heavy imports (torch, OpenCV, the web server) are inside the commands, so that `agent --help` and
`agent files` answer at once.
"""

from __future__ import annotations

from agent.cli.app import app, main

__all__ = ["app", "main"]
