"""What happens to the log where its file cannot be written."""

from __future__ import annotations

import subprocess
import sys

import pytest

FULL = """
from pathlib import Path
import structlog
from agent import log
log.set_up(file=Path("/dev/full"))
for file in ("a.tif", "b.tif"):
    structlog.get_logger().warning("file.failed", file=file)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/full")
def test_lines_that_the_disk_does_not_take_go_to_stderr_without_a_traceback() -> None:
    ended = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, check=True)

    assert "Traceback" not in ended.stderr
    assert ended.stderr.count("/dev/full: cannot be written (No space left on device)") == 1
    assert '"file": "a.tif"' in ended.stderr
    assert '"file": "b.tif"' in ended.stderr
