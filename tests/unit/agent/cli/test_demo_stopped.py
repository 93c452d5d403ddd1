"""`agent demo` that its user stops."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C reaches a group of processes by killpg")
def test_a_demonstration_that_is_stopped_says_how_it_continues(tmp_path) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "agent", "demo", "--no-serve", tmp_path / "demo"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    said = [demo.stderr.readline(), demo.stderr.readline()]  # it draws now
    os.killpg(demo.pid, signal.SIGINT)
    said += demo.communicate(timeout=120)[1].splitlines()

    assert demo.returncode == 130
    assert said[-1].startswith("Stopped. The same command continues it: agent demo")
    assert not any("Traceback" in line for line in said)
