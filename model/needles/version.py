"""Version of the needle measurement: of its weights and of how their map is grouped.

A calibration is valid for one version. Reading it loads no PyTorch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CARD = Path(__file__).with_name("needles.json")
GROUPING = 3
"""Raised with every change of `instances`, `reliability` or the map that changes lengths."""


def read_card(card: Path = CARD) -> dict[str, Any]:
    """Return how the weights of the package were made."""
    content: dict[str, Any] = json.loads(card.read_text("utf-8"))
    return content


def read_version(card: Path = CARD) -> str:
    """Return the first 12 digits of the weights' hash and the number of the grouping."""
    return f"{read_card(card)['sha256'][:12]}-{GROUPING}"
