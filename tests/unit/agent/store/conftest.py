"""What the tests of the store share."""

from pathlib import Path

import pytest

from agent.backup.verification import Outside
from agent.store import Store


@pytest.fixture
def store(address):
    """A migrated, empty store, in both databases."""
    with Store.open(address, site="Plant 1", agent="PC") as opened:
        yield opened


@pytest.fixture
def outside(tmp_path: Path) -> Outside:
    """What a check reads outside the database: nothing yet."""
    (tmp_path / "reports").mkdir()
    (tmp_path / "backups").mkdir()
    (tmp_path / "anchor.jsonl").touch()
    return Outside(tmp_path / "reports", tmp_path / "backups", (tmp_path / "anchor.jsonl",))
