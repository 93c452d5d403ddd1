"""History of a site: acts of the audit log, narrowed by name, object and time; and its settings.

Addresses that may contain a password are written as a fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from agent.store.engine import AgentIdentity, Repository, reading, writing
from agent.store.evidence import audit_log
from agent.store.evidence.audit_log import TrailEntry
from agent.store.sites.sites import name_of
from agent.store.tables import AgentRow, TrailRow

_COLUMNS = ("id", "at", "actor", "act", "subject", "facts", "sha256")


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """Which acts are listed.

    Args:
        actor: Part of the name of who acted, in any case.
        subject: Part of what it was done to, in any case.
        act: Beginning of the act's name, such as "label.".
        since: First instant, aware, or None.
        until: The instant before which, aware, or None.
        facts: Words that the facts contain, in any case.
    """

    actor: str = ""
    subject: str = ""
    act: str = ""
    since: datetime | None = None
    until: datetime | None = None
    facts: str = ""


class History(Repository):
    """Repository of past acts, as pages list them."""

    def list_page(self, query: HistoryQuery, *, limit: int, before: int | None) -> list[TrailEntry]:
        """Return acts, newest first.

        Args:
            query: Which.
            limit: Maximum number.
            before: Only acts of a smaller number.
        """
        wanted = select_columns(*(getattr(TrailRow, name) for name in _COLUMNS)).where(
            col(TrailRow.site_id) == self._whose.site_id
        )
        if query.actor:
            wanted = wanted.where(col(TrailRow.actor).icontains(query.actor, autoescape=True))
        if query.subject:
            wanted = wanted.where(col(TrailRow.subject).icontains(query.subject, autoescape=True))
        if query.act:
            wanted = wanted.where(col(TrailRow.act).startswith(query.act, autoescape=True))
        for word in query.facts.split():
            # As the stored JSON writes it.
            written = json.dumps(word, ensure_ascii=False)[1:-1]
            wanted = wanted.where(col(TrailRow.facts).icontains(written, autoescape=True))
        if query.since is not None:
            wanted = wanted.where(col(TrailRow.at) >= query.since)
        if query.until is not None:
            wanted = wanted.where(col(TrailRow.at) < query.until)
        if before is not None:
            wanted = wanted.where(col(TrailRow.id) < before)
        with reading(self._engine) as session:
            site = name_of(session, self._whose)
            rows = session.execute(wanted.order_by(col(TrailRow.id).desc()).limit(limit)).all()
        return [
            TrailEntry(at, actor, act, subject, json.loads(facts), number, site, sha256)
            for number, at, actor, act, subject, facts, sha256 in rows
        ]

    def list_joint(
        self, acts: Collection[str], *, since: datetime, limit: int
    ) -> list[tuple[str, str, datetime]]:
        """Return name, actor and instant of acts on several subjects at once, newest first.

        Args:
            acts: Names of acts.
            since: First instant, aware.
            limit: Maximum number.
        """
        one = (col(TrailRow.act), col(TrailRow.actor), col(TrailRow.at))
        query = (
            select_columns(*one)
            .where(
                col(TrailRow.site_id) == self._whose.site_id,
                col(TrailRow.at) >= since,
                col(TrailRow.act).in_(acts),
            )
            .group_by(*one)
            .having(func.count() > 1)
            .order_by(col(TrailRow.at).desc())
            .limit(limit)
        )
        with reading(self._engine) as session:
            return [(act, actor, at) for act, actor, at in session.execute(query)]

    def iter_pages(
        self, query: HistoryQuery, *, limit: int, before: int | None
    ) -> Iterator[list[TrailEntry]]:
        """Yield acts in pages, newest first, at most `limit` of them; no transaction stays open."""
        left = limit
        while left > 0 and (page := self.list_page(query, limit=min(1000, left), before=before)):
            yield page
            before, left = page[-1].id, left - len(page)


ACT, IN_FORCE = "settings.changed", "in_force"
"""Name of the act, and key of all settings among its facts."""
REASON = "site.change_reason"
SECRET = ("store.url", "notify.urls")


class SettingsHistory(Repository):
    """Repository of the settings of this agent over time."""

    def record(self, settings: Mapping[str, Any], *, at: datetime) -> dict[str, tuple[Any, Any]]:
        """Record what changed since this agent's last start; nothing if nothing did.

        Args:
            settings: Section → key → value, as JSON has it.
            at: Now.

        Returns:
            Setting → (before, now); everything that is set, at the first start.
        """
        with writing(self._engine) as session:
            agent = session.get_one(AgentRow, self._whose.agent_id).name
            now = dict(_flat(settings))
            before = _last(session, self._whose, agent)
            changed = {
                name: (before.get(name), now.get(name))
                for name in sorted(before.keys() | now.keys())
                if before.get(name) != now.get(name)
            }
            if changed:
                # A reason that stayed is that of an earlier change.
                reason = now.get(REASON, "") if REASON in changed else ""
                facts = {"reason": reason, "changed": changed, IN_FORCE: now}
                audit_log.append(
                    session,
                    self._whose.site_id,
                    at=at,
                    actor="agent.toml",
                    act=ACT,
                    subject=agent,
                    facts=facts,
                )
            return changed


def _last(session: Session, whose: AgentIdentity, agent: str) -> dict[str, Any]:
    query = (
        select(TrailRow.facts)
        .where(TrailRow.site_id == whose.site_id, TrailRow.act == ACT, TrailRow.subject == agent)
        .order_by(col(TrailRow.id).desc())
        .limit(1)
    )
    facts = session.exec(query).first()
    return dict(json.loads(facts)[IN_FORCE]) if facts else {}


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flat(value, f"{name}.")
        else:
            yield name, _fingerprint(value) if name in SECRET and value else value


def _fingerprint(value: object) -> str:
    return "sha256:" + hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]
