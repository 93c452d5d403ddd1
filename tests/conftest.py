"""What every test shares: one thread per process, and where the real images lie, if they do."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers share the cores; set before torch loads

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_configure(config: pytest.Config) -> None:
    for name in [name for name in os.environ if name.startswith("AGENT_")]:
        del os.environ[name]  # a developer's own settings must not decide a test


@pytest.fixture(scope="session")
def real_micrographs() -> Path:
    """The folder of real micrographs with measured truth; a test that needs it skips without."""
    folder = SHARED / "micrographs"
    if not folder.is_dir():
        pytest.skip("no folder of real micrographs beside the project")
    return folder


@pytest.fixture(scope="session")
def vendor_files() -> Path:
    """The folder of real vendor files; a test that needs it skips without."""
    folder = SHARED / "vendor_formats"
    if not folder.is_dir():
        pytest.skip("no folder of vendor files beside the project")
    return folder
