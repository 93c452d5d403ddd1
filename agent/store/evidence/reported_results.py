"""Compare results with what each night's report named of them."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlmodel import col

from agent.store.results import given_scales
from agent.store.tables import MicrographRow, ResultRow
from agent.store.work.file_states import chunks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlmodel import Session

REPORTED = ("bundle", "structure_code", "probability", "um_per_px")
"""Columns of a result and its micrograph that are compared with a night's report."""


def find_differences(session: Session, what: str, facts: str) -> Iterator[str]:
    """Yield a sentence for each result that a night's report names and no row contains.

    Args:
        session: Open.
        what: Name of the night in a sentence.
        facts: Of the night, as they were frozen.
    """
    try:
        document = json.loads(facts)
        by_id = {
            str(micrograph["id"]): micrograph for micrograph in document.get("micrographs", ())
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return
    for batch in chunks(sorted(by_id)):
        known = _results_of(session, batch)
        for public_id in batch:
            reported = by_id[public_id]
            stated = reported | (reported.get("result") or {})  # an answer is nested in its field
            was = tuple(stated.get(name) for name in REPORTED)
            rows = known.get(public_id, set())
            if was not in rows:
                now = " or ".join(map(str, sorted(rows, key=str))) or "nothing"
                yield f"result of {public_id}: was {was} ({what}), is {now}"


def _results_of(session: Session, public_ids: Sequence[str]) -> dict[str, set[tuple[Any, ...]]]:
    wanted = (
        sqlalchemy.select(
            col(MicrographRow.public_id),
            col(ResultRow.bundle),
            col(ResultRow.structure_code),
            col(ResultRow.probability),
            col(MicrographRow.um_per_px),
            col(ResultRow.thresholds),
        )
        .join(ResultRow, col(ResultRow.micrograph_id) == col(MicrographRow.id))
        .where(col(MicrographRow.public_id).in_(public_ids))
    )
    results: dict[str, set[tuple[Any, ...]]] = defaultdict(set)
    for public_id, *values, um_per_px, thresholds in session.execute(wanted):
        results[public_id].add((*values, given_scales.resolve_scale(thresholds, um_per_px)))
    return results
