"""Render a revision of an order as the files that a LIMS takes: JSON and CSV."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from agent.files.csv_export import format_csv
from model import TaxonomyError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from model import Taxonomy

JSON, CSV = "json", "csv"
FORMATS = (JSON, CSV)
COLUMNS = (
    "order",
    "revision",
    "id",
    "conformity",
    "specimen",
    "specimen_conformity",
    "field",
    "micrograph",
    "structure_code",
    "size_min",
    "size_max",
    "decided_by",
    "superseded",
)


def render_files(
    document: Mapping[str, Any],
    *,
    formats: Collection[str],
    revision_id: str,
    revision: int,
    found_at: datetime,
    site: str,
    taxonomy: Taxonomy,
    statement: str = "",
    epoch: str = "",
) -> dict[str, str]:
    """Return the content of each file of a revision.

    Args:
        document: Of the order, as `agent orders show --json` writes it.
        formats: Of `FORMATS`.
        revision_id: Id of the revision.
        revision: Its number, from 1.
        found_at: When the state was found, aware UTC.
        site: Name of the site.
        taxonomy: Gives the bounds of a size.
        statement: Hash of the statement that it comes from, "" where none was frozen.
        epoch: Names the restore of a back-up after which it comes, "" where there was none.

    Returns:
        Format → text.
    """
    head = {"id": revision_id, "revision": revision, "found_at": found_at.isoformat(), "site": site}
    texts = {}
    if JSON in formats:
        source = {"statement": statement} if statement else {}
        source |= {"epoch": epoch} if epoch else {}
        texts[JSON] = (
            json.dumps({**head, **source, **document}, indent=1, ensure_ascii=False) + "\n"
        )
    if CSV in formats:
        texts[CSV] = _render_csv(document, head, taxonomy)
    return texts


def require_not_taken(files: Mapping[Path, bytes], site: str) -> None:
    """Refuse to write over a delivered file; the same content may be written again.

    Raises:
        OSError: A file has the name and other content, or cannot be read.
    """
    for path, content in files.items():
        if path.exists() and path.read_bytes() != content:
            raise FileExistsError(
                f"{path} is there with other content, delivered by another site or database; site "
                f"{site!r} does not write over it. Compare [site] name and [orders] outbox in "
                "agent.toml with those of the delivered file"
            )


def _render_csv(document: Mapping[str, Any], head: Mapping[str, Any], taxonomy: Taxonomy) -> str:
    every_row = {
        "order": document["order"],
        "revision": head["revision"],
        "id": head["id"],
        "conformity": document["conformity"],
    }
    rows = list(_iter_rows(document, taxonomy)) or [{}]
    return format_csv(COLUMNS, (every_row | row for row in rows))


def _iter_rows(document: Mapping[str, Any], taxonomy: Taxonomy) -> Iterator[dict[str, object]]:
    for specimen in document["specimens"]:
        own = {
            "specimen": specimen["specimen"],
            "specimen_conformity": specimen["conformity"],
        }
        fields = [(field, "") for field in specimen["fields"]]
        fields += [(field, field["superseded"]["reason"]) for field in specimen["superseded"]]
        for field, gone in fields:
            decided = field["decided"] or {}
            code = decided["said"] if decided.get("kind") == "code" else field["structure_code"]
            yield own | {
                "field": field["field"],
                "micrograph": field["id"],
                "structure_code": code,
                **_find_bounds(code, taxonomy),
                "decided_by": decided.get("by"),
                "superseded": gone,
            }


def _find_bounds(code: str | None, taxonomy: Taxonomy) -> dict[str, object]:
    if not code:
        return {}
    try:
        low, high = taxonomy.size_bounds(taxonomy.parse(code)[1])
    except TaxonomyError:
        return {}  # an old order may hold a code that the taxonomy no longer has
    return {"size_min": low, "size_max": high}
