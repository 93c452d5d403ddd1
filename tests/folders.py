"""Folders that tests read from."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
GOLDEN = TESTS / "golden"
SHARED_DATA = ROOT.parent / "shared" / "data"
"""Real micrographs, where they are present; never a part of the repository."""
