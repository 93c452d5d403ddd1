"""Nights, jobs, work units, rollouts, settings versions, search entries and saved views."""

from datetime import date, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    Column,
    Index,
    Integer,
    Text,
    UniqueConstraint,
)
from sqlmodel import Field

from agent.store.tables.base import (
    OfSite,
    Row,
    false_column,
    instant_column,
    json_column,
    partial_index,
    site_column,
    text_column,
)


class NightRow_(OfSite, Row, table=True):  # noqa: N801 - `NightRow` is the noun that leaves the store
    """Facts of one night as first written; a refresh is a new revision."""

    __tablename__: ClassVar[Any] = "night"
    __table_args__: ClassVar[Any] = (UniqueConstraint("site_id", "date", "revision"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = site_column()
    date: date
    revision: int = 1
    facts: str = Field(sa_column=Column(Text, nullable=False))  # text: byte for byte the same
    frozen_at: datetime = instant_column()


class JobRow(OfSite, Row, table=True):
    """A long or scheduled piece of work: what it was for, and how it ended."""

    __tablename__: ClassVar[Any] = "job"

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = site_column()
    agent_id: int | None = Field(default=None, foreign_key="agent.id")
    name: str = Field(index=True)
    due_at: datetime | None = instant_column()
    started_at: datetime | None = instant_column()
    ended_at: datetime | None = instant_column()
    outcome: str = ""
    facts: dict[str, Any] = json_column()


class WorkJobRow(OfSite, Row, table=True):
    """A request to judge archived micrographs with a bundle; agents do it in units.

    `since` limits it to watched micrographs stored after it. Its micrographs are divided from the
    newest to the oldest: `divided_to` is the oldest one so far, and `is_divided` is set at the end.
    `counts` are those of its units that were at their end and are deleted.
    """

    __tablename__: ClassVar[Any] = "work_job"
    __table_args__: ClassVar[Any] = (Index("ix_work_job_site_id_state", "site_id", "state"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = site_column()
    bundle: str
    role: str
    days: int | None = None
    since: datetime | None = instant_column()
    state: str
    by: str
    acted_by: str = text_column()
    created_at: datetime = instant_column()
    ended_at: datetime | None = instant_column()
    divided_to: int | None = None
    is_divided: bool = false_column()
    known: int = 0
    total: int = 0
    counts: dict[str, Any] = json_column()


class WorkUnitRow(OfSite, Row, table=True):
    """Micrographs of one source, from `first_id` to `last_id`, that one agent judges at a time.

    `home_id` is the agent that archived their crops. `attempt` only ever grows: a worker whose
    lease was taken over has an older one. `due_at` is when a waiting unit may be claimed and when
    the lease of a claimed one ends; no index holds it, so that renewing a lease moves no index
    entry. `done_to` is the last micrograph that is finished.
    """

    __tablename__: ClassVar[Any] = "work_unit"
    __table_args__: ClassVar[Any] = (
        Index("ix_work_unit_job_id_state_home_id_id", "job_id", "state", "home_id", "id"),
        {"sqlite_autoincrement": True},  # a number is never given twice: claims remember it
    )

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = site_column()
    job_id: int = Field(foreign_key="work_job.id")
    source_id: int = Field(foreign_key="source.id")
    home_id: int | None = Field(default=None, foreign_key="agent.id")
    first_id: int
    last_id: int
    n: int
    state: str
    attempt: int = 0
    failures: int = 0
    agent_id: int | None = Field(default=None, foreign_key="agent.id")
    due_at: datetime = instant_column()
    done_to: int = 0
    judged: int = 0
    known: int = 0
    lost: int = 0
    unreadable: int = 0
    flagged: int = 0
    flips: dict[str, int] = json_column()
    reason: str = text_column()
    ended_at: datetime | None = instant_column()


class RolloutRow(OfSite, Row, table=True):
    """A bundle or settings version that the PCs take in rings: named PCs, a share, all.

    `kind` says which, and `bundle` holds its name. The last one of settings that is done is the
    version in use.

    At most one rollout of a site is running. `attempt` grows when a stopped one is continued: an
    answer of an earlier attempt is refused. `baseline` holds the answers to the reference images
    that every PC has to repeat, and `baseline_host` names the PC that gave them. The promotion is
    recorded when the last ring agrees; until then `previous` stays the promoted bundle.
    """

    __tablename__: ClassVar[Any] = "rollout"
    __table_args__: ClassVar[Any] = (
        partial_index(
            "uq_rollout_running",
            "site_id",
            unique=True,
            where="state = 'running'",
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = site_column()
    kind: str = Field(default="bundle", sa_column_kwargs={"server_default": "bundle"})
    bundle: str
    previous: str | None = None
    state: str
    step: int = 1
    attempt: int = 1
    rings: dict[str, Any] = json_column()
    by: str
    reason: str
    metrics: dict[str, Any] = json_column()
    baseline: dict[str, Any] = json_column()
    baseline_host: str = ""
    started_at: datetime = instant_column()
    step_at: datetime = instant_column()
    ended_at: datetime | None = instant_column()
    stopped_by: str = ""
    why: dict[str, Any] = json_column()


class RolloutHostRow(OfSite, Row, table=True):
    """What one PC answered about the reference images with the bundle of a rollout."""

    __tablename__: ClassVar[Any] = "rollout_host"
    __table_args__: ClassVar[Any] = (UniqueConstraint("rollout_id", "agent_id"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = site_column()
    rollout_id: int = Field(foreign_key="rollout.id")
    agent_id: int = Field(foreign_key="agent.id")
    ring: int
    state: str
    judged_at: datetime | None = instant_column()
    n: int = 0
    same_codes: int = 0
    max_difference: float | None = None
    message: dict[str, Any] = json_column()


class SettingsVersionRow(OfSite, Row, table=True):
    """A version of the settings that all PCs of a site share; its content determines its name."""

    __tablename__: ClassVar[Any] = "settings_version"
    __table_args__: ClassVar[Any] = (UniqueConstraint("site_id", "version"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = site_column()
    version: str
    content: str = Field(sa_column=Column(Text, nullable=False))  # text: byte for byte the same
    by: str
    reason: str
    published_at: datetime = instant_column()


class SearchRow(OfSite, Row, table=True):
    """What the search finds of a micrograph, computed from its rows (`agent.store.search_index`).

    `code` is "" while the model's answer is hidden from reviewers. Its words are in a table of the
    database's own text search; `digest` is their hash. A page reads thousands of these rows.
    """

    __tablename__: ClassVar[Any] = "search_entry"
    __table_args__: ClassVar[Any] = (
        Index("ix_search_entry_taken_at", "taken_at", "micrograph_id"),
    )

    micrograph_id: int | None = Field(
        default=None, primary_key=True, foreign_key="micrograph.id", sa_type=Integer
    )
    site_id: int = site_column()
    taken_at: datetime = instant_column()
    source: str = text_column()
    code: str = text_column()
    outcome: str = text_column()
    microscope: str = text_column()
    reviewer: str = text_column()
    digest: str = text_column()


class SavedViewRow(OfSite, Row, table=True):
    """A search that a person kept under a name; `query` is as in the page's address."""

    __tablename__: ClassVar[Any] = "saved_view"
    __table_args__: ClassVar[Any] = (UniqueConstraint("site_id", "owner", "name"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = site_column()
    owner: str
    name: str
    query: str = text_column()
    saved_at: datetime = instant_column()
