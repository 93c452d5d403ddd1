"""The workers of a run share what compiling costs: each compiles a part, and all read it.

pytest rewrites the assertions of a test module when it imports it, and keeps the bytecode beside
it. Workers import the same modules in the same order at the same time, so that in a fresh checkout
each would rewrite every module: 8 s of processor time each, for all tests. pytest has no public
function for this; in a version without these private ones each worker rewrites for itself.
"""

from __future__ import annotations

import compileall
import sys
from typing import TYPE_CHECKING

import pytest
from _pytest.assertion import rewrite
from fast import is_fast_run
from folders import ROOT, TESTS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

PACKAGES = ("agent", "model", "reports", "tests")
PRIVATE = ("_read_pyc", "_rewrite_test", "_write_pyc", "PYC_TAIL", "assertstate_key")


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Compile the part of this worker, before it collects."""
    config = session.config
    worker = getattr(config, "workerinput", None)
    if worker is None or sys.dont_write_bytecode or is_fast_run(config):
        return
    if not all(hasattr(rewrite, name) for name in PRIVATE):
        return
    number, count = int(worker["workerid"].removeprefix("gw")), worker["workercount"]
    files = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    compile_files(files[number::count], config)


def compile_files(files: Iterable[Path], config: pytest.Config) -> None:
    """Write the bytecode of modules whose bytecode is not there or is old."""
    for file in files:
        if file.is_relative_to(TESTS) and file.name.startswith("test_"):
            _rewrite(file, config)
        else:
            compileall.compile_file(file, quiet=2)


def _rewrite(file: Path, config: pytest.Config) -> None:
    """Compile a test module as pytest does when it imports it."""
    folder = rewrite.get_cache_dir(file)
    kept = folder / f"{file.stem}{rewrite.PYC_TAIL}"
    if rewrite._read_pyc(file, kept) is None and rewrite.try_makedirs(folder):
        source, code = rewrite._rewrite_test(file, config)
        rewrite._write_pyc(config.stash[rewrite.assertstate_key], code, source, kept)
