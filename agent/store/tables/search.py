"""Search entries and saved views."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import Index, UniqueConstraint

from agent.store.tables import micrographs  # noqa: F401 - what foreign keys name
from agent.store.tables.base import Numbered, OfMicrograph, OfSite, instant_column, text_column


class SearchEntry(OfSite, OfMicrograph, table=True):
    """What the search finds of a micrograph, computed from its rows (`search_index`).

    `code` is "" while the model's answer is hidden from reviewers. Its words are in a table of the
    database's own text search; `digest` is their hash. A page reads thousands of these rows.
    """

    __tablename__: ClassVar[Any] = "search_entry"
    __table_args__: ClassVar[Any] = (
        Index("ix_search_entry_taken_at", "taken_at", "micrograph_id"),
    )

    taken_at: datetime = instant_column()
    source: str = text_column()
    code: str = text_column()
    outcome: str = text_column()
    microscope: str = text_column()
    reviewer: str = text_column()
    digest: str = text_column()


class SavedView(OfSite, Numbered, table=True):
    """A search that a person kept under a name; `query` is as in the page's address."""

    __tablename__: ClassVar[Any] = "saved_view"
    __table_args__: ClassVar[Any] = (UniqueConstraint("site_id", "owner", "name"),)

    owner: str
    name: str
    query: str = text_column()
    saved_at: datetime = instant_column()
