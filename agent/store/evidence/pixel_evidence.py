"""Find what refers to a micrograph, so that its pixels stay: orders on hold, statements, labels."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import exists
from sqlmodel import col, select

from agent.store.tables import (
    CampaignImageRow,
    LabelRow,
    MicrographRow,
    OrderRow,
    RecordRow,
    ResultRow,
    SpecimenRow,
    StatementRow,
)
from agent.triage import Handling

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sqlalchemy import ColumnElement
    from sqlmodel import Session

    from agent.store.repository import AgentIdentity

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
    query = select(RecordRow.subject, RecordRow.facts).where(
        RecordRow.site_id == whose.site_id, col(RecordRow.kind).not_in(OF_STATEMENTS)
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
        last = rows[-1][0].id or 0
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
    return Kept(
        row.public_id, row.sha256, row.page, dict(row.artefacts), row.pruned_at, row.id or 0
    )
