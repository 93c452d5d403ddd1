"""Contents and the paths that they were seen under."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import Index
from sqlmodel import Field

from agent.store.tables import sites  # noqa: F401 - what foreign keys name
from agent.store.tables.base import (
    Numbered,
    OfSite,
    big_column,
    instant_column,
    json_column,
    partial_index,
)


class ContentRow(OfSite, Numbered, table=True):
    """A version of a file's content, and its state.

    `due_at` is when something is to be done about it: since when it is queued, when a failed
    one is tried again, when a lease expires; empty where nothing is to be done. `claims`
    only ever grows, so that a worker detects that its lease was taken over. `noted` stores which
    orders notes next to an unread file name, order → specimen.
    """

    __tablename__: ClassVar[Any] = "content"
    __table_args__: ClassVar[Any] = (
        partial_index(
            "uq_content_sha256_not_duplicate",
            "sha256",
            "site_id",
            unique=True,
            where="state != 'duplicate' AND sha256 IS NOT NULL",
        ),
        partial_index(
            "ix_content_due",
            "site_id",
            "lane",
            "due_at",
            where="due_at IS NOT NULL",
        ),
        Index("ix_content_site_id_state_id", "site_id", "state", "id"),
        partial_index(
            "ix_content_duplicate_of",
            "duplicate_of",
            where="duplicate_of IS NOT NULL",
        ),
        partial_index(
            "ix_content_previous_id",
            "previous_id",
            where="previous_id IS NOT NULL",
        ),
        {"sqlite_autoincrement": True},  # a number is never given twice: claims remember it
    )

    source_id: int = Field(foreign_key="source.id", index=True)
    sha256: str | None = None
    size_bytes: int = big_column()
    state: str
    lane: int = 1
    origin: str = "watch"
    code: str | None = None
    reason: str | None = None
    attempts: int = 0
    claims: int = 0
    interrupted: int = 0
    due_at: datetime | None = instant_column()
    agent_id: int | None = Field(default=None, foreign_key="agent.id")
    first_seen_at: datetime = instant_column()
    done_at: datetime | None = instant_column()
    duplicate_of: int | None = Field(default=None, foreign_key="content.id")
    previous_id: int | None = Field(default=None, foreign_key="content.id")
    process_data: dict[str, str] = json_column()
    noted: dict[str, str] = json_column(filled=True)


class PathRow(OfSite, Numbered, table=True):
    """A name under which a content was seen; many per content, one current per name."""

    __tablename__: ClassVar[Any] = "path"
    __table_args__: ClassVar[Any] = (
        partial_index(
            "uq_path_current",
            "source_id",
            "relative",
            unique=True,
            where="replaced_at IS NULL",
        ),
        Index("ix_path_mtime_ns", "mtime_ns"),
    )

    content_id: int = Field(foreign_key="content.id", index=True)
    source_id: int = Field(foreign_key="source.id")
    relative: str
    size_bytes: int = big_column()
    mtime_ns: int = big_column()
    ctime_ns: int = big_column()
    seen_at: datetime = instant_column()
    gone_at: datetime | None = instant_column()
    replaced_at: datetime | None = instant_column()
