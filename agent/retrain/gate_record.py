"""Read the gate's verdict from the record of a bundle."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from agent.errors import BadBundle
from agent.retrain.bundle_registry import get_record_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")
GATE_FILE = "gate.json"
"""File of a bundle's verdict, in its record."""


def read_gate_record(bundle: Path, parse: Callable[[dict[str, Any]], T]) -> T | None:
    """Read the verdict of a bundle; None where it was never compared with another.

    Args:
        bundle: Its folder.
        parse: Builds what is returned; it may raise for facts that are missing or of another form.

    Raises:
        BadBundle: The record is broken; the bundle's answers do not depend on it.
    """
    path = get_record_folder(bundle) / GATE_FILE
    try:
        return parse(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadBundle(
            f"{path}: the result of the gate cannot be read ({error}). To compare two bundles "
            "again: agent models show --against."
        ) from error
