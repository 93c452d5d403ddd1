"""Names for files that are not read yet: from the notes next to them, and from later renames.

A note is visible only where the file's folder can be seen, so what it names is stored with the
content.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_
from sqlalchemy.orm import aliased
from sqlmodel import col, select

from agent.store.engine import reading, writing
from agent.store.repository import Repository
from agent.store.tables import ContentRow, PathRow, SourceRow
from agent.store.work.file_states import VANISHED, State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement
    from sqlmodel import Session


WAITING = (State.QUEUED, State.PROCESSING, State.FAILED)


@dataclass(frozen=True, slots=True)
class WaitingFile:
    """A file that waits to be read.

    Attributes:
        content: Its number.
        source: Name of its source.
        folder: Folder of the source.
        relative: Its name below the folder.
        noted: Order → specimen that notes named so far.
    """

    content: int
    source: str
    folder: Path
    relative: str
    noted: Mapping[str, str]


class UnreadNames(Repository):
    """Repository of the names of unread files."""

    def list_waiting(self, *, after: int, limit: int) -> list[WaitingFile]:
        """Return waiting files of watched folders, by number, from the one after `after` on."""
        wanted = (
            select(ContentRow, SourceRow, PathRow.relative)
            .join(SourceRow, col(SourceRow.id) == col(ContentRow.source_id))
            .join(PathRow, col(PathRow.content_id) == col(ContentRow.id))
            .where(
                ContentRow.site_id == self._whose.site_id,
                col(ContentRow.state).in_(WAITING),
                ContentRow.origin == "watch",
                col(ContentRow.id) > after,
                col(PathRow.replaced_at).is_(None),
                col(PathRow.gone_at).is_(None),
            )
            .order_by(col(ContentRow.id))
            .limit(limit)
        )
        with reading(self._engine) as session:
            return [
                WaitingFile(
                    content.id or 0,
                    source.name,
                    Path(source.folder),
                    relative,
                    dict(content.noted),
                )
                for content, source, relative in session.exec(wanted)
            ]

    def note(self, named: Mapping[int, Mapping[str, str]]) -> None:
        """Store the orders that notes name, content → order → specimen; existing ones remain."""
        with writing(self._engine) as session:
            wanted = select(ContentRow).where(col(ContentRow.id).in_(named.keys()))
            for content in session.exec(wanted.with_for_update()):
                content.noted = {**content.noted, **named[content.id or 0]}
                session.add(content)


def find_renamed(session: Session, vanished: Sequence[int]) -> dict[int, tuple[str, str]]:
    """Return the later name of each content that vanished unread and was listed again.

    A rename retains size and time of change. A name is later only where it was seen later; of
    several contents of one size and time each later name matches one, also where only some of them
    are requested.

    Returns:
        Content → source and later name below it; only those that were listed again.
    """
    before, after, other = aliased(PathRow), aliased(PathRow), aliased(ContentRow)
    wished, rival = aliased(PathRow), aliased(PathRow)
    rivals = (
        select(rival.content_id)
        .join(wished, _has_facts_of(rival, wished))
        .join(ContentRow, col(ContentRow.id) == col(rival.content_id))
        .where(col(wished.content_id).in_(vanished), ContentRow.code == VANISHED)
    )
    wanted = (
        select(before.content_id, after.content_id, SourceRow.name, after.relative)
        .join(
            after,
            _has_facts_of(after, before) & (col(after.seen_at) > col(before.seen_at)),
        )
        .join(other, col(other.id) == col(after.content_id))
        .join(SourceRow, col(SourceRow.id) == col(after.source_id))
        .where(
            col(before.content_id).in_(rivals),
            col(before.replaced_at).is_(None),
            col(other.id) != col(before.content_id),
            col(other.state) != State.IGNORED,
        )
        .order_by(col(before.content_id), col(after.id))
    )
    renamed: dict[int, tuple[str, str]] = {}
    taken: set[int] = set()
    for content, later, source, relative in session.exec(wanted):
        if content not in renamed and later not in taken:
            taken.add(later)
            renamed[content] = (source, relative)
    return {content: renamed[content] for content in vanished if content in renamed}


def _has_facts_of(path: Any, other: Any) -> ColumnElement[bool]:
    """Return the condition that two paths of one source have the same size and time of change."""
    return and_(
        col(path.mtime_ns) == col(other.mtime_ns),
        col(path.size_bytes) == col(other.size_bytes),
        col(path.source_id) == col(other.source_id),
    )
