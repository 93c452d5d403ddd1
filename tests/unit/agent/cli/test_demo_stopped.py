"""`agent demo` that its user stops."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

DEMO = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background ignore it
runpy.run_module("agent", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("options", "lines_before"),
    [  # once as it begins, and as it draws while an agent runs
        ((), 1),
        pytest.param((), 2, marks=pytest.mark.slow),
        pytest.param(("--train",), 2, marks=pytest.mark.slow),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C reaches a group of processes by killpg")
def test_a_demonstration_that_is_stopped_says_how_it_continues(
    tmp_path, options, lines_before
) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-c", DEMO, "demo", "--no-serve", *options, tmp_path / "demo"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        lines = [demo.stderr.readline() for _ in range(lines_before)]
        os.killpg(demo.pid, signal.SIGINT)
        lines += demo.communicate(timeout=120)[1].splitlines()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(demo.pid, signal.SIGKILL)

    assert demo.returncode == 130
    assert lines[-1].startswith("Stopped. The same command continues it: agent demo")
    assert not any("Traceback" in line for line in lines)
