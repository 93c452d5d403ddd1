"""Sites, agents and the sources that they watch; jobs, and rollouts of bundles."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import UniqueConstraint
from sqlmodel import Field

from agent.store.bundles.rollout_plan import RingRules
from agent.store.tables.base import (
    Numbered,
    OfSite,
    false_column,
    instant_column,
    json_column,
    message_column,
    partial_index,
)
from reports import Message


class SiteRow(Numbered, table=True):
    """A plant; several may share one database.

    `shares_accounts` and `shares_bundles` are its setting `site.shares`: rows of sites that share
    them are valid at each.
    """

    __tablename__: ClassVar[Any] = "site"

    name: str = Field(unique=True)
    shares_accounts: bool = false_column()
    shares_bundles: bool = false_column()


class AgentRow(OfSite, Numbered, table=True):
    """A running program on one PC; `seen_at` is its heartbeat, `started_at` its last start."""

    __tablename__: ClassVar[Any] = "agent"
    __table_args__: ClassVar[Any] = (UniqueConstraint("site_id", "name"),)

    name: str
    first_started_at: datetime | None = instant_column()
    started_at: datetime | None = instant_column()
    seen_at: datetime | None = instant_column()
    facts: dict[str, Any] = json_column()


class SourceRow(OfSite, Numbered, table=True):
    """A microscope's export folder."""

    __tablename__: ClassVar[Any] = "source"
    __table_args__: ClassVar[Any] = (UniqueConstraint("site_id", "name"),)

    name: str
    folder: str
    mode: str = ""
    online: bool = True
    offline_since: datetime | None = instant_column()
    last_scan_at: datetime | None = instant_column()
    found_by_scan: int = 0
    found_by_event: int = 0
    facts: dict[str, Any] = json_column()


class Job(OfSite, Numbered, table=True):
    """A long or scheduled piece of work.

    `name` is its kind, such as "retrain"; `outcome` is "" while it runs; `facts` has its progress,
    then its result.
    """

    __tablename__: ClassVar[Any] = "job"

    agent_id: int | None = Field(default=None, foreign_key="agent.id")
    name: str = Field(index=True)
    due_at: datetime | None = instant_column()
    started_at: datetime | None = instant_column()
    ended_at: datetime | None = instant_column()
    outcome: str = ""
    facts: dict[str, Any] = json_column()


class Rollout(OfSite, Numbered, table=True):
    """A bundle that the PCs take in rings: named PCs, a share, all.

    At most one rollout of a site is running. `attempt` grows when a stopped one is continued: an
    answer of an earlier attempt is refused. `baseline` holds the answers to the reference images
    that every PC has to repeat, and `baseline_host` names the PC that gave them. The promotion is
    recorded when the last ring agrees; until then `previous` stays the promoted bundle.
    `step` is the ring that has been reached, since `step_at`. `stopped_by` is "agent" where answers
    differed, and `why` what differed.
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
    why: Message = message_column()

    @property
    def rules(self) -> RingRules:
        """Which PCs take it when."""
        return RingRules.from_json(self.rings)


class RolloutHost(OfSite, Numbered, table=True):
    """What one PC answered about the reference images with the bundle of a rollout.

    `n` crops were compared, `same_codes` of them have the same structure code; `message` is what
    differs or is missing.
    """

    __tablename__: ClassVar[Any] = "rollout_host"
    __table_args__: ClassVar[Any] = (UniqueConstraint("rollout_id", "agent_id"),)

    rollout_id: int = Field(foreign_key="rollout.id")
    agent_id: int = Field(foreign_key="agent.id")
    ring: int
    state: str
    judged_at: datetime | None = instant_column()
    n: int = 0
    same_codes: int = 0
    max_difference: float | None = None
    message: Message = message_column()
