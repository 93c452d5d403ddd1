"""Searches that people keep under a name, each for its owner alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlmodel import col, select

from agent.errors import WrongUse
from agent.store.engine import reading, write_retrying, writing
from agent.store.repository import Repository
from agent.store.tables import SavedViewRow

if TYPE_CHECKING:
    from datetime import datetime

    from sqlmodel import Session

MOST_VIEWS = 50
LONGEST_VIEW_NAME, LONGEST_VIEW_QUERY = 60, 2000


@dataclass(frozen=True, slots=True)
class StoredView:
    """A kept search; `query` is as in the address of the page."""

    name: str
    query: str
    saved_at: datetime


class SavedViews(Repository):
    """Repository of kept searches."""

    def list_all(self, owner: str) -> list[StoredView]:
        """Return the searches that an account, or a reviewer without one, keeps, by name."""
        query = (
            select(SavedViewRow)
            .where(SavedViewRow.site_id == self._whose.site_id, SavedViewRow.owner == owner)
            .order_by(col(SavedViewRow.name))
        )
        with reading(self._engine) as session:
            return [StoredView(row.name, row.query, row.saved_at) for row in session.exec(query)]

    def save(self, owner: str, name: str, query: str, *, at: datetime) -> None:
        """Keep a search; one of the same name is replaced.

        Raises:
            WrongUse: The name or the search is empty or too long, or the owner keeps too many.
        """
        name = " ".join(name.split())
        if not owner or not name or len(name) > LONGEST_VIEW_NAME or not name.isprintable():
            raise WrongUse(f"a saved view needs a name of at most {LONGEST_VIEW_NAME} letters.")
        if len(query) > LONGEST_VIEW_QUERY:
            raise WrongUse(f"a search has at most {LONGEST_VIEW_QUERY} letters.")
        write_retrying(self._engine, lambda session: self._save(session, owner, name, query, at))

    def _save(self, session: Session, owner: str, name: str, query: str, at: datetime) -> None:
        rows = session.exec(
            select(SavedViewRow).where(
                SavedViewRow.site_id == self._whose.site_id, SavedViewRow.owner == owner
            )
        ).all()
        row = next((row for row in rows if row.name == name), None)
        if row is None and len(rows) >= MOST_VIEWS:
            raise WrongUse(f"{MOST_VIEWS} views are saved already; delete one first.")
        row = row or SavedViewRow(site_id=self._whose.site_id, owner=owner, name=name, saved_at=at)
        row.query, row.saved_at = query, at
        session.add(row)

    def delete(self, owner: str, name: str) -> bool:
        """Delete a kept search; return whether there was one."""
        with writing(self._engine) as session:
            row = session.exec(
                select(SavedViewRow).where(
                    SavedViewRow.site_id == self._whose.site_id,
                    SavedViewRow.owner == owner,
                    SavedViewRow.name == name,
                )
            ).first()
            if row is not None:
                session.delete(row)
            return row is not None
