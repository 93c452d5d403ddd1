"""Names of files that are not read yet, and the numbers by which they may name an order.

A note is visible only where the file's folder can be seen, so what it names is stored with the
content. A database does not fold letters as `number_key` does, so a condition passes every text
that is not plain ASCII, and no row is missed: the caller compares what passed with `number_key`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BindParameter,
    Boolean,
    ColumnElement,
    String,
    Text,
    and_,
    bindparam,
    cast,
    exists,
    func,
    or_,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import aliased
from sqlalchemy.sql.functions import FunctionElement
from sqlmodel import Session, col, select

from agent.store.engine import Repository, reading, writing
from agent.store.numbers import letters_key, number_key
from agent.store.tables import ContentRow, PathRow, SourceRow
from agent.store.work.file_states import NOT_A_PICTURE, VANISHED, State


class has_unfolded(FunctionElement[bool]):  # noqa: N801 - spelt as SQL functions are
    """Whether a text has a letter that is not printable ASCII."""

    inherit_cache = True
    type = Boolean()


@compiles(has_unfolded, "sqlite")
def _has_unfolded_sqlite(element: has_unfolded, compiler: Any, **options: Any) -> str:
    text = compiler.process(next(iter(element.clauses)), **options)
    return f"({text} GLOB '*[^ -~]*' OR instr({text}, char(0)))"  # GLOB reads up to a NUL


@compiles(has_unfolded, "postgresql")
def _has_unfolded_postgresql(element: has_unfolded, compiler: Any, **options: Any) -> str:
    text = compiler.process(next(iter(element.clauses)), **options)
    return f"""(({text}) COLLATE "C" ~ '[^ -~]')"""


class lower_ascii(FunctionElement[str]):  # noqa: N801 - spelt as SQL functions are
    """A text with the letters A to Z as small ones, in every locale of the database."""

    inherit_cache = True
    type = String()


@compiles(lower_ascii, "sqlite")
def _lower_sqlite(element: lower_ascii, compiler: Any, **options: Any) -> str:
    return f"lower({compiler.process(next(iter(element.clauses)), **options)})"


@compiles(lower_ascii, "postgresql")
def _lower_postgresql(element: lower_ascii, compiler: Any, **options: Any) -> str:
    return f'lower(({compiler.process(next(iter(element.clauses)), **options)}) COLLATE "C")'


@dataclass(frozen=True, slots=True)
class NamedOrder:
    """What names an order: paths, notes, senders, and what the caller knows of.

    Attributes:
        number: Of the order.
        sources: Sources of which every file names it.
        contents: Contents that name it by a record.
    """

    number: str
    sources: frozenset[str] = frozenset()
    contents: frozenset[int] = frozenset()


def may_name(order: NamedOrder) -> ColumnElement[bool]:
    """Return the condition that a content may name an order, by any name that it ever had."""
    copy = aliased(ContentRow)
    path = _may_path_name(order)
    own = select(PathRow.id).where(PathRow.content_id == col(ContentRow.id), path)
    of_copies = (
        select(PathRow.id)
        .join(copy, col(copy.id) == col(PathRow.content_id))
        .where(col(copy.duplicate_of) == col(ContentRow.id), path)
    )
    ways = [
        exists(own.correlate(ContentRow)),
        exists(of_copies.correlate(ContentRow)),
        *(
            _may_json_hold(facts, order.number)
            for facts in (ContentRow.process_data, ContentRow.noted)
        ),
    ]
    if order.contents:  # written into the statement: old builds of SQLite bind at most 999 values
        known: BindParameter[int] = bindparam(
            "known", sorted(order.contents), expanding=True, literal_execute=True, unique=True
        )
        ways.append(col(ContentRow.id).in_(known))
    return or_(*ways)


def may_be_alike(column: Any, number: str) -> ColumnElement[bool]:
    """Return the condition that a number may differ in hyphens, slashes or dots alone."""
    letters = "%".join(("", *letters_key(number), ""))
    return or_(has_unfolded(column), lower_ascii(column).like(letters))


def _may_path_name(order: NamedOrder) -> ColumnElement[bool]:
    ways = [_may_hold(col(PathRow.relative), order.number)]
    if order.sources:
        own = select(SourceRow.id).where(col(SourceRow.name).in_(order.sources))
        ways.append(col(PathRow.source_id).in_(own))
    return or_(*ways)


def _may_json_hold(column: Any, number: str) -> ColumnElement[bool]:
    text = cast(col(column), Text)
    has_number = or_(_may_hold(text, number), text.contains("\\", autoescape=True))
    return and_(text != "{}", has_number)  # nearly all: half of the time for a backlog


def _may_hold(text: Any, number: str) -> ColumnElement[bool]:
    """Return the condition that a text may hold a number, as a path holds it."""
    together: ColumnElement[str] = func.replace(func.replace(lower_ascii(text), " ", ""), "\\", "/")
    return or_(has_unfolded(text), together.contains(number_key(number), autoescape=True))


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


_TAIL = re.compile(r"(_meta|_metadata|\.cal|-[^-/]+)$", re.IGNORECASE)
"""What the names of some scale files have before their last dot, behind the picture's name."""
LATE = timedelta(minutes=10)
"""How long before its picture was stored a note may be listed that the reader did not see."""


class UnreadNames(Repository):
    """Repository of the names of unread files."""

    def list_waiting(self, *, after: int, limit: int) -> list[WaitingFile]:
        """Return waiting files of watched folders, by number, from the one after `after` on."""
        return self._list(
            col(ContentRow.state).in_(WAITING),
            col(ContentRow.origin) == "watch",
            col(PathRow.replaced_at).is_(None),
            after=after,
            limit=limit,
        )

    def list_notes(self, *, after: int, since: datetime, limit: int) -> list[WaitingFile]:
        """Return files of watched folders that are no pictures and that no order was read from.

        Args:
            after: Only contents with a higher number, which is the sequence.
            since: Only those listed since then.
            limit: At most so many.
        """
        return self._list(
            col(ContentRow.state) == State.IGNORED,
            col(ContentRow.code) == NOT_A_PICTURE,
            col(ContentRow.first_seen_at) >= since,
            after=after,
            limit=limit,
        )

    def _list(self, *demands: ColumnElement[bool], after: int, limit: int) -> list[WaitingFile]:
        wanted = (
            select(ContentRow, SourceRow, PathRow.relative)
            .join(SourceRow, col(SourceRow.id) == col(ContentRow.source_id))
            .join(PathRow, col(PathRow.content_id) == col(ContentRow.id))
            .where(
                ContentRow.site_id == self._whose.site_id,
                col(ContentRow.id) > after,
                col(PathRow.gone_at).is_(None),
                *demands,
            )
            .order_by(col(ContentRow.id))
            .limit(limit)
        )
        with reading(self._engine) as session:
            return [
                WaitingFile(content.id, source.name, Path(source.folder), relative, content.noted)
                for content, source, relative in session.exec(wanted)
            ]

    def list_read_before(self, note: WaitingFile) -> list[tuple[WaitingFile, str, bool]]:
        """Return the pictures next to a note that were read before it was listed, or may have been.

        Returns:
            The picture, its hash, "" where unread, and whether it is still being read.
        """
        stem = note.relative.rpartition(".")[0]
        stems = {stem, _TAIL.sub("", stem)}
        wanted = (
            select(ContentRow, PathRow.relative)
            .join(PathRow, col(PathRow.content_id) == col(ContentRow.id))
            .join(SourceRow, col(SourceRow.id) == col(PathRow.source_id))
            .where(
                ContentRow.site_id == self._whose.site_id,
                SourceRow.name == note.source,
                col(ContentRow.state).in_((State.PROCESSING, State.DONE, State.DUPLICATE)),
                ContentRow.origin == "watch",
                or_(
                    col(PathRow.relative).in_(stems),
                    *(col(PathRow.relative).startswith(f"{s}.", autoescape=True) for s in stems),
                ),
                col(PathRow.replaced_at).is_(None),
                col(PathRow.gone_at).is_(None),
            )
        )
        with reading(self._engine) as session:
            listed_at = session.get_one(ContentRow, note.content).first_seen_at
            return [
                (
                    replace(note, content=content.duplicate_of or content.id, relative=relative),
                    content.sha256 or "",
                    content.done_at is None,
                )
                for content, relative in session.exec(wanted)
                if content.done_at is None or content.done_at - LATE <= listed_at
            ]

    def note(self, named: Mapping[int, Mapping[str, str]]) -> None:
        """Store the orders that notes name, content → order → specimen; existing ones remain."""
        with writing(self._engine) as session:
            wanted = select(ContentRow).where(col(ContentRow.id).in_(named.keys()))
            for content in session.exec(wanted.with_for_update()):
                content.noted = {**content.noted, **named[content.id]}
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


def find_listed_again(
    session: Session, sources: Sequence[SourceRow], contents: Sequence[int]
) -> dict[int, tuple[str, str]]:
    """Return contents that were listed again, unchanged, as files of another source.

    A source that is given another name has the folder and the files of the one before.

    Args:
        session: Open.
        sources: All of the site.
        contents: Contents that no one saw.

    Returns:
        Content → source and name below it.
    """
    by_folder: dict[str, list[SourceRow]] = {}
    for source in sources:
        by_folder.setdefault(source.folder, []).append(source)
    shared = [source.id for own in by_folder.values() if len(own) > 1 for source in own]
    if not shared or not contents:
        return {}
    before, after = aliased(PathRow), aliased(PathRow)
    old, new = aliased(SourceRow), aliased(SourceRow)
    query = (
        select(before.content_id, new.name, after.relative)
        .join(old, col(old.id) == col(before.source_id))
        .join(new, (col(new.folder) == col(old.folder)) & (col(new.id) != col(old.id)))
        .join(
            after,
            (col(after.source_id) == col(new.id))
            & (col(after.relative) == col(before.relative))
            & (col(after.mtime_ns) == col(before.mtime_ns))
            & (col(after.size_bytes) == col(before.size_bytes))
            & (col(after.seen_at) > col(before.seen_at)),
        )
        .where(
            col(before.content_id).in_(contents),
            col(before.source_id).in_(shared),
            col(before.replaced_at).is_(None),
            col(after.replaced_at).is_(None),
        )
        .order_by(col(before.content_id), col(after.id))
    )
    return {content: (source, relative) for content, source, relative in session.exec(query)}


def _has_facts_of(path: Any, other: Any) -> ColumnElement[bool]:
    """Return the condition that two paths of one source have the same size and time of change."""
    return and_(
        col(path.mtime_ns) == col(other.mtime_ns),
        col(path.size_bytes) == col(other.size_bytes),
        col(path.source_id) == col(other.source_id),
    )
