"""Heads in the files of a bundle: those in service, and those that were tested."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file

from model.networks.schemes import Head

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from model.calibration import SetLevels


@dataclass(frozen=True, slots=True)
class TestedHeads:
    """The heads as they were tested, before they were fitted to the test images too.

    Args:
        heads: Heads by name.
        set_levels: How unlikely a class of their prediction sets may be.
        refitted_on: As in `Manifest`.
    """

    heads: Mapping[str, Head]
    set_levels: SetLevels
    refitted_on: Mapping[str, str]


def build_head_tensors(heads: Mapping[str, Head]) -> dict[str, NDArray[Any]]:
    """Return the arrays of heads by part and name."""
    return {
        f"{part}:{head.name}": np.ascontiguousarray(getattr(head, part))
        for head in heads.values()
        for part in ("weight", "bias", "centre")
    }


def heads_to_json(heads: Mapping[str, Head]) -> list[dict[str, Any]]:
    """Return the facts of heads as JSON values."""
    return [
        {
            "name": head.name,
            "eye": head.encoder,
            "classes": list(head.classes),
            "temperature": head.temperature,
        }
        for head in heads.values()
    ]


def load_heads(entries: Sequence[Mapping[str, Any]], file: Path) -> dict[str, Head]:
    """Load heads from their facts and the file of their arrays."""
    tensors = load_file(file)
    return {
        entry["name"]: Head(
            name=entry["name"],
            encoder=entry["eye"],
            classes=tuple(entry["classes"]),
            weight=tensors[f"weight:{entry['name']}"],
            bias=tensors[f"bias:{entry['name']}"],
            centre=tensors[f"centre:{entry['name']}"],
            temperature=float(entry["temperature"]),
        )
        for entry in entries
    }


def tested_to_json(tested: TestedHeads) -> dict[str, Any]:
    """Return the facts of tested heads as JSON values."""
    return {
        "heads": heads_to_json(tested.heads),
        "set_levels": tested.set_levels.as_json(),
        "refitted_on": dict(tested.refitted_on),
    }
