"""Write the lab's `taxonomy.toml` and keep a copy of the one that it replaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.errors import BadSettings
from model import format_taxonomy, load_taxonomy
from model.durable_file import write_durably

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from model import Taxonomy

TAXONOMY_FILE = "taxonomy.toml"


def write_taxonomy(path: Path, taxonomy: Taxonomy, *, now: datetime) -> Path | None:
    """Write a taxonomy; the file appears whole or not at all.

    Args:
        path: The `taxonomy.toml`.
        taxonomy: The new classes.
        now: Aware UTC, for the name of the copy.

    Returns:
        The copy of the file that was there, or None where there was none.

    Raises:
        BadSettings: The folder cannot be written to.
        model.TaxonomyError: The text does not read back; nothing was replaced.
    """
    fresh = path.with_name(f".{path.name}.new")
    try:
        copy = _copy(path, now)
        write_durably(fresh, format_taxonomy(taxonomy).encode())
        load_taxonomy(fresh)
        fresh.replace(path)
    except OSError as error:
        raise BadSettings(
            f"{path}: cannot be written ({error.strerror or error}); give the agent's account the "
            "right to write in this folder."
        ) from error
    finally:
        fresh.unlink(missing_ok=True)
    return copy


def _copy(path: Path, now: datetime) -> Path | None:
    if not path.exists():
        return None
    stem = f"{path.stem}-{now:%Y%m%dT%H%M%SZ}"
    copy = path.with_name(f"{stem}{path.suffix}")
    number = 1
    while copy.exists():
        number += 1
        copy = path.with_name(f"{stem}-{number}{path.suffix}")
    write_durably(copy, path.read_bytes())
    return copy
