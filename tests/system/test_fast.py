"""The fast tests need no process and no PyTorch: `pytest -m fast` fails one that does."""

from __future__ import annotations

import subprocess
import sys

import fast
import pytest
from folders import ROOT, TESTS


def test_every_named_module_is_there() -> None:
    assert {path.stem.removeprefix("test_") for path in TESTS.rglob("test_*.py")} >= fast.MODULES


def test_every_test_that_needs_more_is_in_a_named_module() -> None:
    assert {name.partition(".")[0] for name in fast.NEEDS_MORE} <= fast.MODULES


@pytest.mark.parametrize(
    ("act", "why"),
    [
        ("import subprocess, sys; subprocess.run([sys.executable, '-V'])", "starts a process"),
        ("import torch", "loads torch"),
        ("assert True", "1 passed"),
    ],
)
def test_a_fast_run_refuses_a_process_and_pytorch_by_name(tmp_path, act, why) -> None:
    (tmp_path / "test_watch.py").write_text(f"def test_it():\n    {act}\n", encoding="utf-8")
    (tmp_path / "test_train.py").write_text("import torch\n", encoding="utf-8")
    options = ("-m", "fast", "-p", "fast", "-c", str(ROOT / "pyproject.toml"), "-q")

    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", str(tmp_path), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"PYTHONPATH": str(TESTS)},
    )

    assert why in ended.stdout, ended.stdout + ended.stderr
    assert (ended.returncode == 0) is (why == "1 passed")
