"""Figures of the dashboard, each by one statement that an index bounds.

They are read every few seconds, also where there are a million micrographs: a statement reads the
rows of a day, of open files or of the review queue, never a whole table.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy
from sqlalchemy import Text, case, cast, func, literal_column
from sqlmodel import Session, col, select

from agent.store.engine import Repository, reading
from agent.store.results.micrograph_views import is_current, is_unassigned, of_micrographs
from agent.store.tables import (
    ContentRow,
    LabelRow,
    MicrographRow,
    PathRow,
    ResultRow,
    SearchEntry,
    SourceRow,
)
from agent.store.work.file_states import State
from agent.triage import Handling, Reason

OPEN = (State.SETTLING, State.QUEUED, State.PROCESSING, State.FAILED, State.SET_ASIDE)
"""States of files that are not finished, or that need an operator."""
MOST_DISAGREED = 500


@dataclass(frozen=True, slots=True)
class ResultCount:
    """Current results of a period with the same source, code and handling.

    Args:
        source: Name of the source.
        code: Structure code, or None without a model's answer or while reviewers may not see it.
        n: How many.
        review: Of `n`, those for which a review was requested.
        waiting: Of `n`, those that still wait for it.
        recent: Of `n`, those after the second instant of the query.
    """

    source: str
    code: str | None
    n: int
    review: int
    waiting: int
    recent: int


class LiveFigures(Repository):
    """Repository of counts for the dashboard."""

    def count_open_files(self) -> dict[tuple[str, str], int]:
        """Return source and `State` → files that wait, failed or were set aside."""
        query = (
            select(SourceRow.name, ContentRow.state, func.count())
            .join(SourceRow, col(SourceRow.id) == col(ContentRow.source_id))
            .where(ContentRow.site_id == self._whose.site_id, col(ContentRow.state).in_(OPEN))
            .group_by(col(SourceRow.name), col(ContentRow.state))
        )
        with reading(self._engine) as session:
            return {(name, state): n for name, state, n in session.exec(query)}

    def list_last_files(self) -> dict[str, tuple[str, datetime]]:
        """Return source → path of its newest file and when it was first seen; no import folder."""
        sources = select(SourceRow.id, SourceRow.name).where(
            SourceRow.site_id == self._whose.site_id
        )
        with reading(self._engine) as session:
            newest = {name: _find_last(session, key or 0) for key, name in session.exec(sources)}
            return {name: last for name, last in sorted(newest.items()) if last}

    def count_results(
        self, after: datetime, until: datetime, *, recent_after: datetime
    ) -> list[ResultCount]:
        """Return the current results of watched files in (after, until], by source and code.

        Args:
            after: Aware UTC.
            until: Aware UTC.
            recent_after: Results after it count as recent, aware UTC.
        """
        review, waiting = col(ResultRow.handling) == Handling.REVIEW.value, _waits()
        code = case((_is_hidden(), None), else_=col(ResultRow.structure_code))
        query = (
            sqlalchemy.select(
                col(SourceRow.name),
                code,
                func.count(),
                _count_where(review),
                _count_where(waiting),
                _count_where(col(ResultRow.done_at) > recent_after),
            )
            .join(MicrographRow, col(MicrographRow.id) == col(ResultRow.micrograph_id))
            .join(SourceRow, col(SourceRow.id) == col(MicrographRow.source_id))
            .outerjoin(SearchEntry, col(SearchEntry.micrograph_id) == col(MicrographRow.id))
            .where(*self._between(after, until))
            .group_by(col(SourceRow.name), code)
        )
        with reading(self._engine) as session:
            return [ResultCount(*row) for row in session.execute(query)]

    def count_codes(self, after: datetime, until: datetime) -> dict[str, int]:
        """Return structure code → current results of watched files in (after, until]."""
        query = (
            select(ResultRow.structure_code, func.count())
            .where(*self._between(after, until), col(ResultRow.structure_code).is_not(None))
            .group_by(col(ResultRow.structure_code))
        )
        with reading(self._engine) as session:
            return {code: n for code, n in session.exec(query) if code}

    def count_trend(
        self, after: datetime, until: datetime, by: str
    ) -> list[tuple[str, str, int, int, int]]:
        """Return the current results of watched files in (after, until], counted by group and code.

        Args:
            after: Aware UTC.
            until: Aware UTC.
            by: "source", "furnace" or "heat"; "": all are one group.

        Returns:
            Group, code ("" without one, and while reviewers may not see it), how many; of those,
            for how many a review was requested, and how many are unusual.
        """
        groups: dict[str, Any] = {
            "": literal_column("''"),
            "source": col(SourceRow.name),
            "furnace": col(MicrographRow.process_extra)["furnace"].as_string(),
            "heat": col(MicrographRow.heat),
        }
        group = func.coalesce(groups[by], "")
        code = case((_is_hidden(), ""), else_=func.coalesce(col(ResultRow.structure_code), ""))
        query = (
            sqlalchemy.select(
                group,
                code,
                func.count(),
                _count_where(col(ResultRow.handling) == Handling.REVIEW.value),
                _count_where(cast(col(ResultRow.reasons), Text).contains(f'"{Reason.STRANGE}"')),
            )
            .join(MicrographRow, col(MicrographRow.id) == col(ResultRow.micrograph_id))
            .join(SourceRow, col(SourceRow.id) == col(MicrographRow.source_id))
            .outerjoin(SearchEntry, col(SearchEntry.micrograph_id) == col(MicrographRow.id))
            .where(*self._between(after, until))
            .group_by(group, code)
        )
        with reading(self._engine) as session:
            return [tuple(row) for row in session.execute(query)]

    def _between(self, after: datetime, until: datetime) -> tuple[Any, ...]:
        # Spelt as in the partial index of a night: only then does a planner use it.
        return (
            ResultRow.site_id == self._whose.site_id,
            is_current(),
            literal_column("result.origin") == literal_column("'watch'"),
            col(ResultRow.done_at) > after,
            col(ResultRow.done_at) <= until,
        )

    def count_waiting_by_reason(self) -> dict[Reason, int]:
        """Return reason → micrographs that wait for a review; one may have several reasons."""
        reasons = cast(col(ResultRow.reasons), Text)
        query = (
            select(reasons, func.count())
            .where(ResultRow.site_id == self._whose.site_id, _waits())
            .group_by(reasons)
        )
        counts: Counter[Reason] = Counter()
        with reading(self._engine) as session:
            for text, n in session.exec(query):
                counts.update({reason: n for reason in Reason if f'"{reason.value}"' in str(text)})
        return dict(counts)

    def count_disagreed(self) -> int:
        """Return how many waiting micrographs two reviewers answered differently."""
        query = (
            select(ResultRow.micrograph_id)
            .join(LabelRow, col(LabelRow.micrograph_id) == col(ResultRow.micrograph_id))
            .where(ResultRow.site_id == self._whose.site_id, _waits())
            .group_by(col(ResultRow.micrograph_id))
            .having(func.count(col(LabelRow.by).distinct()) > 1)
            .limit(MOST_DISAGREED)
        )
        with reading(self._engine) as session:
            views = of_micrographs(session, list(session.exec(query)))
            return sum(view.disagreed for _row, view in views)

    def count_unassigned(self) -> int:
        """Return how many fields belong to no specimen."""
        query = select(func.count()).where(is_unassigned(self._whose.site_id))
        with reading(self._engine) as session:
            return session.exec(query).one()


def _find_last(session: Session, source_id: int) -> tuple[str, datetime] | None:
    # Not max(): with the site in the statement SQLite would read every file of the source.
    newest = (
        select(ContentRow.id, ContentRow.first_seen_at, ContentRow.origin)
        .where(ContentRow.source_id == source_id)
        .order_by(col(ContentRow.id).desc())
        .limit(1)
    )
    row = session.exec(newest).first()
    if row is None:
        return None
    content_id, first_seen_at, origin = row
    if origin == "import":
        return None
    names = (
        select(PathRow.relative)
        .where(PathRow.content_id == content_id)
        .order_by(col(PathRow.id).desc())
        .limit(1)
    )
    return session.exec(names).first() or "", first_seen_at


def _is_hidden() -> Any:
    # The search finds no code of a micrograph that waits and has a hidden answer.
    return sqlalchemy.and_(_waits(), func.coalesce(col(SearchEntry.code), "") == "")


def _waits() -> Any:
    return col(ResultRow.review_rank).is_not(None)


def _count_where(condition: Any) -> Any:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)
