"""Versions of the settings that all PCs of a site share: published by a lead, never changed.

A rollout brings one to the PCs in rings. The last such rollout that is done names the version in
use, so a restored database and its version agree.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select

from agent.errors import WrongUse
from agent.settings import compute_version, iter_values
from agent.store import audit_log, rollout_rows
from agent.store.engine import reading, writing
from agent.store.promotions import DECISION, find_current_bundle
from agent.store.repository import Repository
from agent.store.rollout_plan import HostState, Ring, RolloutKind, RolloutTicket, find_wanted
from agent.store.rollout_rows import IN_USE
from agent.store.spelling import person_key
from agent.store.tables import SettingsVersionRow

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlmodel import Session

    from agent.store.promotions import Signature
    from agent.store.rollout_plan import RingRules


@dataclass(frozen=True, slots=True)
class SettingsVersion:
    """A version of the shared settings.

    Args:
        version: Its name, which its content determines.
        content: Its values, and the texts of its files.
        by: The lead who published it.
        reason: Why.
        published_at: Aware UTC.
    """

    version: str
    content: dict[str, Any]
    by: str
    reason: str
    published_at: datetime


@dataclass(frozen=True, slots=True)
class WantedSettings:
    """The settings version that a PC is to apply.

    Args:
        current: The version in use, None for none.
        tried: The version of a rollout whose ring this PC is in, None for none.
        ticket: The permission to try it, None where there is nothing to try.
        is_agreed: This PC has judged the reference images with it, and they agreed.
    """

    current: SettingsVersion | None
    tried: SettingsVersion | None = None
    ticket: RolloutTicket | None = None
    is_agreed: bool = False

    @property
    def applied(self) -> SettingsVersion | None:
        """The version that this PC is to work with, None for its own file alone."""
        return self.tried if self.is_agreed else self.current


class SettingsVersions(Repository):
    """Repository of the versions of a site's shared settings."""

    def publish(self, content: Mapping[str, Any], signature: Signature) -> SettingsVersion:
        """Store a version; no PC applies it before it is rolled out.

        Raises:
            WrongUse: This version is published already.
        """
        version = compute_version(content)
        row = SettingsVersionRow(
            site_id=self._whose.site_id,
            version=version,
            content=json.dumps(content, sort_keys=True, ensure_ascii=False),
            by=signature.by,
            reason=signature.reason,
            published_at=signature.at,
        )
        with writing(self._engine) as session:
            if before := _find_row(session, self._whose.site_id, version):
                raise WrongUse(_describe_known(before))
            current = rollout_rows.find_current_version(session, self._whose)
            known = _find(session, self._whose.site_id, current) if current else None
            session.add(row)
            try:
                session.flush()
            except IntegrityError as error:  # another lead published the same at this moment
                raise WrongUse(
                    f"{version} is published already. See agent settings versions."
                ) from error
            audit_log.append(
                session,
                self._whose.site_id,
                at=signature.at,
                actor=signature.by,
                act="settings.published",
                subject=version,
                facts={
                    "reason": signature.reason,
                    "instead_of": current,
                    "changed": list_changes(known.content if known else None, content),
                },
            )
            return _to_version(row)

    def find(self, version: str) -> SettingsVersion | None:
        """Return a version by its name, or None."""
        with reading(self._engine) as session:
            return _find(session, self._whose.site_id, version)

    def list_all(self) -> list[SettingsVersion]:
        """Return all versions, newest first."""
        query = (
            select(SettingsVersionRow)
            .where(SettingsVersionRow.site_id == self._whose.site_id)
            .order_by(col(SettingsVersionRow.id).desc())
        )
        with reading(self._engine) as session:
            return [_to_version(row) for row in session.exec(query)]

    def find_current(self) -> str | None:
        """Return the name of the version in use, None before the first."""
        with reading(self._engine) as session:
            return rollout_rows.find_current_version(session, self._whose)

    def find_wanted(self) -> WantedSettings:
        """Return the version that this PC is to apply: the one in use, or that of its ring."""
        with reading(self._engine) as session:
            site_id = self._whose.site_id
            current = rollout_rows.find_current_version(session, self._whose)
            in_use = _find(session, site_id, current) if current else None
            row = rollout_rows.find_running(session, self._whose)
            if row is None or row.kind != RolloutKind.SETTINGS:
                return WantedSettings(in_use)
            host = rollout_rows.find_host(session, self._whose, row)
            ring = host.ring if host else Ring.ALL
            wanted = find_wanted(current, rollout_rows.to_rollout(row), ring)
            if wanted.ticket is None:
                return WantedSettings(in_use)
            is_agreed = host is not None and host.state == HostState.AGREED
            return WantedSettings(
                in_use, _find(session, site_id, row.bundle), wanted.ticket, is_agreed
            )

    def list_wanted(self) -> dict[str, str]:
        """Return PC → the version that it is to apply, "" for its own file alone."""
        with reading(self._engine) as session:
            current = rollout_rows.find_current_version(session, self._whose)
            agents = rollout_rows.list_agents(session, self._whose)
            wanted = {agent.name: current or "" for agent in agents}
            row = rollout_rows.find_running(session, self._whose)
            if row is None or row.kind != RolloutKind.SETTINGS:
                return wanted
            rollout = rollout_rows.to_rollout(row)
            hosts = rollout_rows.list_all_hosts(session, self._whose, row)
            return wanted | {
                host.name: find_wanted(current, rollout, host.ring).name or "" for host in hosts
            }

    def start(
        self,
        version: str,
        signature: Signature,
        *,
        promoters: int,
        rings: RingRules,
        ring_at: datetime | None = None,
    ) -> None:
        """Start the rollout of a version; its first ring applies it now.

        Args:
            version: Its name.
            signature: Of a lead. Where two leads sign, the publication is the first signature.
            promoters: Required number of signatures, 1 or 2.
            rings: The PCs apply it in these rings.
            ring_at: Now by the clock of the database, from which ring 1 lasts; None: as the
                signature, which is by the clock of the lead's PC.

        Raises:
            WrongUse: There is no such version, it is in use, no bundle is in use, a second lead has
                to sign, or a rollout is running.
        """
        with writing(self._engine) as session:
            rollout_rows.require_none_running(session, self._whose)
            row = _find_row(session, self._whose.site_id, version)
            if row is None:
                raise WrongUse(f"No settings version {version}. See agent settings versions.")
            current = rollout_rows.find_current_version(session, self._whose)
            if current == version:
                raise WrongUse(f"{version} is already in use.")
            if (bundle := find_current_bundle(session)) is None:
                raise WrongUse(
                    "No bundle is in use, so the PCs cannot judge the reference images. Promote "
                    "one first: agent models promote NAME."
                )
            if promoters > 1:
                audit_log.require_person(session, version)
            if promoters > 1 and person_key(row.by) == person_key(signature.by):
                raise WrongUse(
                    f"{row.by} published {version}; a second person has to start its rollout "
                    "(retrain.promoters = 2)."
                )
            published = {"by": row.by, "reason": row.reason, "at": row.published_at.isoformat()}
            signed = [published, signature.as_json()] if promoters > 1 else [signature.as_json()]
            rollout_rows.begin(
                session,
                self._whose,
                version,
                kind=RolloutKind.SETTINGS,
                previous=current,
                rules=rings,
                by=signature.by,
                reason=signature.reason,
                metrics={DECISION: {"signatures": signed}, IN_USE: bundle},
                at=signature.at,
                ring_at=ring_at or signature.at,
            )


def list_changes(
    before: Mapping[str, Any] | None, after: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """Return setting → (before, after) of what differs; texts of files are not repeated.

    Args:
        before: Content of the earlier version, None for none.
        after: Content of the later one.
    """
    was = dict(iter_values(before)) if before else {}
    now = dict(iter_values(after))
    files = {*after["files"], *(before["files"] if before else ())}
    return {
        name: ("other text", "text") if name in files else (was.get(name), now.get(name))
        for name in sorted(was.keys() | now.keys())
        if was.get(name) != now.get(name)
    }


def _describe_known(row: SettingsVersionRow) -> str:
    return (
        f"{row.version} is published already, by {row.by}. To use it: agent rollout start "
        f"--settings {row.version}"
    )


def _find_row(session: Session, site_id: int, version: str) -> SettingsVersionRow | None:
    query = select(SettingsVersionRow).where(
        SettingsVersionRow.site_id == site_id, SettingsVersionRow.version == version
    )
    return session.exec(query).first()


def _find(session: Session, site_id: int, version: str) -> SettingsVersion | None:
    row = _find_row(session, site_id, version)
    return _to_version(row) if row else None


def _to_version(row: SettingsVersionRow) -> SettingsVersion:
    return SettingsVersion(
        row.version, json.loads(row.content), row.by, row.reason, row.published_at
    )
