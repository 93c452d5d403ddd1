"""History of active settings: an audit needs the settings behind a result.

Addresses that may contain a password are written as a fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from sqlmodel import col, select

from agent.store.engine import writing
from agent.store.evidence import audit_log
from agent.store.repository import Repository
from agent.store.tables import AgentRow, TrailRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from sqlmodel import Session

    from agent.store.repository import AgentIdentity

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
