"""Say whose pixels may be deleted: those that nothing and nobody refers to any more.

In:  an age. Out: `Kept`s. Next: `agent prune`, which deletes the files and has it written down.
Rows are never deleted. Flagged, labelled and imported micrographs and those of a round robin are
kept for good, and so is all of an order on legal hold: a result, a bundle or a person may still be
asked about them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import exists
from sqlalchemy.orm import aliased
from sqlmodel import col, select

from agent.store import specimens, trail
from agent.store.journal import chunks
from agent.store.tables import CampaignImageRow, LabelRow, MicrographRow, OrderRow, ResultRow
from agent.triage import Handling

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from sqlmodel import Session

    from agent.store.sources import Whose

CHUNK = 400


@dataclass(frozen=True, slots=True)
class Kept:
    """What is archived of one micrograph.

    Args:
        id: Public id. sha256, page: which pixels. artefacts: what its row says is archived.
        pruned_at: When its pixels were deleted, or None. number: its place in the order.
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


def kept(session: Session, whose: Whose, *, after: int = 0) -> Iterator[Kept]:
    """Say what is archived of every micrograph of this site, oldest first; behind one of them."""
    asked = select(MicrographRow).where(MicrographRow.site_id == whose.site_id)
    yield from _kept(session, asked, after=after)


def prunable(session: Session, whose: Whose, *, before: datetime) -> Iterator[Kept]:
    """Say whose crops and maps may go: taken before, and nothing refers to them."""
    asked = select(MicrographRow).where(
        MicrographRow.site_id == whose.site_id,
        col(MicrographRow.pruned_at).is_(None),
        col(MicrographRow.taken_at) < before,
        ~_is_needed(MicrographRow),
    )
    yield from _kept(session, asked)


def prunable_originals(session: Session, whose: Whose, *, before: datetime) -> Iterator[Kept]:
    """Say whose original bytes may go: those of contents of which no page is needed."""
    page = aliased(MicrographRow)
    needed = select(page.sha256).where((col(page.taken_at) >= before) | _is_needed(page))
    asked = select(MicrographRow).where(
        MicrographRow.site_id == whose.site_id,
        col(MicrographRow.taken_at) < before,
        col(MicrographRow.sha256).not_in(needed),
    )
    yield from (one for one in _kept(session, asked) if one.has_original)


def _is_needed(page: type[MicrographRow]) -> Any:
    flagged = exists().where(
        col(ResultRow.micrograph_id) == col(page.id),
        col(ResultRow.handling) != Handling.AUTOMATIC.value,
    )
    labelled = exists().where(col(LabelRow.micrograph_id) == col(page.id))
    held = exists().where(
        col(OrderRow.site_id) == col(page.site_id),
        col(OrderRow.number) == col(page.order),
        col(OrderRow.legal_hold).is_(True),
    )
    rated = exists().where(col(CampaignImageRow.micrograph_id) == col(page.id))
    return flagged | labelled | held | rated | (col(page.origin) != "watch")


def _kept(session: Session, asked: Any, *, after: int = 0) -> Iterator[Kept]:
    last, ordered = after, asked.order_by(col(MicrographRow.id)).limit(CHUNK)
    while rows := session.exec(ordered.where(col(MicrographRow.id) > last)).all():
        last = rows[-1].id
        for row in rows:
            artefacts = dict(row.artefacts)
            yield Kept(row.public_id, row.sha256, row.page, artefacts, row.pruned_at, row.id or 0)
        session.expunge_all()


def has_content(session: Session, sha256: str) -> bool:
    """Return whether the site has a micrograph of a content."""
    asked = select(MicrographRow.id).where(MicrographRow.sha256 == sha256).limit(1)
    return session.exec(asked).first() is not None


def find_elsewhere(every: Session, whose: Whose, found: Sequence[Kept]) -> set[str]:
    """Return which of some contents other sites have archived too.

    Args:
        every: Reads all sites.
        whose: The site that asks.
        found: What it would prune.
    """
    elsewhere: set[str] = set()
    for some in chunks(sorted({one.sha256 for one in found})):
        asked = select(MicrographRow.sha256).where(
            col(MicrographRow.sha256).in_(some),
            MicrographRow.site_id != whose.site_id,
            col(MicrographRow.pruned_at).is_(None),
        )
        elsewhere |= set(every.exec(asked))
    return elsewhere


def pruned(
    session: Session, whose: Whose, public_ids: Sequence[str], kind: str, *, at: datetime
) -> None:
    """Write down that files of these micrographs were deleted.

    Args:
        session: Open for writing.
        whose: The site.
        public_ids: Of whose micrographs.
        kind: "crops" or "originals".
        at: Now.
    """
    for some in chunks(public_ids):
        asked = select(MicrographRow).where(col(MicrographRow.public_id).in_(some))
        for row in session.exec(asked):
            if kind == "crops":
                row.pruned_at = at
            else:
                row.artefacts = {**row.artefacts, "original": False}
            session.add(row)
    facts = {"kind": kind, "count": len(public_ids), "ids": list(public_ids)}
    trail.append(session, whose.site_id, at=at, actor="agent", act="pixels.pruned", facts=facts)


def set_legal_hold(
    session: Session, whose: Whose, number: str, *, hold: bool, by: str, at: datetime
) -> None:
    """Keep everything of an order from being pruned, or let it go again."""
    row = specimens.order_row(session, whose, number, at=at)
    row.legal_hold = hold
    session.add(row)
    act = "order.held" if hold else "order.released"
    trail.append(session, whose.site_id, at=at, actor=by, act=act, subject=number)
