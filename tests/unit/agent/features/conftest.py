"""What the tests of kept features share."""

from pathlib import Path

import pytest

from agent.features import FeatureFolder


@pytest.fixture
def folder(tmp_path: Path) -> FeatureFolder:
    return FeatureFolder(tmp_path / "kept-features", "PC-1")
