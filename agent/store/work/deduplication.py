"""Detect content that is already known: the same file again, a rename, or a duplicate.

The hash decides; size and dates are only the first filter, and inodes mean nothing on a share.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from pathlib import Path

from sqlalchemy import delete, literal_column, update
from sqlmodel import Session, col, select

from agent.store.search.search_updates import note_contents
from agent.store.tables import ContentRow, PathRow, SourceRow
from agent.store.work.file_states import AT_ONCE, OVERWRITTEN, VANISHED, Claim, State, rest
from agent.watch import locate


def identify(
    session: Session,
    content: ContentRow,
    claim: Claim,
    sha256: str,
    *,
    at: datetime,
    away: Collection[Path],
) -> int | None:
    """Record the hash of a claimed content, and return the known content with the same bytes.

    The same bytes under the same name again (a touch, a restored date) and a rename move the
    name to the known content, which retains its results; an additional name is a duplicate.

    Args:
        session: Open for writing.
        content: The claimed content.
        claim: Its claim.
        sha256: Hash of the bytes that were read.
        at: Now.
        away: Of the `rivals`, those that are no longer where they were.

    Returns:
        None: it is new, go on. Else the number of the known content, and the claim is over.
    """
    original = known_by_hash(session, content, sha256)
    if original is None:
        content.sha256 = sha256
        session.add(content)
        session.flush()
        return None
    if original.code in (VANISHED, OVERWRITTEN):
        _replace(session, original, content, sha256)
        return None
    if _is_same_file(session, content, original, claim, away):
        _merge(session, content, original)
    else:
        content.sha256, content.duplicate_of = sha256, original.id
        rest(content, State.DUPLICATE, at=at)
        session.add(content)
    return original.id


def rivals(session: Session, claim: Claim, sha256: str) -> list[Path]:
    """Return the known paths of these bytes.

    The caller then checks them outside any transaction: a share that hangs must not block the
    database.
    """
    query = (
        select(PathRow, SourceRow.folder)
        .join(SourceRow, col(SourceRow.id) == col(PathRow.source_id))
        .join(ContentRow, col(ContentRow.id) == col(PathRow.content_id))
        .where(
            ContentRow.sha256 == sha256,
            literal_column("content.state != 'duplicate'"),
            ContentRow.id != claim.content_id,
        )
    )
    return _list_current(session.exec(query).all())


def is_away(place: Path, claimed: Path, is_there: Callable[[Path], bool]) -> bool:
    """Return whether a rival is gone, or is the claimed file under another spelling of its name."""
    return not is_there(place) or _is_one_entry(place, claimed)


def _list_current(names: Iterable[tuple[PathRow, str]]) -> list[Path]:
    return [
        locate(Path(folder), path.relative)
        for path, folder in names
        if path.replaced_at is None and path.gone_at is None
    ]


def known_by_hash(session: Session, content: ContentRow, sha256: str) -> ContentRow | None:
    """Find another content of this hash that is no duplicate itself."""
    query = select(ContentRow).where(
        ContentRow.sha256 == sha256,
        literal_column("content.state != 'duplicate'"),
        ContentRow.id != content.id,
    )
    return session.exec(query).first()


def _replace(session: Session, lost: ContentRow, content: ContentRow, sha256: str) -> None:
    lost.sha256 = None
    session.add(lost)
    session.flush()
    content.sha256 = sha256
    _point_duplicates(session, lost, content)
    session.add(content)
    session.flush()


def _point_duplicates(session: Session, away_from: ContentRow, to: ContentRow) -> None:
    session.execute(
        update(ContentRow)
        .where(col(ContentRow.duplicate_of) == away_from.id, col(ContentRow.id) != to.id)
        .values(duplicate_of=to.id)
    )


def _is_same_file(
    session: Session,
    content: ContentRow,
    original: ContentRow,
    claim: Claim,
    away: Collection[Path],
) -> bool:
    query = (
        select(PathRow, SourceRow.folder)
        .join(SourceRow, col(SourceRow.id) == col(PathRow.source_id))
        .where(PathRow.content_id == original.id)
    )
    names = session.exec(query).all()
    if any(
        path.relative == claim.relative and path.source_id == content.source_id for path, _ in names
    ):
        return True
    return all(place in away for place in _list_current(names))


def _is_one_entry(first: Path, second: Path) -> bool:
    # A rename that changed only the case (or the spelling of an umlaut), on a file system that
    # does not tell them apart: both names still answer.
    def folded(path: Path) -> str:
        return unicodedata.normalize("NFC", str(path)).casefold()

    if folded(first) != folded(second):
        return False
    try:
        return first.samefile(second)
    except OSError:
        return False


def lies_there(path: Path) -> bool:
    """Return whether a name is still in its folder; True for a share that does not answer."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        try:
            return not path.parent.exists()  # the whole folder is unavailable: no rename
        except OSError:
            return True
    except OSError:
        return True
    return True


def _merge(session: Session, content: ContentRow, original: ContentRow) -> None:
    note_contents(session, [original.id])  # it has one more name to be found by
    # The next listing decides whether the old name is gone: a share that shows nothing for a moment
    # looks like a rename, and a name marked as gone by mistake would never be listed again.
    session.execute(
        update(PathRow).where(col(PathRow.content_id) == content.id).values(content_id=original.id)
    )
    session.execute(
        update(ContentRow)
        .where(col(ContentRow.previous_id) == content.id)
        .values(previous_id=original.id)
    )
    _point_duplicates(session, content, original)
    session.execute(delete(ContentRow).where(col(ContentRow.id) == content.id))
    session.expunge(content)


def hand_over(session: Session, content: ContentRow) -> None:
    """Queue a duplicate in place of an unfinished content whose bytes are being replaced."""
    if content.sha256 is None:
        return
    query = (
        select(ContentRow)
        .where(ContentRow.duplicate_of == content.id)
        .order_by(col(ContentRow.id))
        .limit(1)
    )
    heir = session.exec(query).first()
    if heir is None:
        return
    content.sha256 = None
    session.add(content)
    session.flush()
    heir.duplicate_of = None
    rest(heir, State.QUEUED)
    heir.due_at = AT_ONCE
    _point_duplicates(session, content, heir)
    session.add(heir)
    session.flush()
