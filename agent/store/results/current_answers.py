"""Current answers without labels and facts, for what goes through millions of micrographs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlmodel import col

from agent.store.results.given_scales import resolve_scale
from agent.store.results.micrograph_views import is_current
from agent.store.results.stored_facts import StoredStrangeness
from agent.store.tables import MicrographRow, ResultRow
from agent.store.work.file_states import chunks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlmodel import Session

ROWS = 2000


@dataclass(frozen=True, slots=True)
class CurrentAnswer:
    """The current answer about a micrograph.

    Args:
        id: Public id.
        sha256: Hash of the file.
        page: Page of the file.
        um_per_px: Scale in µm per pixel, or None.
        recipe: Recipe of the crop.
        structure_code: None without a bundle.
        bundle: "" without one.
        strangeness: The out-of-distribution result, false without one.
    """

    id: str
    sha256: str
    page: int
    um_per_px: float | None
    recipe: str
    structure_code: str | None
    bundle: str
    strangeness: StoredStrangeness


def iter_newest(session: Session, site_id: int) -> Iterator[CurrentAnswer]:
    """Yield the current answers of a site, the newest first, in batches."""
    query = _statement().where(is_current(), col(ResultRow.site_id) == site_id)
    query = query.order_by(col(ResultRow.id).desc()).limit(ROWS)
    rows = session.execute(query).all()
    while rows:
        yield from map(_to_answer, rows)
        rows = session.execute(query.where(col(ResultRow.id) < rows[-1].result_id)).all()


def list_of(session: Session, site_id: int, public_ids: Sequence[str]) -> list[CurrentAnswer]:
    """Return the current answers about micrographs of a site, in no order."""
    found: list[CurrentAnswer] = []
    for batch in chunks(list(public_ids)):
        query = _statement().where(
            is_current(),
            col(ResultRow.site_id) == site_id,
            col(MicrographRow.public_id).in_(batch),
        )
        found += map(_to_answer, session.execute(query))
    return found


@cache
def _statement() -> Any:
    return sqlalchemy.select(
        col(ResultRow.id).label("result_id"),
        col(MicrographRow.public_id),
        col(MicrographRow.sha256),
        col(MicrographRow.page),
        col(MicrographRow.um_per_px),
        col(MicrographRow.recipe),
        col(ResultRow.structure_code),
        col(ResultRow.bundle),
        col(ResultRow.strangeness),
        col(ResultRow.thresholds),
    ).join(MicrographRow, col(MicrographRow.id) == col(ResultRow.micrograph_id))


def _to_answer(row: Any) -> CurrentAnswer:
    return CurrentAnswer(
        row.public_id,
        row.sha256,
        row.page,
        resolve_scale(row.thresholds, row.um_per_px),
        row.recipe,
        row.structure_code,
        row.bundle,
        StoredStrangeness.from_json(row.strangeness),
    )
