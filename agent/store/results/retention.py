"""Find micrographs whose pixels may be deleted because nothing refers to them any more.

Rows are never deleted. The pixels of flagged, labelled and imported micrographs and those of a
round robin, a check, a validation or a study are never deleted, nor those of an order on legal
hold. What a statement names is evidence until the statement's own retention ends.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, exists
from sqlmodel import Session, col, select

from agent.store.engine import AgentIdentity, Repository, reading, writing
from agent.store.evidence import audit_log
from agent.store.orders import specimens
from agent.store.sites import sites
from agent.store.tables import (
    CampaignImageRow,
    LabelRow,
    MicrographRow,
    OrderRow,
    Record,
    ResultRow,
    SpecimenRow,
    StatementRow,
    TrailRow,
)
from agent.store.work.file_states import chunks
from agent.triage import Handling

CHUNK = 400


@dataclass(frozen=True, slots=True)
class Kept:
    """Archived files of one micrograph.

    Args:
        id: Public id.
        sha256: Hash of the file.
        page: Page of the file.
        artefacts: Archived files according to its row.
        pruned_at: Time when its pixels were deleted, aware UTC, or None.
        number: Row number, for the next page of the list.
    """

    id: str
    sha256: str
    page: int
    artefacts: dict[str, Any]
    pruned_at: datetime | None
    number: int = 0

    @property
    def has_original(self) -> bool:
        """Whether the original bytes were archived too."""
        return bool(self.artefacts.get("original"))


class KeptFor(StrEnum):
    """Why pixels are retained, the strongest reason first; the values are for the operator."""

    HOLD = "of an order on hold"
    STATEMENT = "named by a statement"
    LABEL = "labelled"
    CAMPAIGN = "of a round robin"
    RECORD = "named by a check, a validation or a study"
    FLAGGED = "flagged for review"
    BROUGHT = "imported or sent by a program"
    OTHER_SITE = "also archived by another site"


@dataclass(frozen=True, slots=True)
class PixelEvidence:
    """References to micrographs: orders on hold, statements and records.

    Attributes:
        held: Keys of the numbers of orders on hold, and row ids of their specimens.
        stated: Public ids that statements name.
        recorded: Public ids that records name.
    """

    held: tuple[frozenset[str], frozenset[int]]
    stated: frozenset[str]
    recorded: frozenset[str]


def load_evidence(session: Session, whose: AgentIdentity, since: datetime) -> PixelEvidence:
    """Return what refers to micrographs of a site.

    Args:
        session: Open.
        whose: The site.
        since: What a statement of this time or later names is evidence.
    """
    return PixelEvidence(
        _load_held(session, whose),
        _load_stated(session, whose, since),
        _load_recorded(session, whose),
    )


def _load_held(session: Session, whose: AgentIdentity) -> tuple[frozenset[str], frozenset[int]]:
    query = select(OrderRow).where(
        OrderRow.site_id == whose.site_id, col(OrderRow.legal_hold).is_(True)
    )
    orders = session.exec(query).all()
    specimens_of = select(SpecimenRow.id).where(
        col(SpecimenRow.order_id).in_([order.id for order in orders])
    )
    keys = frozenset(whose.key(order.number) for order in orders)
    return keys, frozenset(order or 0 for order in session.exec(specimens_of))


def _load_stated(session: Session, whose: AgentIdentity, since: datetime) -> frozenset[str]:
    query = select(StatementRow.document).where(
        StatementRow.site_id == whose.site_id, col(StatementRow.at) >= since
    )
    texts = session.exec(query.execution_options(yield_per=100))
    return frozenset(name for text in texts for name in _PUBLIC_ID.findall(text))


def _load_recorded(session: Session, whose: AgentIdentity) -> frozenset[str]:
    query = select(Record.subject, Record.facts).where(
        Record.site_id == whose.site_id, col(Record.kind).not_in(OF_STATEMENTS)
    )
    names: set[str] = set()
    for subject, facts in session.exec(query.execution_options(yield_per=100)):
        names.update(_PUBLIC_ID.findall(subject), _PUBLIC_ID.findall(json.dumps(facts)))
    return frozenset(names)


OF_STATEMENTS = ("outbox", "outbox_files", "outbox_written", "outbox_floor")
"""Kinds of records that repeat a statement, whose own retention decides."""
_PUBLIC_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{16}(?:-p[0-9]+)?(?![0-9a-f])")


def iter_reasons(
    session: Session, whose: AgentIdentity, evidence: PixelEvidence, where: ColumnElement[bool]
) -> Iterator[tuple[Kept, KeptFor | None]]:
    """Yield what is archived of each micrograph with why it stays, None where it may go.

    Args:
        session: Open.
        whose: The site.
        evidence: What refers to micrographs.
        where: Condition on micrographs.
    """
    page, (keys, specimens_of) = MicrographRow, evidence.held
    flagged = exists().where(
        col(ResultRow.micrograph_id) == col(page.id),
        col(ResultRow.handling) != Handling.AUTOMATIC.value,
    )
    labelled = exists().where(col(LabelRow.micrograph_id) == col(page.id))
    rated = exists().where(col(CampaignImageRow.micrograph_id) == col(page.id))
    query = (
        select(page, flagged, labelled, rated)
        .where(page.site_id == whose.site_id, where)
        .order_by(col(page.id))
        .limit(CHUNK)
    )
    last = 0
    while rows := session.exec(query.where(col(page.id) > last)).all():
        last = rows[-1][0].id
        for row, is_flagged, is_labelled, is_rated in rows:
            why = {
                KeptFor.HOLD: row.specimen_id in specimens_of
                or bool(row.order and whose.key(row.order) in keys),
                KeptFor.STATEMENT: row.public_id in evidence.stated,
                KeptFor.LABEL: is_labelled,
                KeptFor.CAMPAIGN: is_rated,
                KeptFor.RECORD: row.public_id in evidence.recorded,
                KeptFor.FLAGGED: is_flagged,
                KeptFor.BROUGHT: row.origin != "watch",
            }
            yield to_kept(row), next((reason for reason, holds in why.items() if holds), None)
        session.expunge_all()


def to_kept(row: MicrographRow) -> Kept:
    """Return the archived files that a row names."""
    return Kept(row.public_id, row.sha256, row.page, dict(row.artefacts), row.pruned_at, row.id)


PRUNED = "pixels.pruned"
"""Act of the audit log."""


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """Micrographs to prune, and counts of those to retain.

    Attributes:
        prunable: Micrographs whose pixels may be deleted.
        kept: Reason → number of old enough micrographs retained for it; each counts once.
    """

    prunable: tuple[Kept, ...]
    kept: dict[KeptFor, int]


def _plan(
    session: Session,
    whose: AgentIdentity,
    kind: str,
    *,
    before: datetime,
    statements_since: datetime,
) -> RetentionPlan:
    """Return whose crops or originals may go.

    Args:
        session: Open.
        whose: The site.
        kind: "crops" or "originals".
        before: What was taken before may go.
        statements_since: What a statement of this time or later names is evidence.
    """
    evidence = load_evidence(session, whose, statements_since)
    is_old = col(MicrographRow.taken_at) < before
    counts: Counter[KeptFor] = Counter()
    if kind == "crops":
        may_go: list[Kept] = []
        for micrograph, reason in iter_reasons(session, whose, evidence, is_old):
            if micrograph.pruned_at is not None:
                continue
            if reason:
                counts[reason] += 1
            else:
                may_go.append(micrograph)
        return RetentionPlan(tuple(may_go), _in_order(counts))
    young = select(MicrographRow.sha256).where(col(MicrographRow.taken_at) >= before)
    needed = set(session.exec(young))
    originals: list[Kept] = []
    for micrograph, reason in iter_reasons(session, whose, evidence, is_old):
        if reason:
            needed.add(micrograph.sha256)
        if reason and micrograph.has_original:
            counts[reason] += 1
        elif micrograph.has_original:
            originals.append(micrograph)
    may_go = [micrograph for micrograph in originals if micrograph.sha256 not in needed]
    return RetentionPlan(tuple(may_go), _in_order(counts))


def _in_order(counts: Counter[KeptFor]) -> dict[KeptFor, int]:
    return {reason: counts[reason] for reason in KeptFor if counts[reason]}


def _kept(session: Session, asked: Any, *, after: int = 0) -> Iterator[Kept]:
    last, ordered = after, asked.order_by(col(MicrographRow.id)).limit(CHUNK)
    while rows := session.exec(ordered.where(col(MicrographRow.id) > last)).all():
        last = rows[-1].id
        for row in rows:
            yield to_kept(row)
        session.expunge_all()


def _find_newest_act(session: Session) -> int:
    query = select(TrailRow.id).order_by(col(TrailRow.id).desc()).limit(1)
    return session.exec(query).first() or 0


def _find_hashes(session: Session, public_ids: Sequence[str]) -> set[str]:
    hashes: set[str] = set()
    for batch in chunks(public_ids):
        query = select(MicrographRow.sha256).where(col(MicrographRow.public_id).in_(batch))
        hashes |= set(session.exec(query))
    return hashes


def _has_content(session: Session, sha256: str) -> bool:
    """Return whether the site has a micrograph of a content."""
    query = select(MicrographRow.id).where(MicrographRow.sha256 == sha256).limit(1)
    return session.exec(query).first() is not None


def _find_elsewhere(every: Session, whose: AgentIdentity, hashes: Collection[str]) -> set[str]:
    """Return those of the contents that another site has archived and not pruned."""
    elsewhere: set[str] = set()
    for batch in chunks(sorted(hashes)):
        query = select(MicrographRow.sha256).where(
            col(MicrographRow.sha256).in_(batch),
            MicrographRow.site_id != whose.site_id,
            col(MicrographRow.pruned_at).is_(None),
        )
        elsewhere |= set(every.exec(query))
    return elsewhere


def _find_unneeded(
    session: Session,
    whose: AgentIdentity,
    kind: str,
    hashes: Collection[str],
    *,
    statements_since: datetime,
) -> set[tuple[str, int]]:
    """Return hash and page of pruned pixels that nothing of this site refers to now."""
    evidence = load_evidence(session, whose, statements_since)
    known: set[tuple[str, int]] = set()
    needed: set[tuple[str, int]] = set()
    for batch in chunks(sorted(hashes)):
        is_asked = col(MicrographRow.sha256).in_(batch)
        for micrograph, reason in iter_reasons(session, whose, evidence, is_asked):
            is_crop = kind == "crops"
            content = (micrograph.sha256, micrograph.page if is_crop else 0)
            known.add(content)
            has_pixels = micrograph.pruned_at is None if is_crop else micrograph.has_original
            if reason or has_pixels:
                needed.add(content)
    return known - needed


def _leave_elsewhere(every: Session, whose: AgentIdentity, plan: RetentionPlan) -> RetentionPlan:
    """Return a plan without content that other sites have archived too.

    Args:
        every: Reads all sites.
        whose: The site of the plan.
        plan: The plan of this site alone.
    """
    hashes = {micrograph.sha256 for micrograph in plan.prunable}
    elsewhere = _find_elsewhere(every, whose, hashes)
    prunable = tuple(
        micrograph for micrograph in plan.prunable if micrograph.sha256 not in elsewhere
    )
    counts = Counter(plan.kept)
    counts[KeptFor.OTHER_SITE] = len(plan.prunable) - len(prunable)
    return RetentionPlan(prunable, _in_order(counts))


class Retention(Repository):
    """Repository of archived files and of what protects them."""

    def may_show(self, sha256: str) -> bool:
        """Return whether pixels of the archive, which sites may share, are of this site.

        A shared bundle includes the reference images of the site that trained it.
        """
        with reading(self._engine) as session:
            if "bundles" in sites.shared(session, self._whose):
                return True
            return _has_content(session, sha256)

    def iter_archived(self, *, after: int = 0) -> Iterator[Kept]:
        """Yield the archived files of micrographs after a row number, oldest first."""
        with reading(self._engine) as session:
            query = select(MicrographRow).where(MicrographRow.site_id == self._whose.site_id)
            yield from _kept(session, query, after=after)

    def plan(self, kind: str, *, before: datetime, statements_since: datetime) -> RetentionPlan:
        """Return the micrographs whose pixels may be deleted, and why others may not.

        Content that another site has too is retained: the two may have one archive, and its files
        are named by content.

        Args:
            kind: "crops" or "originals".
            before: Only micrographs recorded before this time.
            statements_since: What a statement of this time or later names is evidence.
        """
        with reading(self._engine) as session:
            plan = _plan(
                session, self._whose, kind, before=before, statements_since=statements_since
            )
        with reading(self._all_sites) as every:
            return _leave_elsewhere(every, self._whose, plan)

    def mark_pruned(self, public_ids: Sequence[str], kind: str, *, at: datetime) -> None:
        """Record that files of these micrographs were deleted.

        Args:
            public_ids: Of whose micrographs.
            kind: "crops" or "originals".
            at: Now.
        """
        with writing(self._engine) as session:
            for batch in chunks(public_ids):
                query = select(MicrographRow).where(col(MicrographRow.public_id).in_(batch))
                for row in session.exec(query):
                    if kind == "crops":
                        row.pruned_at = at
                    else:
                        row.artefacts = {**row.artefacts, "original": False}
                    session.add(row)
            facts = {"kind": kind, "count": len(public_ids), "ids": list(public_ids)}
            audit_log.append(
                session, self._whose.site_id, at=at, actor="agent", act=PRUNED, facts=facts
            )

    def list_deletions(
        self, after: int, *, statements_since: datetime
    ) -> list[tuple[int, str, frozenset[tuple[str, int]]]]:
        """Return by which acts pixels were pruned, on any PC of the site, oldest first.

        What was labelled, stated, held or recorded since then is left out: the copy of another PC
        is evidence.

        Args:
            after: Only acts with a larger number.
            statements_since: What a statement of this time or later names is evidence.

        Returns:
            Number of the act in the audit log; "crops" or "originals"; hash and page, 0 for
            originals, of each file that was a micrograph's and that nothing needs now.
        """
        with reading(self._engine) as session:
            if after > _find_newest_act(session):  # an older database was restored
                after = 0
            acts = [
                (entry.id, str(entry.facts.get("kind")), tuple(entry.facts.get("ids") or ()))
                for entry in audit_log.entries(session, act=PRUNED, after=after)
            ]
            hashes = [_find_hashes(session, ids) for _number, _kind, ids in acts]
        return [
            (number, kind, self.find_deleted(kind, contents, statements_since=statements_since))
            for (number, kind, _ids), contents in zip(acts, hashes, strict=True)
        ]

    def find_deleted(
        self, kind: str, hashes: Collection[str], *, statements_since: datetime
    ) -> frozenset[tuple[str, int]]:
        """Return hash and page of those pixels that were pruned and that nothing needs now.

        Args:
            kind: "crops" or "originals"; the page of an original is 0.
            hashes: Of contents of which the archive had the pixels.
            statements_since: What a statement of this time or later names is evidence.
        """
        if not hashes:
            return frozenset()
        with reading(self._engine) as session:
            deleted = _find_unneeded(
                session, self._whose, kind, hashes, statements_since=statements_since
            )
        with reading(self._all_sites) as every:
            elsewhere = _find_elsewhere(every, self._whose, {sha256 for sha256, _page in deleted})
        return frozenset(content for content in deleted if content[0] not in elsewhere)

    def set_legal_hold(
        self,
        number: str,
        *,
        hold: bool,
        by: str,
        at: datetime,
        reason: str = "",
        must_change: bool = False,
    ) -> str:
        """Set or clear the legal hold of an order; return its number as stored.

        Args:
            number: Of the order, in any spelling.
            hold: Whether it is held from now on.
            by: Who.
            at: Now, aware UTC.
            reason: Why.
            must_change: Where it is so already, nothing is recorded and "" is returned.
        """
        with writing(self._engine) as session:
            audit_log.lock(session)
            row = specimens.order_row(session, self._whose, number, at=at)
            if must_change and row.legal_hold == hold:
                return ""
            row.legal_hold = hold
            session.add(row)
            act = "order.held" if hold else "order.released"
            facts = {"reason": reason} if reason else {}
            audit_log.append(
                session,
                self._whose.site_id,
                at=at,
                actor=by,
                act=act,
                subject=row.number,
                facts=facts,
            )
            return row.number

    def is_on_hold(self, number: str) -> bool:
        """Return whether an order is on legal hold, in any spelling of its number."""
        with reading(self._engine) as session:
            row = specimens.find_order(session, self._whose, number)
            return row is not None and row.legal_hold
