"""The end of the audit log is kept outside, and never on the disk below a share that is away."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.evidence.anchors import Anchor, append

ANCHOR = Anchor(1, 1, "0" * 64, datetime(2026, 12, 1, tzinfo=UTC))


def test_an_anchor_makes_no_folder_where_its_share_is_not_mounted(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        append(tmp_path / "share" / "lab" / "anchor.jsonl", ANCHOR)

    assert list(tmp_path.iterdir()) == []
